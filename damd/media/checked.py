"""What a worker says, believed only in the shape that its table has.

A worker that a file has taken over may answer with anything. SQLite would keep a text where a number belongs, and
PostgreSQL would refuse the whole transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy import BigInteger, Integer

from damd.catalogue.tables import Component, table_of
from damd.errors import BrokenFileError
from damd.readers.failures import clean

_INT32 = range(-(2**31), 2**31)
_LONGEST_EDGE = 2**16


def checked(make_rows: Callable[[Mapping[str, Any]], Sequence[Component]], facts: Mapping[str, Any]) -> list[Component]:
    """The rows that these facts make, their values of the types and lengths that their columns have.

    Raises:
        BrokenFileError: None can be made of them, or one does not fit.
    """
    try:
        rows = make_rows(facts)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise BrokenFileError(f"What its reader found makes no rows of the catalogue: {clean(what)}") from error
    return [_checked(row) for row in rows]


def checked_previews(said: object, sizes: Collection[int]) -> list[dict[str, int]]:
    """The previews that a reader says it wrote: each of a size that was asked for, with its own width and height.

    Raises:
        BrokenFileError: It says anything else.
    """
    found: dict[int, dict[str, int]] = {}
    for preview in said if isinstance(said, list | tuple) else [None]:
        match preview:
            case {"size": int(size), "width": int(width), "height": int(height)} if (
                size in sizes and size not in found and 0 < width <= _LONGEST_EDGE and 0 < height <= _LONGEST_EDGE
            ):
                found[size] = {"size": size, "width": width, "height": height}
            case _:
                raise BrokenFileError("What its reader says of previews cannot be")
    return list(found.values())


def checked_family(said: object, known: Collection[str]) -> str | None:
    """The family that a reader says it is of after all, if it says one.

    Raises:
        BrokenFileError: There is no such family.
    """
    if said is None or (isinstance(said, str) and said in known):
        return said
    raise BrokenFileError("Its reader says that it is of a family which there is not")


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
