"""The rule of what belongs together: by names as programs give them, and whatever the order."""

import os

import pytest
from belongings import FILES, LONG, NAMES, file
from hypothesis import given, settings
from hypothesis import strategies as st

from damd.catalogue.belonging import INVERSE, RAW_TYPES, File, Relation, beginnings, pairs
from damd.catalogue.roots import Place
from damd.media.image import FAMILY


def relations(*files: File | str) -> set[tuple[str, str, str]]:
    """One of each pair's two relations, by the names of the files."""
    made = [(file(each) if isinstance(each, str) else each) for each in files]
    numbered = [each._replace(asset_id=number) for number, each in enumerate(made)]
    names = [os.fsdecode(each.place.path) for each in numbered]
    return {(names[one], kind, names[other]) for one, kind, other in pairs(numbered) if kind in INVERSE}


@pytest.mark.parametrize("raw", ["a.CR2", "a.dng", "a.x3f"])
@pytest.mark.parametrize("rendition", ["a.jpg", "a.JPG", "a.heic"])
def test_a_raw_belongs_to_the_jpeg_of_its_stem(raw: str, rendition: str) -> None:
    assert relations(raw, rendition) == {(rendition, "raw", raw)}


@pytest.mark.parametrize(
    "other", ["b.jpg", "A.jpg", "sub/a.jpg", "a.png", "a-1.jpg", "a.edited.jpg", "a", "a(1).jpg", "a..jpg"]
)
def test_a_raw_belongs_to_nothing_else(other: str) -> None:
    assert relations("a.cr2", other) == set()


def test_the_dots_in_a_name_are_part_of_its_stem() -> None:
    assert relations("a.b.cr2", "a.b.jpg", "a.jpg") == {("a.b.jpg", "raw", "a.b.cr2")}
    assert relations("2024-05-01 12.30.45.cr2", "2024-05-01 12.30.46.jpg") == set()


def test_files_in_different_roots_are_strangers() -> None:
    elsewhere = file("a.jpg")._replace(place=Place("shelf", b"a.jpg"))
    assert relations("a.cr2", elsewhere) == set()


def test_one_identifier_makes_a_live_photo_wherever_its_parts_lie() -> None:
    still, film = file("a/IMG_1.HEIC", identifier="X"), file("b/other.MOV", identifier="X")
    assert relations(still, film) == {("a/IMG_1.HEIC", "live_video", "b/other.MOV")}
    assert relations(still, film._replace(identifier="Y")) == set()


@pytest.mark.parametrize(
    ("still", "film", "are_one"),
    [
        ("2024-05-01T12:00:00+02:00", "2024-05-01T10:00:03+00:00", True),
        ("2024-05-01T12:00:00+02:00", "2024-05-01T12:00:00+00:00", False),
        ("2024-05-01T12:00:00+02:00", "2024-05-01T10:00:06+00:00", False),
        ("2024-05-01T12:00:00", "2024-05-01T06:30:02+00:00", True),
        ("2024-05-01T12:00:00", "2024-05-01T06:14:57+00:00", True),
        ("2024-05-01T12:00:00", "2024-05-01T06:31:00+00:00", False),
        ("2024-05-01T12:00:00", "2024-05-01T11:59:56", True),
        ("2024-05-01T23:00:00", "2024-05-01T08:59:00", False),
        ("2024-05-01T23:00:00", "2024-05-01T08:45:00", False),
        ("2024-05-01T23:00:00", "2024-05-01T09:00:00", True),
        ("2024-05-01T12:00:00", None, False),
        ("2024-05-01", "2024-05-01", False),
        ("yesterdayT", "2024-05-01T12:00:00", False),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00", True),
    ],
)
def test_without_an_identifier_name_and_time_make_a_live_photo(
    still: str | None, film: str | None, *, are_one: bool
) -> None:
    found = relations(file("IMG_1.heic", taken_at=still), file("IMG_1.mov", taken_at=film))
    assert found == ({("IMG_1.heic", "live_video", "IMG_1.mov")} if are_one else set())


def test_different_identifiers_say_more_than_name_and_time() -> None:
    at = "2024-05-01T12:00:00+02:00"
    one, other = file("a.jpg", taken_at=at, identifier="X"), file("a.mov", taken_at=at, identifier="Y")
    assert relations(one, other) == set()
    assert relations(one, other._replace(identifier=None)) == {("a.jpg", "live_video", "a.mov")}


