"""Events as the outside meets them: plain JSON, ids that stay, paths that lose nothing."""

import base64
import dataclasses
import json
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schemas import faults

from damd.events import (
    EVENTS,
    LARGEST_BODY_BYTES,
    AssetEvent,
    Event,
    FileChangedEvent,
    FileDuplicateEvent,
    FileEvent,
    FileFailedEvent,
    FileImportedEvent,
    FileMissingEvent,
    FileMovedEvent,
    FileNearDuplicateEvent,
    RootHeldEvent,
    body_of,
    json_schema,
    readable,
    readable_path,
)
from damd.world import BaseEvent


def imported(**fields: object) -> FileImportedEvent:
    known: dict[str, object] = {
        "asset_id": 7,
        "path": "/pictures/a.jpg",
        "root": "inbox",
        "sha256": "ab" * 32,
        "size_bytes": 3,
        "mime_type": "image/jpeg",
        "family": "image",
        "duration_s": 0.25,
    }
    return FileImportedEvent(**(known | fields))  # type: ignore[arg-type]  # each field has its own type


def moved(path: bytes, previous_path: bytes) -> FileMovedEvent:
    told, told_base64 = readable_path(path)
    previous, previous_base64 = readable_path(previous_path)
    return FileMovedEvent(
        asset_id=7,
        path=told,
        path_base64=told_base64,
        root="inbox",
        sha256="ab" * 32,
        previous_path=previous,
        previous_path_base64=previous_base64,
        previous_root="inbox",
    )


TEXTS = st.text(max_size=20) | st.none()
ASSETS = st.integers(0, 2**63 - 1)
HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
ENVELOPE = {
    "event_id": st.text(min_size=1, max_size=40),
    "occurred_at": st.datetimes(timezones=st.just(UTC)),
    "revision": st.integers(1, 2**31) | st.none(),
}
PLACE = {"path": st.text(max_size=30), "path_base64": TEXTS, "root": TEXTS}
COMMON = {**ENVELOPE, **PLACE, "asset_id": ASSETS, "sha256": HASHES}
ALIKE = st.lists(st.fixed_dictionaries({"asset_id": ASSETS, "distance": st.integers(0, 16)}), max_size=3)
OCCURRENCES = st.one_of(
    st.builds(
        FileImportedEvent,
        **COMMON,
        size_bytes=st.integers(0, 2**63 - 1),
        mime_type=TEXTS,
        family=TEXTS,
        duration_s=st.floats(0, 1e6),
        near_duplicates=ALIKE,
    ),
    st.builds(
        FileDuplicateEvent,
        **COMMON,
        size_bytes=st.integers(0, 2**63 - 1),
        other_path=TEXTS,
        other_path_base64=TEXTS,
        other_root=TEXTS,
    ),
    st.builds(FileNearDuplicateEvent, **COMMON, near_duplicates=ALIKE),
    st.builds(
        FileFailedEvent,
        **ENVELOPE,
        **PLACE,
        asset_id=ASSETS | st.none(),
        sha256=HASHES | st.none(),
        reason=st.text(max_size=30),
        permanent=st.booleans(),
        mime_type=TEXTS,
        size_bytes=st.integers(0, 2**63 - 1),
    ),
    st.builds(
        RootHeldEvent,
        **ENVELOPE,
        root=st.text(max_size=10),
        path=st.text(max_size=30),
        path_base64=TEXTS,
        reason=st.text(max_size=30),
        missing_files=st.integers(0, 10**9) | st.none(),
    ),
    st.builds(
        FileMovedEvent,
        **COMMON,
        previous_path=st.text(max_size=30),
        previous_path_base64=TEXTS,
        previous_root=TEXTS,
    ),
    st.builds(FileChangedEvent, **COMMON, previous_asset_id=ASSETS, previous_sha256=HASHES),
    st.builds(FileMissingEvent, **COMMON),
)


@given(OCCURRENCES)
def test_an_event_survives_its_way_through_json(event: Event) -> None:
    data = json.loads(json.dumps(event.own_data(), allow_nan=False))
    known = {"event_id": event.event_id, "occurred_at": event.occurred_at, "revision": event.revision}
    assert type(event).from_data(data, **known) == event  # type: ignore[arg-type]  # by name


