"""The entry point: commands, and how errors end."""

import atexit
import gc
import logging
import os
import sys
import warnings
from typing import NoReturn

from flows.commands.ending import Ending, say, signals_heard

_DEBUG = "--debug"


def _quiet_libraries() -> None:
    # Read by Prefect when it is imported. Its server still receives every log line.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "100")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Else the first library that logs to the root logger gives it the screen, and Prefect's tracebacks go there.
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore")


def main() -> None:
    """Run a command; every error of the user's making ends in one line and its own exit status, and so does a signal."""
    debug = _DEBUG in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != _DEBUG]
    with signals_heard() as ending:
        try:
            _run(arguments, debug, ending)
        except BaseException as error:
            ending.over = True
            # Whatever the exception that stopped the work has become on its way.
            if ending.signal is None and not isinstance(error, KeyboardInterrupt):
                raise
            _end(ending, error)


def _run(arguments: list[str], debug: bool, ending: Ending) -> None:
    # Heavy imports are within this, too, where a signal is heard.
    from data_specs.errors import PipelineError

    try:
        if not debug:
            _quiet_libraries()
        from flows.commands.group import app

        app(args=arguments, prog_name="uwm", standalone_mode=True)
    except PipelineError as error:
        if ending.signal is not None:
            raise
        _fail(f"error: {error}", error.exit_code, debug, error)
    except Exception as error:
        if ending.signal is not None:
            raise
        text = (str(error) or "no further word").splitlines()[0]
        _fail(f"error: {type(error).__name__}: {text} (again with --debug for the traceback)", 1, debug, error)


def _end(ending: Ending, error: BaseException) -> NoReturn:
    say(str(ending))
    ending.end_soon()
    _forget_frames(error)
    atexit._run_exitfuncs()
    # The interpreter's own end waits for threads and libraries, which an exception may have met half imported.
    os._exit(ending.status)


def _fail(text: str, status: int, debug: bool, error: BaseException) -> NoReturn:
    if debug:
        raise error
    _forget_frames(error)
    say(text)
    sys.exit(status)


def _forget_frames(error: BaseException | None) -> None:
    # Frames hold database connections, which complain on the screen when they outlive the interpreter.
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
    gc.collect()


if __name__ == "__main__":
    main()
