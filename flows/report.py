"""The report of a run: evaluations -> one HTML file."""

from data_specs.manifest import ArtifactRef
from flows.session import Session
from tasks.reporting.task import write_report


def report_of(session: Session) -> ArtifactRef:
    """Write the report of every model that this run has evaluated; kept as `report`."""
    with session.timed("report"):
        evaluations = {model: session.kept(f"evaluation.{model}") for model in session.metrics}
        made = write_report(
            session.config.name, session.metrics, evaluations, session.kept("scores"), session.store, session.context
        )
        return session.keep("report", made)
