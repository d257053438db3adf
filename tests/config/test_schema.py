"""The schema takes what the configuration takes, refuses what it refuses, and says what each key is for."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import yaml
from schemas import faults
from test_config_example import EXAMPLE, uncommented

from damd.config import Config, config_as_yaml, load_config
from damd.config.schema import configuration_schema, docstrings
from damd.documents import read_document
from damd.errors import ConfigurationError
from damd.settings import Duration, Settings
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.base import DurableSettings
from damd.subscribers.log import LogSubscriber
from damd.watch.base import RootSettings


class BellSettings(Settings):
    """An entry with ``kind: bell``."""

    kind: Literal["bell"] = "bell"
    """Rings for each event."""
    pause: Duration = timedelta(seconds=90)
    """Between two rings."""


class Bell(LogSubscriber):
    kind: ClassVar[str] = "bell"
    settings_type: ClassVar[type[Settings]] = BellSettings


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every mapping's schema in a schema."""
    if isinstance(schema, dict) and "properties" in schema:
        yield schema
    below = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for each in below:
        yield from objects(each)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return configuration_schema()


@pytest.mark.parametrize("change", [str, uncommented], ids=["as it is", "uncommented"])
def test_the_example_is_valid(schema: dict[str, Any], tmp_path: Path, change: Any) -> None:
    (tmp_path / "damd.yaml").write_text(change(EXAMPLE.read_text()))
    assert list(faults(read_document(tmp_path / "damd.yaml").values, schema)) == []


def test_the_configuration_in_force_is_valid(schema: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "damd.yaml").write_text(uncommented(EXAMPLE.read_text()))
    shown = config_as_yaml(load_config(tmp_path / "damd.yaml"))
    assert list(faults(yaml.safe_load(shown), schema)) == []


@pytest.mark.parametrize(
    "text",
    [
        "wacht: []",
        "watch: {path: /a}",
        "watch: [{}]",
        "watch: [{path: ''}]",
        "watch: [{path: /a, settle: 5}]",
        "watch: [{path: /a, settle: 5 minutes}]",
        "watch: [{path: /a, recursive: 'on'}]",
        "watch: [{path: /a, backend: inotify}]",
        "watch: [{path: /a, max_missing: '10'}]",
        "watch: [{path: /a, colour: red}]",
        "ingest: {workers: 0}",
        "ingest: {workers: many}",
        "ingest: {memory: 1000000000}",
        "ingest: {max_pixels: 5Mi}",
        "ingest: {max_pixels: -1}",
        "thumbnails: {sizes: []}",
        "thumbnails: {sizes: [8]}",
        "thumbnails: {format: gif}",
        "thumbnails: {quality: 101}",
        "similarity: {distance: '6'}",
        "events: {keep: null}",
        "plugins: mine",
        "logging: {level: loud}",
        "http: true",
        "http: {port: 1}",
        "subscribers: [{}]",
        "subscribers: [{kind: pigeon}]",
        "subscribers: [{events: []}]",
        "subscribers: [{kind: log, url: 'http://h/'}]",
        "subscribers: [{kind: log, events: [file.eaten]}]",
        "subscribers: [{kind: webhook, name: a, url: 'http://h/'}]",
        "subscribers: [{kind: webhook, name: a, url: 'http://h/', secret: whsec_x}]",
        "subscribers: [{kind: command, name: a b, command: [/x]}]",
        "subscribers: [{kind: command, name: a, command: /x}]",
        "subscribers: [{kind: command, name: a, command: [/x], retry: []}]",
        "subscribers: [{kind: command, name: a, command: [/x], concurrency: 65}]",
    ],
)
def test_what_the_configuration_refuses_has_faults(schema: dict[str, Any], tmp_path: Path, text: str) -> None:
    (tmp_path / "damd.yaml").write_text(text)
    with pytest.raises(ConfigurationError):
        load_config(tmp_path / "damd.yaml")
    assert list(faults(yaml.safe_load(text), schema))


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "ingest: {workers: 3, max_pixels: 1000, memory: 1.5 GB, timeout: 1h30m}",
        "ingest: {max_pixels: 20k}",
        "subscribers: []",
        "subscribers: [{kind: webhook, name: a, url: 'http://h/', secret: {env: X}, disable_after: null}]",
        "http: null",
        "http: {}",
    ],
)
def test_what_the_configuration_takes_has_none(schema: dict[str, Any], tmp_path: Path, text: str) -> None:
    (tmp_path / "damd.yaml").write_text(text)
    load_config(tmp_path / "damd.yaml")
    assert list(faults(yaml.safe_load(text), schema)) == []


