"""`uwm tag`: names for artifacts, each of one at a time, with who moved them when."""

from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from data_specs.errors import ArtifactError, SpecError
from data_specs.wording import printable, shown
from flows.commands.options import DEFAULT_STORE, JsonOption, ReferenceArgument, StoreOption

if TYPE_CHECKING:
    from pathlib import Path

    from data_specs.manifest import ArtifactRef
    from data_specs.tag import TagEvent

_SHOWN_VERSION = 16


def tag(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The tag; without it, all are listed.")] = None,
    reference: ReferenceArgument = None,
    delete: Annotated[bool, typer.Option("--delete", help="Let the tag name nothing; its history stays.")] = False,
    all_tags: Annotated[bool, typer.Option("--list", help="List all tags.")] = False,
    store: StoreOption = DEFAULT_STORE,
    json: JsonOption = False,
) -> None:
    """Name an artifact, show what a name stands for and who said so, or list all names."""
    from flows.references import find_reference
    from tasks.lineage.store import Store
    from tasks.lineage.tags import remove_tag, set_tag

    _require_one_wish(name, reference, delete, all_tags)
    opened = Store(store)
    if name is None:
        _list(opened.root, json)
    elif reference is not None:
        _say([set_tag(opened, name, find_reference(opened, reference), reference)], json)
    elif delete:
        _say([remove_tag(opened, name)], json)
    else:
        _show(opened.root, name, json)


def _require_one_wish(name: str | None, reference: str | None, delete: bool, all_tags: bool) -> None:
    if all_tags and (name is not None or delete):
        raise SpecError("--list lists all tags; give it alone")
    if delete and (name is None or reference is not None):
        raise SpecError("--delete takes the name of one tag and no REF, such as `uwm tag prod --delete`")


def _list(root: "Path", json: bool) -> None:
    from tasks.lineage.tags import tag_history

    newest = {event.name: event for event in tag_history(root)}
    events = [event for _, event in sorted(newest.items()) if event.artifact is not None]
    _say(events, json)
    if not events and not json:
        typer.echo(f"there is no tag in {root} yet; `uwm tag NAME REF` gives one", err=True)


def _show(root: "Path", name: str, json: bool) -> None:
    from data_specs.suggestions import did_you_mean
    from tasks.lineage.tags import tag_history

    history = tag_history(root)
    events = [event for event in history if event.name == name]
    if not events:
        raise ArtifactError(f"there is no tag {shown(name)} in {root}{did_you_mean(name, {e.name for e in history})}")
    _say(events[::-1], json)


def _say(events: "list[TagEvent]", json: bool) -> None:
    """A line an event, the newest first: what the tag names, and what it named before."""
    for event in events:
        if json:
            typer.echo(dumps(event.model_dump(mode="json")))
            continue
        before = f", before {_told(event.before)}" if event.before is not None else ""
        given = f" as {event.given}" if event.given else ""
        line = f"{event.name}: {_told(event.artifact)}{given}, {event.at[:19]} by {event.user} on {event.host}{before}"
        typer.echo(printable(line))


def _told(ref: "ArtifactRef | None") -> str:
    return "nothing" if ref is None else f"{ref.kind} {ref.version[:_SHOWN_VERSION]}"
