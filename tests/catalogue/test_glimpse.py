"""What is known of a server's catalogue before it is opened; files are tried in tests/checks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from damd.catalogue.engine import CatalogueSettings
from damd.catalogue.glimpse import schema_revision
from damd.catalogue.schema import head_revision
from damd.errors import CatalogueError

Glimpse = Callable[..., str | None]


@pytest.fixture
def empty(postgresql: Any) -> Iterator[str]:
    name = postgresql.create()
    yield postgresql.url(name)
    postgresql.drop(name)


@pytest.fixture
def glimpse(tmp_path: Path) -> Glimpse:
    return lambda url: schema_revision(CatalogueSettings(url=url), tmp_path / "state", within_s=5)


def test_a_server_tells_its_revision_and_an_empty_database_has_none(
    shared_database: Any, empty: str, glimpse: Glimpse
) -> None:
    assert glimpse(shared_database.url) == head_revision()
    assert glimpse(empty) is None


def test_who_may_make_no_table_is_told_so(postgresql: Any, empty: str, glimpse: Glimpse) -> None:
    postgresql.administer("CREATE ROLE guest LOGIN PASSWORD 'swordfish'")
    try:
        url = make_url(empty).set(username="guest", password="swordfish")
        with pytest.raises(CatalogueError, match="lets this user make no tables") as refused:
            glimpse(url.render_as_string(hide_password=False))
        assert "swordfish" not in str(refused.value)
    finally:
        postgresql.administer("DROP ROLE guest")


def test_what_the_server_says_is_told_without_any_password(empty: str, glimpse: Glimpse) -> None:
    url = make_url(empty).set(username="swordfish", password="swordfish")
    with pytest.raises(CatalogueError, match=r"cannot be opened: .*\*\*\*.* does not exist") as refused:
        glimpse(url.render_as_string(hide_password=False))
    assert "swordfish" not in str(refused.value)
