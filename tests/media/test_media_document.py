"""Documents from file to catalogue."""

from collections.abc import Callable
from typing import Any

import pytest
from bench import Bench
from papers import deflate_bomb, locked_paper, paper, picture_paper
from pictures import CORNERS, corners, near
from PIL import Image

from damd.catalogue.describe import describe_assets
from damd.catalogue.roots import Roots
from damd.catalogue.tables import FileProperties
from damd.errors import BrokenFileError
from damd.fingerprint import calculate_hash
from damd.media.document import DocumentProperties, ProcessDocumentCommand
from damd.results import IngestResult

pytest.importorskip("pypdfium2", reason="needs damd[documents]")
pytestmark = pytest.mark.anyio


async def ingest(bench: Bench, data: bytes, name: str = "a.pdf") -> IngestResult:
    path = bench.folder / name
    path.write_bytes(data)
    return await bench.ingest(path)


async def describe(bench: Bench, result: IngestResult) -> dict[str, Any]:
    roots, folder, number = bench.world.get_resource(Roots), bench.thumbnails.folder, result.asset_id or 0
    (described,) = await bench.catalogue.read(lambda session: describe_assets(session, [number], roots, folder))
    return described


async def test_a_document_becomes_an_asset_with_its_first_page_as_preview(bench: Bench) -> None:
    info: dict[str, str | bytes] = {
        "Title": "Über Fjorde",
        "Author": "A. Writer",
        "CreationDate": b"D:20120504101112+02'00'",
    }
    result = await ingest(bench, paper(info=info, count=2), "a.dat")
    assert (result.status, result.mime_type, result.family) == ("SUCCESS", "application/pdf", "document")
    described = await describe(bench, result)
    assert described["components"]["document_properties"] == {
        "encrypted": False,
        "pages": 2,
        "title": "Über Fjorde",
        "author": "A. Writer",
        "created_at": "2012-05-04T10:11:12+02:00",
    }
    with Image.open(result.thumbnail_path or "") as preview:
        assert preview.width == 2 * preview.height
        assert all(near(colour, CORNERS[name], 60) for name, colour in corners(preview).items())


async def test_a_locked_document_is_an_asset_that_says_so(bench: Bench) -> None:
    result = await ingest(bench, locked_paper(b"secret"))
    assert (result.status, result.family, result.thumbnail_path) == ("SUCCESS", "document", None)
    described = await describe(bench, result)
    properties = described["components"]["document_properties"]
    assert (properties["encrypted"], properties["pages"]) == (True, None)
    assert described["previews"] == []


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda: paper(content=deflate_bomb(300 * 2**20)),
            "A stream in it unpacks to more than 256 MiB: a decompression bomb",
        ),
        (
            lambda: picture_paper(60_000, 60_000),
            "A picture on its first page has 3600000000 pixels, and max_pixels allows 100000",
        ),
        (
            lambda: paper(info={"Title": "cut"})[:300],
            "The document is cut off: its table of contents is missing at the end",
        ),
    ],
    ids=["deflated", "pixels", "cut"],
)
async def test_bombs_and_broken_documents_end_as_failures_that_say_why(
    bench: Bench, make: Callable[[], bytes], reason: str
) -> None:
    result = await ingest(bench, make())
    assert (result.status, result.reason) == ("FAILED", reason)
    failure = await bench.failure(bench.folder / "a.pdf")
    assert failure is not None
    assert failure.permanent


async def test_the_command_alone_raises_what_is_wrong_and_leaves_nothing(bench: Bench) -> None:
    path = bench.folder / "a.pdf"
    path.write_bytes(b"%PDF-1.7 and no more")
    before = await bench.count(FileProperties), await bench.count(DocumentProperties)
    command = ProcessDocumentCommand(file_path=path, file_hash=await calculate_hash(path), mime_type="application/pdf")
    with pytest.raises(BrokenFileError):
        await bench.world.dispatch_command(command)
    assert before == (await bench.count(FileProperties), await bench.count(DocumentProperties))
