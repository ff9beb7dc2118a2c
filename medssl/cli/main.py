"""The `medssl` command: one file a subcommand, found by its name.

A file `cli/NAME.py` has either `command`, a function with typer annotations, or `app`, a typer application of
subcommands; `show_augment.py` is `medssl show-augment`. Heavy imports stay inside those functions, so that help
appears at once.
"""

import functools
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import typer

from medssl import __version__, cli
from medssl.errors import DataError, MedsslError
from medssl.files import as_utf8, is_utf8

_NOT_COMMANDS = {"facts", "main", "progress"}


def main() -> None:
    """Run the command line: console script `medssl`.

    Waiting threads sleep instead of spinning (unless the user says otherwise): where other work shares the cores,
    spinning made a training step ten times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    debug = "--debug" in sys.argv[1:] or os.environ.get("MEDSSL_DEBUG") == "1"
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    foreign = next((argument for argument in arguments if not is_utf8(argument)), None)
    if foreign is not None:
        typer.echo(f"medssl: '{as_utf8(foreign)}' is not UTF-8. Rename the file or folder.", err=True)
        raise SystemExit(2)
    application = build(debug=debug)
    application(spread(application, arguments), prog_name="medssl")


def build(*, debug: bool = False) -> typer.Typer:
    """Return the application with every subcommand there is a file for.

    Args:
        debug: Show the traceback of an error as well.
    """
    application = typer.Typer(
        help="Self-supervised learning on medical images: from an archive to an honest report.",
        epilog="Begin with: medssl doctor, then medssl pretrain --modality oct --method mae. "
        "Any command takes --debug to show tracebacks.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    application.callback()(_options)
    for found in sorted(pkgutil.iter_modules(cli.__path__), key=lambda found: _order(found.name)):
        if found.name in _NOT_COMMANDS:
            continue
        module = importlib.import_module(f"medssl.cli.{found.name}")
        name = found.name.replace("_", "-")
        if hasattr(module, "app"):
            for registered in module.app.registered_commands:
                registered.callback = guarded(registered.callback, debug=debug)
            application.add_typer(module.app, name=name)
        else:
            application.command(name)(guarded(module.command, debug=debug))
    return application


def guarded(function: Callable[..., Any], *, debug: bool = False) -> Callable[..., Any]:
    """Wrap a command so that an error becomes one sentence on standard error and its exit code."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except MedsslError as error:
            _fail(str(error), error.exit_code, debug=debug)
        except KeyboardInterrupt:
            _fail("Stopped by Ctrl-C.", 130, debug=debug)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except (typer.Exit, typer.Abort):
            raise
        except OSError as error:
            said, place = error.strerror or type(error).__name__, error.filename
            _fail(f"{said}{f' ({place})' if place else ''}. Choose another place, or ask who owns it.", 74, debug=debug)
        except MemoryError:
            _fail("There is not enough memory. Use a smaller batch or image size.", 1, debug=debug)
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            _fail(f"Unexpected {type(error).__name__}: {text}. This is a bug; --debug shows where.", 1, debug=debug)

    return run


def spread(application: typer.Typer, arguments: list[str]) -> list[str]:
    """Let a list option take several values after one flag: `--arms A B` becomes `--arms A --arms B`."""
    command: Any = typer.main.get_command(application)
    start = 0
    while start < len(arguments) and arguments[start] in getattr(command, "commands", {}):
        command = command.commands[arguments[start]]
        start += 1
    several = {name for option in command.params if getattr(option, "multiple", False) for name in option.opts}
    return arguments[:start] + list(_spread(arguments[start:], several))


def _spread(arguments: list[str], several: set[str]) -> Iterator[str]:
    flag, taken = "", 0
    for argument in arguments:
        if argument in several:
            flag, taken = argument, 0
        elif argument.startswith("-"):
            flag = ""
        elif flag:
            taken += 1
            if taken > 1:
                yield flag
        yield argument


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"medssl {__version__}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version and end.", callback=_version, is_eager=True
    ),
) -> None:
    pass


def _order(name: str) -> tuple[int, str]:
    steps = [
        "doctor",
        "list",
        "phantom",
        "scan",
        "inspect",
        "show_augment",
        "pack",
        "verify",
        "pretrain",
        "embed",
        "attend",
        "ablate",
        "sweep",
        "report",
        "run",
        "data",
    ]
    return (steps.index(name) if name in steps else len(steps), name)


def told(error: BaseException | None) -> str:
    """Return the traceback of an error and its causes; what caused a `DataError` is named by kind only.

    Such a cause is what a library said of a file, and it may quote a name from a header.
    """
    if error is None:
        return ""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = traceback.format_exception(error, chain=False)
    before = told(cause) if cause is not None else ""
    if cause is not None and isinstance(error, DataError) and not isinstance(cause, MedsslError):
        before = "".join(traceback.format_tb(cause.__traceback__)) + f"{type(cause).__qualname__}\n"
    return f"{before}\nwhich led to\n\n{''.join(lines)}" if before else "".join(lines)


def _fail(text: str, code: int, *, debug: bool) -> None:
    if debug:
        typer.echo(told(sys.exc_info()[1]), err=True, nl=False)
    typer.echo(f"medssl: {text}", err=True)
    raise typer.Exit(code)