@pytest.mark.parametrize(("still", "film"), [("a.thm", "a.mov"), ("a.jpg", "a.avi"), ("a.png", "a.mov")])
def test_what_apple_does_not_write_is_no_live_photo(still: str, film: str) -> None:
    at = "2024-05-01T12:00:00+02:00"
    assert relations(file(still, taken_at=at), file(film, taken_at=at)) == set()


@pytest.mark.parametrize(
    ("sidecar", "owner"),
    [
        ("a.jpg.xmp", "a.jpg"),
        ("a.jpg.XMP", "a.jpg"),
        ("a.JPG.xmp", "a.jpg"),
        ("a.xmp", "a.jpg"),
        ("a.b.xmp", "a.b.jpg"),
        ("a.b.jpg.xmp", "a.b.jpg"),
        ("a.json", "a.jpg"),
        ("a.jpg.json", "a.jpg"),
        ("a(1).jpg.xmp", "a(1).jpg"),
        ("a(1).json", "a(1).jpg"),
        ("a.jpg(1).json", "a(1).jpg"),
        ("a.jpg.supplemental-metadata.json", "a.jpg"),
        ("a.jpg.supplemental-meta.json", "a.jpg"),
        ("a.jpg.s.json", "a.jpg"),
        ("a.jpg..json", "a.jpg"),
        ("a.jpg.supplemental-metadata(2).json", "a(2).jpg"),
        ("a.jpg.suppl(2).json", "a(2).jpg"),
        ("Urlaub in Knaufspesch in der Schneifel (38).JP.json", "Urlaub in Knaufspesch in der Schneifel (38).JPG"),
        (f"{LONG[:46]}.json", f"{LONG}.jpg"),
        (f"{LONG[:46]}(1).json", f"{LONG[:47]}(1).jpg"),
        ("é" * 46 + ".json", "é" * 47 + ".jpg"),
    ],
)
def test_a_sidecar_belongs_to_the_file_whose_name_it_bears(sidecar: str, owner: str) -> None:
    assert relations(sidecar, owner, "b.jpg", "b.mov") == {(owner, "sidecar", sidecar)}


@pytest.mark.parametrize(
    ("sidecar", "other"),
    [
        ("a.xmp", "sub/a.jpg"),
        ("A.xmp", "a.jpg"),
        ("a.jpg.xmp", "a.png"),
        ("a.jpg.s.xmp", "a.jpg"),
        ("a.jpg(1).json", "a.jpg"),
        ("a.jpg(1).json", "a(2).jpg"),
        ("a.jpg(1).xmp", "a(1).jpg"),
        ("a.jpg.metadata.json", "a.jpg"),
        ("a.xmp", "a.json"),
        (f"{LONG[:45]}.json", f"{LONG}.jpg"),
        (f"{LONG[:46]}.json", f"{LONG[:47]}(1).jpg"),
        (f"{LONG[:46]}.xmp", f"{LONG}.jpg"),
        (f"{LONG[:47]}.json", f"{LONG}.jpg"),
        (".xmp", "a.jpg"),
        ("metadata.json", "a.jpg"),
    ],
)
def test_a_sidecar_of_another_name_belongs_to_nothing(sidecar: str, other: str) -> None:
    assert relations(sidecar, other) == set()


def test_only_what_was_read_as_a_sidecar_is_one() -> None:
    assert relations(file("a.xmp")._replace(family=None), "a.jpg") == set()
    assert relations(file("a.jpg.txt")._replace(family="sidecar"), "a.jpg") == set()


def test_a_sidecar_of_the_stem_belongs_to_the_raw_and_where_there_is_none_to_all() -> None:
    assert relations("a.xmp", "a.jpg", "a.cr2") == {("a.cr2", "sidecar", "a.xmp"), ("a.jpg", "raw", "a.cr2")}
    assert relations("a.xmp", "a.jpg", "a.mov") == {("a.jpg", "sidecar", "a.xmp"), ("a.mov", "sidecar", "a.xmp")}
    named = file("a.xmp", names="a.jpg")
    assert relations(named, "a.jpg", "a.cr2") == {("a.jpg", "sidecar", "a.xmp"), ("a.jpg", "raw", "a.cr2")}


