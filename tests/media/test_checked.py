"""What a worker says is believed only in the shape that its table has."""

from typing import Any

import pytest

from damd.catalogue.components import Capture, Description
from damd.catalogue.tables import Component
from damd.errors import BrokenFileError
from damd.media import FAMILIES
from damd.media.base import Family
from damd.media.checked import checked, checked_family, checked_previews
from damd.media.image import ImageProperties


def test_rows_that_fit_come_back_as_they_are() -> None:
    rows = [
        ImageProperties(width=4, height=3, orientation=1, color_mode="RGB", frames=1),
        Description(keywords=["sea", "sun"]),
        Capture(iso=2**40, latitude=1.5),
    ]
    assert [row.model_dump(exclude_unset=True) for row in checked(lambda _: rows, {})] == [
        row.model_dump(exclude_unset=True) for row in rows
    ]


SIZE: dict[str, Any] = {"width": 4, "height": 3, "orientation": 1, "color_mode": "RGB", "frames": 1}


@pytest.mark.parametrize(
    ("kind", "said", "where"),
    [
        (ImageProperties, SIZE | {"width": "wide"}, "image_properties.width"),
        (ImageProperties, SIZE | {"width": 2**31}, "image_properties.width"),
        (ImageProperties, SIZE | {"color_mode": "R" * 17}, "image_properties.color_mode"),
        (ImageProperties, {"width": 4}, "image_properties.height"),
        (Description, {"keywords": [{"no": "text"}]}, "description.keywords"),
        (Capture, {"latitude": [1.0]}, "capture.latitude"),
    ],
)
def test_a_row_that_does_not_fit_is_a_failure_that_names_the_column(
    kind: type[Component], said: dict[str, Any], where: str
) -> None:
    with pytest.raises(BrokenFileError, match=f"does not fit the catalogue: {where}"):
        checked(lambda facts: [kind(**facts)], said)


def test_previews_that_were_asked_for_are_believed() -> None:
    said = [{"size": 512, "width": 512, "height": 3}, {"size": 64, "width": 64, "height": 1, "path": "/etc/passwd"}]
    assert checked_previews(said, [64, 512]) == [
        {"size": 512, "width": 512, "height": 3},
        {"size": 64, "width": 64, "height": 1},
    ]
    assert checked_previews([], [64]) == checked_previews((), [64]) == []


@pytest.mark.parametrize(
    "said",
    [
        5,
        None,
        {"size": 64},
        [{"size": 99, "width": 1, "height": 1}],
        [{"size": 64, "width": "wide", "height": 1}],
        [{"size": 64, "width": 64, "height": -5}],
        [{"size": 64, "width": 64}],
        [{"size": 64, "width": 2**17, "height": 1}],
        [{"size": 64, "width": 1, "height": 1}] * 2,
    ],
)
def test_previews_that_nobody_asked_for_or_that_cannot_be_are_a_failure(said: object) -> None:
    with pytest.raises(BrokenFileError, match="says of previews"):
        checked_previews(said, [64, 512])


def test_a_family_is_one_that_there_is() -> None:
    assert checked_family(None, ["image"]) is None
    assert checked_family("image", ["image"]) == "image"
    for said in ("x" * 3000, {"image": 1}, 5, ["image"]):
        with pytest.raises(BrokenFileError, match="a family which there is not"):
            checked_family(said, ["image"])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("facts", [{}, {"properties": 5, "width": 1}, {"properties": {"kind": []}, "capture": "x"}])
def test_facts_of_which_no_rows_can_be_made_are_a_failure_in_every_family(
    family: Family, facts: dict[str, Any]
) -> None:
    with pytest.raises(BrokenFileError, match="the catalogue"):
        checked(family.rows, facts)
