"""``damd events``: what was announced, to whom it came, and sending it again."""

import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from anyio.from_thread import start_blocking_portal
from command_line import STRANGE, Outcome, Start, run_damd
from owing import owe
from schemas import faults
from sqlmodel import Session

from damd import control
from damd.catalogue.deliveries import Refusal, due_deliveries, mark_delivered, mark_refused
from damd.catalogue.endpoints import attach, disable, enable
from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.outbox import store_event
from damd.cli.events.asking import parse_when
from damd.events import (
    EVENTS,
    Alike,
    Event,
    FileChangedEvent,
    FileDuplicateEvent,
    FileFailedEvent,
    FileImportedEvent,
    FileMissingEvent,
    FileMovedEvent,
    FileNearDuplicateEvent,
    RootHeldEvent,
    Subscription,
    body_of,
    readable_path,
)

AT = datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def missing(number: int, **fields: Any) -> FileMissingEvent:
    known: dict[str, Any] = {
        "event_id": f"evt_{number:04}",
        "occurred_at": AT + number * HOUR,
        "path": f"/inbox/{number}.jpg",
        "root": "inbox",
        "asset_id": number,
        "sha256": "aa",
    }
    return FileMissingEvent(**(known | fields))


def held(number: int) -> RootHeldEvent:
    return RootHeldEvent(
        event_id=f"evt_{number:04}",
        occurred_at=AT + number * HOUR,
        root="inbox",
        path="/inbox",
        reason="it is not there",
        missing_files=None,
    )


class Books(NamedTuple):
    """A catalogue to be filled, and to be asked."""

    state: Path
    config: Path

    def change(self, *changes: Callable[[Session], object]) -> None:
        engine = make_engine(CatalogueSettings(), self.state)
        with Session(engine) as session:
            for change in changes:
                change(session)
            session.commit()
        engine.dispose()

    def announce(self, *events: Event, to: tuple[str, ...] | None = ()) -> None:
        """Store events, and make their deliveries to these; None: leave that to the daemon."""
        self.change(*(lambda session, event=event: store_event(session, event) for event in events))
        if to is not None:
            self.change(lambda session: owe(session, *to, at=AT))

    def endpoints(self, *names: str, sole: bool = False) -> None:
        self.change(lambda session: attach(session, dict.fromkeys(names, Subscription("webhook")), at=AT, sole=sole))

    def configure(self, **events: list[str]) -> None:
        """Webhooks by their names, with the types that they subscribe to."""
        entries = [
            {"kind": "webhook", "name": name, "url": "http://127.0.0.1:9/", "secret": {"env": "NONE"}, "events": types}
            for name, types in events.items()
        ]
        self.config.write_text(json.dumps({"state": str(self.state), "subscribers": entries}))

    def ask(self, *arguments: object) -> Outcome:
        return run_damd("events", *arguments, "--config", self.config)

    def due(self, endpoint: str) -> list[str]:
        """The ids of the events that are due to it."""
        query = "SELECT event_id FROM delivery WHERE subscriber = ? AND next_attempt_at IS NOT NULL ORDER BY event_id"
        with closing(sqlite3.connect(self.state / "catalogue.sqlite3")) as connection:
            return [event_id for (event_id,) in connection.execute(query, [endpoint])]


@pytest.fixture
def books(tmp_path: Path, state: Path, migrated: Path) -> Books:
    shutil.copytree(migrated, state)
    made = Books(state, tmp_path / "damd.yaml")
    made.configure()
    return made


@pytest.fixture
def in_kolkata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_kolkata")
def test_events_are_listed_with_the_newest_last_at_local_time(books: Books) -> None:
    books.announce(missing(1), held(2), missing(3))
    listed = books.ask("list", "--limit", 2)
    assert (listed.code, listed.err) == (0, "")
    assert listed.out == (
        "2026-05-04 17:41:12+05:30  root.held            /inbox: it is not there  evt_0002\n"
        "2026-05-04 18:41:12+05:30  file.missing         /inbox/3.jpg  evt_0003\n"
    )


