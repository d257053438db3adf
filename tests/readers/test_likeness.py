"""What a picture looks like, in hashes."""

import imagehash
import pytest
from pictures import photograph
from PIL import Image

from damd.readers.likeness import likeness
from damd.readers.previews import perceptual_hash


def split(crops: str) -> list[str]:
    return [crops[start : start + 16] for start in range(0, len(crops), 16)]


def apart(one: str, other: str) -> int:
    return imagehash.hex_to_hash(one) - imagehash.hex_to_hash(other)


def test_a_picture_has_its_own_hash_and_those_of_nine_crops() -> None:
    image = photograph(512, 384)
    found = likeness(image)
    assert found["phash"] == perceptual_hash(image) == str(imagehash.phash(image))
    assert len(split(found["crops"])) == 9


@pytest.mark.parametrize(
    ("number", "box"),
    [(0, (16, 12, 624, 468)), (1, (0, 0, 608, 456)), (4, (32, 24, 640, 480)), (5, (32, 0, 640, 480))],
    ids=["all around", "right and bottom", "left and top", "left"],
)
def test_a_cropped_copy_looks_like_one_of_the_crops(number: int, box: tuple[int, int, int, int]) -> None:
    image = photograph(640, 480)
    image.paste(image.resize((200, 100)), (400, 300))
    crops = split(likeness(image)["crops"])
    assert apart(likeness(image.crop(box))["phash"], crops[number]) <= 2


@pytest.mark.parametrize("colour", ["white", "black", (90, 120, 30)])
def test_one_colour_looks_like_nothing(colour: str | tuple[int, int, int]) -> None:
    found = likeness(Image.new("RGB", (300, 200), colour))
    assert (len(found["phash"]), found["crops"]) == (16, "")


def test_a_ramp_looks_like_nothing_since_all_ramps_have_the_same_hash() -> None:
    assert likeness(Image.linear_gradient("L").convert("RGB"))["crops"] == ""


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_a_picture_of_any_size_has_hashes(size: tuple[int, int]) -> None:
    assert len(likeness(photograph().resize(size))["phash"]) == 16


def test_what_shines_through_is_white() -> None:
    image = photograph(640, 480).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    on_white = Image.new("RGB", image.size, "white")
    on_white.paste(image, mask=image.getchannel("A"))
    assert apart(likeness(image)["phash"], likeness(on_white)["phash"]) <= 2
