"""`--same-environment` reaches the placement that flows are given, as does the mapping of a deployment."""

import pytest
import typer
from pydantic import ValidationError
from typer.testing import CliRunner

from data_specs.placement import Placement, placement_of
from flows.commands.options import RunOptions, grouped


def asked(*arguments):
    app = typer.Typer()

    @app.command()
    @grouped
    def show(options: RunOptions = RunOptions()) -> None:  # noqa: B008  (frozen)
        typer.echo(options.placement.same_environment)

    return CliRunner().invoke(app, [*arguments])


@pytest.mark.parametrize("policy", ["warn", "refuse", "ignore"])
def test_each_policy_is_taken_from_the_command_line_and_from_a_mapping(policy):
    assert asked("--same-environment", policy).output == f"{policy}\n"
    assert (
        placement_of(Placement.model_validate({"devices": "cpu", "same_environment": policy})).same_environment
        == policy
    )


def test_nothing_said_is_to_warn_and_anything_else_is_refused():
    assert asked().output == "warn\n"
    assert placement_of("cpu").same_environment == "warn"
    assert asked("--same-environment", "perhaps").exit_code == 2
    with pytest.raises(ValidationError, match="same_environment"):
        Placement.model_validate({"same_environment": "perhaps"})
