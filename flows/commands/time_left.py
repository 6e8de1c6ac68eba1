"""How far an experiment is: the point or model that is being measured, and the time left over all of them."""

from flows.commands.plan_table import shown_seconds

# Units that are told one by one, and what one of them is.
ITEMS = {"points": "point", "models": "model"}


def at_item(stage: str, done: int, total: int | None, unit: str) -> str:
    """The stage, and which of its items is at work."""
    return stage if unit not in ITEMS or total is None else f"{stage}: {ITEMS[unit]} {min(done + 1, total)} of {total}"


def item_done(stage: str, done: int, total: int | None, unit: str, seconds: float) -> str:
    """A line for a log file when an item is done."""
    of = "" if total is None else f" of {total}"
    left = seconds_left(done, total, seconds)
    return f"{stage}: {ITEMS[unit]} {done}{of} done" + (f", about {shown_seconds(left)} left" if left else "")


def seconds_left(done: float, total: float | None, seconds: float) -> float | None:
    """What the rest takes at the mean pace so far; None where nothing is known yet."""
    return None if not done or total is None else seconds / done * max(total - done, 0)


def done_line(stage: str, done: int, unit: str, seconds: float) -> str:
    """What is said of a stage that is over."""
    rate = f": {done} {unit}, {done / seconds:,.1f} {unit}/s" if done else ""
    return f"{stage}{rate} ({seconds:.1f} s)"
