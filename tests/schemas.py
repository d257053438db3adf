"""As much of JSON Schema as damd's own schemas need."""

from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def faults(value: Any, schema: dict[str, Any], whole: dict[str, Any] | None = None) -> Iterator[str]:
    """What in a value is not by a schema, or is nothing that it names; `whole` is where its definitions are."""
    whole = whole or schema
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema and all(list(faults(value, each, whole)) for each in schema["anyOf"]):
        yield f"{value!r} is none of {schema['anyOf']}"
    if "const" in schema and value != schema["const"]:
        yield f"{value!r} is not {schema['const']!r}"
    kinds = schema.get("type", [])
    if kinds and not any(isinstance(value, _TYPES[kind]) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        yield f"{value!r} is no {kinds}"
        return
    yield from (f"{name} is missing" for name in schema.get("required", []) if name not in value)
    if "properties" in schema:
        yield from (f"{name} is not named" for name in value if name not in schema["properties"])
    for name, each in schema.get("properties", {}).items():
        if name in value:
            yield from faults(value[name], each, whole)
    if "items" in schema:
        for each in value:
            yield from faults(each, schema["items"], whole)
