"""Records of runs for other people's tables: one hook, a function that is given a record, and the one for MLflow.

A hook sees what has been measured and changes nothing of it, so that its code is in no artifact's version.
"""

import os
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

from data_specs.errors import SpecError
from data_specs.wording import first_line, one_line, shown
from tasks.lineage.progress import notice
from tasks.lineage.runs import dotted_settings, records_of_each

VARIABLE = "UWM_RECORD_HOOK"
Hook = Callable[[dict[str, Any]], object]
_KNOWN = {"mlflow": "flows.trackers:to_mlflow"}
# MLflow takes values of parameters up to this.
_LONGEST = 6000


def find_hook(name: str) -> Hook:
    """The function that a name means.

    Args:
        name: `mlflow`, or MODULE:FUNCTION of a module that Python finds (PYTHONPATH).

    Raises:
        SpecError: there is none.
    """
    try:
        found = resolve_name(_KNOWN.get(name, name))
    except Exception as error:  # whatever the module does when it is imported
        raise SpecError(f"hook {shown(name)} cannot be imported: {one_line(first_line(error), 300)}") from error
    if ":" not in _KNOWN.get(name, name) or not callable(found):
        raise SpecError(f"hook {shown(name)} is no function; expected mlflow, or MODULE:FUNCTION")
    hook: Hook = found
    return hook


def tell_hook(content: dict[str, Any]) -> None:
    """Give a run's record to the hook that the environment names, if any; what goes wrong there is a notice."""
    name = os.environ.get(VARIABLE)
    if not name:
        return
    try:
        hook = find_hook(name)
        for record in records_of_each(content):
            hook(record)
    except Exception as error:
        notice(f"{VARIABLE} {shown(name)} failed, the run did not: {one_line(first_line(error), 300)}")


def to_mlflow(record: dict[str, Any]) -> None:
    """Write a record as a run of MLflow, where MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say; once for each record.

    Settings become parameters, `edited.GS` and its bounds metrics, versions of artifacts tags.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    name = str(record["settings"]["name"])
    key = f"{record['id']} {name}"
    if len(mlflow.search_runs(filter_string=f"tags.`uwm.record` = '{key}'", output_format="list")):
        return
    figures = {
        f"{model}.{metric}": value for model, own in record.get("figures", {}).items() for metric, value in own.items()
    }
    for model, own in record.get("intervals", {}).items():
        for metric, (low, high) in own.items():
            figures |= {f"{model}.{metric}.low": low, f"{model}.{metric}.high": high}
    tags = {f"uwm.{role}": version for role, version in record.get("artifacts", {}).items()}
    tags |= {"uwm.record": key, "uwm.status": record["status"], "uwm.started": record["started"]}
    with mlflow.start_run(run_name=name):
        # What settings say may be longer than MLflow keeps.
        mlflow.log_params({key: str(value)[:_LONGEST] for key, value in dotted_settings(record["settings"])})
        # No @ in MLflow's names.
        mlflow.log_metrics({metric.replace("@", "_at_"): float(value) for metric, value in figures.items()})
        mlflow.set_tags(tags)
