"""Whether the catalogue's files are sound."""

from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import insert

from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.soundness import find_damage
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Entity, now, table_of

pytestmark = pytest.mark.anyio


async def test_a_sound_catalogue_is_called_so_and_a_server_sees_to_itself(catalogue: Catalogue) -> None:
    told = await catalogue.read(partial(find_damage, within_s=30))
    assert told == ([] if catalogue.engine.dialect.name == "sqlite" else None)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_check_that_takes_too_long_is_given_up_and_the_connection_is_as_good_as_before(
    catalogue: Catalogue,
) -> None:
    rows = [{"created_at": now()} for _ in range(20_000)]
    await catalogue.write(lambda session: session.execute(insert(table_of(Entity)), rows))
    assert await catalogue.read(partial(find_damage, within_s=0)) is None
    assert await catalogue.read(partial(find_damage, within_s=30)) == []


def overwrite_pages(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-20 * 4096 : -10 * 4096] = bytes(10 * 4096)
    file.write_bytes(content)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_damage_is_told(catalogue: Catalogue, url: str, tmp_path: Path) -> None:
    rows = [{"created_at": now()} for _ in range(20_000)]
    await catalogue.write(lambda session: session.execute(insert(table_of(Entity)), rows))
    catalogue.engine.dispose()  # so that all of it is in the file
    overwrite_pages(Path(url.removeprefix("sqlite:///")))
    engine = make_engine(CatalogueSettings(url=url), tmp_path)
    try:
        assert await Catalogue(engine).read(partial(find_damage, within_s=30))
    finally:
        engine.dispose()
