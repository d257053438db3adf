"""As much of JSON Schema as damd's own schemas need."""

from typing import Any

KINDS: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def assert_meets(value: Any, schema: dict[str, Any], whole: dict[str, Any] | None = None) -> None:
    """Of JSON Schema what damd's own need: types, constants, alternatives, and nothing that is not named."""
    whole = whole or schema
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        types = [each["type"] for each in schema["anyOf"]]
        assert any(isinstance(value, KINDS[kind]) for kind in types), (value, schema)
        return
    if "const" in schema:
        assert value == schema["const"]
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    assert not kinds or any(isinstance(value, KINDS[kind]) for kind in kinds), (value, schema)
    for name in schema.get("required", ()):
        assert name in value
    for name, each in schema.get("properties", {}).items():
        assert_meets(value[name], each, whole)
    if "properties" in schema:
        assert set(value) == set(schema["properties"])
    for each in value if "items" in schema else ():
        assert_meets(each, schema["items"], whole)
