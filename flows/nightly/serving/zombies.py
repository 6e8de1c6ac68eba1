"""Flow runs whose process is gone although the server takes them for running: one automation ends them as crashed."""

from datetime import timedelta

AUTOMATION = "uwm: runs that fell silent have crashed"
HEARTBEAT_SECONDS = 30  # the least that Prefect allows
_MISSED_BEATS = 4
_BEAT = "prefect.flow-run.heartbeat"
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Suspended", "Paused")


def watch_for_zombies() -> None:
    """Have the server end a flow run as crashed that has beaten once and then fell silent.

    There is one such automation a server; one that is there is brought up to date.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    within = timedelta(seconds=_MISSED_BEATS * HEARTBEAT_SECONDS)
    wanted = AutomationCore(
        name=AUTOMATION,
        description="Made by `uwm serve`. A run that is killed with its machine tells nobody; its heartbeats stop.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            for_each={"prefect.resource.id"},
            after={_BEAT},
            expect={_BEAT, *(f"prefect.flow-run.{state}" for state in _ENDS)},
            threshold=1,
            within=within,
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                force=False,  # a run that has ended stays as it is
                message=f"No heartbeat for {within.total_seconds():.0f} s: its process is gone.",
            )
        ],
    )
    with get_client(sync_client=True) as client:
        known = client.read_automations_by_name(AUTOMATION)
        if known:
            client.update_automation(known[0].id, wanted)
        else:
            client.create_automation(wanted)
