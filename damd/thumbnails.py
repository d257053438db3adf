"""Previews: where they lie, and `generate`.

A preview is named by its content's hash, in two levels of folders so that none grows large. It is
written as a draft, and takes its name only when the file it shows is known to be the file that was
hashed; readers never see half a preview, nor another file's.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import anyio
import anyio.to_thread
from pydantic import Field

from damd.errors import DamdError, FileChangedError
from damd.fingerprint import calculate_hash, take_signature
from damd.sandbox import Sandbox
from damd.settings import Settings

PreviewSize = Annotated[int, Field(ge=16, le=8192)]

_DRAFTS = ".drafts"
_STALE_DRAFT_S = 24 * 3600


class ThumbnailSettings(Settings):
    """The section ``thumbnails:``."""

    sizes: Annotated[tuple[PreviewSize, ...], Field(min_length=1)] = (512,)
    """The longest edge of each, in pixels: 16 to 8192."""
    format: Literal["webp", "jpeg", "png"] = "webp"
    """webp, jpeg or png."""
    quality: Annotated[int, Field(ge=1, le=100)] = 80
    """1 to 100; a png has none."""


class WrittenPreview(NamedTuple):
    """A preview in its place; `path` is below the folder of previews, sizes are in pixels."""

    size: int
    path: str
    width: int
    height: int


class Drafts:
    """The previews of one content while they are made."""

    def __init__(self, thumbnails: Thumbnails, sha256: str, serial: int) -> None:
        self._thumbnails = thumbnails
        self._sha256 = sha256
        stem = f"{sha256}-{os.getpid()}-{serial}"
        self._paths = {size: thumbnails.folder / _DRAFTS / f"{stem}-{size}.tmp" for size in thumbnails.settings.sizes}

    @property
    def sizes(self) -> Collection[int]:
        """Which previews are asked for, by their longest edges in pixels."""
        return self._paths.keys()

    @property
    def options(self) -> dict[str, Any]:
        """What a reader is told: which sizes to write where, and how."""
        settings = self._thumbnails.settings
        return {
            "previews": [{"size": size, "path": str(path)} for size, path in self._paths.items()],
            "format": settings.format,
            "quality": settings.quality,
        }

    def publish(self, written: Sequence[dict[str, Any]]) -> list[WrittenPreview]:
        """Give each preview that the reader wrote its name; blocking."""
        published = []
        for preview in written:
            size = preview["size"]
            place = self._thumbnails.path(self._sha256, size)
            place.parent.mkdir(parents=True, exist_ok=True)
            self._paths[size].replace(place)
            _flush(place.parent)
            below = place.relative_to(self._thumbnails.folder)
            published.append(WrittenPreview(size, str(below), preview["width"], preview["height"]))
        return published

    def discard(self) -> None:
        """Delete what was not published; blocking."""
        for path in self._paths.values():
            path.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Make the names in a folder durable: the catalogue must not outlive what it points to."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Thumbnails:
    """The folder of previews; a resource of the World."""

    def __init__(self, settings: ThumbnailSettings, folder: Path, sandbox: Sandbox) -> None:
        self.settings = settings
        self.folder = folder
        self.sandbox = sandbox
        self._serials = itertools.count(1)
        self._suffix = settings.format

    def path(self, sha256: str, size: int) -> Path:
        """Where this content's preview of this size lies, or would."""
        return self.folder / sha256[:2] / sha256[2:4] / f"{sha256}-{size}.{self._suffix}"

    @asynccontextmanager
    async def drafts(self, sha256: str) -> AsyncIterator[Drafts]:
        """Names for the previews of one content, deleted at the end unless they were published."""
        drafts = Drafts(self, sha256, next(self._serials))
        try:
            yield drafts
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(drafts.discard)

    def prepare(self) -> None:
        """Make the folder of drafts, and remove those that a crash left behind; blocking."""
        drafts = self.folder / _DRAFTS
        drafts.mkdir(parents=True, exist_ok=True)
        for draft in drafts.iterdir():
            with suppress(OSError):
                # Another process may be at work on it; its number may long be another's.
                if not _is_alive(draft.name.split("-")[1]) or time.time() - draft.stat().st_mtime > _STALE_DRAFT_S:
                    draft.unlink()


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, OverflowError):
        return True
    return True


_in_use: list[Thumbnails] = []


@contextmanager
def in_use(thumbnails: Thumbnails) -> Iterator[None]:
    """Make these the ones that `generate` writes to, when it is not told which."""
    _in_use.append(thumbnails)
    try:
        yield
    finally:
        _in_use.remove(thumbnails)


async def generate(file_path: str | os.PathLike[str], *, thumbnails: Thumbnails | None = None) -> Path:
    """Write the previews of an image and return the path of the largest.

    Args:
        file_path: The image.
        thumbnails: Where to; by default, those of the World that was opened last and is still open.

    Raises:
        DamdError: No World is open.
        FileError: The file cannot be read, or is no image.
    """
    if thumbnails is None:
        if not _in_use:
            raise DamdError("Previews need an open World: use `async with open_world(config):`")
        thumbnails = _in_use[-1]
    path = Path(file_path)
    signature = await anyio.to_thread.run_sync(take_signature, path)
    sha256 = await calculate_hash(path)
    async with thumbnails.drafts(sha256) as drafts:
        options = drafts.options | {"max_pixels": thumbnails.sandbox.settings.max_pixels}
        reading = await thumbnails.sandbox.call("image", str(path), **options)
        if await anyio.to_thread.run_sync(take_signature, path) != signature:
            raise FileChangedError
        published = await anyio.to_thread.run_sync(drafts.publish, reading["previews"])
    return thumbnails.folder / max(published).path
