"""Which files belong together, by their names and by what was read from them; pure.

- A camera's RAW file belongs to the JPEG or HEIC of the same stem in the same folder.
- A Live Photo's still belongs to its film: by Apple's content identifier wherever they lie, or, where one of them has
  none, by stem, folder and time of capture. How long the film is does not count: two that began in the same second
  under one name are parts of one thing.
- A sidecar belongs to one file, found in this order: the one whose whole name it bears (``a.jpg.xmp``, and Google
  Takeout's spellings); those whose stem it bears (``a.xmp``); one whose long name Takeout cut; one that it names.

Of several files of one stem the sidecar ``a.xmp`` belongs to the one it names, else to the RAW files, since Lightroom,
Bridge and Capture One write it for these alone and keep a JPEG's metadata in the JPEG; where there is none, to all of
them, as darktable and digiKam read it for whatever file lacks an ``a.jpg.xmp``. The JPEG beside a RAW finds it
through the RAW. What is written ``a.jpg.xmp``, darktable's and digiKam's way, is for the JPEG.

Stems are compared byte by byte, extensions without regard to case. Takeout's rules: a name and
``.supplemental-metadata`` are cut to 46 characters, then the number of a repeated name follows, then ``.json``, see
https://github.com/ente/ente/pull/4956 and https://github.com/TheLastGimbus/GooglePhotosTakeoutHelper/issues/8.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import NamedTuple

from damd.catalogue.roots import Place

SIDECAR = "sidecar"
"""The family of sidecars, and the kind of relation that a picture has with its own."""

INVERSE = {SIDECAR: "sidecar_of", "raw": "rendition", "live_video": "live_photo"}
"""What the one is to the other, and the other to the one."""

_RENDITIONS = frozenset({"image/jpeg", "image/heic", "image/heif"})
_LIVE_FILMS = frozenset({"video/quicktime", "video/mp4"})
RAW_TYPES = frozenset(
    {
        "image/x-adobe-dng",
        "image/x-canon-cr2",
        "image/x-canon-cr3",
        "image/x-canon-crw",
        "image/x-epson-erf",
        "image/x-fujifilm-raf",
        "image/x-hasselblad-3fr",
        "image/x-kodak-dcr",
        "image/x-minolta-mrw",
        "image/x-nikon-nef",
        "image/x-olympus-orf",
        "image/x-panasonic-rw2",
        "image/x-pentax-pef",
        "image/x-phaseone-iiq",
        "image/x-samsung-srw",
        "image/x-sigma-x3f",
        "image/x-sony-arw",
    }
)
"""The MIME types of cameras' RAW files, as `damd.filetype` tells them; a RAW that nobody can read here is one too."""

_EXTENSION = re.compile(rb"(.+)\.([0-9]*[a-z][0-9a-z]{0,9})", re.DOTALL | re.IGNORECASE)
_COUNTED = re.compile(rb"(.*[^ ])\(([0-9]{1,4})\)", re.DOTALL)
_SUPPLEMENT = b"supplemental-metadata"
_CUT = 46
"""Characters that Takeout leaves of a name."""

_NEAR_S = 5
_STEP_S, _FARTHEST_S = 15 * 60, 14 * 3600
"""Time zones lie whole quarters of an hour from UTC, and at most 14 hours."""


class File(NamedTuple):
    """A file that is an asset's location, and what is known of that asset.

    `identifier` is a Live Photo's; `names` is the file that a sidecar says it belongs to.
    """

    asset_id: int
    place: Place
    family: str | None = None
    mime_type: str | None = None
    taken_at: str | None = None
    identifier: str | None = None
    names: str | None = None

    @property
    def folder(self) -> tuple[str, bytes]:
        """Its root, and the folder below it."""
        return self.place.root, self.place.path.rpartition(b"/")[0]

    @property
    def name(self) -> bytes:
        """The last part of its path."""
        return self.place.path.rpartition(b"/")[2]

    @property
    def is_sidecar(self) -> bool:
        """Whether it was read as a sidecar, and is called like one."""
        return self.family == SIDECAR and may_be_sidecar(self.name)


Relation = tuple[int, str, int]
"""An asset, what the other is to it, and the other: as `damd.catalogue.tables.RelatedTo` has it."""