def test_a_whole_name_says_more_than_a_stem() -> None:
    assert relations("a.cr2.xmp", "a.cr2", "a.cr2.jpg") == {("a.cr2", "sidecar", "a.cr2.xmp")}
    assert relations("a.jpg.xmp", "a.jpg", "a.JPG") == {("a.jpg", "sidecar", "a.jpg.xmp")}
    assert relations("a.jpg.xmp", "a.cr2", "a.jpg", "a.xmp") == {
        ("a.jpg", "sidecar", "a.jpg.xmp"),
        ("a.cr2", "sidecar", "a.xmp"),
        ("a.jpg", "raw", "a.cr2"),
    }


def test_a_sidecar_that_bears_no_name_belongs_to_the_file_that_it_names() -> None:
    virtual_copy = file("a_01.cr2.xmp", names="a.cr2")
    assert relations(virtual_copy, "a.cr2", "a.jpg") >= {("a.cr2", "sidecar", "a_01.cr2.xmp")}
    renamed = file("holiday.xmp", names="a.cr2")
    assert relations(renamed, "holiday.cr2", "a.cr2") == {("holiday.cr2", "sidecar", "holiday.xmp")}
    assert relations(renamed, "sub/a.cr2") == set()


def test_the_title_that_takeout_repeats_in_every_numbered_sidecar_names_nothing() -> None:
    assert relations(file("a.jpg(1).json", names="a.jpg"), "a.jpg") == set()


def test_a_title_decides_between_names_that_were_cut_alike() -> None:
    one, other = f"{LONG[:47]}.HEIC", f"{LONG[:47]}.MOV"
    cut = file(f"{LONG[:46]}.json")
    assert relations(cut, one, other) == set()
    titled = cut._replace(names=f"{LONG}_and_so_on.HEIC")
    assert relations(titled, one, other) == {(one, "sidecar", f"{LONG[:46]}.json")}


def inverted(relation: Relation) -> Relation:
    one, kind, other = relation
    both = INVERSE | {there: here for here, there in INVERSE.items()}
    return other, both[kind], one


@settings(max_examples=60, deadline=None)
@given(files=FILES, order=st.randoms(use_true_random=False))
def test_every_relation_goes_both_ways_to_another_whatever_the_order(files: list[File], order: object) -> None:
    found = pairs(files)
    assert {inverted(relation) for relation in found} == found
    assert all(one != other for one, _, other in found)
    # One asset may lie at several places.
    copies = [each._replace(asset_id=each.asset_id % 3) for each in files]
    assert all(one != other for one, _, other in pairs(copies))
    shuffled = list(files)
    order.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' stand-in for random.Random
    assert pairs(shuffled) == found


@settings(max_examples=60, deadline=None)
@given(files=FILES)
def test_each_of_two_that_belong_together_by_name_looks_for_the_other(files: list[File]) -> None:
    """The other, or else a sidecar finds by its name what it names."""
    numbered = {each.asset_id: each._replace(identifier=None) for each in files}
    for one, other in ((numbered[one], numbered[other]) for one, _, other in pairs(numbered.values())):
        sought = tuple(beginnings(one.name, one.names))
        assert other.name.startswith(sought) or other.names == os.fsdecode(one.name)


@given(name=NAMES)
def test_a_beginning_that_covers_others_stands_before_them_unless_it_is_what_was_cut(name: str) -> None:
    found = beginnings(os.fsencode(name))
    was_cut = name.lower().endswith(".json") and len(os.fsdecode(found[-1])) == 46
    exact = found[:-1] if was_cut else found
    assert all(b"." in one for one in exact)
    assert not any(other.startswith(one) for first, one in enumerate(exact) for other in exact[:first])


def test_only_a_sidecar_whose_name_was_cut_looks_for_all_that_begins_so() -> None:
    cut = LONG[:46].encode()
    assert beginnings(cut + b".json")[-1] == beginnings(cut + b"(1).json")[-1] == cut
    others = (cut + b".xmp", cut + b"0.json", cut + b"0.jpg", cut + b"0(1).jpg", cut[:-1] + b"(1).json")
    assert not any(cut in beginnings(name) for name in others)


def test_what_is_a_raw_is_what_the_raw_reader_reads() -> None:
    assert {mime_type for mime_type, reader in FAMILY.readers.items() if reader == "raw"} == RAW_TYPES
