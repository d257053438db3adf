"""How damd stands, drawn for a terminal: tables where there is room for them, else lines that are folded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from damd.cli.application import printable
from damd.cli.status import standing
from damd.cli.words import how_long, how_long_ago

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

WIDE = 120
"""Columns from which on the tables are drawn: they need about 90 beside the folders."""

_FOLDED = "watched"


def drawing(answer: standing.Answer, at: datetime, *, width: int, before: Iterable[standing.Line] = ()) -> Group:
    """All that there is to say, at this moment, for so many columns, and what is to be said before it."""
    from rich.console import Group

    if width < WIDE or "pid" not in answer:
        return Group(*map(_folded, (*before, *standing.lines(answer, at))))
    return Group(
        *map(_folded, before),
        *map(_folded, standing.daemon_lines(answer, at)),
        *_roots(answer["roots"], at),
        *_endpoints(answer.get("endpoints", []), at),
        "",
        *map(_folded, standing.work_lines(answer)),
        *map(_folded, standing.catalogue_lines(answer)),
    )


def _folded(line: standing.Line) -> RenderableType:
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(printable(line.text), style=line.style, overflow="fold"), (0, 0, 0, line.indent), expand=False)


def _roots(roots: list[dict[str, Any]], at: datetime) -> Iterator[RenderableType]:
    table = _table("root", "watched", "#waiting", "#oldest", "#in work", "#imported", "#skipped", "#failed", "last")
    table.add_column("folder", overflow="fold")
    for root in roots:
        outcomes = root.get("outcomes", {})
        last = root.get("last_imported_at")
        table.add_row(
            printable(root["name"]),
            ", ".join([root["backend"] or "not watched", *standing.how_watched(root)]),
            _number(root["waiting"]),
            how_long(root["oldest_s"]) if root["waiting"] and root.get("oldest_s") else "",
            _number(root.get("in_work")),
            *(_number(outcomes.get(outcome)) for outcome in ("imported", "skipped", "failed")),
            "" if last is None else how_long_ago(last, at),
            printable(root["path"]),
        )
    if roots:
        yield from ("", table)
    for root in roots:
        if root["held"] is not None:
            yield _folded(standing.Line(f"{root['name']}: {standing.held(root)}", style="bold red"))


def _endpoints(endpoints: list[dict[str, Any]], at: datetime) -> Iterator[RenderableType]:
    table = _table("endpoint", "kind", "state", "#owed", "last delivered")
    for endpoint in endpoints:
        last = endpoint.get("last_delivered_at")
        table.add_row(
            endpoint["name"],
            endpoint["kind"],
            endpoint["state"],
            _number(endpoint["owed"]),
            "" if last is None else how_long_ago(last, at),
        )
    if endpoints:
        yield from ("", table)
    for endpoint in endpoints:
        if (trouble := standing.trouble_of(endpoint)) is not None:
            text = f"{endpoint['name']}: {trouble} (see damd webhooks list)"
            yield _folded(standing.Line(text, style="bold red"))


def _table(*columns: str) -> Table:
    """One without lines; a column whose name begins with # holds numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(
            column.lstrip("#"), justify="right" if column.startswith("#") else "left", no_wrap=column != _FOLDED
        )
    return table


def _number(count: int | None) -> str:
    return str(count) if count else "-"
