"""Writers that take their time over one file, each in its own way."""

import hashlib
import mmap
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

CHUNKS = 6


@dataclass
class SlowFile:
    """One file and how it is written; afterwards, what others may have seen of it.

    Attributes:
        pauses: The seconds after each chunk.
        seen: The content's hash each time that no writer had it open, the last of them the final one.
    """

    path: Path
    chunks: list[bytes]
    pauses: list[float]
    write: Callable[["SlowFile"], None]
    seen: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Write it."""
        self.write(self)
        self.note()

    def note(self) -> None:
        """It is not open at this moment."""
        self.seen.append(hashlib.sha256(self.path.read_bytes()).hexdigest())

    @property
    def size(self) -> int:
        return sum(map(len, self.chunks))


def _write_in_chunks(file: SlowFile) -> None:
    with file.path.open("wb", buffering=0) as out:
        for chunk, pause_s in zip(file.chunks, file.pauses, strict=True):
            out.write(chunk)
            time.sleep(pause_s)


def _write_preallocated(file: SlowFile) -> None:
    """As downloads do: its size is right from the start, its content zeros."""
    with file.path.open("wb", buffering=0) as out:
        os.posix_fallocate(out.fileno(), 0, file.size)
        time.sleep(file.pauses[0])
        for chunk, pause_s in zip(file.chunks, file.pauses, strict=True):
            out.write(chunk)
            time.sleep(pause_s)


def _write_mapped(file: SlowFile) -> None:
    """Through memory: no event tells of what is written, and the time stamp only of some of it."""
    with file.path.open("w+b", buffering=0) as out:
        out.truncate(file.size)
        mapped = mmap.mmap(out.fileno(), file.size)
    at = 0
    for chunk, pause_s in zip(file.chunks, file.pauses, strict=True):
        mapped[at : at + len(chunk)] = chunk
        at += len(chunk)
        time.sleep(pause_s)
    mapped.close()


def _write_with_a_second_writer(file: SlowFile) -> None:
    """The first closes early; the second, which had it open all the time, goes on."""
    descriptor = os.open(file.path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        with file.path.open("wb", buffering=0) as first:
            first.write(file.chunks[0])
        time.sleep(file.pauses[0])
        os.lseek(descriptor, 0, os.SEEK_END)
        for chunk, pause_s in zip(file.chunks[1:], file.pauses[1:], strict=True):
            os.write(descriptor, chunk)
            time.sleep(pause_s)
    finally:
        os.close(descriptor)


def _append_again_and_again(file: SlowFile) -> None:
    """Open for a moment only: nobody can tell that more is to come."""
    for chunk, pause_s in zip(file.chunks, file.pauses, strict=True):
        with file.path.open("ab", buffering=0) as out:
            out.write(chunk)
        file.note()
        time.sleep(pause_s)


VISIBLE = (_write_in_chunks, _write_preallocated, _write_mapped, _write_with_a_second_writer)


def plan(folder: Path, number: int, *, settle_s: float, seed: int) -> list[SlowFile]:
    """So many files of all kinds, half of them with pauses that are longer than the settle time."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    kinds = (*VISIBLE, _append_again_and_again)
    files = []
    for each in range(number):
        longest_s = (3.0 if each // len(kinds) % 2 else 0.8) * settle_s
        files.append(
            SlowFile(
                path=folder / f"slow{each}.bin",
                chunks=[rng.randbytes(rng.randrange(1, 50_000)) for _ in range(CHUNKS)],
                pauses=[rng.uniform(0.3, 1.0) * longest_s for _ in range(CHUNKS)],
                write=kinds[each % len(kinds)],
            )
        )
    return files
