"""What the catalogue says of its assets, over each of its databases."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from damd.catalogue.absence import accept, hold
from damd.catalogue.describe import (
    asset_page,
    assets_at,
    assets_by_hash,
    describe_assets,
    failure_at,
    failure_page,
    known_below,
    location_at,
    root_states,
    summary,
    volume_at,
)
from damd.catalogue.endpoints import attach, disable
from damd.catalogue.failing import record_failure
from damd.catalogue.outbox import fan_out
from damd.catalogue.record import Finding, NewAsset, Properties, record_asset, record_location
from damd.catalogue.roots import Place, Roots, claim
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Location, Root
from damd.catalogue.volumes import VolumeKey
from damd.errors import BrokenFileError
from damd.events import Event, FileImportedEvent, Subscription

pytestmark = pytest.mark.anyio

MakeAsset = Callable[..., NewAsset]
MakeFinding = Callable[..., Finding]
ROOTS = Roots([Root(name="inbox", path=b"/srv/inbox"), Root(name="odd", path=b"/srv/\xff")])
PREVIEWS = Path("/state/previews")


async def record(catalogue: Catalogue, asset: NewAsset, *, announced: bool = False) -> int:
    def announce(asset_id: int, _: object) -> list[Event]:
        known = {"path": "/srv/inbox/a.jpg", "root": "inbox", "mime_type": None, "family": None, "duration_s": 0.1}
        return [FileImportedEvent(asset_id=asset_id, sha256=asset.sha256, size_bytes=1, **known)]  # type: ignore[arg-type]  # by name

    recorded = await catalogue.write(lambda session: record_asset(session, asset, announce if announced else None))
    return recorded.asset_id


async def describe(catalogue: Catalogue, *asset_ids: int) -> list[dict[str, Any]]:
    described = await catalogue.read(lambda session: describe_assets(session, asset_ids, ROOTS, PREVIEWS))
    assert json.loads(json.dumps(described)) == described
    return described


async def test_an_asset_is_told_with_all_that_is_known_of_it(catalogue: Catalogue, image_asset: MakeAsset) -> None:
    sha256 = "ab" * 32
    asset_id = await record(catalogue, image_asset(sha256, b"2012/a.jpg"))
    (described,) = await describe(catalogue, asset_id)
    described["previews"].sort(key=lambda preview: preview["width"])
    assert described == {
        "asset_id": asset_id,
        "sha256": sha256,
        "size_bytes": 2**40,
        "mime_type": "image/jpeg",
        "family": "image",
        "first_name": "a.jpg",
        "locations": [
            {
                "path": "/srv/inbox/2012/a.jpg",
                "root": "inbox",
                "size_bytes": 3,
                "mtime_ns": 10,
                "missing_since": None,
            }
        ],
        "previews": [
            {"path": f"/state/previews/{sha256}-512.webp", "width": 512, "height": 384},
            {"path": f"/state/previews/{sha256}-1024.webp", "width": 1024, "height": 768},
        ],
        "components": {
            "image_properties": {"width": 4000, "height": 3000, "orientation": 6, "color_mode": "RGB", "frames": 1},
            "perceptual_hash": {"phash": "c3d1" * 4, "crops": None},
            "capture": {
                "taken_at": "2012-05-04T10:11:12+02:00",
                "make": "Canon",
                "model": None,
                "lens": None,
                "exposure_s": None,
                "aperture": None,
                "iso": 2**40,
                "focal_length_mm": None,
                "latitude": -47.5,
                "longitude": None,
                "altitude_m": None,
            },
        },
    }


async def test_an_asset_of_no_family_has_no_components_and_no_previews(
    catalogue: Catalogue, finding: MakeFinding
) -> None:
    properties = Properties(size_bytes=0, first_name="a.txt")
    asset_id = await record(catalogue, NewAsset("cd" * 32, finding(b"a.txt", root=""), properties, []))
    (described,) = await describe(catalogue, asset_id)
    assert (described["components"], described["previews"], described["family"]) == ({}, [], None)
    assert described["mime_type"] is None


async def test_assets_come_in_the_order_asked_for_and_none_that_does_not_exist(
    catalogue: Catalogue, image_asset: MakeAsset
) -> None:
    numbers = [
        await record(catalogue, image_asset(f"{number:02x}" * 32, f"{number}.jpg".encode())) for number in range(4)
    ]
    wanted = [numbers[2], 10**6, numbers[0], numbers[3]]
    assert [each["asset_id"] for each in await describe(catalogue, *wanted)] == [numbers[2], numbers[0], numbers[3]]
    assert await describe(catalogue) == []
    for each, number in zip(await describe(catalogue, *numbers), range(4), strict=True):
        assert [location["path"] for location in each["locations"]] == [f"/srv/inbox/{number}.jpg"]
        assert {preview["path"] for preview in each["previews"]} == {
            f"/state/previews/{f'{number:02x}' * 32}-{size}.webp" for size in (512, 1024)
        }


async def test_every_location_is_told_also_one_of_no_utf_8_one_outside_and_one_that_is_missing(
    catalogue: Catalogue, image_asset: MakeAsset, finding: MakeFinding
) -> None:
    asset_id = await record(catalogue, image_asset("ab" * 32))
    for path, root in ((b"caf\xe9.jpg", "odd"), (b"/elsewhere/a.jpg", ""), (b"left.jpg", "forgotten")):
        found = finding(path, root=root)
        await catalogue.write(partial(record_location, asset_id=asset_id, finding=found))
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    lost = update(Location).where(col(Location.root) == "forgotten").values(missing_since=moment)
    await catalogue.write(lambda session: session.execute(lost).close())
    (described,) = await describe(catalogue, asset_id)
    told = {location["root"]: location for location in described["locations"]}
    assert told["odd"]["path"] == "/srv/�/caf�.jpg"
    assert base64.b64decode(told["odd"]["path_base64"]) == b"/srv/\xff/caf\xe9.jpg"
    assert (told[None]["path"], told[None]["missing_since"]) == ("/elsewhere/a.jpg", None)
    assert told["forgotten"]["missing_since"] == "2026-01-02T03:04:05+00:00"
    assert [root for root, location in told.items() if "path_base64" in location] == ["odd"]


async def test_an_asset_that_has_left_its_path_is_still_told(catalogue: Catalogue, image_asset: MakeAsset) -> None:
    first = await record(catalogue, image_asset("ab" * 32))
    second = await record(catalogue, image_asset("cd" * 32))
    told = await describe(catalogue, first, second)
    assert [len(each["locations"]) for each in told] == [0, 1]
    at_path = await catalogue.read(lambda session: assets_at(session, Place("inbox", b"a.jpg")))
    assert at_path == [second]
    assert await catalogue.read(lambda session: assets_at(session, Place("", b"a.jpg"))) == []


async def test_pages_follow_one_another_and_can_be_of_one_family(
    catalogue: Catalogue, image_asset: MakeAsset, finding: MakeFinding
) -> None:
    images = [await record(catalogue, image_asset(f"{number:02x}" * 32, b"%d" % number)) for number in range(5)]
    text = NewAsset("ee" * 32, finding(b"a.txt"), Properties(size_bytes=1, first_name="a.txt"), [])
    everything = [*images, await record(catalogue, text)]
    pages, after = [], 0
    while page := await catalogue.read(partial(asset_page, after=after, limit=4)):
        pages.append(page)
        after = page[-1]
    assert pages == [everything[:4], everything[4:]]
    of_images = await catalogue.read(lambda session: asset_page(session, family="image"))
    assert of_images == images
    assert await catalogue.read(lambda session: asset_page(session, family="audio")) == []


async def test_assets_are_found_by_how_their_hash_begins(catalogue: Catalogue, image_asset: MakeAsset) -> None:
    for number in range(12):
        await record(catalogue, image_asset("ab" * 31 + f"{number:02x}", b"%d" % number))
    counts = {
        "ab": 10,
        "ab" * 31 + "00": 1,
        "AB" * 31 + "0B": 1,
        "ab" * 32: 0,
        "%": 0,
        "_b": 0,
        "a%": 0,
        "é": 0,
        "": 10,
    }
    for prefix, count in counts.items():
        found = await catalogue.read(partial(assets_by_hash, prefix=prefix))
        assert (prefix, len(set(found))) == (prefix, count)


async def test_the_summary_counts_what_there_is_and_what_is_owed(
    catalogue: Catalogue, image_asset: MakeAsset, finding: MakeFinding
) -> None:
    names = ("assets", "locations", "failures", "deliveries_pending", "deliveries_parked", "events_waiting")
    assert await catalogue.read(summary) == dict.fromkeys(names, 0)
    endpoints = {"gallery": Subscription("webhook"), "archive": Subscription("webhook")}
    await catalogue.write(lambda session: attach(session, endpoints, at=datetime.now(UTC)))
    asset_id = await record(catalogue, image_asset("ab" * 32), announced=True)
    await catalogue.write(lambda session: record_location(session, asset_id, finding(b"copy.jpg")))
    at = datetime.now(UTC)
    bad = finding(b"bad.jpg")
    await catalogue.write(lambda session: record_failure(session, bad, BrokenFileError("it is broken"), at=at))
    assert await catalogue.read(summary) == dict(zip(names, (1, 2, 1, 0, 0, 1), strict=True))
    await catalogue.write(lambda session: fan_out(session, at=at, limit=10))
    assert await catalogue.read(summary) == dict(zip(names, (1, 2, 1, 2, 0, 0), strict=True))
    await catalogue.write(lambda session: disable(session, "archive", because="it is full", at=at))
    assert await catalogue.read(summary) == dict(zip(names, (1, 2, 1, 1, 1, 0), strict=True))


async def test_a_location_is_told_with_the_other_places_of_its_asset(
    catalogue: Catalogue, image_asset: MakeAsset, finding: MakeFinding
) -> None:
    asset_id = await record(catalogue, image_asset("ab" * 32))
    for name in (b"b.jpg", b"\xff.jpg"):
        await catalogue.write(partial(record_location, asset_id=asset_id, finding=finding(name)))

    def at(name: bytes) -> Any:
        return catalogue.read(lambda session: location_at(session, Place("inbox", name), ROOTS))

    first, second = await at(b"a.jpg"), await at(b"b.jpg")
    assert json.loads(json.dumps(first)) == first
    assert (first["asset_id"], first["sha256"], first["missing_since"]) == (asset_id, "ab" * 32, None)
    assert datetime.fromisoformat(first["imported_at"]) <= datetime.now(UTC)
    assert [each["path"] for each in first["others"]] == ["/srv/inbox/b.jpg", "/srv/inbox/\ufffd.jpg"]
    assert (first["duplicate_of"], first["other_count"]) == (None, 2)
    assert second["duplicate_of"] == {"path": "/srv/inbox/a.jpg"}
    gone = update(Location).where(col(Location.path) == b"a.jpg").values(missing_since=datetime.now(UTC))
    await catalogue.write(lambda session: [session.execute(gone)])
    assert (await at(b"a.jpg"))["missing_since"] is not None
    second = await at(b"b.jpg")
    assert (second["duplicate_of"], second["other_count"]) == (None, 1), "what is missing is no duplicate"
    assert await at(b"c.jpg") is None


async def test_a_location_knows_the_volume_that_it_was_seen_on(
    catalogue: Catalogue, image_asset: MakeAsset, finding: MakeFinding
) -> None:
    asset_id = await record(catalogue, image_asset("ab" * 32))
    key = VolumeKey(b"mnt", 7)
    there = finding(b"mnt/b.jpg")._replace(volume=key)
    await catalogue.write(partial(record_location, asset_id=asset_id, finding=there))
    known = {b"mnt/b.jpg": key, b"a.jpg": None, b"c.jpg": None}
    for name, volume in known.items():
        assert await catalogue.read(partial(volume_at, place=Place("inbox", name))) == volume


async def test_a_failure_is_found_by_its_path(catalogue: Catalogue, finding: MakeFinding) -> None:
    at = datetime.now(UTC)
    bad = finding(b"bad.jpg")
    await catalogue.write(lambda session: record_failure(session, bad, BrokenFileError("it is broken"), at=at))
    (listed,) = await catalogue.read(lambda session: failure_page(session, ROOTS))
    assert await catalogue.read(lambda session: failure_at(session, bad.place, ROOTS)) == listed
    assert await catalogue.read(lambda session: failure_at(session, Place("odd", b"bad.jpg"), ROOTS)) is None


async def test_what_is_known_below_a_folder_is_counted_without_its_neighbours(
    catalogue: Catalogue, image_asset: MakeAsset, finding: MakeFinding
) -> None:
    asset_id = await record(catalogue, image_asset("ab" * 32, b"sub/a.jpg"))
    for name in (b"sub/deep/\xff.jpg", b"sub", b"sub-way.jpg", b"sub0.jpg"):
        await catalogue.write(partial(record_location, asset_id=asset_id, finding=finding(name)))
    bad, at = finding(b"sub/bad.jpg"), datetime.now(UTC)
    await catalogue.write(lambda session: record_failure(session, bad, BrokenFileError("it is broken"), at=at))
    gone = update(Location).where(col(Location.path) == b"sub/a.jpg").values(missing_since=at)
    await catalogue.write(lambda session: [session.execute(gone)])
    expected = {
        Place("inbox", b"sub"): (2, 1, 1),
        Place("inbox", b"sub/deep"): (1, 0, 0),
        Place("inbox", b""): (5, 1, 1),
        Place("odd", b""): (0, 0, 0),
        Place("", b"/srv"): (0, 0, 0),
    }
    for place, counts in expected.items():
        told = await catalogue.read(partial(known_below, place=place))
        assert (place, told) == (place, dict(zip(("locations", "missing", "failures"), counts, strict=True)))


async def test_roots_are_told_with_their_counts_and_why_they_are_held(
    catalogue: Catalogue, image_asset: MakeAsset
) -> None:
    assert await catalogue.read(root_states) == []
    wanted = [Place("odd", b"/srv/\xff"), Place("inbox", b"/srv/inbox")]
    await catalogue.write(lambda session: claim(session, wanted))
    await record(catalogue, image_asset("ab" * 32))
    at = datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC)
    gone = update(Location).values(missing_since=at)
    await catalogue.write(lambda session: [session.execute(gone)])
    await catalogue.write(lambda session: hold(session, "odd", "it is gone", missing=7, at=at))
    await catalogue.write(lambda session: accept(session, "odd", at=at))
    inbox, odd = await catalogue.read(root_states)
    assert inbox == {
        "name": "inbox",
        "path": "/srv/inbox",
        "locations": 1,
        "missing": 1,
        "held_since": None,
        "held_because": None,
        "held_missing": None,
        "accepted_at": None,
    }
    assert (odd["path"], base64.b64decode(odd["path_base64"])) == ("/srv/\ufffd", b"/srv/\xff")
    assert (odd["held_since"], odd["held_because"], odd["held_missing"]) == (
        "2026-05-04T10:11:12+00:00",
        "it is gone",
        7,
    )
    assert odd["accepted_at"] == odd["held_since"]
