"""What a run was asked for beside its settings: which flow, with which parameters, so that the same can be asked again."""

from prefect.context import FlowRunContext
from pydantic import Field, JsonValue
from pydantic_core import to_jsonable_python

from data_specs.manifest import ArtifactRef
from data_specs.spec import Spec

# These say where and how, or are the settings themselves.
_TOLD_APART = ("config", "configs", "store", "device", "workers")
_OF_OTHER_RUNS = ("scores", "model", "edit")


class AskedFlow(Spec):
    """A flow, and its parameters but for settings, store and device."""

    flow: str = Field(description="its name, such as make-safe")
    parameters: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def artifacts(self) -> list[ArtifactRef]:
        """The artifacts that it was given, which some other run has made."""
        given = [self.parameters.get(name) for name in _OF_OTHER_RUNS]
        return [ArtifactRef.model_validate(item) for item in given if isinstance(item, dict)]


def asked_of_this_flow() -> AskedFlow | None:
    """What the flow that runs at this moment was asked for; None where none runs."""
    context = FlowRunContext.get()
    if context is None or context.flow is None:
        return None
    given = {name: value for name, value in (context.parameters or {}).items() if name not in _TOLD_APART}
    return AskedFlow(flow=context.flow.name, parameters=to_jsonable_python(given))
