"""Options that several commands share."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer
from pydantic import ValidationError

from data_specs.errors import SpecError
from data_specs.fetching import FetchConfig
from data_specs.placement import Placement, SameEnvironment
from data_specs.store_place import StorePlace
from data_specs.wording import shown


def _local_store(store: str) -> str:
    from tasks.lineage.place import open_root

    # Before a server is started and a model is loaded. Not as a Path, which would hide that it is a URL.
    open_root(store)
    return store


StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="UWM_STORE",
        metavar="DIR",
        help="Folder of the artifact store.",
        show_default=True,
        callback=_local_store,
    ),
]
RemoteOption = Annotated[
    list[str] | None,
    typer.Option(
        "--remote",
        envvar="UWM_REMOTE",
        metavar="URL",
        help="Share artifacts with this place, such as s3://bucket/prefix or file:///folder; may be given several times.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
DevicesOption = Annotated[
    str,
    typer.Option(
        "--device",
        "--devices",
        metavar="DEVICES",
        help="auto, cpu, cuda, cuda:N, cuda:0,cuda:1 (a process each), all (every GPU) or cpu:N (N processes).",
    ),
]
RunnerOption = Annotated[
    Literal["local", "dask", "ray"],
    typer.Option("--runner", help="Who starts the processes: this machine, or the workers of Dask or Ray."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--runner-address", metavar="URL", help="Of a Dask scheduler or Ray cluster; default: start one here."
    ),
]
SameEnvironmentOption = Annotated[
    SameEnvironment,
    typer.Option(
        "--same-environment",
        help="Of artifacts that other libraries, another machine, kind of device or precision made: say so, refuse them, or not.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        max=256,
        help="Processes that decode samples; default: one a core, at most 4, with a GPU 16.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="End with one JSON object on standard output.")]
REFERENCE_HELP = (
    "Version, tag, run (NAME, NAME:ROLE or its id), or a file of it; of all but tags and files the beginning is enough."
)
ReferenceArgument = Annotated[str | None, typer.Argument(metavar="[REF]", help=REFERENCE_HELP)]
ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The run's settings.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SETTING=VALUE",
        help="Take this in place of what the settings say, such as text.tau=0.95; may be given several times.",
    ),
]
FetchLimitOption = Annotated[
    str | None,
    typer.Option(
        "--fetch-limit",
        metavar="SIZE",
        help="Keep copies of shards that lie elsewhere for later runs, in at most so many bytes, such as 200GB.",
    ),
]
CopyLimitOption = Annotated[
    str | None,
    typer.Option(
        "--fetch-limit",
        metavar="SIZE",
        help="Have copies of shards that lie elsewhere in at most so many bytes at a time, such as 20GB; none stays.",
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust-etag",
        help="Take a shard whose ETag and size are those it was fetched with before for unchanged, without fetching it.",
    ),
]
SigningKey = Annotated[
    Path | None,
    typer.Option(
        "--key",
        envvar="UWM_SIGNING_KEY",
        metavar="KEY",
        help="Private key of an elliptic curve, PEM; the password of an encrypted one in UWM_SIGNING_PASSWORD.",
    ),
]
DEFAULT_STORE = "store"


def with_fetching(changes: Sequence[str] | None, limit: str | None, *, trusts_etags: bool) -> list[str]:
    """Changes of settings, and with them what the options of fetching say.

    Raises:
        SpecError: the limit is no size.
    """
    said = [] if limit is None else [f"fetching.limit={size_bytes(limit)}"]
    return [*(changes or ()), *said, *(["fetching.trust_etag=true"] if trusts_etags else [])]


def size_bytes(limit: str) -> int:
    """What `--fetch-limit` says.

    Raises:
        SpecError: it is no size.
    """
    try:
        return int(FetchConfig(limit=limit).limit or 0)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SpecError(f"--fetch-limit {shown(limit)} is no size; expected one such as 200GB or 1.5TiB") from error


def store_place(store: str, remote: list[str] | None) -> StorePlace:
    """Where artifacts lie, as options say it.

    Raises:
        SpecError: a remote is no URL of a place that files can be put to.
    """
    from tasks.lineage.remotes.address import remote_url

    return StorePlace(folder=store, remote=[remote_url(url) for url in remote or []])


@dataclass(frozen=True)
class PlaceOptions:
    """Where artifacts lie, and where work is done."""

    store: StoreOption = DEFAULT_STORE
    remote: RemoteOption = None
    device: DevicesOption = "auto"
    workers: WorkersOption = None
    runner: RunnerOption = "local"
    runner_address: AddressOption = None
    same_environment: SameEnvironmentOption = "warn"
    json: JsonOption = False

    @property
    def place(self) -> StorePlace:
        """Where artifacts lie.

        Raises:
            SpecError: a remote is no URL of a place that files can be put to.
        """
        return store_place(self.store, self.remote)

    @property
    def placement(self) -> Placement:
        """Where the parts of the run are made.

        Raises:
            SpecError: an address without a runner that has one.
        """
        if self.runner_address is not None and self.runner == "local":
            raise SpecError("--runner-address is of a runner that has one; give --runner dask or ray, too")
        return Placement(
            devices=self.device,
            runner=self.runner,
            address=self.runner_address,
            same_environment=self.same_environment,
        )


@dataclass(frozen=True)
class RunOptions(PlaceOptions):
    """How a run is carried out."""

    fetch_limit: FetchLimitOption = None
    trust_etag: TrustOption = False
    changes: SetOption = None
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap",
            help="Do not warn of pairs that calibration and evaluation share; the record still says it.",
        ),
    ] = False

    @property
    def changed(self) -> list[str]:
        """What is taken in place of what the settings say."""
        return with_fetching(self.changes, self.fetch_limit, trusts_etags=self.trust_etag)


@dataclass(frozen=True)
class ExperimentOptions(RunOptions):
    """How an experiment is carried out, or planned."""

    plan: Annotated[bool, typer.Option("--plan", help="Say what would be made and what that takes; make nothing.")] = (
        False
    )


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take groups of options, each a dataclass, whose fields are options of their own on the command line."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if inspect.isclass(hint) and is_dataclass(hint)}
    taken: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            taken.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        own = get_type_hints(groups[name], include_extras=True)
        taken += [
            inspect.Parameter(
                item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=own[item.name]
            )
            for item in fields(groups[name])
        ]

    @wraps(command)
    def flat(**given: Any) -> None:
        of_groups = {
            name: group(**{item.name: given.pop(item.name) for item in fields(group)}) for name, group in groups.items()
        }
        command(**given, **of_groups)

    flat.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in taken}
    return flat
