"""``damd systemd``."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from damd.cli.application import ConfigOption, load
from damd.errors import DamdError

OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write it there, whole or not at all and readable for everybody, instead of printing it.",
    ),
]

systemd = typer.Typer(
    no_args_is_help=True, help="Print what systemd needs to run damd as a service.", rich_markup_mode=None
)


@systemd.command()
def unit(
    user: Annotated[
        bool, typer.Option("--user", help="Of a user's own service manager, instead of the machine's.")
    ] = False,
    template: Annotated[
        bool, typer.Option("--template", help="Of which there may be several: damd@NAME reads /etc/damd/NAME.yaml.")
    ] = False,
    config: ConfigOption = None,
    output: OutputOption = None,
) -> None:
    """Print the unit that starts this damd.

    Without --config, its configuration is /etc/damd/damd.yaml, or with --user ~/.config/damd/damd.yaml.
    """
    from damd.units import service

    if template and (user or config):
        raise typer.BadParameter("it goes with neither --user nor --config", param_hint="--template")
    program = service.installed_program()
    absolute = Path(os.path.abspath(config)) if config else None  # noqa: PTH100 - Path.absolute() keeps `..`
    if template:
        text = service.template_unit(program)
    elif user:
        text = service.user_unit(program, absolute)
    else:
        text = service.service_unit(program, *filter(None, [absolute]))
    _hand_out(text, output)


@systemd.command()
def dropin(config: ConfigOption = Path("/etc/damd/damd.yaml"), output: OutputOption = None) -> None:
    """Print the drop-in for the configured folders.

    Best as root, who sees which of them the user damd cannot read.
    """
    from damd.units.dropin import service_dropin

    _hand_out(service_dropin(load(config, None)), output)


@systemd.command()
def sysusers() -> None:
    """Print what makes the service's user: /etc/sysusers.d/damd.conf."""
    from damd.units import service

    _print(service.template("sysusers.conf"))


@systemd.command()
def tmpfiles() -> None:
    """Print what makes its folders: /etc/tmpfiles.d/damd.conf."""
    from damd.units import service

    _print(service.template("tmpfiles.conf"))


def _hand_out(text: str, output: Path | None) -> None:
    if output is None:
        _print(text)
        return
    try:
        _replace(output, text)
    except OSError as error:
        raise DamdError(f"{output} cannot be written: {error.strerror}") from error


def _replace(file: Path, text: str) -> None:
    """In one step, so that no service ever starts with half of it; others may read it, too."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, prefix=".damd-", delete=False) as written:
        try:
            written.write(text)
            written.flush()
            os.fchmod(written.fileno(), 0o644)
            os.fsync(written.fileno())
            Path(written.name).replace(file)
        except BaseException:
            Path(written.name).unlink(missing_ok=True)
            raise


def _print(text: str) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # which systemd reads, whatever the terminal does
    typer.echo(text, nl=False)
