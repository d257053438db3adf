"""What a daemon answers of itself, in lines for people.

Each line stands for itself, as somebody may look for one with grep(1); an older daemon's answer lacks some of what
is told here, and then that is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from damd.cli.words import count_of_events, count_of_files, how_large, how_long, how_long_ago, how_often, when

Answer = Mapping[str, Any]

_A_MINUTE_S = 60


class Line(NamedTuple):
    """A line of words."""

    text: str
    indent: int = 0
    """Columns."""
    style: str = ""
    """How it stands out where there are colours, in rich's words."""


def lines(answer: Answer, at: datetime) -> Iterator[Line]:
    """All that there is to say, at this moment."""
    if "pid" in answer:
        yield from daemon_lines(answer, at)
        for root in answer["roots"]:
            yield from _root_lines(root, at)
        for endpoint in answer.get("endpoints", []):
            yield from _endpoint_lines(endpoint)
        yield from work_lines(answer)
    yield from catalogue_lines(answer)


def daemon_lines(answer: Answer, at: datetime) -> Iterator[Line]:
    """Of the daemon as a whole: what it is, and what somebody should know first."""
    since = f", started {how_long_ago(answer['started_at'], at)}" if answer.get("started_at") else ""
    yield Line(f"damd {answer['version']}, process {answer['pid']}, on {answer['state']}{since}", style="bold")
    if answer.get("config"):
        yield Line(f"configuration: {answer['config']}")
    if answer.get("paused_since"):
        yield Line(
            f"PAUSED since {when(answer['paused_since'])}: no file is begun until damd resume", style="bold yellow"
        )
    yield from _reload_lines(answer.get("reload"))


def _reload_lines(reload: Answer | None) -> Iterator[Line]:
    if reload is None:
        return
    if not reload["ok"]:
        yield Line(f"RELOAD REFUSED at {when(reload['at'])}, what was in force stays so:", style="bold red")
        for problem in reload["problems"]:
            yield Line(problem, 2, "red")
    if reload["restart"]:
        yield Line(
            f"RESTART NEEDED, said the reload at {when(reload['at'])}, for: {', '.join(reload['restart'])}",
            style="bold yellow",
        )


def _root_lines(root: Answer, at: datetime) -> Iterator[Line]:
    yield Line(f"{root['name']}: {root['path']} ({at_work(root)})", 2)
    if root["held"] is not None:
        yield Line(held(root), 4, "bold red")
    for each in root.get("unwatched_because", []):  # an older daemon's answer has none
        yield Line(f"NOT WATCHED: {each}", 4, "bold yellow")
    if any(root.get("outcomes", {}).values()):
        last = root.get("last_imported_at")
        ago = "" if last is None else f", the last import {how_long_ago(last, at)}"
        yield Line(f"since start: {_counts(root['outcomes'])}{ago}", 4)


def held(root: Answer) -> str:
    """That a root is held, why, and where to read on."""
    return f"HELD, nothing in it is taken for deleted: {root['held']} (see damd roots list)"


def _endpoint_lines(endpoint: Answer) -> Iterator[Line]:
    yield Line(f"{endpoint['name']}: {endpoint['kind']} ({endpoint['state']}, {endpoint['owed']} owed)", 2)
    if (trouble := trouble_of(endpoint)) is not None:
        yield Line(f"{trouble} (see damd webhooks list)", 4, "bold red")


def trouble_of(endpoint: Answer) -> str | None:
    """Why an endpoint is not brought what it is owed, since when, in a clause; None where all is well."""
    if endpoint["state"] == "disabled":
        return f"DISABLED since {when(endpoint['disabled_since'])}: {endpoint['disabled_because']}"
    if endpoint["state"] == "failing":
        return f"FAILING since {when(endpoint['failing_since'])}: {endpoint['last_error']}"
    return None


def at_work(root: Answer) -> str:
    """What a daemon says that it does about a root, on a line."""
    facts = [root["backend"] or "not watched"]
    if root["waiting"]:
        facts.append(f"{root['waiting']} waiting")
    if root.get("in_work"):
        facts.append(f"{root['in_work']} in work")
    return ", ".join([*facts, *how_watched(root)])


def how_watched(root: Answer) -> Iterator[str]:
    """What is out of the ordinary about the watching of a root."""
    if root["scanning"]:
        yield "scanning"
    if root["unwatched"]:
        yield f"polling {root['unwatched']} of its folders"
    if root["renewals"]:
        yield f"watches renewed {how_often(root['renewals'])}"


def work_lines(answer: Answer) -> Iterator[Line]:
    """Of the files that wait and are in work, and how fast they go."""
    retrying = f", {answer['retrying']} to be tried again later" if answer.get("retrying") else ""
    oldest = f" (the oldest for {how_long(answer['oldest_s'])})" if answer["waiting"] else ""
    yield Line(f"{answer['waiting']} waiting{oldest}, {answer['in_work']} in work{retrying}")
    files = sorted(answer.get("files", []), key=lambda file: -file["since_s"])
    stage_width = max((len(file["stage"] or "") for file in files), default=0)
    for file in files:
        yield Line(f"{how_long(file['since_s']):>6}  {file['stage'] or '':<{stage_width}}  {file['path']}", 2)
    if any((rates := answer.get("rates", {})).values()):
        count = round(_A_MINUTE_S * rates["files_per_s"])
        each_s = (
            f" ({rates['files_per_s']:.1f} files/s, {how_large(rates['bytes_per_s'])}/s)"
            if count >= _A_MINUTE_S
            else ""
        )
        yield Line(
            f"in the last minute: {count_of_files(count)}, {how_large(_A_MINUTE_S * rates['bytes_per_s'])}{each_s}"
        )
    if answer["since_start"] and len(answer["roots"]) != 1:
        yield Line(f"since start: {_counts(answer['since_start'])}")


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in numbers.items())


def catalogue_lines(answer: Answer) -> Iterator[Line]:
    """How much the catalogue holds, and what to look at."""
    catalogue = answer["catalogue"]
    if catalogue is None:
        yield Line("catalogue: it cannot be asked now" if "pid" in answer else "There is no catalogue yet.")
        return
    yield Line("catalogue: " + ", ".join(f"{word.replace('_', ' ')} {count}" for word, count in catalogue.items()))
    if failures := catalogue.get("failures"):
        yield Line(f"{count_of_files(failures)} failed: see damd failures list", style="yellow")
    if parked := catalogue.get("deliveries_parked"):
        wait = "waits" if parked == 1 else "wait"
        yield Line(
            f"{count_of_events(parked)} {wait} for who is disabled or removed: see damd webhooks list", style="yellow"
        )
