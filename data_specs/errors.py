"""The three ways a run can be refused, each with its exit status."""


class PipelineError(Exception):
    """An error whose text is written for the user: what, got, expected, what to do."""

    exit_code = 1
    result: object = None  # what there is to show all the same


class MachineError(PipelineError):
    """The machine gave out, such as its memory; finished work stays, and the same command may go on."""


class SpecError(PipelineError):
    """The user's settings are wrong."""

    exit_code = 2


class DataError(PipelineError):
    """The data is missing, damaged or cannot be used as asked."""

    exit_code = 3


class NotSelectable(DataError):
    """A rule cannot be applied to these scores."""


class ArtifactError(PipelineError):
    """The store does not hold what a manifest promises, or an edit meets another model."""

    exit_code = 4


class GateFailed(PipelineError):
    """A watched model fell below what a gate asks for."""

    exit_code = 5


class GateUndecided(PipelineError):
    """A gate could not be decided, and whoever asked wants to know."""

    exit_code = 6
