"""As much of JSON Schema as damd's own schemas need."""

import re
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
    if "oneOf" in schema and sum(not list(faults(value, each, whole)) for each in schema["oneOf"]) != 1:
        yield f"{value!r} is none, or several, of {schema['oneOf']}"
    if "const" in schema and value != schema["const"]:
        yield f"{value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{value!r} is none of {schema['enum']}"
    kinds = schema.get("type", [])
    if kinds and not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        yield f"{value!r} is no {kinds}"
        return
    yield from _faults_of_a_scalar(value, schema)
    yield from (f"{name} is missing" for name in schema.get("required", []) if name not in value)
    if "properties" in schema:
        yield from (f"{name} is not named" for name in value if name not in schema["properties"])
    for name, each in schema.get("properties", {}).items():
        if name in value:
            yield from faults(value[name], each, whole)
    if isinstance(value, list) and len(value) < schema.get("minItems", 0):
        yield f"{value!r} is too short"
    if "items" in schema:
        for each in value:
            yield from faults(each, schema["items"], whole)


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _faults_of_a_scalar(value: Any, schema: dict[str, Any]) -> Iterator[str]:
    if isinstance(value, str):
        if not re.search(schema.get("pattern", ""), value):
            yield f"{value!r} does not match {schema['pattern']}"
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            yield f"{value!r} is too short or too long"
    elif isinstance(value, int | float):
        is_small = value < schema.get("minimum", value) or value <= schema.get("exclusiveMinimum", value - 1)
        if is_small or value > schema.get("maximum", value):
            yield f"{value!r} is too small or too large"
