"""``damd completion``, and the names that a shell offers.

The scripts ask damd, as typer answers fish: the line up to the cursor to one ``value<TAB>help`` a line. That is the
same for all three shells, and knows nothing of how each of them splits ``--config=FILE``. Where nothing is offered,
the shell offers files.

A person waits for these answers with a finger on the key. So of the configuration that the line names only the names
are read: no plugin is imported, nothing is validated, no daemon asked; and whatever is wrong with it offers nothing,
in silence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.completion import get_completion_inspect_parameters

get_completion_inspect_parameters()  # of two options that damd has not; on the way typer learns to answer shells

_ASK = "COLUMNS=9999 _DAMD_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args _TYPER_COMPLETE_ARGS"


class Shell(StrEnum):
    """Whose script is asked for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


_SCRIPTS = {
    Shell.bash: rf"""
_damd_completion() {{
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        line=${{line%%$'\t'*}}
        if [[ -n $line ]]; then COMPREPLY+=("$line"); fi
    done < <(env {_ASK}="${{COMP_LINE:0:COMP_POINT}}" "$1" 2>/dev/null)
}}
complete -o default -F _damd_completion damd
""",
    Shell.zsh: rf"""
#compdef damd
_damd() {{
    local line
    local -a offered
    for line in "${{(@f)$(env {_ASK}="${{(j: :)words[1,CURRENT]}}" $words[1] 2>/dev/null)}}"; do
        if [[ -n $line ]]; then offered+=("${{${{line//:/\\:}}/$'\t'/:}}"); fi
    done
    if (( $#offered )); then _describe -V damd offered; else _files; fi
}}
if [[ $funcstack[1] == _damd ]]; then _damd "$@"; else compdef _damd damd; fi
""",
    Shell.fish: rf"""
function __damd_completion
    set -l offered (env {_ASK}=(commandline -cp | string collect) damd 2>/dev/null | string match -r '.+')
    if count $offered >/dev/null
        printf '%s\n' $offered
    else
        __fish_complete_path (commandline -ct)
    end
end
complete --command damd --no-files --arguments '(__damd_completion)'
""",
}


def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> None:
    """Print what teaches a shell to complete damd's commands.

    Options and paths are completed, too, and so are the names of roots and endpoints, behind the --config FILE that
    has them. For the shell at hand: eval "$(damd completion bash)", or damd completion fish | source
    """
    typer.echo(_SCRIPTS[shell].strip())


def root_names(context: typer.Context, incomplete: str) -> list[str]:
    """Those of the configured roots that begin so."""
    return _names(context, "watch", _root_name, incomplete)


def endpoint_names(context: typer.Context, incomplete: str) -> list[str]:
    """Those of the configured endpoints that begin so."""
    return _names(context, "subscribers", _endpoint_name, incomplete)


def _names(
    context: typer.Context, section: str, name_of: Callable[[Mapping[str, Any]], str | None], incomplete: str
) -> list[str]:
    import yaml

    try:
        # Not expanded yet: the shell hands on what was typed.
        file = Path(os.path.expandvars(context.params["config"])).expanduser()
        names = [name_of(entry) for entry in yaml.safe_load(file.read_text())[section]]
        return [name for name in names if name is not None and name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - whatever is wrong is told by the command, not in the midst of a line
        return []


def _root_name(entry: Mapping[str, Any]) -> str:
    """Its own, or as `damd.config` names a root after its folder."""
    if "name" in entry:
        return str(entry["name"])
    folder = os.path.abspath(os.path.expandvars(entry["path"]))  # noqa: PTH100 - Path.absolute() keeps `..`
    return re.sub(r"[^\w.-]+", "-", Path(folder).name)[:64]


def _endpoint_name(entry: Mapping[str, Any]) -> str | None:
    return entry.get("name")
