"""``damd config init``."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from damd.cli.application import EXIT_FAILURE, say

_SCHEMA = "damd.schema.json"
_SCHEMA_LINE = f"# yaml-language-server: $schema={_SCHEMA}\n"
_MODE = 0o640  # a URL in it may hold a password
_SCHEMA_MODE = 0o644


def init(
    config: Annotated[
        Path, typer.Option("--config", "-c", metavar="FILE", help="Where to write it; the folder must exist.")
    ] = Path("damd.yaml"),
    watch: Annotated[
        list[Path] | None,
        typer.Option("--watch", "-w", metavar="DIR", help="A folder to watch; may be given several times."),
    ] = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print it instead; no file is written.")] = False,
) -> None:
    """Write a configuration with every key, explained.

    Beside it goes damd.schema.json, by which editors complete the keys. A file that is there is never overwritten.
    """
    from damd.config import load_config
    from damd.config.example import example
    from damd.config.schema import configuration_schema

    overrides = {"watch": [{"path": folder} for folder in watch]} if watch else {}
    text = example(load_config(overrides=overrides, environment={}).watch)
    if stdout:
        typer.echo(text, nl=False)
        return
    described = json.dumps(configuration_schema(), indent=2) + "\n"
    _require_room(config)
    try:
        _write(config.with_name(_SCHEMA), described, _SCHEMA_MODE, Path.replace)
        _write(config, _SCHEMA_LINE + text, _MODE, os.link)
    except OSError as error:
        _refuse(f"{config} cannot be written ({error.strerror}): name another place with --config, or use --stdout")
    _say_what_is_next(config, has_roots=bool(watch))


def _require_room(file: Path) -> None:
    if os.path.lexists(file):
        _refuse(f"{file} is there already, and stays as it is: name another file with --config, or use --stdout")
    if not file.parent.is_dir():
        _refuse(f"{file} cannot be written: {file.parent} is no folder, so make it first")


def _refuse(words: str) -> NoReturn:
    say(f"damd: {words}")
    raise typer.Exit(EXIT_FAILURE)


def _write(file: Path, text: str, mode: int, put: Callable[[Path, Path], object]) -> None:
    """Write a draft beside the file, and put it in its place when it is whole and on the disk."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    draft = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:  # noqa: PTH123 - Path.open() takes no descriptor
            stream.write(text)
            stream.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        # A link, other than a new name, never takes the place of what somebody else has written there meanwhile.
        put(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def _say_what_is_next(file: Path, *, has_roots: bool) -> None:
    named = shlex.quote(str(file))
    say(f"Written: {file}, and {_SCHEMA} beside it, by which editors complete and explain its keys.")
    if not has_roots:
        say("Next, name your own folders in it, under `watch:`.")
    if os.geteuid() == 0:
        say(f"Its mode is 0640: give it the group of the user that damd is to run as, with chgrp GROUP {named}")
    say(f"Then check it:  damd config check --config {named}")
    say(f"and start damd: damd run --config {named}")
