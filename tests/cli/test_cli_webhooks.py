"""``damd webhooks``, and what ``damd status`` and ``damd doctor`` say of endpoints."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import anyio
import pytest
from command_line import Outcome, run_damd
from owing import owe
from sqlmodel import Session
from subscribers.receiver import OTHER_SECRET, SECRET, Receiver, closed_port, imported, status

from damd.assembly import open_world
from damd.catalogue import endpoints
from damd.catalogue.outbox import store_event
from damd.catalogue.store import Catalogue
from damd.config import load_config
from damd.events import Event, Subscription
from damd.settings import Settings
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.base import DurableSettings

AT = datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC)
ENDPOINT = {
    *("name", "kind", "target", "events", "configured", "state", "owed", "added_at", "removed_since"),
    *("disabled_since", "disabled_because", "failing_since", "last_error", "last_failed_at", "last_delivered_at"),
    "next_attempt_at",
}


class House:
    """A configuration with endpoints, and its catalogue."""

    def __init__(self, folder: Path, migrated: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.secret = folder / "gallery.secret"
        self.secret.touch(0o600)
        self.secret.write_text(f"{SECRET}\n")
        self._migrated = migrated

    def configure(self, *subscribers: dict[str, Any]) -> None:
        (self.folder / "damd.yaml").write_text(json.dumps({"subscribers": [{"kind": "log"}, *subscribers]}))

    def webhook(self, url: str = "https://gallery.example/hooks", **others: Any) -> dict[str, Any]:
        return {"kind": "webhook", "name": "gallery", "url": url, "secret": {"file": str(self.secret)}} | others

    def write(self, change: Callable[[Session], Any]) -> Any:
        """Have something written into the catalogue, which is told of the endpoints."""
        if not self.state.exists():
            shutil.copytree(self._migrated, self.state)
        config = load_config(self.folder / "damd.yaml", overrides={"state": str(self.state)})

        async def write_it() -> Any:
            async with open_world(config) as world:
                return await world.get_resource(Catalogue).write(change)

        return anyio.run(write_it)

    def attach(self) -> None:
        self.write(lambda _: None)

    def owe(self, count: int, *, at: datetime = AT) -> None:
        """Have so many events happen that the endpoint called gallery wants."""

        def change(session: Session) -> None:
            for number in range(count):
                store_event(session, imported(number, occurred_at=at))
            owe(session, "gallery", at=at)

        self.write(change)

    def damd(self, *arguments: object) -> Outcome:
        return run_damd(*arguments, "--config", self.folder / "damd.yaml", "--state", self.state)

    def list(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.damd("webhooks", "list", "--json").objects}


@pytest.fixture
def house(tmp_path: Path, migrated: Path) -> House:
    return House(tmp_path, migrated)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_endpoints_are_listed_with_where_they_lead_and_how_they_fare(house: House) -> None:
    program = {"kind": "command", "name": "sorter", "command": ["/bin/cat", "--password=hush"], "events": []}
    house.configure(house.webhook("https://me:hush@gallery.example:8443/hooks?key=hush#hush"), program)
    house.attach()
    house.owe(2)
    house.write(lambda session: endpoints.note_delivered(session, "gallery", at=AT))
    told = house.damd("webhooks", "list")
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines() == [
        "gallery: webhook https://gallery.example:8443 (active)",
        "  file.imported; 2 events owed (due); took the last one 2026-05-04 10:11:12 UTC",
        "sorter: command /bin/cat (active)",
        "  all events; 0 events owed",
    ]
    found = house.list()
    assert [set(each) for each in found.values()] == [ENDPOINT, ENDPOINT]
    assert (found["gallery"]["owed"], found["gallery"]["events"]) == (2, ["file.imported"])
    assert found["sorter"]["events"] == []
    assert "hush" not in json.dumps(found)


def test_a_failing_endpoint_stands_out_with_what_it_last_said(house: House) -> None:
    house.configure(house.webhook())
    failed = partial(endpoints.note_failed, name="gallery", error="The receiver answered 500", disable_after=None)
    house.write(lambda session: failed(session, at=AT))
    first, _, last = house.damd("webhooks", "list").out.splitlines()
    assert first.endswith("(failing)")
    assert last == "  FAILING since 2026-05-04 10:11:12 UTC: The receiver answered 500"
    house.write(lambda session: endpoints.note_delivered(session, "gallery", at=AT))
    assert house.list()["gallery"]["state"] == "active"


def test_what_is_only_configured_or_only_known_is_listed_too(house: House) -> None:
    house.configure(house.webhook())
    house.attach()
    house.configure(house.webhook(name="archive"))
    told = house.damd("webhooks", "list").out.splitlines()
    assert told == [
        "archive: webhook https://gallery.example (new: hears from the next start on)",
        "  file.imported; 0 events owed",
        "gallery: webhook (not configured: removed at the next start)",
        "  0 events parked",
    ]
    house.write(lambda session: endpoints.attach(session, {"archive": Subscription("webhook")}, at=AT, sole=True))
    assert "gallery: webhook (removed since 2026-05-04 10:11:12 UTC)\n" in house.damd("webhooks", "list").out
    assert {name: (each["state"], each["configured"]) for name, each in house.list().items()} == {
        "archive": ("active", True),
        "gallery": ("removed", False),
    }
    house.configure(house.webhook())
    assert house.list()["gallery"]["state"] == "new"


def test_a_question_begins_no_catalogue(house: House) -> None:
    house.configure()
    told = house.damd("webhooks", "list")
    assert (told.code, told.out) == (0, "")
    assert told.err.startswith("There are no webhooks and no commands yet: ")
    house.configure(house.webhook())
    known = {key: value for key, value in house.list()["gallery"].items() if value is not None}
    assert known == {
        "name": "gallery",
        "kind": "webhook",
        "target": "https://gallery.example",
        "events": ["file.imported"],
        "configured": True,
        "state": "new",
        "owed": 0,
    }
    refused = house.damd("webhooks", "disable", "gallery")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("damd: There is no catalogue")
    assert not house.state.exists()


def test_a_test_message_is_signed_and_sent_as_every_other(house: House, receiver: Receiver) -> None:
    house.configure(house.webhook(receiver.url))
    told = house.damd("webhooks", "test", "gallery")
    (received,) = receiver.received
    assert (told.code, told.out) == (0, "")
    assert told.err.startswith(f"gallery took the test message {received.message_id} in ")
    assert received.message_id.startswith("evt_test_")
    assert received.payload["type"] == "webhook.test"
    assert set(received.payload["data"]) == {"version", "revision", "message"}
    assert (received.payload["data"]["version"], received.payload["data"]["revision"]) == (1, None)
    assert not house.state.exists()


def test_a_test_message_that_is_refused_ends_with_1_and_says_why(house: House, receiver: Receiver) -> None:
    house.configure(house.webhook(receiver.url))
    receiver.usual = status(500, body=b"out of\n\x1b[2J paint")
    refused = house.damd("webhooks", "test", "gallery")
    assert (refused.code, refused.out) == (1, "")
    first, *rest = refused.err.splitlines()
    assert first == "gallery did not take the test message: The receiver answered 500 Internal Server Error"
    assert rest == ["What it said begins: out of \\x1b[2J paint"]
    refused = house.damd("webhooks", "test", "gallery", "--json")
    (values,) = refused.objects
    assert (refused.code, refused.err) == (1, "")
    assert list(values) == ["name", "event_id", "taken", "took_s", "error", "status_code", "response"]
    assert (values["name"], values["taken"], values["status_code"]) == ("gallery", False, 500)


def test_a_receiver_that_wants_nothing_more_is_told_of(house: House, receiver: Receiver) -> None:
    house.configure(house.webhook(receiver.url))
    receiver.usual = status(410)
    told = house.damd("webhooks", "test", "gallery").err
    assert told.endswith("\nThis means that it wants no event any more: a running damd would disable it.\n")


class _OddSettings(DurableSettings):
    kind: Literal["odd"] = "odd"


class _OddSubscriber:
    """Of a plugin: no context manager, and wrong."""

    kind: ClassVar[str] = "odd"
    settings_type: ClassVar[type[Settings]] = _OddSettings
    durable: ClassVar[bool] = True

    def __init__(self, settings: _OddSettings) -> None:
        self.name = settings.name

    def wants(self, event_type: str) -> bool:
        return True

    async def receive(self, event: Event) -> None:
        raise LookupError("no paint")


def test_a_plugin_s_subscriber_that_fails_otherwise_is_told_of_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SUBSCRIBERS, "odd", _OddSubscriber)
    house.configure({"kind": "odd", "name": "painter"})
    assert house.damd("webhooks", "list").out.startswith("painter: odd (new: ")
    refused = house.damd("webhooks", "test", "painter")
    assert refused == (1, "", "painter did not take the test message: LookupError: no paint\n")


def test_where_nobody_listens_the_test_says_so(house: House) -> None:
    with closed_port() as port:
        house.configure(house.webhook(f"http://127.0.0.1:{port}/"))
        refused = house.damd("webhooks", "test", "gallery")
    assert refused.code == 1
    assert refused.err.startswith("gallery did not take the test message: The receiver cannot be reached: ")


def test_a_test_runs_the_command(house: House) -> None:
    noted = house.folder / "noted"
    script = f"import sys; open({str(noted)!r}, 'w').write(sys.stdin.read())"
    house.configure({"kind": "command", "name": "sorter", "command": [sys.executable, "-c", script]})
    assert house.damd("webhooks", "test", "sorter").code == 0
    assert json.loads(noted.read_text())["type"] == "webhook.test"


def test_with_a_wrong_secret_the_test_ends_as_the_daemon_would(house: House, receiver: Receiver) -> None:
    house.configure(house.webhook(receiver.url))
    house.secret.write_text("hush\n")
    refused = house.damd("webhooks", "test", "gallery")
    assert (refused.code, refused.out) == (78, "")
    assert "whsec_" in refused.err
    assert "hush" not in refused.err
    house.secret.write_text(f"{OTHER_SECRET}\n")
    assert house.damd("webhooks", "test", "gallery").code == 1
    assert len(receiver.unverified) == 1


def test_a_credential_that_only_the_service_has_ends_with_how_to_run_the_test(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    house.configure(house.webhook() | {"secret": {"credential": "hush"}})
    refused = house.damd("webhooks", "test", "gallery")
    assert (refused.code, refused.out) == (78, "")
    assert "systemd-run --pipe --wait --quiet -p LoadCredential=hush:/path/to/hush damd webhooks test" in refused.err


def test_an_endpoint_that_nobody_knows_ends_with_2_and_the_known_ones(house: House) -> None:
    house.configure(house.webhook())
    house.attach()
    house.configure(house.webhook(name="archive"))
    for command, known in (("test", "archive"), ("disable", "archive, gallery"), ("enable", "archive, gallery")):
        refused = house.damd("webhooks", command, "attic")
        assert (refused.code, refused.out) == (2, "")
        assert f"There is no endpoint attic{' in the configuration' * (command == 'test')}; " in refused.err
        assert f"those there are: {known}\n" in refused.err


def test_a_disabled_endpoint_keeps_what_it_is_owed_and_is_offered_it_once_enabled(house: House) -> None:
    house.configure(house.webhook())
    house.attach()
    house.owe(2)
    told = house.damd("webhooks", "disable", "gallery")
    assert (told.code, told.out) == (0, "")
    assert told.err.splitlines()[0] == "gallery is disabled: from now on it is offered nothing."
    assert told.err.splitlines()[1].startswith("2 events wait for it, the oldest until 2026-06-03 10:11:12 UTC. ")
    assert told.err.endswith("\nTo have it hear again: damd webhooks enable gallery\n")
    house.owe(1)
    told = house.damd("webhooks", "disable", "gallery")
    assert told.code == 0
    assert told.err.startswith("gallery is disabled already, since 2")
    assert "3 events wait for it" in told.err
    first, second, third, last = house.damd("webhooks", "list").out.splitlines()
    assert first == "gallery: webhook https://gallery.example (disabled)"
    assert second == "  file.imported; 3 events parked"
    assert third.startswith("  DISABLED since 2")
    assert third.endswith("UTC: damd webhooks disable asked for it")
    assert last == "  To have it hear again: damd webhooks enable gallery"
    told = house.damd("webhooks", "enable", "gallery")
    offered = "It is owed 3 events: the next `damd run` offers what is due at once.\n"
    assert told == (0, "", f"gallery is enabled.\n{offered}")
    assert house.damd("webhooks", "enable", "gallery") == (0, "", f"gallery was not disabled.\n{offered}")
    assert house.list()["gallery"]["state"] == "active"


def test_switching_is_told_as_json_too(house: House) -> None:
    house.configure(house.webhook())
    house.attach()
    told = [house.damd("webhooks", verb, "gallery", "--json") for verb in ("disable", "disable", "enable", "enable")]
    assert [(each.code, each.err) for each in told] == [(0, "")] * 4
    states = [(each["state"], each["changed"]) for outcome in told for each in outcome.objects]
    assert states == [("disabled", True), ("disabled", False), ("active", True), ("active", False)]
    assert set(told[0].objects[0]) == ENDPOINT | {"changed"}


def test_one_that_is_new_can_be_disabled_before_it_hears_anything(house: House) -> None:
    house.configure()
    house.attach()
    house.configure(house.webhook())
    assert "It is new: it hears from the next start" in house.damd("webhooks", "enable", "gallery").err
    assert house.list()["gallery"]["state"] == "new"
    assert house.damd("webhooks", "disable", "gallery").code == 0
    house.owe(1)
    assert (house.list()["gallery"]["state"], house.list()["gallery"]["owed"]) == ("disabled", 1)


def test_one_that_was_removed_stays_disabled_if_it_comes_back(house: House) -> None:
    house.configure(house.webhook())
    house.attach()
    house.configure()
    assert house.damd("webhooks", "disable", "gallery").code == 0
    first, *_ = house.damd("webhooks", "list").out.splitlines()
    assert first == "gallery: webhook (disabled, not configured)"
    house.write(lambda session: endpoints.attach(session, {}, at=AT, sole=True))
    house.configure(house.webhook())
    house.attach()
    assert house.list()["gallery"]["state"] == "disabled"
    house.configure()
    told = house.damd("webhooks", "enable", "gallery")
    left_out = "It hears nothing until it is in the configuration; 0 events kept for it."
    assert told.err == f"gallery is enabled.\n{left_out}\n"


def test_one_that_only_fails_is_offered_what_it_is_owed_at_once_from_the_beginning(house: House) -> None:
    house.configure(house.webhook())
    house.attach()
    assert house.damd("webhooks", "enable", "gallery").err == "gallery was not disabled.\nIt is owed nothing.\n"
    house.owe(1)
    failed = partial(endpoints.note_failed, name="gallery", error="no", disable_after=timedelta(days=5))
    house.write(lambda session: failed(session, at=AT))
    told = house.damd("webhooks", "enable", "gallery")
    assert (told.code, house.list()["gallery"]["state"]) == (0, "active")
    assert told.err.endswith("It is owed 1 event: the next `damd run` offers what is due at once.\n")


def test_what_waits_for_a_disabled_endpoint_is_not_counted_as_pending(house: House) -> None:
    house.configure(house.webhook())
    house.attach()
    house.owe(2)
    told = house.damd("status")
    assert told.code == 69
    assert "deliveries pending 2, deliveries parked 0" in told.out
    house.damd("webhooks", "disable", "gallery")
    assert "deliveries pending 0, deliveries parked 2" in house.damd("status").out


def test_the_doctor_warns_of_an_endpoint_that_is_offered_nothing_or_takes_nothing(house: House) -> None:
    house.configure(house.webhook(), house.webhook(name="archive"))
    house.attach()
    assert not any(each["check"].startswith("endpoint") for each in house.damd("doctor", "--json").objects)
    failed = partial(endpoints.note_failed, name="archive", error="no paint", disable_after=None)
    house.write(lambda session: failed(session, at=AT))
    house.damd("webhooks", "disable", "gallery")
    found = {each["check"]: each for each in house.damd("doctor", "--json").objects}
    assert (found["endpoint gallery"]["health"], found["endpoint archive"]["health"]) == ("warning", "warning")
    assert found["endpoint gallery"]["advice"] == "see damd webhooks list, and try it with damd webhooks test"
    assert found["endpoint archive"]["says"] == "It is failing: no paint"
