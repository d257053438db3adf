"""What all commands share: the application, its options, its exit codes and its output.

Data goes to standard output, words for people to standard error. Everything heavy is imported within the
commands, so that ``damd --help`` and ``--version`` answer at once.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from damd import __version__
from damd.errors import ConfigurationError, DaemonUnreachableError, DamdError, UnknownNameError
from damd.systemd import is_journal

if TYPE_CHECKING:
    from rich.console import Console

    from damd.config import Config
    from damd.world import World

EXIT_FAILURE = 1
EXIT_USAGE = 2  # as typer ends
EXIT_FILES_FAILED = 3
EXIT_UNREACHABLE = 69  # EX_UNAVAILABLE of sysexits(3)
EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits(3)
EXIT_INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        readable=False,  # that it may not be read is told as what is wrong with it
        help="The configuration, a YAML file; without one, everything has its default.",
    ),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        help="The folder of the catalogue and the previews, instead of the configured one or ~/.local/share/damd.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, on standard output.")]

application = typer.Typer(
    name="damd",
    help="Watch folders, and turn what lands in them into a catalogue: hashed, deduplicated, described, announced.",
    epilog="To begin: damd run --watch DIR, then put a picture into DIR, then damd assets list.",
    no_args_is_help=True,
    add_completion=False,  # its options would write into somebody's home: damd completion prints instead
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"damd {__version__}")
        raise typer.Exit


@application.callback()
def _application(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """The program ``damd``."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - for as long as the process
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal may know fewer characters than the names of files do.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        application()
    except BaseException as error:  # noqa: BLE001 - whatever is not understood is raised again
        _end(error)
    sys.exit(0)


def _end(error: BaseException) -> NoReturn:
    """Say what happened in the way that its kind asks for, and end the process."""
    causes = list(_causes(error))
    if len({type(cause) for cause in causes}) == 1:
        error = causes[0]  # several tasks meet the same closed pipe
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has seen enough; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILURE)
    if isinstance(error, OSError) and error.filename is None:
        say(f"damd: the output cannot be written: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILURE)
    if isinstance(error, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    if not isinstance(error, DamdError):
        raise error
    complain(f"damd: {error}" if not isinstance(error, ConfigurationError) else str(error))
    sys.exit(_exit_code(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error itself, or what lies in a group, however deep."""
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for each in error.exceptions:
        yield from _causes(each)


def _exit_code(error: DamdError) -> int:
    if isinstance(error, ConfigurationError):
        return EXIT_CONFIGURATION
    if isinstance(error, UnknownNameError):
        return EXIT_USAGE
    return EXIT_UNREACHABLE if isinstance(error, DaemonUnreachableError) else EXIT_FAILURE


def load(config: Path | None, state: Path | None, **overrides: Any) -> Config:
    """The configuration of a command.

    Raises:
        ConfigurationError: It is wrong.
    """
    import damd.logs.bare  # noqa: F401 - before whatever else imports structlog
    from damd.config import load_config

    if state is not None:
        overrides["state"] = str(state)
    return load_config(config, overrides=overrides)


@asynccontextmanager
async def open_existing(config: Config) -> AsyncIterator[World]:
    """A World to ask; a question neither begins a catalogue nor changes one.

    Raises:
        DamdError: There is no catalogue yet.
    """
    from damd.assembly import open_world
    from damd.catalogue.engine import catalogue_exists

    if not catalogue_exists(config.catalogue, config.state):
        raise DamdError(f"There is no catalogue in {config.state} yet: damd run or damd ingest begins one")
    async with open_world(config, claims_roots=False) as world:
        yield world


def note_missing_state(config: Config) -> None:
    """Say so where the state folder is not there: it may be another one that is meant."""
    if not config.state.exists():
        say(f"There is no folder {config.state} yet, so nothing is known of it: is another one meant (--state)?")


def say(words: str) -> None:
    """Tell a person something, on standard error; what is unprintable in its lines is escaped."""
    typer.echo("\n".join(map(printable, words.split("\n"))), err=True)


def complain(words: str) -> None:
    """The same, of what is wrong; in the journal of systemd as errors, which ``journalctl -p err`` finds."""
    say("\n".join(f"<3>{line}" for line in words.split("\n")) if is_journal(sys.stderr) else words)


def printable(text: str) -> str:
    """Without what could move the terminal's cursor: names of files are anybody's."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object on a line of standard output."""
    typer.echo(json.dumps(values))


def console(*, stderr: bool = False) -> Console:
    """A console for tables and progress bars; plain text where nobody can see colours."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)
