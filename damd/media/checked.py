"""What a worker says, believed only in the shape that its table has.

A worker that a file has taken over may answer with anything. SQLite would keep a text where a number belongs, and
PostgreSQL would refuse the whole transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError
from sqlalchemy import BigInteger, Integer

from damd.catalogue.tables import Component, table_of
from damd.errors import BrokenFileError

_INT32 = range(-(2**31), 2**31)


def checked(rows: Sequence[Component]) -> list[Component]:
    """The same rows, their values of the types and lengths that their columns have.

    Raises:
        BrokenFileError: One does not fit.
    """
    return [_checked(row) for row in rows]


def _checked(row: Component) -> Component:
    kind = type(row)
    try:
        sound = kind.model_validate({name: getattr(row, name) for name in row.model_fields_set})
    except ValidationError as error:
        field = ".".join(map(str, error.errors(include_url=False)[0]["loc"]))
        raise BrokenFileError(f"What its reader found does not fit the catalogue: {_name(kind)}.{field}") from None
    for column in table_of(kind).columns:
        value = getattr(sound, column.name)
        is_small = isinstance(column.type, Integer) and not isinstance(column.type, BigInteger)
        if is_small and isinstance(value, int) and value not in _INT32:
            raise BrokenFileError(f"What its reader found does not fit the catalogue: {_name(kind)}.{column.name}")
    return sound


def _name(kind: type[Component]) -> str:
    return str(table_of(kind).name)
