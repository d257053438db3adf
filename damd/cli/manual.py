"""The manual of the command line, ``docs/cli.md``, made from the commands themselves: ``make docs`` renews it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import typer
import typer.main

import damd.cli  # noqa: F401 - it registers the commands
from damd.cli.application import (
    EXIT_CONFIGURATION,
    EXIT_FAILURE,
    EXIT_FILES_FAILED,
    EXIT_INTERRUPTED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    application,
)

_PREFACE = """\
# The command line

Made from the commands by `make docs`: what is wrong here is put right in their own words, in `damd/cli/`.

Data goes to standard output, and words for people go to standard error where the output is data. `--json` prints one
JSON object a line. Off a terminal nothing is coloured or animated, and `NO_COLOR` turns colours off on one.

## Completion

A shell that has read damd's script completes commands, options and paths, and behind `--config FILE` the names of the
roots and endpoints in that file: `damd scan --config damd.yaml` and the Tab key. Where shells look for such scripts:

```sh
damd completion bash > ~/.local/share/bash-completion/completions/damd   # with the package bash-completion
damd completion zsh > ~/.zfunc/_damd    # with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
damd completion fish > ~/.config/fish/completions/damd.fish
```

For everybody on the machine they lie in `/usr/share/bash-completion/completions`, `/usr/share/zsh/vendor-completions`
and `/usr/share/fish/vendor_completions.d`. Only to try it: `eval "$(damd completion bash)"`.
"""

_EXIT_CODES = {
    0: "It is done. Where the question was one, it is answered.",
    EXIT_FAILURE: "It failed, or was refused; standard error says why. A command's own meaning of it is told below.",
    EXIT_USAGE: "The command line was not understood, or names what is not known.",
    EXIT_FILES_FAILED: "It is done, but files failed; each is told with its reason.",
    EXIT_UNREACHABLE: "No daemon runs on this state folder, or it does not answer.",
    EXIT_CONFIGURATION: "The configuration is wrong; every fault is on a line of its own.",
    EXIT_INTERRUPTED: "Ctrl-C ended it.",
}
"""What each means, all over damd; the numbers over 3 are those of sysexits(3) and of shells."""

_COMMON = ("config", "state", "as_json")
"""What most commands take, and is told once."""


def manual() -> str:
    """The manual as Markdown; the same on every machine."""
    root = typer.main.get_command(application)
    commands = list(_commands(root, root.make_context("damd", [], resilient_parsing=True)))
    common = _common_entries(commands)
    lines = [_PREFACE, *_exit_codes()]
    lines += ["## What most commands take", "", *common, "- `-h, --help`: Show the usage, and exit.", ""]
    lines += ["## Commands", ""]
    for command, context in commands:
        lines += _chapter(command, context, common)
    return "\n".join(lines)


def _commands(command: Any, context: Any) -> Iterator[tuple[Any, Any]]:
    """Each command and its context, in the order of ``damd --help``; a group comes before what is in it."""
    yield command, context
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, below.make_context(name, [], parent=context, resilient_parsing=True))


def _exit_codes() -> Iterator[str]:
    yield from ("## Exit codes", "", "| code | meaning |", "|---:|---|")
    yield from (f"| {code} | {meaning} |" for code, meaning in _EXIT_CODES.items())
    yield ""


def _common_entries(commands: Iterable[tuple[Any, Any]]) -> list[str]:
    """Of the first command that has them all."""
    for command, context in commands:
        entries = {parameter.name: _entry(parameter, context) for parameter in command.params}
        if entries.keys() >= set(_COMMON):
            return [entries[name] for name in _COMMON]
    return []


def _chapter(command: Any, context: Any, common: Collection[str]) -> Iterator[str]:
    yield f"{'#' * min(2 + context.command_path.count(' '), 4)} `{context.command_path}`"
    yield from ("", "```", " ".join([context.command_path, *command.collect_usage_pieces(context)]), "```", "")
    yield from (_escaped(inspect.cleandoc(command.help)), "")
    entries = {parameter.opts[0]: _entry(parameter, context) for parameter in command.params}
    yield from (entry for entry in entries.values() if entry not in common)
    if shared := [f"`{name}`" for name, entry in entries.items() if entry in common]:
        yield f"- {', '.join(shared)}: as most commands"
    if entries:
        yield ""


def _entry(parameter: Any, context: Any) -> str:
    """An argument or an option on a line: its names, what it is for, its default and its bounds."""
    names, words = parameter.get_help_record(context)
    return f"- `{names.partition(' <')[0]}`: {_escaped(' '.join(words.split()))}"


def _escaped(words: str) -> str:
    """As Markdown that shows these very words."""
    return re.sub(r"([*<_])", r"\\\1", words)


if __name__ == "__main__":
    typer.echo(manual(), nl=False)
