"""Receivers of webhooks, each a process of its own, and what they wrote down."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torture import misbehaving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

_RETRY = "200ms", "500ms", "1s"
_END_S = 30.0


@dataclass
class Record:
    """What a receiver has written down.

    Attributes:
        bodies: Of every event that it ever saw, by the event's id; each should have one.
        taken: How often it answered 2xx, by the event's id.
        manners: How many requests it answered in which manner.
        faults: Requests that it could not verify.
        visits: How often somebody came to where it redirects to.
    """

    bodies: dict[str, set[str]] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    manners: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    visits: int = 0

    def read(self, line: str) -> None:
        """One further line."""
        kind, *rest = json.loads(line)
        match kind, rest:
            case "seen", [message_id, body, manner]:
                self.bodies.setdefault(message_id, set()).add(body)
                self.manners[manner] += 1
            case "taken", [message_id]:
                self.taken[message_id] += 1
            case "fault", [what]:
                self.faults.append(what)
            case "visit", []:
                self.visits += 1


class ReceiverProcess:
    """A receiver that runs while it is entered.

    Args:
        folder: Where its secret and what it writes down lie.
        name: What the configuration calls it.
        mood: How it begins: one of `torture.misbehaving`'s.
        seed: Of all its choices.
    """

    def __init__(self, folder: Path, name: str, mood: str, *, seed: int = 0) -> None:
        self.name = name
        self._record = folder / f"{name}.jsonl"
        self._secret = folder / f"{name}.secret"
        self._secret.touch(0o600)
        self._secret.write_text(SECRET)
        program = [sys.executable, misbehaving.__file__, str(self._record), str(self._secret), str(seed), mood]
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=_END_S)
        self._process.kill()

    def settings(self) -> dict[str, Any]:
        """Its entry in the configuration."""
        url = f"http://127.0.0.1:{self._port}/hooks/damd"
        entry = {"kind": "webhook", "name": self.name, "url": url, "secret": {"file": str(self._secret)}}
        return entry | {"events": [], "timeout": "1s", "retry": [*_RETRY]}

    def set_mood(self, mood: str) -> None:
        """Have it behave in another way from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{mood}\n")
        self._process.stdin.flush()

    def record(self) -> Record:
        """What it wrote down until now."""
        record = Record()
        for line in self._record.read_text().splitlines():
            record.read(line)
        return record


class Program:
    """A program that is run for each event, and writes it down."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._file, self._record = folder / f"{name}.sh", folder / f"{name}.lines"
        self._file.write_text(f'#!/bin/sh\nprintf "%s %s\\n" "$DAMD_EVENT_ID" "$(cat)" >> "{self._record}"\n')
        self._file.chmod(0o755)
        self._record.touch()

    def settings(self) -> dict[str, Any]:
        """Its entry in the configuration."""
        return {"kind": "command", "name": self.name, "command": [str(self._file)], "events": [], "retry": [*_RETRY]}

    def record(self) -> Record:
        """What it wrote down until now."""
        record = Record()
        for line in self._record.read_text().split("\n"):
            message_id, _, body = line.partition(" ")
            if body:  # else the daemon died before it could hand over the event
                record.bodies.setdefault(message_id, set()).add(body)
                record.taken[message_id] += 1
                record.manners["takes"] += 1
        return record


def assert_told_everything(record: Record, events: dict[str, tuple[str, int]]) -> None:
    """Every event was taken, each under its one id and with one body, and nothing else was ever sent.

    Args:
        record: What a receiver wrote down.
        events: All that are in the catalogue: types and revisions by their ids.
    """
    assert not record.faults, f"{len(record.faults)} requests could not be verified: {record.faults[0]}"
    assert record.visits == 0, "a redirect was followed"
    assert not record.bodies.keys() - events.keys(), "an event was sent that the catalogue does not know"
    lost = events.keys() - record.taken.keys()
    assert not lost, f"{len(lost)} of {len(events)} events were lost: {_first(lost, events)}"
    several = [each for each, bodies in record.bodies.items() if len(bodies) != 1]
    assert not several, f"{len(several)} events had several bodies: {_first(several, events)}"
    for message_id, (body,) in record.bodies.items():
        told = json.loads(body)
        assert (told["type"], told["data"]["revision"]) == events[message_id]


def _first(ids: Iterable[str], events: dict[str, tuple[str, int]]) -> list[tuple[str, tuple[str, int]]]:
    return [(each, events[each]) for each in sorted(ids, key=lambda each: events[each][1])[:5]]
