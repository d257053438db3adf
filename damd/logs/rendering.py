"""What a line looks like: JSON has everything, a terminal what a person wants to read."""

from __future__ import annotations

import json
import os
import traceback
from typing import TextIO

from structlog.processors import ExceptionRenderer, JSONRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

_FIRST = ("timestamp", "level", "event", "logger")
_MAX_FRAMES = 20
_EVENT_WIDTH = 16  # that of file.duplicate, and a little

_FOR_MACHINES = frozenset({
    "event_id",
    "other_root",
    "permanent",
    "previous_asset_id",
    "previous_root",
    "previous_sha256",
    "revision",
    "sha256",
    "settle_s",
    "queue_s",
    "look_up_s",
    "hash_s",
    "read_s",
    "record_s",
})  # fmt: skip
"""What a person at a terminal does not miss, unless it is to debug."""


def json_processors(encoding: str) -> list[Processor]:
    """One object on a line, of characters that this encoding has."""
    # Local variables stay out: they hold secrets.
    exceptions = ExceptionDictTransformer(show_locals=False, max_frames=_MAX_FRAMES)
    return [
        ExceptionRenderer(exceptions),
        _ordered,
        JSONRenderer(json.dumps, ensure_ascii=encoding != "utf-8", default=str),
    ]


def console_processors(*, colours: bool, is_brief: bool) -> list[Processor]:
    """A line for a person.

    Args:
        colours: Whether the terminal has them; whoever asks for none gets none.
        is_brief: Without what is only there for machines.
    """
    from structlog.dev import ConsoleRenderer

    colours = colours and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    renderer = ConsoleRenderer(
        colors=colours,
        pad_event_to=_EVENT_WIDTH,
        sort_keys=False,
        exception_formatter=_write_traceback,
    )
    return [*([_brief] if is_brief else []), _path_first, _escaped, renderer]


def _ordered(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    first = {name: fields.pop(name) for name in _FIRST if name in fields}
    return {**first, **fields}


def _path_first(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    return {"path": fields.pop("path"), **fields} if "path" in fields else fields


def _brief(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    brief = {
        name: value
        for name, value in fields.items()
        if name not in _FOR_MACHINES and not name.endswith("_base64") and value != []
    }
    logger, event = str(fields.get("logger", "")), str(fields.get("event", ""))
    if logger.split(".", maxsplit=1)[0] == "damd":
        del brief["logger"]
    if "path" in brief and (logger == "damd.files" or event.startswith("file.")):
        brief.pop("root", None)  # the path tells
    if "total_s" in brief:
        brief.pop("duration_s", None)
    if isinstance(alike := brief.get("near_duplicates"), list):
        brief["near_duplicates"] = len(alike)
    return brief


def _escaped(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    # A file's name may hold newlines and terminal sequences; they must not reach the terminal.
    return {
        name: _printable(value) if isinstance(value, str) and name != "stack" else value
        for name, value in fields.items()
    }


def _write_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    # Indented, so that no line of an exception's message can pass for a line of the log.
    lines = "".join(traceback.format_exception(*exc_info)).splitlines()
    stream.writelines(f"\n  {_printable(line)}" for line in lines)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
