"""The catalogue's database: whether it opens, and is of a damd that this one understands."""

from __future__ import annotations

from damd.catalogue.engine import catalogue_exists
from damd.catalogue.glimpse import schema_revision
from damd.catalogue.schema import head_revision
from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.errors import CatalogueError, CatalogueTooNewError
from damd.patience import in_time

CHECK = "catalogue"

_CONNECT_S = 5
_MOST_S = 15.0  # a name's look-up and the server's answers, too


async def look_at_catalogue(config: Config) -> list[Finding]:
    """What opening it would say; it is not opened, since that would upgrade it."""
    try:
        return [await in_time(lambda: _look(config), within_s=_MOST_S)]
    except TimeoutError:
        says, advice = f"{where(config)} does not answer", "see to its server, its network, or its disk"
    except PermissionError as error:
        says = f"Whether there is one cannot be seen: {error.filename or config.state} is closed to this user"
        advice = "ask as the user that damd runs as, or as root"
    except CatalogueTooNewError as error:
        says, advice = str(error), "upgrade damd, or name another --state"
    except CatalogueError as error:
        says, advice = (
            f"{where(config)}: {error}",
            "see to the server and correct catalogue.url, or name another --state",
        )
        if config.catalogue.file_in(config.state) is not None:
            advice = "restore its folder from a backup, or name another --state"
    return [Finding(check=CHECK, health=Health.PROBLEM, says=says, advice=advice)]


def _look(config: Config) -> Finding:
    if not catalogue_exists(config.catalogue, config.state):
        return Finding(check=CHECK, says=f"There is none in {config.state} yet: damd run or damd ingest begins one")
    revision = schema_revision(config.catalogue, config.state, within_s=_CONNECT_S)
    if revision is None:
        return Finding(check=CHECK, says=f"There is none in {where(config)} yet: damd run or damd ingest begins one")
    if revision != head_revision():
        says = f"It is of an older damd ({where(config)}), and is brought up to date when it is opened"
        return Finding(check=CHECK, says=says)
    return Finding(check=CHECK, says=f"It opens, and is of this version ({where(config)})")


def where(config: Config) -> str:
    """The database, for people."""
    file = config.catalogue.file_in(config.state)
    return str(file) if file is not None else "PostgreSQL"