def pairs(files: Iterable[File]) -> set[Relation]:
    """Every relation among these files, both ways round; an asset never belongs to itself."""
    folders: dict[tuple[str, bytes], list[File]] = defaultdict(list)
    identified: dict[str, list[File]] = defaultdict(list)
    for file in files:
        folders[file.folder].append(file)
        if file.identifier:
            identified[file.identifier].append(file)
    found = set[Relation]()
    for twins in identified.values():
        found |= _live(twins)
    for neighbours in folders.values():
        stems = _by_stem(neighbours)
        for siblings in stems.values():
            found |= _live(siblings) | _raw(siblings)
        for sidecar in neighbours:
            if sidecar.is_sidecar:
                found |= {(owner.asset_id, SIDECAR, sidecar.asset_id) for owner in _owners(sidecar, neighbours, stems)}
    found = {(one, kind, other) for one, kind, other in found if one != other}
    return found | {(other, INVERSE[kind], one) for one, kind, other in found}


def may_be_sidecar(name: bytes) -> bool:
    """Whether a file of this name can be a sidecar."""
    return name.lower().endswith((b".xmp", b".json"))


def beginnings(name: bytes, names: str | None = None) -> list[bytes]:
    """How the names begin of all files that one of this name may belong together with.

    One that covers others stands before them: where all that begins so was looked at, they need not be. Only what
    Takeout left of a long name, as which any number of files may begin, stands last.

    Args:
        name: The last part of a path.
        names: The file that a sidecar names.
    """
    if not may_be_sidecar(name):
        return sorted(_beginnings_beside(name))
    base, suffix = _split(name)
    found = {base + b"."}
    wholes = [*_whole_names(name), *([names.encode("utf-8", "surrogateescape")] if names else [])]
    for whole in wholes:
        stem, extension = _split(whole)
        found |= {stem + b".", whole} if extension else {stem + b"."}
    plain, _ = _uncounted(base)
    return sorted(found) + ([plain] if suffix == b"json" and _length(plain) == _CUT else [])


def _beginnings_beside(name: bytes) -> set[bytes]:
    """How all of a file's stem begin, and its sidecars, also where Takeout cut its name or put its number elsewhere."""
    stem, _ = _split(name)
    extension = name[len(stem) :]
    plain, count = _uncounted(stem)
    found = {stem + b".", name + b".", plain + b"."}
    for whole, number in ((name, b""), (plain + extension, count)):
        if left := _left_of(whole):
            found.add(left + number + b".")
    return found


def _split(name: bytes) -> tuple[bytes, bytes]:
    """A name's stem and its extension in lower case; no extension but one with a letter, as in 2024-05-01 12.30.45."""
    match = _EXTENSION.fullmatch(name)
    return (match[1], match[2].lower()) if match else (name, b"")


def _uncounted(stem: bytes) -> tuple[bytes, bytes]:
    """A stem without the number of a repeated name, and that number with its brackets."""
    match = _COUNTED.fullmatch(stem)
    return (match[1], b"(%b)" % match[2]) if match else (stem, b"")


def _length(name: bytes) -> int:
    return len(name.decode("utf-8", "surrogateescape"))


def _left_of(name: bytes) -> bytes | None:
    """What Takeout leaves of a long name; None where the name is short enough."""
    text = name.decode("utf-8", "surrogateescape")
    return text[:_CUT].encode("utf-8", "surrogateescape") if len(text) > _CUT else None


def _by_stem(files: Iterable[File]) -> dict[bytes, list[File]]:
    found: dict[bytes, list[File]] = defaultdict(list)
    for file in files:
        stem, extension = _split(file.name)
        if extension and file.family != SIDECAR:
            found[stem].append(file)
    return found


def _is_raw(file: File) -> bool:
    return file.mime_type in RAW_TYPES


def _raw(siblings: Sequence[File]) -> set[Relation]:
    raws = [file for file in siblings if _is_raw(file)]
    renditions = [file for file in siblings if file.mime_type in _RENDITIONS]
    return {(rendition.asset_id, "raw", raw.asset_id) for raw, rendition in product(raws, renditions)}


