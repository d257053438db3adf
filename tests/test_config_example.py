"""The example is the truth, and whatever becomes of it under someone's fingers is told by its line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from damd.config import Config, load_config
from damd.errors import ConfigurationError
from damd.settings import Settings
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.http.secrets import SecretSource
from damd.subscribers.log import LogSettings
from damd.watch.base import RootSettings

EXAMPLE = Path(__file__).parent.parent / "config.example.yaml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "damd.yaml"


def load(file: Path, text: str) -> Config:
    file.write_text(text)
    return load_config(file)


def uncommented(text: str) -> str:
    """The example with its commented keys: those have no blank, or several, behind the #; words have one."""
    return re.sub(r"(?m)^( *)#(?! \S|$)", r"\1", text)


def settings_within(annotation: Any) -> Iterator[type[Settings]]:
    if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, Settings):
        yield annotation
    for argument in get_args(annotation):
        yield from settings_within(argument)


def missing_keys(settings_type: type[Settings], written: Mapping[str, Any]) -> list[str]:
    """The keys of the settings, and of those within them, that an example does not have."""
    missing = [f"{settings_type.__name__}.{key}" for key in settings_type.model_fields if key not in written]
    for key, field in settings_type.model_fields.items():
        for inner in settings_within(field.annotation):
            values = written.get(key)
            entry = values[0] if isinstance(values, list) else values
            if inner not in (Settings, SecretSource) and isinstance(entry, Mapping):
                missing += missing_keys(inner, entry)
    return missing


class TestExample:
    def test_it_is_made_of_the_defaults(self) -> None:
        config = load_config(EXAMPLE)

        assert config == Config(watch=(RootSettings(path=Path("~/Pictures/inbox").expanduser()),))

    def test_it_has_every_key(self) -> None:
        written = yaml.safe_load(uncommented(EXAMPLE.read_text()))
        by_kind = {entry["kind"]: entry for entry in written["subscribers"]}

        assert missing_keys(Config, written) == []
        for kind, subscriber in SUBSCRIBERS.items():
            assert missing_keys(subscriber.settings_type, by_kind[kind]) == []
        assert all(f"{key}: " in EXAMPLE.read_text() for key in SecretSource.model_fields)

    def test_what_is_commented_out_is_valid_and_the_default_where_there_is_one(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("STATE_DIRECTORY", raising=False)
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
        config = load(file, uncommented(EXAMPLE.read_text()))
        without_default = {"file", "name", "url", "secret", "previous_secret", "ca_file", "command"}

        assert config.model_copy(update={"subscribers": (LogSettings(),), "http": None}) == load_config(EXAMPLE)
        assert {type(each) for each in config.subscribers} == {kind.settings_type for kind in SUBSCRIBERS.values()}
        for each in config.subscribers:
            shown = {name: value for name, value in vars(each).items() if name in without_default}
            assert each == type(each)(**shown)


# No ~ and no plugins: other people's homes and modules are nobody's to try out.
SOURCE = uncommented(EXAMPLE.read_text()).replace("~", "/home/someone").replace("plugins: []\n", "")
FRAGMENTS = [
    *("watch", "path", "state", "settle", "subscribers", "kind", "log", "ingest", "memory", "/a", "500ms", "2GiB"),
    *(": ", ":", "- ", "\n", "\n  ", "{", "}", "[", "]", ", ", "&a ", "*a", "!!int ", "!x ", "<<", "|\n", ">\n", "'"),
    *('"', '"\\x', "\\u", "# ", "---\n", "...\n", "%YAML 1.1\n", "? ", "null", "on", "1:30", "0644", "-1", "\t", "\r"),
    *("\0", "\x85", "\ufeff", "\ud7ff", "ü", "@", "`", "9" * 30),
]
TEXTS = st.one_of(
    st.text(),
    st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join),
    st.builds(
        lambda start, length, text: SOURCE[:start] + text + SOURCE[start + length :],
        st.integers(0, len(SOURCE)),
        st.integers(0, 40),
        st.one_of(st.text(max_size=5), st.lists(st.sampled_from(FRAGMENTS), max_size=4).map("".join)),
    ),
)


def told(file: Path) -> Sequence[str]:
    """The problems; none when it is a configuration."""
    try:
        load_config(file)
    except ConfigurationError as error:
        return error.problems or ["problems that nobody tells of"]
    return []


@given(text=TEXTS)
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_configuration_or_problems_that_are_told_by_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(text.encode())

    for problem in told(file):
        assert re.fullmatch(rf"{re.escape(str(file))}:[1-9]\d*:[1-9]\d*: \S.*", problem)


@given(content=st.binary())
def test_any_bytes_are_a_configuration_or_problems(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "bytes.yaml"
    file.write_bytes(content)

    assert all(problem.startswith(f"{file}:") for problem in told(file))