def test_a_listed_event_is_an_object_on_a_line_for_programs(books: Books) -> None:
    books.endpoints("gallery")
    books.announce(missing(1), to=("gallery",))
    [event] = books.ask("list", "--json").objects
    assert {name: event[name] for name in ("event_id", "type", "timestamp")} == {
        "event_id": "evt_0001",
        "type": "file.missing",
        "timestamp": "2026-05-04T11:11:12.000000Z",
    }
    assert event["data"]["revision"] == event["revision"]
    [delivery] = event["deliveries"]
    assert (delivery["endpoint"], delivery["state"], delivery["attempts"]) == ("gallery", "owed", 0)


def test_a_name_cannot_move_the_cursor(books: Books) -> None:
    path, path_base64 = readable_path(b"/inbox/" + STRANGE)
    books.announce(missing(1, path=path, path_base64=path_base64))
    for listed in (books.ask("list"), books.ask("show", "evt_0001")):
        assert len([line for line in listed.out.splitlines() if "\\x1b[2J" in line or "\\u001b[2J" in line]) == 1
        assert all(line.isprintable() for line in listed.out.split("\n"))


def test_events_are_chosen_by_time_and_type(books: Books) -> None:
    books.announce(missing(1), held(2), missing(3))

    def chosen(*options: object) -> list[str]:
        return [event["event_id"] for event in books.ask("list", "--json", *options).objects]

    assert chosen("--since", "2026-05-04T12:11:12Z") == ["evt_0002", "evt_0003"]
    assert chosen("--until", "2026-05-04T12:11:12Z") == ["evt_0001"]
    assert chosen("--type", "file.missing") == ["evt_0001", "evt_0003"]
    assert chosen("--type", "file.missing", "--type", "root.held", "--since", "2026-05-01") == [
        "evt_0001",
        "evt_0002",
        "evt_0003",
    ]
    assert chosen("--until", "2026-05-04") == []


@pytest.mark.usefixtures("in_kolkata")
def test_a_moment_is_local_where_no_zone_is_named_or_so_long_ago() -> None:
    assert parse_when("2026-05-04") == datetime(2026, 5, 3, 18, 30, tzinfo=UTC)
    assert parse_when("2026-05-04T10:00") == datetime(2026, 5, 4, 4, 30, tzinfo=UTC)
    assert parse_when("2026-05-04 10:00:00+02:00") == datetime(2026, 5, 4, 8, tzinfo=UTC)
    assert parse_when("2026-05-04T10:00Z") == datetime(2026, 5, 4, 10, tzinfo=UTC)
    before = datetime.now(UTC)
    assert before <= parse_when("1h30m") + timedelta(minutes=90) <= datetime.now(UTC)


@pytest.mark.parametrize("text", ["yesterday", "2", "2026-13-01", "9999999999d", "0001-01-01T00:00+14:00", ""])
def test_what_is_no_moment_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"write a date .* or how long ago"):
        parse_when(text)
    asked = run_damd("events", "list", "--since", text)
    assert (asked.code, asked.out) == (2, "")
    assert "2026-05-04T10:30" in asked.err


def test_a_type_that_nobody_publishes_is_refused_but_not_a_plugins_that_is_stored(books: Books) -> None:
    for command in ("list", "tail", "replay"):
        refused = books.ask(command, "--type", "file.eaten")
        assert (refused.code, refused.out) == (2, "")
        assert "there are file.imported, file.duplicate" in refused.err

    with closing(sqlite3.connect(books.state / "catalogue.sqlite3")) as connection, connection:
        connection.execute(
            "INSERT INTO event (id, event_type, occurred_at, data) "
            "VALUES ('evt_p', 'plugin.sold', '2026-05-04 10:11:12.000000', '{\"version\": 1}')"
        )
    listed = books.ask("list", "--type", "plugin.sold")
    assert listed.code == 0
    assert listed.out.endswith("  plugin.sold          -  evt_p\n")


