"""Pictures of their own are counted, and previews of the same one are not."""

import struct
from pathlib import Path

import pytest
from pictures import photograph
from PIL import Image

from damd.readers.formats.frames import count_frames

_ENTRIES = 0xB002


def save_pair(path: Path, kind: int) -> Path:
    """Two pictures in one file, of which the second is said to be of this kind (CIPA DC-007, table 4)."""
    first, second = photograph(64, 48), photograph(64, 48).rotate(180)
    first.save(path, "MPO", save_all=True, append_images=[second])
    data = bytearray(path.read_bytes())
    with Image.open(path) as image:
        size = image.mpinfo[_ENTRIES][1]["Size"]  # type: ignore[attr-defined]  # of Pillow's MPO
    at = data.index(struct.pack("<L", size), data.index(b"MPF\0")) - 4
    data[at : at + 4] = struct.pack("<L", kind)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("kind", "count"),
    [(0x000000, 2), (0x020002, 2), (0x020003, 2), (0x010001, 1), (0x010002, 1)],
    ids=["undefined", "disparity", "multi-angle", "preview for VGA", "preview for full HD"],
)
def test_a_large_preview_behind_the_picture_is_no_further_one(tmp_path: Path, kind: int, count: int) -> None:
    path = save_pair(tmp_path / "pair.mpo", kind)
    with Image.open(path) as image, path.open("rb") as file:
        assert image.format == "MPO"
        assert count_frames(image, file) == count


def test_an_index_that_cannot_be_read_tells_of_no_further_picture(tmp_path: Path) -> None:
    path = save_pair(tmp_path / "pair.mpo", 0)
    with Image.open(path) as image, path.open("rb") as file:
        image.mpinfo = {}  # type: ignore[attr-defined]  # as of one that is damaged
        assert count_frames(image, file) == 1
