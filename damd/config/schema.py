"""What a configuration may say, as JSON Schema: what editors complete and explain, and the example is made of.

The words are the docstrings beneath the fields of the settings. They are read from the source when a schema is asked
for: pydantic's own way to read them would make every start of damd slower.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import PydanticUndefined, core_schema

from damd.config.model import Config
from damd.settings import Settings
from damd.subscribers import SUBSCRIBERS

_NOT_KEYWORDS = frozenset({"title", "ge", "gt", "le", "lt"})
"""What pydantic adds to a value's schema: names of its own, and bounds of durations that JSON Schema has no words for.
"""


def configuration_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a whole configuration, as it is written in YAML.

    Subscribers are of the kinds in `damd.subscribers.SUBSCRIBERS`, so import plugins first to have theirs.
    """
    types = {kind: subscriber.settings_type for kind, subscriber in SUBSCRIBERS.items()}
    models: list[type[BaseModel]] = list(dict.fromkeys([Config, *types.values()]))
    references, found = models_json_schema([(each, "validation") for each in models], schema_generator=_Generator)
    names = {model: reference["$ref"].removeprefix("#/$defs/") for (model, _), reference in references.items()}
    definitions = found["$defs"]
    schema = definitions.pop(names[Config])
    schema["properties"]["subscribers"]["items"] = {
        "oneOf": [_entry(kind, each, definitions[names[each]]) for kind, each in types.items()]
    }
    for name in list(definitions):  # the entries are copies, and the base of them all is nobody's
        if f'"#/$defs/{name}"' not in json.dumps([schema, definitions]):
            del definitions[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of damd",
        **schema,
        "$defs": definitions,
    }


def _entry(kind: str, settings_type: type[Settings], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A subscriber's schema with the kind fixed: first what must be said, then its own keys, then what many have."""
    words = {key: value for key, value in schema["properties"].get("kind", {}).items() if key == "description"}
    properties = {**schema["properties"], "kind": words | {"const": kind}}
    required = ["kind", *(name for name in schema.get("required", ()) if name != "kind")]
    own = [name for name in properties if name in settings_type.__annotations__]
    return {
        **schema,
        "properties": {name: properties[name] for name in dict.fromkeys([*required, *own, *properties])},
        "required": required,
    }


class _Generator(GenerateJsonSchema):
    """Speaks of settings as people write them: with the docstrings' words and YAML's defaults."""

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        """The schema of one settings class."""
        found = super().model_schema(schema)
        settings_type: type[BaseModel] = schema["cls"]
        words = docstrings(settings_type)
        properties = found.get("properties", {})
        for name, field in settings_type.model_fields.items():
            described = {"description": words[name]} if name in words else {}
            properties[name] = described | _tidied(properties[name]) | _default(field)
        # The classes' names and docstrings are for those who read the code.
        return {key: value for key, value in found.items() if key not in {"title", "description"}}


def _default(field: FieldInfo) -> dict[str, Any]:
    """As it is written; one that a factory makes depends on the system, and counts as none."""
    if field.default is PydanticUndefined:
        return {}
    return {"default": TypeAdapter(field.rebuild_annotation()).dump_python(field.default, mode="json")}


def _tidied(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A value's schema, and those of its alternatives and items, without what is no keyword."""
    tidy = {key: value for key, value in schema.items() if key not in _NOT_KEYWORDS}
    if "anyOf" in tidy:
        tidy["anyOf"] = [_tidied(each) for each in tidy["anyOf"]]
    if isinstance(tidy.get("items"), dict):
        tidy["items"] = _tidied(tidy["items"])
    return tidy


@functools.cache  # to find a class's source takes a while, and several ask for the same
def docstrings(settings_type: type[BaseModel]) -> Mapping[str, str]:
    """The docstrings beneath the fields of a class and of those that it extends, each in one line.

    A class whose source is nowhere, as one made in a shell, has none.
    """
    words: dict[str, str] = {}
    for each in reversed(settings_type.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            words.update(_docstrings_within(each))
    return words


def _docstrings_within(settings_type: type[BaseModel]) -> Iterable[tuple[str, str]]:
    try:
        source = textwrap.dedent(inspect.getsource(settings_type))
    except (OSError, TypeError):
        return
    (definition,) = ast.parse(source).body
    yield from _documented(definition.body if isinstance(definition, ast.ClassDef) else [])


def _documented(statements: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, following in itertools.pairwise(statements):
        match statement, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.split()).replace("``", "`")
