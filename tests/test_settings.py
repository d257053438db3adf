"""Durations, sizes, counts and paths: what is read, what is refused, and that writing reads back."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from damd.settings import (
    AbsolutePath,
    Duration,
    Settings,
    format_count,
    format_duration,
    format_size,
    parse_count,
    parse_duration,
    parse_size,
)

MILLISECONDS = st.integers(0, 10 * 365 * 86_400_000).map(lambda count: timedelta(milliseconds=count))
EXACT = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("0s", timedelta(0)),
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("1.5h", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
    ],
)
def test_a_duration_is_a_number_with_its_unit(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "value", ["", "15", "m", "-5s", "5 s", "5s ", "1h 30m", "5S", "5y", "5sx", 15, 1.5, True, None]
)
def test_what_is_no_duration_is_refused_with_an_example(value: Any) -> None:
    with pytest.raises(ValueError, match="500ms, 15m, 1h30m"):
        parse_duration(value)


def test_a_duration_beyond_all_calendars_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than anything can wait"):
        parse_duration("9" * 30 + "d")


@given(MILLISECONDS)
def test_a_duration_reads_back_as_it_was_written(value: timedelta) -> None:
    assert parse_duration(format_duration(value)) == value


def test_durations_are_written_in_the_largest_units() -> None:
    assert format_duration(timedelta(minutes=90)) == "1h30m"
    assert format_duration(timedelta(seconds=60)) == "1m"
    assert format_duration(timedelta(0)) == "0s"


@pytest.mark.parametrize(
    ("text", "expected"), [("512MiB", 2**29), ("2GB", 2 * 10**9), ("1.5 KiB", 1536), ("0B", 0), ("1TiB", 2**40)]
)
def test_a_size_is_a_number_with_its_unit(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("value", ["", "512", "MiB", "-1B", "1mb", "1M", 512, 1.5, True, None])
def test_what_is_no_size_is_refused_with_an_example(value: Any) -> None:
    with pytest.raises(ValueError, match="512MiB"):
        parse_size(value)


@given(EXACT)
def test_a_size_reads_back_as_it_was_written(value: int) -> None:
    assert parse_size(format_size(value)) == value


@pytest.mark.parametrize(
    ("value", "expected"), [("500M", 500_000_000), ("20k", 20_000), ("7", 7), (7, 7), ("1.5G", 15 * 10**8)]
)
def test_a_count_may_have_a_unit(value: Any, expected: int) -> None:
    assert parse_count(value) == expected


@pytest.mark.parametrize("value", ["", "M", "5MB", "-5", True, None, 1.5])
def test_what_is_no_count_is_refused_with_an_example(value: Any) -> None:
    with pytest.raises(ValueError, match="500M"):
        parse_count(value)


@given(EXACT)
def test_a_count_reads_back_as_it_was_written(value: int) -> None:
    assert parse_count(format_count(value)) == value


@pytest.mark.parametrize("text", ["9" * 400 + "B", "9" * 5000 + "TiB", "8388608TiB"])
def test_a_size_beyond_all_disks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="larger than any"):
        parse_size(text)


def test_a_count_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than any"):
        parse_count("9" * 400)


def test_the_home_of_nobody_is_refused() -> None:
    with pytest.raises(ValidationError, match="this user is not known here"):
        TypeAdapter[Path](AbsolutePath).validate_python("~no-such-user/inbox")


def test_a_path_is_made_absolute_and_knows_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    path = TypeAdapter[Path](AbsolutePath)

    assert path.validate_python("~/inbox") == tmp_path / "home" / "inbox"
    assert path.validate_python("a/../b") == tmp_path / "b"
    assert path.validate_python(tmp_path) == tmp_path


def test_a_path_may_hold_bytes_that_are_no_text() -> None:
    path = TypeAdapter[Path](AbsolutePath)

    assert path.dump_python(path.validate_python("/a\udcff"), mode="json") == "/a\udcff"


@pytest.mark.parametrize("value", ["", "a\0b", 3, None, ["a"]])
def test_what_is_no_path_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match="path"):
        TypeAdapter[Path](AbsolutePath).validate_python(value)


class _Nap(Settings):
    length: Duration = timedelta(hours=1)


def test_settings_are_written_as_they_are_read() -> None:
    assert _Nap.model_validate({"length": "20m"}).model_dump() == {"length": "20m"}


def test_settings_are_frozen_and_refuse_unknown_keys() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        _Nap().length = timedelta(0)  # type: ignore[misc] # this is what is tested
    with pytest.raises(ValidationError, match="extra"):
        _Nap.model_validate({"lenght": "1h"})
    with pytest.raises(ValidationError, match="negative"):
        _Nap(length=timedelta(-1))
