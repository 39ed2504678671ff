"""The command ``mien``: the list of all commands, and the conversion of errors to exit statuses.

To add a command, write ``cli/NAME.py`` with a function (all heavy imports inside it) and add its name to
``COMMANDS``. A command's module is loaded when it is called, and ``mien --help`` loads every one, so none may import
numpy, torch, pyarrow or onnxruntime at its head; a test holds them to it.

Exit status: 0 done; 1 some inputs failed; 2 wrong usage: what was asked cannot be done as asked.
"""

import os
import sys
from collections import UserDict
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_group

from mien import __version__
from mien.cli.streams import log_to_stderr, open_closed_streams, silence_stdout
from mien.errors import ExportError, ImageError, MienError, MissingExtra
from mien.showable import showable

_EXTRAS = {"pyarrow": "parquet"}  # packages that a base install lacks: the extra that brings them
_PARTIAL = (ImageError, ExportError)  # an input failed; any other MienError means that the call cannot work


class _Group(TyperGroup):
    """Runs a command and turns any exception into one line on stderr and an exit status."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        commands: Any = _Commands.fromkeys((*COMMANDS, *ALIASES))
        self.commands = commands

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        words, debug = _take_debug(list(sys.argv[1:] if args is None else args))
        if not standalone_mode:
            return super().main(words, prog_name, complete_var, False, windows_expand_args, **extra)
        if debug:
            import logging

            logging.basicConfig(level=logging.INFO, stream=sys.stderr)
            logging.getLogger("mien").setLevel(logging.DEBUG)
        try:
            status = super().main(words, prog_name or "mien", complete_var, False, windows_expand_args, **extra)
            sys.stdout.flush()
        except SystemExit:
            raise
        except KeyboardInterrupt:
            _leave("interrupted", 130)
        except BrokenPipeError:
            silence_stdout()
            sys.exit(0)
        except BaseException as error:
            if debug:
                raise
            if type(error).__name__ == "NoArgsIsHelpError":  # Typer has printed the help
                sys.exit(2)
            _leave(*_explain(error, self))
        finally:
            if debug:  # the next command of this process need not be asked to debug
                logging.getLogger("mien").setLevel(logging.NOTSET)
        sys.exit(status if isinstance(status, int) else 0)


def _take_debug(words: list[str]) -> tuple[list[str], bool]:
    """``--debug`` works anywhere before ``--``, so that it can be appended to a command that just failed."""
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return kept + words[end:], len(kept) < end


def _explain(error: BaseException, group: TyperGroup) -> tuple[str, int]:
    """One line and an exit status for any exception."""
    if isinstance(error, MienError):
        return str(error), 1 if isinstance(error, _PARTIAL) else 2
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return str(MissingExtra(error.name, _EXTRAS[error.name])), 2
    format_message = getattr(error, "format_message", None)  # Typer's own: a mistyped option, a missing argument
    if callable(format_message):
        return _usage_line(error, " ".join(str(format_message()).split()), group), int(getattr(error, "exit_code", 2))
    if type(error).__name__ == "Abort":
        return "aborted", 1
    if isinstance(error, OSError) and error.strerror:  # a full disk, a lost mount: no fault of ours
        return error.strerror + (f": {error.filename}" if error.filename else ""), 2
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"this should not happen: {what[:300]}; run again with --debug and report the traceback", 1


def _usage_line(error: BaseException, message: str, group: TyperGroup) -> str:
    context = getattr(error, "ctx", None)
    command = getattr(context, "command", group)
    typed = getattr(error, "option_name", None)
    if isinstance(typed, str) and type(error).__name__ == "NoSuchOption":
        known = [name for parameter in command.params for name in parameter.opts if name.startswith("--")] + ["--debug"]
        message = f"no option {typed}" + _guess(typed, [*known, "--help"])
    elif message.startswith("No such command"):
        typed = message.split("'")[1] if "'" in message else ""
        message = f"no command {typed!r}" + _guess(typed, list(getattr(command, "commands", {})))
        if os.path.exists(typed):
            message = f"no command {typed!r}; did you mean: mien read {typed}?"
    else:
        message = message.replace("Value error, ", "")
        message = message[:1].lower() + message[1:].rstrip(".")
    path = getattr(context, "command_path", None) or "mien"
    return f"{message} (see {path} --help)"


def _guess(typed: str, known: list[str]) -> str:
    # a prefix is the commonest slip that difflib's ratio misses: --conf for --min-confidence
    near = get_close_matches(typed, known, n=2, cutoff=0.6)
    near = near or [name for name in known if len(typed) > 3 and typed.strip("-") in name][:2]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _leave(message: str, status: int) -> NoReturn:
    with suppress(OSError):  # stderr on a full disk
        print(showable(f"error: {message}" if status != 130 else message), file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except (OSError, ValueError):  # it would fail once more at exit, with a status of its own
        silence_stdout()
    sys.exit(status)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mien {__version__}")
        raise typer.Exit()


@app.callback()
def _mien(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks and log to stderr; works after a command too."),
) -> None:
    """Reads facial expressions from photos and videos: offline, with calibrated probabilities.

    Start with [bold]mien read photo.jpg[/bold]. What is read is the [italic]apparent[/italic] expression
    of a face, not what a person feels.
    """
    context.with_resource(log_to_stderr())


#: In the order of ``mien --help``: the command NAME is the function, or the group of commands, NAME in ``cli/NAME.py``.
COMMANDS = (
    "read",
    "summarise",
    "bench",
    "serve",
    "page",
    "models",
    "data",
    "train",
    "evaluate",
    "compare",
    "reproduce",
    "analyse",
    "export",
)


ALIASES = {"analyze": "analyse"}  # not listed


class _Commands(UserDict[str, Any]):
    """The commands by name, each loaded when it is first asked for: ``mien read`` does not wait for the others."""

    def __getitem__(self, name: str) -> Any:
        if (command := self.data[name]) is None:
            command = self.data[name] = _loaded(name)
        return command


def _loaded(name: str) -> Any:
    own = ALIASES.get(name, name)
    command = getattr(import_module(f"mien.cli.{own}"), own)
    holder = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich")
    if isinstance(command, typer.Typer):
        holder.add_typer(command, name=name, hidden=name in ALIASES)
    else:
        holder.command(name, hidden=name in ALIASES)(command)
    return get_group(holder).commands[name]


def main() -> None:
    """Entry point of the console script."""
    import signal

    open_closed_streams()
    # pydantic would look through all installed packages for plugins: 11 ms of every command
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # as an exception, so that half-written files are taken away
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    app()


if __name__ == "__main__":
    main()
