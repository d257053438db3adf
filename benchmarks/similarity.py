"""Which copies of photographs are found, which different pictures are taken for copies, and what a million cost.

    python benchmarks/similarity.py ~/Pictures --same 'orientation/[a-z]+'
    python benchmarks/similarity.py ~/Pictures --among 1000000
    python benchmarks/similarity.py --million

Copies are made of each photograph: resized, recompressed, brightened, and cropped by 1 to 5 % of width and height all
around, at a corner, at one side and anywhere. The originals are recorded, and each copy asks for its neighbours, by
the hash of the picture alone and with those of its crops. ``--same`` is a regular expression: paths in which it finds
the same text show the same picture. ``--among`` puts so many random hashes around the originals. Which originals are
near one another is printed, for somebody to look at.
"""

from __future__ import annotations

import argparse
import functools
import io
import random
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import anyio
import numpy as np
import sqlalchemy
from PIL import Image, ImageEnhance, ImageOps
from sqlmodel import Session

import damd.media  # noqa: F401 - its tables belong to the schema
from damd.catalogue.components import PerceptualHash
from damd.catalogue.duplicates import Neighbour
from damd.catalogue.engine import WRITES, CatalogueSettings, make_engine
from damd.catalogue.schema import upgrade
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Entity, Location, Table, now
from damd.readers.likeness import likeness
from damd.similarity import SimilaritySettings
from damd.similarity.resource import Similarity

DISTANCES = (2, 4, 6, 8, 10, 12)
BURST = 20_000
"""Pictures of the same hashes, among the million."""

EDGE = 1600
"""Of the photographs that copies are made of, in pixels."""


class Photograph(NamedTuple):
    """An original's path, what it shows, its hashes, and those of its copies by their kinds."""

    path: str
    shows: str
    hashes: PerceptualHash
    copies: list[tuple[str, PerceptualHash]]


def hashes_of(image: Image.Image) -> PerceptualHash:
    """As the reader takes them."""
    found = likeness(image)
    return PerceptualHash(phash=found["phash"], crops=found["crops"])


def resized(image: Image.Image, share: float) -> Image.Image:
    """A part of its width and height."""
    return image.resize((max(1, round(image.width * share)), max(1, round(image.height * share))))


def cropped(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Without these shares of its width and height."""
    width, height = image.size
    return image.crop(
        (round(width * left), round(height * top), round(width * (1 - right)), round(height * (1 - bottom)))
    )


def copies_of(image: Image.Image, chance: random.Random) -> Iterator[tuple[str, Image.Image, str, int]]:
    """Each copy's kind, its pixels, and the format and quality that it is saved with."""
    yield "saved again", image, "JPEG", 95
    yield "resized", resized(image, 0.5), "JPEG", 90
    yield "resized", resized(image, 0.25), "JPEG", 90
    yield "resized", resized(image, 200 / max(image.size)), "JPEG", 85
    yield "recompressed", image, "JPEG", 30
    yield "recompressed", image, "JPEG", 60
    yield "recompressed", image, "WEBP", 60
    yield "brightened", ImageEnhance.Brightness(image).enhance(1.12), "JPEG", 90
    for percent in (1, 2, 3, 5):
        cut = percent / 100
        x, y = cut * chance.random(), cut * chance.random()
        sides = [cut, 0.0, 0.0, 0.0]
        chance.shuffle(sides)
        corner_x, corner_y = chance.choice((0.0, cut)), chance.choice((0.0, cut))
        for edges in (
            (cut / 2, cut / 2, cut / 2, cut / 2),
            (corner_x, corner_y, cut - corner_x, cut - corner_y),
            (x, y, cut - x, cut - y),
            tuple(sides),
        ):
            yield f"cropped {percent} %", cropped(image, *edges), "JPEG", 90
    yield "cropped 5 %, resized, recompressed", resized(cropped(image, x, y, cut - x, cut - y), 0.5), "JPEG", 50
    yield "cropped 10 %", cropped(image, 0.05, 0.05, 0.05, 0.05), "JPEG", 90


def saved(image: Image.Image, kind: str, quality: int) -> Image.Image:
    """Written and read again, a JPEG at a fraction of its size, as the reader does."""
    file = io.BytesIO()
    image.save(file, kind, quality=quality)
    again = Image.open(file)
    if kind == "JPEG":
        again.draft(None, (512, 512))
    return again.convert("RGB")


def look(path: Path, shows: str) -> Photograph | None:
    """Hash a photograph and its copies; None where Pillow cannot read it."""
    try:
        with Image.open(path) as file:
            file.draft(None, (EDGE, EDGE))
            image = ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, SyntaxError):
        return None
    image.thumbnail((EDGE, EDGE))
    chance = random.Random(shows)  # noqa: S311 - the same copies each time
    copies = [
        (kind, hashes_of(saved(copy, suffix, quality))) for kind, copy, suffix, quality in copies_of(image, chance)
    ]
    return Photograph(str(path), shows, hashes_of(image), copies)