def test_an_endpoints_events_tell_how_their_deliveries_went(books: Books) -> None:
    books.endpoints("gallery", "archive")
    books.announce(missing(1), missing(2), missing(3), to=("gallery",))

    def deliver(session: Session) -> None:
        first, second, _ = due_deliveries(session, "gallery", at=AT, limit=3)
        mark_delivered(session, [first.delivery_id], at=AT)
        mark_refused(session, [Refusal(second.delivery_id, AT + HOUR, "The receiver answered 503")], at=AT)

    books.change(deliver)
    taken, refused, waiting = [line.split("  ", 4)[-1] for line in _lines(books.ask("list", "--endpoint", "gallery"))]
    assert "gallery: delivered 2026-05-0" in taken
    assert "gallery: owed (tried once, next 2026-05-0" in refused
    assert refused.endswith(": The receiver answered 503)")
    assert "gallery: owed (not tried yet, next 2026-05-0" in waiting

    assert [line.split()[4] for line in _lines(books.ask("list", "--owed"))] == ["evt_0002", "evt_0003"]
    assert _lines(books.ask("list", "--endpoint", "archive")) == []

    books.change(lambda session: disable(session, "gallery", because="It only fails", at=AT))
    assert "gallery: parked, since it is disabled (tried once" in books.ask("list", "--owed").out
    books.change(lambda session: enable(session, "gallery", at=AT))
    books.endpoints("archive", sole=True)
    assert "gallery: parked, since it was removed (not tried yet)" in books.ask("list", "--owed").out


def _lines(outcome: Outcome) -> list[str]:
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out.splitlines()


def test_it_is_said_that_deliveries_are_still_to_be_made(books: Books) -> None:
    books.endpoints("gallery")
    books.announce(missing(1), to=None)
    asked = books.ask("list", "--owed")
    assert (asked.code, asked.out) == (0, "")
    assert "still to be made: damd run makes them" in asked.err
    assert books.ask("show", "evt_0001").out.endswith("still to be made: damd run makes them.\n")


def test_an_unknown_endpoint_is_refused_with_those_that_are_known(books: Books) -> None:
    for command in ("list", "replay"):
        refused = books.ask(command, "--endpoint", "shop", "--since", "1h")
        assert (refused.code, refused.out) == (2, "")
        assert "there is none" in refused.err
    books.endpoints("former")
    books.configure(gallery=[])
    for command in ("list", "replay"):
        assert "there are former, gallery" in books.ask(command, "--endpoint", "shop", "--since", "1h").err


def test_an_event_is_shown_in_full_with_each_of_its_deliveries(books: Books) -> None:
    books.endpoints("gallery")
    books.announce(missing(1), to=("gallery",))

    def refuse(session: Session) -> None:
        [due] = due_deliveries(session, "gallery", at=AT, limit=1)
        refusal = Refusal(due.delivery_id, AT + HOUR, "The receiver answered 503", 503, "come back\nlater")
        mark_refused(session, [refusal], at=AT)

    books.change(refuse)
    shown = books.ask("show", "evt_00")
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[:2] == ["event_id   evt_0001", "type       file.missing"]
    assert '  "sha256": "aa"' in shown.out
    assert lines[-3].startswith("delivery   gallery: owed (tried once, next 2026-05-0")
    assert lines[-2:] == ["  status   503", "  answer   come back\\nlater"]

    [event] = books.ask("show", "evt_0001", "--json").objects
    assert event["data"]["sha256"] == "aa"
    assert event["deliveries"][0]["last_response"] == "come back\nlater"


def test_an_event_is_found_only_by_the_beginning_of_one_id(books: Books) -> None:
    books.announce(missing(1), missing(2))
    unknown, several = books.ask("show", "evt_9"), books.ask("show", "evt_0")
    assert (unknown.code, unknown.out, several.code, several.out) == (1, "", 1, "")
    assert "No event is 'evt_9'" in unknown.err
    assert "several events begin with 'evt_0'" in several.err


@pytest.mark.parametrize("event_id", ["", os.fsdecode(b"\xff"), "%"], ids=["empty", "no text", "a pattern"])
def test_what_cannot_be_an_id_is_nobodys(books: Books, event_id: str) -> None:
    books.announce(missing(1))
    books.configure(gallery=[])
    for command in ("show", "replay"):
        asked = books.ask(command, event_id)
        assert (asked.code, asked.out) == (1, "")
        assert "No event is" in asked.err


def test_a_replay_asks_which_events_are_meant(books: Books) -> None:
    books.configure(gallery=[])
    for options in ([], ["--endpoint", "gallery"]):
        refused = books.ask("replay", *options)
        assert (refused.code, refused.out) == (2, "")
        assert "say which" in refused.err


