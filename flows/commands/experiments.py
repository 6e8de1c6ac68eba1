"""`uwm sweep`, `uwm compare` and `uwm ablate`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_specs.config_file import load_config
from data_specs.errors import SpecError
from data_specs.run_result import RunResult
from flows.commands.options import ConfigArgument, ExperimentOptions, grouped
from flows.commands.start import run_or_plan

if TYPE_CHECKING:
    from data_specs.run_config import Encoder
    from flows.session import Session
    from flows.sweep import Choose


class SweptEncoder(StrEnum):
    """Whose settings a sweep changes."""

    TEXT = "text"
    VISION = "vision"
    BOTH = "both"


class ChoosingBy(StrEnum):
    """What of a difference keeps a limit."""

    BOUND = "bound"
    ESTIMATE = "estimate"


class ControlChoice(StrEnum):
    """Which methods are given a random control."""

    EACH = "each"
    FIRST = "first"
    NONE = "none"


_VALUES = "values separated by commas"


@dataclass(frozen=True)
class Grid:
    """The values that a sweep crosses."""

    tau: Annotated[
        str | None,
        typer.Option("--tau", metavar="VALUES", help="Such as 0.9:0.995:0.005 (first:last:step) or 0.9,0.98."),
    ] = None
    text_tau: Annotated[
        str | None,
        typer.Option(
            "--text-tau", metavar="VALUES", help="The text encoder's, in place of --tau; crossed with the other's."
        ),
    ] = None
    vision_tau: Annotated[str | None, typer.Option("--vision-tau", metavar="VALUES", help="The vision encoder's.")] = (
        None
    )
    alpha: Annotated[str, typer.Option("--alpha", metavar="VALUES", help="Such as -1,0.")] = "-1"
    encoder: Annotated[
        SweptEncoder, typer.Option("--encoder", help="Whose tau and alpha; the other's stay as configured.")
    ] = SweptEncoder.BOTH

    @property
    def taus(self) -> "list[float] | dict[Encoder, list[float]]":
        """Of both encoders together, or of each.

        Raises:
            SpecError: there is none, or there are both.
        """
        from tasks.experiments.grid import parse_values

        own: dict[Encoder, str | None] = {"text": self.text_tau, "vision": self.vision_tau}
        given: dict[Encoder, str] = {name: text for name, text in own.items() if text is not None}
        if (self.tau is None) == (not given):
            raise SpecError("give --tau, or --text-tau and --vision-tau" + ("" if self.tau is None else ", not both"))
        if self.tau is not None:
            return parse_values(self.tau, "tau")
        return {name: parse_values(text, "tau") for name, text in given.items()}


@dataclass(frozen=True)
class Choosing:
    """Which point of a sweep is taken, and how."""

    choose: Annotated[
        str | None,
        typer.Option(
            "--choose",
            metavar="LIMITS",
            help="Take the best GS within limits in points against the original, such as zero_shot>=-2,PS>=-1;"
            " chosen on one part of the pairs, reported on the other.",
        ),
    ] = None
    choose_by: Annotated[
        ChoosingBy, typer.Option("--choose-by", help="Keep limits by the bound of a 95 % interval, or by the estimate.")
    ] = ChoosingBy.BOUND


@grouped
def sweep(
    config: ConfigArgument,
    grid: Grid = Grid(),
    choosing: Choosing = Choosing(),
    options: ExperimentOptions = ExperimentOptions(),  # noqa: B008  (frozen)
) -> None:
    """Measure a model edited with every tau and alpha."""
    from tasks.experiments.choice import parse_limits
    from tasks.experiments.grid import grid_points, parse_values, swept_encoders

    settings = load_config(config, options.changed)
    taus, alphas = grid.taus, parse_values(grid.alpha, "alpha")
    swept_encoders(grid.encoder, settings, taus)
    grid_points(taus, alphas)
    if choosing.choose is not None:
        parse_limits(choosing.choose)

    def chosen() -> "Choose | None":
        from flows.sweep import Choose

        return None if choosing.choose is None else Choose(limits=choosing.choose, by=choosing.choose_by.value)

    def start() -> RunResult:
        from flows.sweep import sweep as sweep_flow

        where = options.place, options.placement, options.workers
        return sweep_flow(settings, taus, alphas, grid.encoder.value, chosen(), *where)

    def steps(sessions: "Sequence[Session]") -> None:
        from flows.sweep import steps_of_sweep

        steps_of_sweep(sessions[0], taus, alphas, grid.encoder.value, chosen())

    run_or_plan(start, steps, [settings], options)


@grouped
def compare(
    configs: Annotated[list[Path], typer.Argument(metavar="CONFIG.yaml...", help="Settings of one or several runs.")],
    controls: Annotated[
        ControlChoice, typer.Option("--controls", help="Which methods are given a random control of equal size.")
    ] = ControlChoice.EACH,
    options: ExperimentOptions = ExperimentOptions(),  # noqa: B008  (frozen)
) -> None:
    """Measure several ways to edit on the same pairs: one table with controls and the paper's own figures."""
    settings = [load_config(path, options.changed) for path in configs]

    def start() -> RunResult:
        from flows.compare import compare as compare_flow

        return compare_flow(settings, controls.value, options.place, options.placement, options.workers)

    def steps(sessions: "Sequence[Session]") -> None:
        from flows.compare import steps_of_compare

        steps_of_compare(sessions, controls.value)

    run_or_plan(start, steps, settings, options)