@given(OCCURRENCES)
def test_what_the_outside_is_told_has_type_moment_and_data_and_meets_its_schema(event: Event) -> None:
    body = json.loads(body_of(event))
    assert (body["type"], body["data"]) == (event.event_type, event.data())
    assert datetime.fromisoformat(body["timestamp"]) == event.occurred_at
    assert list(body["data"])[:2] == ["version", "revision"]
    assert list(faults(body, json_schema(type(event)))) == []


def test_a_body_is_below_20_kb_whatever_the_names_and_loses_nothing() -> None:
    path, previous = b"/" + b"\x01" * 4094, b"/" + b"\xff" * 4094
    body = body_of(moved(path, previous))
    assert len(body) < LARGEST_BODY_BYTES
    data = json.loads(body)["data"]
    assert base64.b64decode(data["path_base64"]) == path
    assert base64.b64decode(data["previous_path_base64"]) == previous
    assert data["path"].endswith("…")


def test_a_long_path_that_fits_is_told_as_it_is() -> None:
    path = b"/" + b"name/" * 800
    data = json.loads(body_of(moved(path, path)))["data"]
    assert (data["path"], data["path_base64"]) == (path.decode(), None)


def test_the_data_has_its_version_and_not_the_envelope() -> None:
    data = imported().data()
    assert data["version"] == FileImportedEvent.version == 1
    assert set(data) == {
        "version",
        "revision",
        "asset_id",
        "path",
        "path_base64",
        "root",
        "sha256",
        "size_bytes",
        "mime_type",
        "family",
        "duration_s",
        "near_duplicates",
    }


def test_fields_that_this_version_does_not_know_are_left_out() -> None:
    event = imported()
    data = event.data() | {"colour": "red", "event_id": "another", "occurred_at": "never", "event_type": "odd"}
    assert FileImportedEvent.from_data(data, event_id=event.event_id, occurred_at=event.occurred_at) == event


def test_a_field_that_is_missing_is_an_error() -> None:
    data = imported().data()
    del data["sha256"]
    with pytest.raises(TypeError, match="sha256"):
        FileImportedEvent.from_data(data, event_id="evt_1", occurred_at=datetime.now(UTC))


def test_every_event_has_an_id_and_a_moment_of_its_own() -> None:
    before = datetime.now(UTC)
    events = [imported() for _ in range(100)]
    assert len({event.event_id for event in events}) == 100
    assert all(before <= event.occurred_at <= datetime.now(UTC) for event in events)
    assert all(event.event_id.startswith("evt_") and len(event.event_id) == 36 for event in events)


def test_an_event_cannot_be_changed_and_is_made_with_names_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        imported().path = "another"  # type: ignore[misc]  # the point of it
    with pytest.raises(TypeError):
        FileImportedEvent("evt_1")  # type: ignore[call-arg]  # the point of it


def test_every_event_is_found_by_its_public_name() -> None:
    assert EVENTS["file.imported"] is FileImportedEvent
    for name, event_type in EVENTS.items():
        assert event_type.event_type == name
        assert issubclass(event_type, Event)
        assert issubclass(event_type, BaseEvent)
        assert event_type.version >= 1
    assert {"file.imported", "file.duplicate", "file.near_duplicate", "file.changed", "file.moved"} < set(EVENTS)
    assert {"file.missing", "file.failed", "root.held"} < set(EVENTS)
    bases: set[type[Event]] = {Event, FileEvent, AssetEvent}
    kinds = {kind for base in bases for kind in base.__subclasses__() if kind.__module__ == Event.__module__}
    assert set(EVENTS.values()) == kinds - bases


def test_a_moment_of_another_zone_stays_that_moment() -> None:
    zone = timezone(timedelta(hours=5, minutes=45))
    moment = datetime(2026, 3, 4, 5, 6, tzinfo=zone)
    assert imported(occurred_at=moment).occurred_at.astimezone(UTC) == moment


@given(st.binary(max_size=40))
def test_no_path_loses_anything(path: bytes) -> None:
    text, path_base64 = readable_path(path)
    assert json.loads(json.dumps(text)) == text
    text.encode("utf-8")
    assert (base64.b64decode(path_base64) if path_base64 is not None else text.encode()) == path


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_path_that_is_text_stays_that_text(path: str) -> None:
    assert readable_path(path.encode()) == (path, None)


def test_people_read_every_spelling_of_a_path() -> None:
    assert (
        readable(b"caf\xe9") == readable(os.fsdecode(b"caf\xe9")) == readable(Path(os.fsdecode(b"caf\xe9"))) == "caf�"
    )
    assert readable(Path("/ü")) == "/ü"
