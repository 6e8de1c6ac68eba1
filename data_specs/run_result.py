"""What a run tells at its end; the object that `--json` prints."""

from pydantic import Field

from data_specs.spec import Spec


class ArtifactPlace(Spec):
    """An artifact and the folder that holds it."""

    version: str
    path: str


class RunResult(Spec):
    """Artifacts, metrics and cost of a run."""

    name: str
    store: str
    artifacts: dict[str, ArtifactPlace] = Field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = Field(default_factory=dict, description="model -> metric -> percent")
    computed: int = Field(ge=0, description="artifacts made by this run")
    reused: int = Field(ge=0, description="artifacts found in the store")
    seconds: dict[str, float] = Field(default_factory=dict, description="stage -> wall time")
