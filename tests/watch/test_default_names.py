import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from damd.watch import default_names
from damd.watch.default_names import (
    BOOKKEEPING_NAMES,
    PARTIAL_NAMES,
    RSYNC_NAME,
    default_rule,
    is_ignored_by_default,
    matches_default,
)

_NAMES = PARTIAL_NAMES + BOOKKEEPING_NAMES
_BYTES = st.binary(min_size=1, max_size=12).map(lambda name: name.replace(b"/", b"~").replace(b"\0", b"."))


@st.composite
def near_a_default(draw: st.DrawFn) -> bytes:
    """A name that one of the defaults matches, with a byte or two of it changed, gone or new."""
    pattern = os.fsencode(draw(st.sampled_from([*_NAMES, ".a.jpg.Xa81bQ"]))).rstrip(b"/")
    name = pattern.replace(b"[opx]", draw(st.sampled_from([b"o", b"p", b"x", b"n", b"O"])))
    name = name.replace(b"?", b"0").replace(b"*", draw(st.one_of(st.just(b""), _BYTES)))
    name = draw(st.sampled_from([name, name.upper(), name.swapcase()]))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(name)))
        name = name[:at] + draw(st.one_of(st.just(b""), _BYTES)) + name[at + draw(st.integers(0, 1)) :]
    return name or b"x"


@settings(max_examples=500, deadline=None)
@given(name=st.one_of(_BYTES, near_a_default()), is_directory=st.booleans())
@example(name=b"\xff.TMP", is_directory=False)
@example(name="a.\u017fwp".encode(), is_directory=False)  # a long s, which is an s only where case knows Unicode
@example(name=b"a\n.part\n", is_directory=False)
def test_the_quick_judge_and_the_patterns_agree(name: bytes, is_directory: bool) -> None:
    ignored = matches_default(name, is_directory=is_directory)
    assert is_ignored_by_default(name, is_directory) is ignored
    assert (default_rule(name, is_directory=is_directory) is not None) is ignored


@pytest.mark.parametrize("stem", ["IMG_0001", "holiday", "_DSC01234", "PXL_20240101_120000000", "été", "0"])
def test_ordinary_names_are_told_apart_by_the_tables_alone(stem: str) -> None:
    suffixes = "jpg JPEG png gif tif tiff webp avif heic HEIF bmp cr2 CR3 nef arw dng raf mp4 MOV avi mkv mp3 flac pdf"
    for suffix in ["", *(f".{suffix}" for suffix in suffixes.split())]:
        name = os.fsencode(stem + suffix)
        assert name[0] not in default_names._FIRST
        assert name[-1] not in default_names._LAST
        assert name[-4:] not in default_names._TAILS


@pytest.mark.parametrize("name", ["*", "a*b", "*.go", "[a-z]*", "img?"])
def test_a_default_that_the_tables_cannot_tell_from_ordinary_names_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="slow"):
        default_names._tables([name])


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("film.PART", "*.part"), ("@eaDir", "@eaDir/"), ("a.swp", "*.sw[opx]"), (".a.jpg.Xa81bQ", RSYNC_NAME)],
)
def test_the_default_that_ignores_a_name_is_told(name: str, pattern: str) -> None:
    rule = default_rule(os.fsencode(name), is_directory=True)
    assert rule is not None
    assert (rule.pattern, rule.source) == (pattern, "the defaults")