def open_catalogue(folder: Path, hashes: Sequence[PerceptualHash]) -> Catalogue:
    """A catalogue of assets that have nothing but hashes and a place, numbered from 1."""
    engine = make_engine(CatalogueSettings(), folder)
    upgrade(engine, Table.metadata)
    with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
        for start in range(0, len(hashes), 10_000):
            page = list(enumerate(hashes[start : start + 10_000], start=start + 1))
            connection.execute(sqlalchemy.insert(Entity), [{"id": number, "created_at": now()} for number, _ in page])
            rows = [{"entity_id": number, "phash": each.phash, "crops": each.crops} for number, each in page]
            connection.execute(sqlalchemy.insert(PerceptualHash), rows)
            connection.execute(sqlalchemy.insert(Location), [place_of(number) for number, _ in page])
    return Catalogue(engine)


def place_of(number: int) -> dict[str, object]:
    """Where an asset lies."""
    seen = {"size_bytes": 1, "mtime_ns": 0, "ctime_ns": 0, "inode": number, "first_seen_at": now()}
    return {"entity_id": number, "root": "", "path": b"/2024/holiday/%d.jpg" % number, **seen}


async def ask(catalogue: Catalogue, distance: int, hashes: Sequence[PerceptualHash]) -> list[list[Neighbour]]:
    """The neighbours of each."""
    similarity = Similarity(SimilaritySettings(distance=distance))
    await similarity.keep_up(catalogue)

    def find(session: Session) -> list[list[Neighbour]]:
        return [similarity.neighbours(session, 0, each) for each in hashes]

    return await catalogue.read(find)


def alone(hashes: PerceptualHash) -> PerceptualHash:
    """The picture's own hash, without those of its crops."""
    return PerceptualHash(phash=hashes.phash, crops=None if hashes.crops else "")


async def measure(photographs: Sequence[Photograph], among: int) -> None:
    """Print how many copies of each kind are found at each distance, and how many different pictures."""
    plain = [each.path for each in photographs if not each.hashes.crops]
    photographs = [each for each in photographs if each.hashes.crops]
    copies = [(each.shows, *copy) for each in photographs for copy in each.copies]
    strangers = [Photograph("", "", hashes, []) for hashes in random_hashes(among, seed=2)]
    everything = [*photographs, *strangers]
    print(f"{len(photographs)} photographs among {among}, {len(copies)} copies; too plain to be compared: {plain}\n")
    for how, taken in (("the own hash alone", alone), ("with the hashes of crops", lambda hashes: hashes)):
        found: dict[str, dict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))
        false: dict[int, int] = defaultdict(int)
        with tempfile.TemporaryDirectory() as folder:
            known = [taken(each.hashes) for each in (*photographs, *strangers)]
            catalogue = open_catalogue(Path(folder), known)
            for distance in DISTANCES:
                answers = await ask(catalogue, distance, [taken(hashes) for _, _, hashes in copies])
                for (shows, kind, _), neighbours in zip(copies, answers, strict=True):
                    seen = [everything[each.asset_id - 1].shows for each in neighbours]
                    found[kind][distance].append(shows in seen)
                    false[distance] += sum(other != shows for other in seen)
            catalogue.engine.dispose()
        print(f"{how:<36}" + "".join(f"{'≤ ' + str(distance):>8}" for distance in DISTANCES))
        for kind, by_distance in found.items():
            shares = "".join(f"{100 * statistics.mean(by_distance[distance]):8.1f}" for distance in DISTANCES)
            print(f"{kind + ', found %':<36}{shares}")
        print(f"{'different pictures found':<36}" + "".join(f"{false[each]:8}" for each in DISTANCES) + "\n")
    await compare_originals(photographs)


