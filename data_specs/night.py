"""What a night of a watch leaves behind: `STORE/.watches/WATCH/ID.json`, and the schedule that it came by."""

from typing import Any, Literal

from pydantic import Field

from data_specs.figures import Interval
from data_specs.gate import GateResult
from data_specs.spec import Spec

NightStatus = Literal["running", "completed", "failed", "interrupted"]
# failed before unsure before not_comparable before passed: a night is its worst gate.
NightOutcome = Literal["passed", "not_comparable", "unsure", "failed"]


class Measured(Spec):
    """One model on one set in one night."""

    model: str = Field(description="its name in the watch")
    set: str
    status: NightStatus
    error: str | None = Field(default=None, description="why it was not measured")
    run: str | None = Field(default=None, description="identifier of its run's record")
    flow_run_id: str | None = None
    evaluation: str | None = Field(default=None, description="version of its evaluation")
    baseline_evaluation: str | None = None
    caption_evaluation: str | None = Field(default=None, description="version of that of its captions")
    report: str | None = Field(default=None, description="path of its own report, where it has one")
    what: str | None = Field(default=None, description="version of the model or edit, digest of a model as it is")
    baseline: str | None = Field(default=None, description="the same of the baseline")
    n_pairs: int | None = None
    skipped: dict[str, int] = Field(
        default_factory=dict, description="samples of its sets that could not be read, by reason"
    )
    figures: dict[str, float] = Field(
        default_factory=dict, description="those of zero-shot data sets and of captions, too"
    )
    intervals: dict[str, Interval] = Field(default_factory=dict, description="95 %")
    by_tag: dict[str, dict[str, float]] = Field(default_factory=dict, description="tag -> main metric -> figure")
    shards: list[str] = Field(default_factory=list, description="SHA-256 of each, in order")
    shards_added: list[str] = Field(default_factory=list, description="locations, since the night before")
    shards_removed: list[str] = Field(default_factory=list, description="SHA-256, since the night before")
    environments: list[str] = Field(default_factory=list, description="digests of where its embeddings were made")
    libraries: dict[str, str] = Field(default_factory=dict, description="that made its evaluation")
    code: str | None = Field(default=None, description="digest of the modules that made its evaluation and embeddings")
    gates: list[GateResult] = Field(default_factory=list)
    computed: int = 0
    reused: int = 0
    seconds: float = 0.0


class Night(Spec):
    """One re-evaluation of a watch."""

    format: Literal[1] = 1
    id: str
    watch: str = Field(description="its name")
    settings: dict[str, Any] = Field(description="of the watch, paths absolute")
    due: str | None = Field(default=None, description="when the schedule wanted it, ISO 8601; null: asked for by hand")
    started: str = Field(description="ISO 8601, UTC")
    ended: str | None = None
    status: NightStatus
    outcome: NightOutcome | None = Field(default=None, description="null until it is completed")
    exit_code: int | None = None
    error: str | None = None
    flow_run_id: str | None = None
    user: str | None = None
    host: str | None = None
    process: int | None = None
    measured: list[Measured] = Field(default_factory=list)
    told: list[str] = Field(default_factory=list, description="what became of each notification")


class Schedule(Spec):
    """A line of `STORE/.watches/WATCH/schedule.jsonl`: when nights are due from a moment on."""

    at: str = Field(description="ISO 8601, UTC: from when")
    cron: str | None = Field(description="null: none from then on")
    timezone: str = "UTC"
    by: str | None = Field(default=None, description="user and host that asked for it")
