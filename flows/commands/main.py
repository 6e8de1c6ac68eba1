"""The entry point: commands, and how errors end."""

import gc
import logging
import os
import sys
import warnings

import typer

from data_specs.errors import PipelineError
from data_specs.wording import one_line

app = typer.Typer(
    name="uwm",
    help="Make a vision-language model safer without training, and measure it (UWM and SafeGround).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_DEBUG = "--debug"
_INTERRUPTED = 130


def _register_commands() -> None:
    from flows.commands import artifacts, config, edit, experiments, export, run, shards

    app.command("run")(run.run)
    app.command("demo")(run.demo)
    app.command("config")(config.config)
    app.command("sweep")(experiments.sweep)
    app.command("compare")(experiments.compare)
    app.command("ablate")(experiments.ablate)
    app.command("export")(export.export)
    app.add_typer(shards.app, name="shards")
    app.add_typer(edit.app, name="edit")
    app.add_typer(artifacts.app, name="artifacts")


def _quiet_libraries() -> None:
    # Read by Prefect when it is imported. Its server still receives every log line.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "100")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Else the first library that logs to the root logger gives it the screen, and Prefect's tracebacks go there.
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore")


def main() -> None:
    """Run a command; every error of the user's making ends in one line and its own exit status."""
    debug = _DEBUG in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != _DEBUG]
    if not debug:
        _quiet_libraries()
    _register_commands()
    try:
        app(args=arguments, prog_name="uwm", standalone_mode=True)
    except PipelineError as error:
        _fail(f"error: {error}", error.exit_code, debug, error)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on where it was", _INTERRUPTED, debug=False, error=None)
    except Exception as error:
        text = (str(error) or "no further word").splitlines()[0]
        _fail(f"error: {type(error).__name__}: {text} (again with --debug for the traceback)", 1, debug, error)


def _fail(text: str, status: int, debug: bool, error: BaseException | None) -> None:
    if debug and error is not None:
        raise error
    _forget_frames(error)
    sys.stdout.flush()
    sys.stderr.write(one_line(text) + "\n")
    sys.stderr.flush()
    sys.exit(status)


def _forget_frames(error: BaseException | None) -> None:
    # Frames hold database connections, which complain on the screen when they outlive the interpreter.
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
    gc.collect()


if __name__ == "__main__":
    main()
