"""What may leave a worker: plain data within bounds, whatever a file says."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damd.readers.plain import MAX_CHARACTERS, MAX_DEPTH, MAX_ITEMS, MAX_VALUES, clean_line, clean_text, plain

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=40,
)


def count(value: Any) -> int:
    match value:
        case dict():
            return 1 + sum(count(each) for each in value.values())
        case list():
            return 1 + sum(count(each) for each in value)
    return 1


@given(ANYTHING)
def test_whatever_is_said_can_be_told_as_json_and_stored_as_text(value: Any) -> None:
    said = json.dumps(plain(value), allow_nan=False)
    assert "\\u0000" not in said
    json.loads(said)


@given(ANYTHING)
def test_what_is_plain_stays_as_it_is(value: Any) -> None:
    once = plain(value)
    assert plain(once) == once


@given(st.text(st.characters()) | st.binary())
def test_a_text_has_nothing_in_it_that_a_terminal_or_a_database_minds(value: str | bytes) -> None:
    text = clean_text(value)
    assert text is None or all(char.isprintable() or char in "\n\u200c\u200d" for char in text)
    assert text != ""
    line = clean_line(value)
    assert line is None or ("\n" not in line and len(line) <= 200)


def test_fifty_megabytes_of_comment_are_cut() -> None:
    assert clean_text("x" * 50_000_000) == "x" * MAX_CHARACTERS
    assert clean_text(b"x" * 50_000_000) == "x" * MAX_CHARACTERS
    assert plain({"comment": "ü" * 50_000_000}) == {"comment": "ü" * MAX_CHARACTERS}


def test_a_text_ends_at_its_first_nul_and_keeps_its_lines() -> None:
    assert clean_text("one\r\ntwo\x1b[31m\tred\0secret") == "one\ntwo[31m red"
    assert clean_line("one\r\ntwo") == "one two"
    assert clean_text("\0\0\0") is clean_text("  \n ") is clean_text(17) is None


def test_bytes_are_utf8_or_else_latin1_and_may_be_cut_within_a_character() -> None:
    assert clean_text("Zürich".encode()) == clean_text("Zürich".encode("latin-1")) == "Zürich"
    assert clean_text("€".encode() * 40, limit=1) == "€"
    assert clean_text(b"Stra\xdfe Caf\xe9") == "Straße Café"


def test_families_of_emoji_stay_together() -> None:
    assert clean_text("👩‍👩‍👧") == "👩‍👩‍👧"


def test_lists_and_objects_have_bounds_in_length_depth_and_all() -> None:
    assert len(plain([0] * 5000)) == MAX_ITEMS
    assert len(plain({str(number): 0 for number in range(5000)})) == MAX_ITEMS
    assert count(plain([[0] * 900] * 900)) <= MAX_VALUES + MAX_ITEMS
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    assert json.dumps(plain(deep)).count("[") == MAX_DEPTH + 1


def test_numbers_that_json_or_a_database_cannot_hold_become_nothing() -> None:
    assert plain([math.nan, math.inf, 2**63, -(2**63), 1.5, True]) == [None, None, None, -(2**63), 1.5, True]


@pytest.mark.parametrize("value", [b"bytes", {1: "key"}, object(), {1, 2}])
def test_what_is_no_plain_data_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no plain data"):
        plain({"found": value})
