"""A daemon that dies again and again, receivers that do whatever a receiver can do wrong, and events to be told."""

import json
import random
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from torture.churn import Churn
from torture.harness import Ordeal, scaled, until
from torture.misbehaving import BADLY, GONE, WELL
from torture.receivers import Program, ReceiverProcess, assert_told_everything
from torture.writers import small_content, write_file

_FILES = 2000
_KILLS = 50
_LONGEST_ROUND_S = 8.0
_LIVING = 400
_BESIDE_EVERY = 5
_FILES_BESIDE = 20
_SOON_S = 60.0
_DELIVERED_S = 600.0


def test_notifications_outlive_the_daemon_and_receivers_that_misbehave(ordeal: Ordeal) -> None:
    with ExitStack() as stack:
        bad = stack.enter_context(ReceiverProcess(ordeal.folder, "misbehaving", BADLY, seed=12))
        good = stack.enter_context(ReceiverProcess(ordeal.folder, "healthy", WELL))
        program = Program(ordeal.folder, "program")
        ordeal.sections["subscribers"] = [bad.settings(), good.settings(), program.settings()]
        ordeal.configure(max_missing="100%")  # much is deleted, and nobody is there to accept it
        ordeal.begin()
        troubled = Troubled(ordeal)
        rounds = scaled(_KILLS - 1, at_least=4)
        troubled.live(rounds // 2)
        troubled.until_disabled(bad)
        bad.set_mood(BADLY)
        refused = sum(bad.record().manners.values())
        troubled.live(2)
        assert sum(bad.record().manners.values()) == refused, "a disabled endpoint was offered something"
        troubled.enable(bad)
        troubled.live(rounds - rounds // 2 - 2)
        bad.set_mood(WELL)
        ordeal.start()
        ordeal.await_equality()
        until(troubled.has_told_everything, "every delivery", _DELIVERED_S, pause_s=0.5)
        ordeal.finish()
        troubled.judge([bad, good, program])


class Troubled:
    """A daemon that is killed in every round, and what happens meanwhile."""

    def __init__(self, ordeal: Ordeal) -> None:
        self._ordeal = ordeal
        self._rng = random.Random(11)  # noqa: S311 - no secret
        self._churn = Churn(ordeal.root, seed=13)
        self._began = time.monotonic()
        self._kills = 0
        self._beside: list[Path] = []

    def live(self, rounds: int) -> None:
        """So many rounds, each of which ends with SIGKILL at a random moment."""
        for _ in range(rounds):
            beside = self._ingest_beside() if self._kills % _BESIDE_EVERY == 1 else None
            self._ordeal.start(ready=False)
            self._change(self._rng.uniform(0.2, _LONGEST_ROUND_S))
            self._kill()
            if beside is not None:
                assert beside.wait(_SOON_S) == 0

    def until_disabled(self, receiver: ReceiverProcess) -> None:
        """A round in which the receiver says that it is gone."""
        receiver.set_mood(GONE)
        self._ordeal.start(ready=False)
        self._change(0.1)
        until(lambda: self._is_disabled(receiver), "the end of the endpoint", _SOON_S)
        self._kill()

    def enable(self, receiver: ReceiverProcess) -> None:
        """What an administrator does, while the daemon runs."""
        self._ordeal.start()
        command = ["webhooks", "enable", receiver.name, "--config", str(self._ordeal.folder / "damd.yaml")]
        done = subprocess.run([sys.executable, "-m", "damd", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        before = sum(receiver.record().manners.values())
        until(lambda: sum(receiver.record().manners.values()) > before, "an offer to who was enabled", _SOON_S)
        self._kill()

    def has_told_everything(self) -> bool:
        """Whether nothing is owed to anybody."""
        self._ordeal.assert_alive()
        new, owed = (
            self._ordeal.count(f"{table} IS NULL")
            for table in ("event WHERE fanned_out_at", "delivery WHERE delivered_at")
        )
        return new == owed == 0

    def judge(self, receivers: list[ReceiverProcess | Program]) -> None:
        """Whether everybody heard of everything, by the catalogue that the daemon left."""
        rows = self._ordeal.query("SELECT id, event_type, revision FROM event")
        events = {message_id: (event_type, revision) for message_id, event_type, revision in rows}
        assert len(events) >= scaled(_FILES)
        assert self._ordeal.count("delivery") == len(events) * len(receivers)
        self._ordeal.figures |= {
            "events": len(events),
            "kills": self._kills,
            "imported beside": self._imported_beside(),
        }
        self._ordeal.figures["total s"] = time.monotonic() - self._began
        for receiver in receivers:
            record = receiver.record()
            assert_told_everything(record, events)
            self._ordeal.figures |= {
                f"{receiver.name} requests": sum(record.manners.values()),
                f"{receiver.name} refusals": sum(record.manners.values()) - record.manners["takes"],
                f"{receiver.name} repeats": sum(record.taken.values()) - len(record.taken),
            }
        self._ordeal.figures["redirects followed"] = sum(receiver.record().visits for receiver in receivers)

    def _change(self, seconds: float) -> None:
        """A share of the files and as many changes of any kind: half of them at once, the rest over this time."""
        files = scaled(_FILES) // scaled(_KILLS, at_least=5)
        for number in range(files):
            self._churn.make_file()
            self._churn.live(around=_LIVING)
            if number >= files // 2:
                time.sleep(2 * seconds / files)

    def _kill(self) -> None:
        self._ordeal.kill()
        self._kills += 1

    def _is_disabled(self, receiver: ReceiverProcess) -> bool:
        self._ordeal.assert_alive()
        return bool(self._ordeal.count(f"endpoint WHERE name = '{receiver.name}' AND disabled_at IS NOT NULL"))

    def _ingest_beside(self) -> "subprocess.Popen[bytes]":
        """``damd ingest`` on new files, already at work: its events are known to no relay."""
        number = len(self._beside)
        folder, told = self._ordeal.root / f"beside{number}", self._ordeal.folder / f"beside{number}.jsonl"
        folder.mkdir()
        for serial in range(_FILES_BESIDE):
            write_file(folder / f"{serial}.bin", small_content(folder.name, serial + 1))
        config = str(self._ordeal.folder / "damd.yaml")
        with told.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "damd", "ingest", str(folder), "--config", config, "--json"], stdout=out
            )
        self._beside.append(told)
        until(lambda: bool(told.stat().st_size) or process.poll() is not None, "the first import beside", _SOON_S)
        return process

    def _imported_beside(self) -> int:
        lines = [json.loads(line) for told in self._beside for line in told.read_text().splitlines()]
        return sum(line["status"] == "SUCCESS" for line in lines)
