"""Where artifacts lie: the folder of a store, and the remotes that it shares them with."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from data_specs.fields import Location
from data_specs.spec import Spec


def _listed(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


_DESCRIPTION = (
    "URLs such as s3://bucket/prefix or file:///folder: artifacts that are there are not made again, made ones are put"
    " there; of several the first that has an artifact gives it, and all are given what is made"
)
RemoteUrls = Annotated[list[Location], BeforeValidator(_listed), Field(max_length=16, description=_DESCRIPTION)]


class StoreConfig(Spec):
    """With whom a run shares its artifacts; no part of any version."""

    remote: RemoteUrls = Field(default_factory=list)


class StorePlace(Spec):
    """A folder, and remotes beside those that the settings name."""

    folder: str = Field(default="store", min_length=1, description="folder of the artifact store")
    remote: RemoteUrls = Field(default_factory=list)


# A text stands for its folder.
StoreLocation = str | StorePlace


def store_place_of(store: StoreLocation | Path) -> StorePlace:
    """The place that a flow was given."""
    return store if isinstance(store, StorePlace) else StorePlace(folder=str(store))