@dataclass(frozen=True)
class Axes:
    """Values of the settings that an ablation crosses; None for what stays as configured."""

    scorer: Annotated[str | None, typer.Option("--scorer", metavar="VALUES", help=f"Scorers; {_VALUES}.")] = None
    aggregation: Annotated[
        str | None, typer.Option("--aggregation", metavar="VALUES", help="mean_of_ratios,ratio_of_means")
    ] = None
    rule: Annotated[str | None, typer.Option("--rule", metavar="VALUES", help="score_mass,top_share")] = None
    weight_by_magnitude: Annotated[
        str | None, typer.Option("--weight-by-magnitude", metavar="VALUES", help="true,false")
    ] = None
    layers: Annotated[
        str | None, typer.Option("--layers", metavar="VALUES", help="attention_output,mlp_output, or globs")
    ] = None
    limit: Annotated[
        str | None, typer.Option("--limit", metavar="VALUES", help="Calibration samples, such as 512,8192,all.")
    ] = None
    seed: Annotated[str | None, typer.Option("--seed", metavar="VALUES", help="Such as 0,1,2.")] = None
    sign: Annotated[str | None, typer.Option("--sign", metavar="VALUES", help="none,loss,against")] = None


@grouped
def ablate(
    config: ConfigArgument,
    axes: Axes = Axes(),
    options: ExperimentOptions = ExperimentOptions(),  # noqa: B008  (frozen)
) -> None:
    """Measure every combination of settings; without any, scorers, aggregations, rules and weighting by |W|."""
    from tasks.experiments.ablation_points import DEFAULT_AXES, ablation_points, with_largest_limit
    from tasks.experiments.grid import parse_axis

    settings = load_config(config, options.changed)
    given = {item.name: getattr(axes, item.name) for item in fields(axes)}
    crossed: dict[str, list[Any]] = {name: parse_axis(name, text) for name, text in given.items() if text is not None}
    crossed = crossed or DEFAULT_AXES
    points = ablation_points(settings, crossed)

    def start() -> RunResult:
        from flows.ablate import ablate as ablate_flow

        return ablate_flow(settings, crossed, options.place, options.placement, options.workers)

    def steps(sessions: "Sequence[Session]") -> None:
        from flows.ablate import steps_of_ablate

        steps_of_ablate(sessions[0], points)

    run_or_plan(start, steps, [with_largest_limit(points, settings)], options)