def test_an_endpoint_is_sent_again_what_it_subscribed_to(books: Books) -> None:
    books.configure(gallery=["file.missing"], archive=[])
    books.endpoints("gallery", "archive")
    books.announce(missing(1), held(2), missing(3))
    again = books.ask("replay", "--since", "2026-05-04")
    assert again.code == 0
    assert again.out == (
        "archive: 3 events will be sent\ngallery: 2 events will be sent; it did not subscribe to root.held\n"
    )
    assert again.err == f"No damd runs on {books.state}: damd run sends them\n"
    assert books.due("gallery") == ["evt_0001", "evt_0003"]
    assert books.due("archive") == ["evt_0001", "evt_0002", "evt_0003"]


def test_another_type_is_sent_only_if_both_it_and_the_endpoint_are_named(books: Books) -> None:
    books.configure(gallery=["file.missing"])
    books.endpoints("gallery")
    books.announce(missing(1), held(2))
    of_type = ("replay", "--type", "root.held")
    assert books.ask(*of_type).out == "gallery: 0 events will be sent; it did not subscribe to root.held\n"
    assert books.ask("replay", "evt_0002", "--endpoint", "gallery").out.startswith("gallery: 0 events")
    assert books.due("gallery") == []
    assert books.ask(*of_type, "--endpoint", "gallery").out == "gallery: 1 event will be sent\n"
    assert books.due("gallery") == ["evt_0002"]


def test_only_what_an_endpoint_never_had_is_sent_if_that_is_asked(books: Books) -> None:
    books.configure(gallery=[], late=[])
    books.endpoints("gallery")
    books.announce(missing(1), missing(2), to=("gallery",))
    dry = books.ask("replay", "--missing", "--dry-run")
    assert dry.out.splitlines()[0] == "gallery: 0 events would be sent"
    assert dry.out.splitlines()[1].startswith("late: 2 events would be sent; it is new to the catalogue")
    assert (dry.err, books.due("late")) == ("", [])

    again = books.ask("replay", "--missing", "--json").objects
    assert [(each["endpoint"], each["events"], each["parked_because"]) for each in again] == [
        ("gallery", 0, None),
        ("late", 2, "new"),
    ]
    assert books.due("late") == ["evt_0001", "evt_0002"]


def test_events_are_sent_again_by_the_beginnings_of_their_ids_all_or_none(books: Books) -> None:
    books.configure(gallery=[])
    books.endpoints("gallery")
    books.announce(*map(missing, range(12)))
    refused = books.ask("replay", "evt_0001", "evt_7")
    assert (refused.code, books.due("gallery")) == (1, [])
    assert books.ask("replay", "evt_0001", "evt_001").code == 1, "two ids begin so"
    assert books.ask("replay", "evt_0001", "evt_0002").out == "gallery: 2 events will be sent\n"
    assert books.due("gallery") == ["evt_0001", "evt_0002"]


def test_what_is_sent_to_one_that_is_disabled_or_removed_waits_and_that_is_said(books: Books) -> None:
    books.configure(gallery=[])
    books.endpoints("gallery", "former")
    books.endpoints("gallery", sole=True)
    books.announce(missing(1))
    books.change(lambda session: disable(session, "gallery", because="It only fails", at=AT))
    assert "it is disabled: they wait until damd webhooks enable gallery" in books.ask("replay", "evt_0001").out
    to_former = books.ask("replay", "evt_0001", "--endpoint", "former")
    assert "it was removed from the configuration: they wait until it is back" in to_former.out
    assert books.due("former") == ["evt_0001"]


def test_nothing_is_sent_where_it_is_not_known_what_was_subscribed_to(books: Books) -> None:
    books.endpoints("gallery")
    books.announce(missing(1))
    for options in ((), ("--endpoint", "gallery")):
        refused = books.ask("replay", "--since", "2026-05-04", *options)
        assert (refused.code, refused.out) == (1, "")
        assert "gallery is not in this configuration" in refused.err
    assert books.due("gallery") == []
    assert books.ask("replay", "--type", "file.missing", "--endpoint", "gallery").code == 0
    assert books.due("gallery") == ["evt_0001"]