def _live(files: Sequence[File]) -> set[Relation]:
    # Many cameras put a still of each film beside it, as .THM.
    stills = [file for file in files if file.mime_type in _RENDITIONS and not file.name.lower().endswith(b".thm")]
    films = [file for file in files if file.mime_type in _LIVE_FILMS]
    return {
        (still.asset_id, "live_video", film.asset_id) for still, film in product(stills, films) if _are_one(still, film)
    }


def _are_one(still: File, film: File) -> bool:
    if still.identifier and film.identifier:
        return still.identifier == film.identifier
    return _are_near(still.taken_at, film.taken_at)


def _are_near(one: str | None, other: str | None) -> bool:
    """Whether two times of capture are the same; one without its offset may be any time zone's."""
    moments = [_moment(text) for text in (one, other) if text and "T" in text]
    if len(moments) < 2 or None in moments:
        return False
    first, second = (moment for moment in moments if moment is not None)
    know_offset = first.tzinfo is not None and second.tzinfo is not None
    apart_s = abs((_wall(first) - _wall(second)).total_seconds())
    if know_offset:
        return apart_s <= _NEAR_S
    rest_s = apart_s % _STEP_S
    return apart_s <= _FARTHEST_S + _NEAR_S and min(rest_s, _STEP_S - rest_s) <= _NEAR_S


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if "T" in text else None  # of a day alone it would make midnight
    except ValueError:
        return None


def _wall(moment: datetime) -> datetime:
    """What a clock shows: in UTC where the offset is known, else wherever that was."""
    if moment.tzinfo is None:
        return moment
    try:
        return moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:  # in the first or the last hours of the calendar
        return moment.replace(tzinfo=None)


def _owners(sidecar: File, neighbours: Sequence[File], stems: dict[bytes, list[File]]) -> list[File]:
    """The files that a sidecar belongs to; of the ways to find them the first that finds any decides."""
    base, suffix = _split(sidecar.name)
    named = sidecar.names.encode("utf-8", "surrogateescape") if sidecar.names else None
    for whole in _whole_names(sidecar.name):
        stem, extension = _split(whole)
        files = [file for file in stems.get(stem, ()) if _split(file.name)[1] == extension]
        if extension and files:
            return [file for file in files if file.name == whole] or files
    if siblings := stems.get(base, []):
        chosen = [file for file in siblings if file.name == named]
        return chosen or [file for file in siblings if _is_raw(file)] or siblings
    if suffix == b"json" and (files := list(_cut_short(base, neighbours))):
        return files if len({file.name for file in files}) == 1 else _titled(files, named)
    if named and not _uncounted(base)[1]:
        return [file for file in stems.get(_split(named)[0], ()) if file.name == named]
    return []


def _whole_names(name: bytes) -> Iterator[bytes]:
    """The whole names that a sidecar of this name may bear, the likeliest first."""
    base, suffix = _split(name)
    yield base
    if suffix != b"json":
        return
    plain, count = _uncounted(base)
    head, _, tail = plain.rpartition(b".")
    for bare in (plain, head) if _SUPPLEMENT.startswith(tail) else (plain,):
        stem, extension = _split(bare)
        if extension:
            yield stem + count + b"." + bare[len(stem) + 1 :]


def _cut_short(base: bytes, neighbours: Iterable[File]) -> Iterator[File]:
    """The files whose name was too long for Takeout to keep it whole in the sidecar's."""
    plain, count = _uncounted(base)
    if _length(plain) != _CUT:
        return
    for file in neighbours:
        stem, extension = _split(file.name)
        bare, number = _uncounted(stem)
        if not number or (not count and len(bare) < len(plain)):
            bare, number = stem, b""  # a number before the cut is part of the name
        whole = bare + file.name[len(stem) :]
        if extension and file.family != SIDECAR and number == count and _left_of(whole) == plain:
            yield file


def _titled(files: Sequence[File], title: bytes | None) -> list[File]:
    """Those that were called so before Takeout cut their names too, if that leaves no doubt."""
    if title is None:
        return []
    begin, kind = _split(title)
    split = [(file, *_split(file.name)) for file in files]
    found = [file for file, stem, extension in split if begin.startswith(_uncounted(stem)[0]) and extension == kind]
    return found if len({file.name for file in found}) == 1 else []
