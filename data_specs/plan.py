"""What a run would find and make, as `uwm plan --json` says it."""

from pydantic import Field

from data_specs.spec import Spec


class PlannedArtifact(Spec):
    """One artifact of a run that was not started."""

    role: str = Field(description="its name in the run's account")
    kind: str
    version: str | None = Field(description="null where something that is not made yet decides it")
    there: bool
    parts: int | None = Field(description="shards that it is made of; null where it has no parts")
    parts_there: int | None
    images: int = Field(description="that go forward through the vision encoder for it")
    texts: int = Field(description="that go forward through the text encoder for it")
    gradients: int = Field(description="samples that go forward and backward for it")
    captions: int = Field(default=0, description="pictures that a captioner writes about for it")
    tokens: int = Field(default=0, description="that the captioner writes for it, at most")
    judgements: int = Field(default=0, description="captions that its judge is asked about, at most")
    size_bytes: int = Field(description="about what will be written")
    rows_bytes: int | None = Field(
        default=None, description="about what the statistics of all its shards take as rows; null for other kinds"
    )
    folded_bytes: int | None = Field(
        default=None,
        description="about what they take folded, for all scorers that read them; of sums by tag for one tag",
    )
    tag_bytes: int | None = Field(
        default=None, description="about what each further tag takes of sums by tag; null where they are not by tag"
    )
    seconds: float | None = Field(description="by what the last ones like it took; null where the store holds none")


class LastRun(Spec):
    """The last run of a name that came to its end."""

    id: str
    started: str
    seconds: float
    computed: int
    reused: int


class RunPlan(Spec):
    """All that a run would find and make."""

    name: str
    store: str
    device: str
    artifacts: list[PlannedArtifact]
    last_run: LastRun | None

    @property
    def to_make(self) -> list[PlannedArtifact]:
        """What is not there."""
        return [item for item in self.artifacts if not item.there]

    @property
    def totals(self) -> dict[str, int]:
        """What all that is to be made comes to."""
        fields = ("images", "texts", "gradients", "captions", "tokens", "judgements", "size_bytes")
        return {field: sum(getattr(item, field) for item in self.to_make) for field in fields}
