"""`uwm demo`."""

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_specs.run_result import RunResult
from flows.commands.options import DEFAULT_STORE, JsonOption, StoreOption
from flows.commands.start import finish, in_prefect

if TYPE_CHECKING:
    from rich.table import Table

    from data_specs.figures import Difference
    from data_specs.metrics import Metric

_MODELS = ("original", "edited", "random")
_NOT_CHOSEN_BY = (
    "PS",
    "P_v_u",
    "zero_shot",
    "BLEU-2 of unsafe pictures against the safe caption",
)  # tables have an end


def demo(
    store: StoreOption = DEFAULT_STORE,
    json: JsonOption = False,
    captions: Annotated[
        bool,
        typer.Option(
            "--captions", help="Then caption with a tiny LLaVA around the model, before and after an edit of its tower."
        ),
    ] = False,
) -> None:
    """Draw pictures, train a tiny model, make it safer, and compare it with controls and other methods."""
    captioned: list[RunResult] = []

    def start() -> RunResult:
        from flows.demo import demo as demo_flow

        result: RunResult = demo_flow(store)
        if captions:
            from flows.captions.demo import demo_captions

            captioned.append(demo_captions(store))
        return result

    result = in_prefect(start, store)
    if json:
        told = result.model_dump(mode="json")
        if captioned:
            told["captions"] = captioned[0].model_dump(mode="json")
        typer.echo(dumps(told))
        return
    finish(result, json=False)
    for run in captioned:
        show_captions(run)


def show_captions(result: RunResult) -> None:
    """Print how tau was chosen, and captions beside SafeGround on other pairs."""
    from flows.captions.demo import SETTINGS_FILE
    from flows.commands.console import output

    output.print(_choice_table(result))
    output.print(_figures_table(result))
    output.print(_verdict(result), markup=False)
    output.print(f"{'settings':20} {SETTINGS_FILE}", markup=False)
    output.print(f"{result.computed} artifacts computed, {result.reused} reused", markup=False)


def _shown() -> "dict[str, Metric]":
    """What the tables show: the figures of captions, then SafeGround's, by what they are called there."""
    from data_specs.caption_metrics import find_caption_metric, text_metric_name
    from data_specs.metrics import ZERO_SHOT, find_metric
    from flows.captions.demo import UNSAFE_CAPTIONS, UNSAFE_CAPTIONS_OF_SAFE

    captions = {
        "unsafe captions of unsafe pictures, %": UNSAFE_CAPTIONS,
        "unsafe captions of safe pictures, %": UNSAFE_CAPTIONS_OF_SAFE,
        "BLEU-2 of unsafe pictures against the safe caption": text_metric_name("bleu_2", "unsafe", "safe"),
        "BLEU-2 of safe pictures against their caption": text_metric_name("bleu_2", "safe", "safe"),
    }
    told = {name: find_caption_metric(metric) for name, metric in captions.items()}
    return told | {name: find_metric(name) for name in ("GS", "PS", "P_t_u", "P_v_u", ZERO_SHOT)}


def _choice_table(result: RunResult) -> "Table":
    """How tau was chosen: a row an edit, on the pairs that choose."""
    from rich.table import Table

    from flows.captions.demo import CHOOSING

    table = Table(title="Choosing tau, on pairs of their own", title_justify="left")
    table.add_column("edit", no_wrap=True)
    shown = {name: metric for name, metric in _shown().items() if name not in _NOT_CHOSEN_BY}
    for name in ("weights", *shown):
        table.add_column(name, justify="right", min_width=5)
    for name, figures in result.metrics.items():
        if name.startswith(f"{CHOOSING}."):
            values = (metric.shown(figures[metric.name]) for metric in shown.values())
            table.add_row(name.removeprefix(f"{CHOOSING}."), f"{figures['n_weights']:,.0f}", *values)
    return table


def _figures_table(result: RunResult) -> "Table":
    """Captions beside SafeGround, on pairs that chose nothing, of each model, with differences from the original."""
    from rich.table import Table

    table = Table(title="Captions and SafeGround, on pairs that chose nothing", title_justify="left")
    table.add_column("figure")
    for name in _MODELS:
        table.add_column(name, justify="right")
        if name != _MODELS[0]:
            table.add_column("− original\n[95 %]", justify="right", no_wrap=True)
    differences = [_differences(result, name) for name in _MODELS[1:]]
    for name, metric in _shown().items():
        found = [own[metric.name] for own in differences]
        cells = [cell for each in found for cell in (metric.shown(each.second), _told(metric, each))]
        table.add_row(name, metric.shown(found[0].first), *cells)
    table.caption = (
        "Brackets: 95 % interval of the difference on the same pairs. p: McNemar's exact test, not adjusted."
    )
    table.caption_justify = "left"
    return table


def _verdict(result: RunResult) -> str:
    """What became of the captions, and that SafeGround does not say it."""
    from flows.captions.demo import UNSAFE_CAPTIONS

    edited, random = (_differences(result, name)[UNSAFE_CAPTIONS] for name in _MODELS[1:])
    before, after, control = (f"{value:.1f} %" for value in (edited.first, edited.second, random.second))
    return (
        f"Of unsafe pictures' captions {before} are unsafe, after the edit {after}, with as many random weights {control}. A captioner"
        " sees through the vision encoder alone, up to its last block but one: SafeGround, which asks both encoders about pairs,"
        " may rise where captions stay, and stay where they change."
    )


def _differences(result: RunResult, name: str) -> "dict[str, Difference]":
    """Of captions and of SafeGround, by figure."""
    import pyarrow.parquet as pq

    from data_specs.caption_rows import CAPTION_CHANGES_FILE
    from data_specs.evaluation_files import read_differences
    from data_specs.figures import Difference

    rows = pq.read_table(Path(result.artifacts[f"caption_differences.{name}"].path) / CAPTION_CHANGES_FILE).to_pylist()
    measured = read_differences(Path(result.artifacts[f"differences.{name}"].path))
    return measured | {row["metric"]: Difference(**row) for row in rows if row["low"] is not None}


def _told(metric: "Metric", found: "Difference") -> str:
    from data_specs.metrics import shown_p

    low, high = metric.shown(found.low, sign="+"), metric.shown(found.high, sign="+")
    p = "" if found.p is None else f" p {shown_p(found.p)}"
    return f"{metric.shown(found.difference, sign='+')}{p}\n[{low}, {high}]"