def test_it_says_what_it_is(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "The configuration of damd"
    assert "$id" not in schema


def test_every_key_is_explained_and_no_other_is_allowed(schema: dict[str, Any]) -> None:
    found = list(objects(schema))

    assert len(found) >= 12
    for each in found:
        assert each["additionalProperties"] is False
        assert [key for key, value in each["properties"].items() if not value.get("description")] == []


def test_defaults_are_what_is_written_in_yaml(schema: dict[str, Any]) -> None:
    root = schema["$defs"]["RootSettings"]["properties"]
    assert (root["settle"]["default"], root["max_missing"]["default"]) == ("500ms", "10%")
    assert schema["$defs"]["SandboxSettings"]["properties"]["memory"]["default"] == "2GiB"


def test_a_default_that_depends_on_the_system_is_none(schema: dict[str, Any]) -> None:
    assert "default" not in schema["properties"]["state"]


def test_the_words_are_those_beneath_the_fields_in_one_line(schema: dict[str, Any]) -> None:
    words = docstrings(RootSettings)["name"]
    assert words == schema["$defs"]["RootSettings"]["properties"]["name"]["description"]
    assert "\n" not in words
    assert "so choose it once" in words


def test_a_class_has_the_words_of_those_that_it_extends_unless_it_has_its_own() -> None:
    class Derived(DurableSettings):
        """Without own words for the one, and with them for the other."""

        retry: tuple[Duration, ...] = ()
        concurrency: int = 1
        """Its own."""

    assert docstrings(Derived) == {**docstrings(DurableSettings), "concurrency": "Its own."}


def test_a_class_whose_source_is_nowhere_has_none() -> None:
    assert docstrings(type("Anywhere", (Settings,), {})) == {}


def test_a_plugins_kind_of_subscriber_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SUBSCRIBERS, "bell", Bell)
    schema = configuration_schema()

    assert list(faults({"subscribers": [{"kind": "bell", "pause": "3s"}, {"kind": "log"}]}, schema)) == []
    assert list(faults({"subscribers": [{"kind": "bell", "pause": 3}]}, schema))
    bell = schema["properties"]["subscribers"]["items"]["oneOf"][-1]
    assert bell["properties"]["pause"]["description"] == "Between two rings."
    assert bell["properties"]["pause"]["default"] == "1m30s"
    assert "BellSettings" not in schema["$defs"]


def test_two_kinds_may_share_their_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gong(Bell):
        kind: ClassVar[str] = "gong"

    class GongSettings(BellSettings):
        kind: str = "gong"  # type: ignore[assignment] # a plugin need not name it exactly

    monkeypatch.setitem(SUBSCRIBERS, "gong", Gong)
    monkeypatch.setattr(Gong, "settings_type", GongSettings)
    monkeypatch.setitem(SUBSCRIBERS, "bell", Bell)
    schema = configuration_schema()

    assert list(faults({"subscribers": [{"kind": "bell"}, {"kind": "gong"}]}, schema)) == []
    assert list(faults({"subscribers": [{"kind": "drum"}]}, schema))


def test_nothing_of_it_is_imported_to_read_a_configuration() -> None:
    program = "import sys, damd.config; sys.exit('damd.config.schema' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_every_key_of_the_configuration_is_in_it(schema: dict[str, Any]) -> None:
    assert schema["properties"].keys() == Config.model_fields.keys()
