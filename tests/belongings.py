"""Files that may belong together: by their names, as cameras and programs give them, and by what is known of them."""

import os

from hypothesis import strategies as st

from damd.catalogue.belonging import File
from damd.catalogue.roots import Place

TYPES = {
    b"jpg": ("image", "image/jpeg"),
    b"thm": ("image", "image/jpeg"),
    b"heic": ("image", "image/heic"),
    b"png": ("image", "image/png"),
    b"cr2": ("image", "image/x-canon-cr2"),
    b"dng": ("image", "image/x-adobe-dng"),
    b"x3f": (None, "image/x-sigma-x3f"),
    b"mov": ("video", "video/quicktime"),
    b"avi": ("video", "video/x-msvideo"),
    b"xmp": ("sidecar", "application/rdf+xml"),
    b"json": ("sidecar", "application/json"),
}


def file(
    path: str,
    *,
    number: int = 0,
    taken_at: str | None = None,
    identifier: str | None = None,
    names: str | None = None,
) -> File:
    """A file whose name's last part tells what it is."""
    raw = os.fsencode(path)
    family, mime_type = TYPES.get(raw.rpartition(b".")[2].lower(), (None, None))
    return File(number, Place("inbox", raw), family, mime_type, taken_at, identifier, names)


LONG = "original_1d4caa6f-16c6-4c3d-901b-9387de10e528_PXL_1"

STEMS = st.sampled_from(["a", "2024-05-01 12.30.45", LONG[:44], LONG[:46], LONG[:47], "é" * 46])
COUNTS = st.sampled_from(["", "", "", "", "", "(1)", " (1)", "(12)"])
BETWEEN = st.sampled_from(["", "", "", "", ".jpg", ".CR2", ".b", ".j", ".jpg.s", ".jpg.supplemental-metadata", ".1"])
EXTENSIONS = st.sampled_from(
    [".jpg", ".jpg", ".JPG", ".heic", ".cr2", ".mov", ".xmp", ".xmp", ".json", ".json", ".1", ""]
)


def names_of(stem: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("{}{}{}{}{}".format, stem, COUNTS, BETWEEN, COUNTS, EXTENSIONS)


NAMES = names_of(STEMS)
TIMES = st.none() | st.sampled_from(
    ["2024-05-01T12:00:00", "2024-05-01T12:00:02+00:00", "2024-05-01T10:00:00+02:00", "9999-12-31T23:59:59-14:00", "x"]
)


def files_of(stem: str) -> st.SearchStrategy[list[File]]:
    """Files that are called alike, so that many of them belong together; each an asset of its own."""
    names = names_of(st.just(stem))
    one = st.builds(
        lambda path, folder, **known: file(folder + path, **known),
        names,
        st.sampled_from(["", "", "", "sub/"]),
        taken_at=TIMES,
        identifier=st.sampled_from([None, None, None, "X", "Y"]),
        names=st.none() | names,
    )
    found = st.lists(one, min_size=2, max_size=8, unique_by=lambda each: each.place)
    return found.map(lambda files: [each._replace(asset_id=number) for number, each in enumerate(files, 1)])


FILES = STEMS.flatmap(files_of)
