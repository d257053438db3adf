"""Who writes into the roots: in processes of their own, with fixed seeds."""

# ruff: noqa: PTH102, S311 - plain calls, since a burst is to be quick; what is random here is no secret

import multiprocessing
import os
import random
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

_COPY_EVERY = 20


def write_file(path: str | bytes | Path, content: bytes) -> None:
    """A new file in one go, or another content in place of an old one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def small_content(name: str, serial: int) -> bytes:
    """A content of its own, but for one in twenty, which are the same."""
    number = 0 if serial % _COPY_EVERY == 0 else serial
    return f"{name}: the content number {number}\n".encode()


def write_many(folder: str, name: str, numbers: Iterable[int]) -> None:
    """Small files in one folder."""
    for serial in numbers:
        write_file(f"{folder}/{name}-{serial}.bin", small_content(name, serial))


def write_nested(root: str, name: str, folders: int, files: int, seed: int) -> None:
    """New folders, nested at random, each filled while the next are made."""
    rng = random.Random(seed)
    made = [root]
    for number in range(folders):
        made.append(f"{rng.choice(made[-20:])}/{name}-{number}")
        os.mkdir(made[-1])
        for serial in range(number * files // folders, (number + 1) * files // folders):
            write_file(f"{rng.choice(made[1:][-10:])}/{name}-{serial}.bin", small_content(name, serial))


def in_processes(write: Callable[..., None], arguments: list[tuple[Any, ...]]) -> None:
    """Call it once for each tuple, each in a process of its own, all at the same time."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=len(arguments), mp_context=spawn) as pool:
        for future in [pool.submit(write, *each) for each in arguments]:
            future.result()
