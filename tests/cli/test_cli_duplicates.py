"""``damd duplicates``: files of the same content, and pictures that look alike."""

import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
from command_line import STRANGE, run_damd
from pictures import photograph
from sqlalchemy import update
from sqlmodel import Session, col

from damd.catalogue.duplicates import Neighbour, record_neighbours
from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Location


class Shelf(NamedTuple):
    """A catalogue's state folder, its assets' numbers and paths, and a copy of the first one's."""

    state: Path
    asset_ids: list[int]
    paths: list[Path]
    copy: Path

    def duplicates(self, *options: str) -> list[dict[str, Any]]:
        return run_damd("duplicates", "--json", *options, "--state", self.state).objects

    def write(self, change: Callable[[Session], Any]) -> None:
        catalogue = Catalogue(make_engine(CatalogueSettings(), self.state))
        anyio.run(catalogue.write, change)
        catalogue.engine.dispose()

    def pair(self, distance: int, one: int, *others: int) -> None:
        """Record that these look alike, whatever was found."""
        neighbours = [Neighbour(self.asset_ids[other], distance) for other in others]
        self.write(lambda session: record_neighbours(session, self.asset_ids[one], neighbours, again=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Three pictures that look different, and one of them twice."""
    folder = tmp_path_factory.mktemp("duplicates")
    paths = [folder / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        photograph().rotate(30 * number, expand=True).save(path)
    ingested = run_damd("ingest", *paths, "--json", "--state", folder / "state").objects
    by_id = sorted((result["asset_id"], Path(result["path"])) for result in ingested)
    copy = Path(shutil.copy(by_id[0][1], folder / "copy.png"))
    run_damd("ingest", copy, "--state", folder / "state")
    return Shelf(folder / "state", [number for number, _ in by_id], [path for _, path in by_id], copy)


@pytest.fixture
def shelf(made: Shelf, tmp_path: Path) -> Shelf:
    """The same for a test of its own."""
    return made._replace(state=Path(shutil.copytree(made.state, tmp_path / "state")))


def test_exact_and_near_groups_are_told_as_json(shelf: Shelf) -> None:
    shelf.pair(4, 0, 1)
    exact, near = shelf.duplicates()
    [asset] = exact.pop("assets")
    assert exact == {"kind": "exact"}
    assert (len(asset.pop("sha256")), len(asset.pop("previews"))) == (64, 1)
    size = (asset.pop("width"), asset.pop("height"))
    assert min(size) >= 120
    assert asset == {
        "asset_id": shelf.asset_ids[0],
        "distance": 0,
        "size_bytes": shelf.copy.stat().st_size,
        "locations": [str(shelf.paths[0]), str(shelf.copy)],
    }
    assert near["kind"] == "near"
    assert [asset["asset_id"] for asset in near["assets"]] == shelf.asset_ids[:2]
    assert [asset["distance"] for asset in near["assets"]] == [4, 4]
    assert [asset["locations"] for asset in near["assets"]] == [
        [str(shelf.paths[0]), str(shelf.copy)],
        [str(shelf.paths[1])],
    ]
    previews = [Path(path) for asset in near["assets"] for path in asset["previews"]]
    assert len(previews) == 2
    assert all(path.is_absolute() and path.exists() for path in previews)


def test_only_one_kind_is_told_where_that_is_asked_for(shelf: Shelf) -> None:
    shelf.pair(4, 0, 1)
    exact, near = shelf.duplicates()
    assert shelf.duplicates("--exact") == [exact]
    assert shelf.duplicates("--near") == [near]
    assert shelf.duplicates("--exact", "--near") == [exact, near]


def test_a_smaller_distance_leaves_out_what_is_farther_apart(shelf: Shelf) -> None:
    shelf.pair(2, 0, 1)
    shelf.write(lambda session: record_neighbours(session, shelf.asset_ids[2], [Neighbour(shelf.asset_ids[1], 6)]))
    [group] = shelf.duplicates("--near")
    assert [asset["distance"] for asset in group["assets"]] == [2, 2, 6]
    [group] = shelf.duplicates("--near", "--distance", "5")
    assert [asset["asset_id"] for asset in group["assets"]] == shelf.asset_ids[:2]
    assert shelf.duplicates("--near", "--distance", "1") == []
    assert run_damd("duplicates", "--distance", "65", "--state", shelf.state).code == 2


def test_groups_are_told_to_people(shelf: Shelf) -> None:
    shelf.pair(4, 0, 1)
    same, near, *rest = run_damd("duplicates", "--state", shelf.state).out.split("\n\n")
    assert rest == [""]
    assert same.splitlines()[0].split()[:2] == ["same", str(shelf.asset_ids[0])]
    assert [line.strip() for line in same.splitlines()[1:3]] == [str(shelf.paths[0]), str(shelf.copy)]
    assert [line.split()[:3] for line in near.splitlines() if line.startswith("near")] == [
        ["near", "4", str(asset_id)] for asset_id in shelf.asset_ids[:2]
    ]
    assert near.count("preview /") == 2


def test_missing_files_are_no_duplicates(shelf: Shelf) -> None:
    def lose(session: Session) -> None:
        is_asset = col(Location.entity_id) == shelf.asset_ids[0]
        session.execute(update(Location).where(is_asset).values(missing_since=datetime.now(UTC)))

    shelf.pair(4, 0, 1)
    shelf.write(lose)
    assert shelf.duplicates() == []
    asked = run_damd("duplicates", "--state", shelf.state)
    assert (asked.code, asked.out, asked.err) == (0, "", "")


def test_a_strange_name_is_printed_harmlessly_and_told_whole(shelf: Shelf, tmp_path: Path) -> None:
    strange = tmp_path / STRANGE.decode(errors="surrogateescape")
    shutil.copy(shelf.copy, strange)
    assert run_damd("ingest", strange, "--state", shelf.state).code == 0
    printed = run_damd("duplicates", "--state", shelf.state).out
    assert "\x1b" not in printed
    assert "\\x1b[2J" in printed
    [group] = shelf.duplicates("--exact")
    *others, last = group["assets"][0]["locations_base64"]
    assert others == [None, None]
    assert last is not None


def test_groups_of_many_pages_are_told_in_their_order(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["damd.cli.duplicates"], "_PAGE", 1)  # the package has the command by this name
    shelf.pair(4, 0, 1, 2)
    exact, near = shelf.duplicates()
    assert [asset["asset_id"] for asset in exact["assets"]] == shelf.asset_ids[:1]
    assert [asset["asset_id"] for asset in near["assets"]] == shelf.asset_ids


def test_without_a_catalogue_none_is_begun(state: Path) -> None:
    asked = run_damd("duplicates", "--state", state)
    assert asked.code == 1
    assert "There is no catalogue" in asked.err
    assert not state.exists()
