import fnmatch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from damd.watch.patterns import Layer, Pattern, Rule, parse_pattern

_SEGMENT = st.lists(st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", "."]), min_size=1, max_size=6).map("".join)
_SEGMENTS = st.lists(st.one_of(st.just("**"), _SEGMENT), min_size=2, max_size=6)
_NAME = st.text("ab.", min_size=1, max_size=7)
_PATH = st.lists(_NAME, min_size=1, max_size=6)


def matches(pattern: Pattern, path: list[str]) -> bool:
    prefix = "".join(f"{folder}/" for folder in path[:-1])
    return Layer([pattern]).decision(prefix, path[-1], is_directory=True) is pattern


def match_one_by_one(segments: list[str], path: list[str]) -> bool:
    """What gitignore(5) says of an anchored pattern, in the plainest way."""
    if not segments:
        return not path
    if segments[0] != "**":
        return bool(path) and fnmatch.fnmatchcase(path[0], segments[0]) and match_one_by_one(segments[1:], path[1:])
    if len(segments) == 1:
        return bool(path)
    return any(match_one_by_one(segments[1:], path[start:]) for start in range(len(path)))


@settings(max_examples=250, deadline=None)
@given(segment=_SEGMENT.filter(lambda text: text != "**"), path=_PATH)
def test_a_pattern_without_a_slash_looks_at_the_name(segment: str, path: list[str]) -> None:
    assert matches(parse_pattern(segment), path) is fnmatch.fnmatchcase(path[-1], segment)


@settings(max_examples=250, deadline=None)
@given(segments=_SEGMENTS, path=_PATH)
@example(segments=["a", "**", "b", "**", "a", "b", "a"], path=list("ababa"))  # the first b counts, not the last
@example(segments=["**", "b", "**", "a", "b", "a"], path=list("baba"))
def test_a_pattern_with_slashes_looks_at_each_folder(segments: list[str], path: list[str]) -> None:
    assert matches(parse_pattern("/" + "/".join(segments)), path) is match_one_by_one(segments, path)


def test_the_last_pattern_that_matches_decides() -> None:
    first, second, third = (parse_pattern(text) for text in ("*.jpg", "!a.jpg", "b/"))
    layer = Layer([first, second, third])
    assert layer.decision("x/", "b.jpg", is_directory=False) is first
    assert layer.decision("x/", "a.jpg", is_directory=False) is second
    assert layer.decision("x/", "b", is_directory=True) is third
    assert layer.decision("x/", "b", is_directory=False) is None
    assert Layer([]).decision("", "a", is_directory=False) is None


def test_a_pattern_tells_what_it_is_called() -> None:
    assert parse_pattern("b/").rule == Rule("b/", "the configuration")
    assert parse_pattern("*.\udcff", "/a/.damdignore:1").rule == Rule("*.\N{REPLACEMENT CHARACTER}", "/a/.damdignore:1")


@pytest.mark.parametrize("text", ["a" * 5000, "**/" * 2000 + "a"])
def test_a_pattern_that_is_longer_than_any_path_is_refused_in_few_words(text: str) -> None:
    with pytest.raises(ValueError, match="longer than any path") as refused:
        parse_pattern(text)
    assert len(str(refused.value)) < 100