def test_without_an_endpoint_there_is_nobody_to_send_anything_to(books: Books) -> None:
    refused = books.ask("replay", "--since", "1h")
    assert (refused.code, refused.out) == (1, "")
    assert "`subscribers:`" in refused.err


def test_nothing_is_said_of_a_daemon_that_runs(books: Books) -> None:
    books.configure(gallery=[])
    books.endpoints("gallery")
    books.announce(missing(1))

    async def status(_question: object) -> dict[str, Any]:
        return {"pid": os.getpid()}

    async def serve(*, task_status: Any) -> None:
        await control.serve(books.state, {"status": status}, task_status=task_status)

    with start_blocking_portal() as portal:
        serving, _ = portal.start_task(serve)
        assert books.ask("replay", "evt_0001").err == ""
        serving.cancel()


def test_five_thousand_events_are_sent_again(books: Books) -> None:
    books.configure(gallery=[])
    books.endpoints("gallery")
    books.announce(*map(missing, range(5000)))
    assert books.ask("replay", "--since", "2026-01-01").out == "gallery: 5000 events will be sent\n"
    assert len(books.due("gallery")) == 5000
    assert len(books.ask("list", "--limit", 5000, "--json").objects) == 5000


def test_the_tail_goes_on_with_what_others_commit_until_it_is_interrupted(books: Books, start: Start) -> None:
    books.announce(missing(1), missing(2), held(3))
    process = start("events", "tail", "-n", 1, "--type", "file.missing", "--json", "--config", books.config)
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["event_id"] == "evt_0002"
    books.announce(held(4), missing(5))
    assert json.loads(process.stdout.readline())["event_id"] == "evt_0005"
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


def test_whoever_has_seen_enough_of_the_tail_hears_no_complaint(books: Books, start: Start) -> None:
    books.announce(missing(1))
    process = start("events", "tail", "--config", books.config)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    books.announce(missing(2))
    assert process.stderr.read() == b""
    assert process.wait(30) == 1


def test_without_a_catalogue_nothing_is_begun(state: Path) -> None:
    for arguments in (("list",), ("tail",), ("show", "evt_1"), ("replay", "evt_1")):
        asked = run_damd("events", *arguments, "--state", state)
        assert asked.code == 1
        assert "There is no catalogue" in asked.err
    assert not state.exists()


ASSET: dict[str, Any] = {"path": "/inbox/a.jpg", "root": None, "asset_id": 7, "sha256": "aa"}
ALIKE: list[Alike] = [{"asset_id": 3, "distance": 0}]
EXAMPLES: list[Event] = [
    FileImportedEvent(
        **ASSET, size_bytes=3, mime_type=None, family="image", duration_s=0.5, near_duplicates=ALIKE, revision=2
    ),
    FileDuplicateEvent(**ASSET, size_bytes=3, other_path=None, other_root=None),
    FileNearDuplicateEvent(**ASSET, near_duplicates=ALIKE),
    FileChangedEvent(**ASSET, previous_asset_id=3, previous_sha256="bb"),
    FileMovedEvent(**ASSET, previous_path="/inbox/b.jpg", previous_root="inbox"),
    FileMissingEvent(**ASSET),
    FileFailedEvent(
        **(ASSET | {"asset_id": None, "sha256": None}), reason="odd", permanent=True, mime_type=None, size_bytes=3
    ),
    held(1),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.event_type)
def test_what_receivers_are_sent_is_valid_by_the_schema(event: Event) -> None:
    printed = json.loads(run_damd("events", "schema", event.event_type).out)
    body = json.loads(body_of(event))
    assert list(faults(body, printed, printed)) == []
    assert list(faults(body | {"type": "file.eaten"}, printed, printed)) != []
    assert list(faults({"type": event.event_type}, printed, printed)) != []

    together = json.loads(run_damd("events", "schema").out)
    fitting = [each for each in together["oneOf"] if not list(faults(body, each, together))]
    assert [each["title"] for each in fitting] == [event.event_type]
    assert len(together["oneOf"]) == len(EVENTS) == len(EXAMPLES)


def test_the_schema_of_a_type_that_is_not_published_is_refused() -> None:
    refused = run_damd("events", "schema", "file.eaten")
    assert (refused.code, refused.out) == (2, "")
    assert "file.imported, file.duplicate" in refused.err
