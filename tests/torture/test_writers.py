"""Files that are not complete when they are first seen."""

import hashlib
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor

from torture.equality import assert_only_these_contents
from torture.harness import Ordeal, scaled
from torture.slow import VISIBLE, plan
from torture.writers import write_file

_SETTLE_S = 0.5
_SAVED = 20


def test_slow_writers_are_waited_for_and_the_last_version_stays(ordeal: Ordeal) -> None:
    ordeal.configure(settle=f"{_SETTLE_S * 1000:.0f}ms")
    ordeal.start()
    ordeal.begin()
    files = plan(ordeal.root, scaled(50, at_least=10), settle_s=_SETTLE_S, seed=5)
    with ThreadPoolExecutor(len(files)) as pool:
        list(pool.map(lambda file: file.run(), files))
    expected = ordeal.await_equality()
    for file in files:
        content = file.seen[-1]
        assert content == hashlib.sha256(b"".join(file.chunks)).hexdigest()
        assert expected["root", file.path.name.encode()] == content
        if file.write in VISIBLE:
            assert file.seen == [content]
    complete = {content for file in files for content in file.seen}
    assert_only_these_contents(ordeal.state, complete.__contains__)
    superseded = complete - {file.seen[-1] for file in files}
    imported = {str(content) for (content,) in ordeal.query("SELECT sha256 FROM content_hash")}
    told = {each["previous_sha256"] for each in _events(ordeal, "file.changed")}
    assert superseded & imported <= told, "a version that was superseded and imported was never announced as changed"
    ordeal.finish()
    ordeal.figures["imported torn, where no writer was visible"] = len(superseded & imported)


def test_atomic_saves_are_never_seen_half(ordeal: Ordeal) -> None:
    rng = random.Random(6)  # noqa: S311 - no secret
    ordeal.start()
    ordeal.begin()
    versions = set()
    # A suffix, a prefix, what editors leave, and what rsync writes.
    spellings = ("{}.tmp", "{}.part", ".{}.swp", "{}~", ".{}.q7XfA2", ".goutputstream-{}")
    for number in range(scaled(1000, at_least=_SAVED)):
        path = ordeal.root / f"saved{number % _SAVED}.txt"
        content = f"{path.name}, version {number}\n".encode() * rng.randrange(1, 2000)
        versions.add(hashlib.sha256(content).hexdigest())
        draft = ordeal.root / rng.choice(spellings).format(path.name)
        half = rng.randrange(len(content))
        write_file(draft, content[:half])
        if number % 10 == 0:
            time.sleep(rng.uniform(0, 0.2))  # time enough for whoever would take the draft for a file
        with draft.open("ab", buffering=0) as out:
            out.write(content[half:])
        draft.rename(path)
        time.sleep(rng.uniform(0, 0.01))
    assert len(ordeal.await_equality()) == _SAVED
    assert_only_these_contents(ordeal.state, versions.__contains__)
    known = {bytes(path) for (path,) in ordeal.query("SELECT path FROM location")}
    assert known == {f"saved{each}.txt".encode() for each in range(_SAVED)}
    ordeal.finish()


def _events(ordeal: Ordeal, event_type: str) -> list[dict[str, str]]:
    return [json.loads(data) for kind, data in ordeal.query("SELECT event_type, data FROM event") if kind == event_type]
