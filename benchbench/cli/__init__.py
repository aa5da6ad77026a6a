"""The command line: thin. Parse, call, print; one file per command, imported when it is needed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from .say import complain, say

#: Exit code after Ctrl-C, as shells have it, and what is said then.
_STOPPED, _GO_ON = 130, "stopped; run the same command again to continue"


def main() -> None:
    """Run ``bench`` and exit: 0 when all is well, 1 for a failure, 2 for a request that cannot be carried out."""
    signal.signal(signal.SIGTERM, _terminated)
    os.environ.setdefault("TYPER_USE_RICH", "0")  # help and errors stay plain text: faster, and the same in a pipe
    sys.exit(run_command(sys.argv[1:]))


class _Terminated(BaseException):
    """SIGTERM, as a scheduler or an init system sends it; the workers end with this process."""


def _terminated(number: int, frame: object) -> None:
    raise _Terminated


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit code; every user's mistake becomes one line on stderr."""
    from ..errors import BenchError
    from .app import app

    try:
        code: Any = app(arguments, standalone_mode=False, prog_name="bench")
        sys.stdout.flush()
        if code == _STOPPED:  # what Typer makes of Ctrl-C, without a word
            return _complain(_GO_ON, _STOPPED)
        return code if isinstance(code, int) else 0
    except BenchError as error:
        return _complain(str(error), error.exit_code)
    except _Terminated:
        return _complain("terminated; run the same command again to continue", 143)
    except KeyboardInterrupt:
        return _complain(_GO_ON, _STOPPED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader (head, less) has seen enough
        return 0
    except Exception as error:
        return _parser_error(error)


def _parser_error(error: Exception) -> int:
    """Turn the option parser's own exceptions into one line; anything else is our mistake and keeps its traceback."""
    name = type(error).__name__
    if name == "Abort":
        return _complain(_GO_ON, _STOPPED)
    if name == "Exit":
        return int(getattr(error, "exit_code", 0))
    if name == "NoArgsIsHelpError":
        context = getattr(error, "ctx", None)
        say(*(context.get_help() if context is not None else str(error)).split("\n"), file=sys.stderr)
        return 2
    if not hasattr(error, "format_message"):
        from ..disk import full_disk

        if os.environ.get("BENCH_DEBUG"):
            raise error
        file = getattr(error, "filename", None)
        if full := full_disk(error, Path(file).parent if file else None):
            return _complain(full, 1)
        if isinstance(error, PermissionError) and error.filename:
            return _complain(f"{error.filename}: permission denied; let this user read and write it", 1)
        return _complain(f"internal error: {_last_line(error)}; BENCH_DEBUG=1 shows the traceback, please report it", 1)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "bench"
    message = " ".join(error.format_message().split())
    return _complain(f"{message.rstrip('.')}; see `{path} --help`", 2, path)


def _last_line(error: Exception) -> str:
    from ..plugins.catalog import reason

    return reason(error)


def _complain(text: str, code: int, command: str = "bench") -> int:
    sys.stdout.flush()
    complain(text, command)
    return code