async def compare_originals(photographs: Sequence[Photograph]) -> None:
    """Print which of them are near one another."""
    with tempfile.TemporaryDirectory() as folder:
        catalogue = open_catalogue(Path(folder), [each.hashes for each in photographs])
        answers = await ask(catalogue, max(DISTANCES), [each.hashes for each in photographs])
        catalogue.engine.dispose()
    for photograph, neighbours in zip(photographs, answers, strict=True):
        for each in neighbours:
            other = photographs[each.asset_id - 1]
            if other.path < photograph.path and other.shows != photograph.shows:
                print(f"{each.distance:>3}  {other.path} | {photograph.path}")


def resident_mb() -> float:
    """What is resident now, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))


def random_hashes(count: int, seed: int) -> list[PerceptualHash]:
    """Of pictures that do not exist, one in ten of them like all the others of these tenths."""
    chance = np.random.default_rng(seed)
    bits = chance.integers(0, 2**63, (count, 10), dtype=np.uint64)
    flips = functools.reduce(np.bitwise_and, (chance.integers(0, 2**63, (count // 10, 10), np.uint64) for _ in "ab"))
    if count >= 10:
        bits[::10][: count // 10] = bits[0] ^ flips
    digits = bits.astype(">u8").tobytes().hex()
    rows = (digits[start : start + 160] for start in range(0, len(digits), 160))
    return [PerceptualHash(phash=row[:16], crops=row[16:]) for row in rows]


async def measure_million(count: int) -> None:
    """Print what it takes to load the hashes, and to find a picture's neighbours among them."""
    hashes = random_hashes(count, seed=1)
    burst = random_hashes(1, seed=3) * BURST
    hashes += burst
    with tempfile.TemporaryDirectory() as folder:
        catalogue = open_catalogue(Path(folder), hashes)
        similarity = Similarity(SimilaritySettings())
        before_mb, begun = resident_mb(), time.perf_counter()
        await similarity.keep_up(catalogue)
        loaded_s = time.perf_counter() - begun
        print(f"{count} hashes loaded in {loaded_s:.2f} s, {resident_mb() - before_mb:.0f} MB")
        crowded, others = hashes[0:2000:10], hashes[1:2001:10]
        for what, asked in (("others", others), ("like one in ten", crowded), ("equal to 20,000", burst[:200])):
            print(f"{what}: {await catalogue.read(functools.partial(time_queries, similarity, asked))}")
        catalogue.engine.dispose()


def time_queries(similarity: Similarity, asked: Sequence[PerceptualHash], session: Session) -> str:
    """The milliseconds of one query."""
    times_ms = []
    for hashes in asked:
        begun = time.perf_counter()
        similarity.neighbours(session, 0, hashes)
        times_ms.append(1000 * (time.perf_counter() - begun))
    times_ms.sort()
    return (
        f"median {statistics.median(times_ms):.2f} ms, 95 % {times_ms[len(times_ms) * 95 // 100]:.2f}, "
        f"most {times_ms[-1]:.2f}"
    )


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="*")
    parser.add_argument("--same", type=re.compile, default=None, metavar="PATTERN")
    parser.add_argument("--million", type=int, nargs="?", const=1_000_000, metavar="COUNT")
    parser.add_argument("--among", type=int, default=0, metavar="COUNT")
    arguments = parser.parse_args()
    if arguments.million:
        anyio.run(measure_million, arguments.million)
    photographs = []
    for path in sorted(path for folder in arguments.folder for path in folder.rglob("*") if path.is_file()):
        same = arguments.same.search(str(path)) if arguments.same else None
        photographs.append(look(path, same[0] if same else str(path)))
    if arguments.folder:
        anyio.run(measure, [each for each in photographs if each is not None], arguments.among)


if __name__ == "__main__":
    main()
