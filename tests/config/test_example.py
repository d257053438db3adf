"""The example is made of the schema, and what is made of it is a configuration."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from test_config_example import EXAMPLE, uncommented

from damd.config import Config, load_config
from damd.config.example import example
from damd.settings import Settings
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.base import DurableSettings
from damd.subscribers.log import LogSubscriber
from damd.watch.base import RootSettings


def written(tmp_path: Path, text: str) -> Config:
    (tmp_path / "damd.yaml").write_text(text)
    return load_config(tmp_path / "damd.yaml", environment={})


def test_the_file_in_the_repository_is_what_is_made_now() -> None:
    assert EXAMPLE.read_text() == example(), "renew it with `make docs`"


def test_it_is_as_wide_as_a_page() -> None:
    assert max(map(len, example().splitlines())) <= 120


@pytest.mark.parametrize("variable", ["STATE_DIRECTORY", "XDG_DATA_HOME", "HOME"])
def test_it_does_not_depend_on_whose_it_is(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    before = example()
    monkeypatch.setenv(variable, "/elsewhere")
    assert example() == before


def test_it_has_the_roots_that_it_is_given(tmp_path: Path) -> None:
    roots = Config(watch=(RootSettings(path=Path("/a/holidays")), RootSettings(path=Path("/b")))).watch
    text = example(roots)

    assert written(tmp_path, text) == Config(watch=roots)
    assert "#name: holidays\n" in text
    assert written(tmp_path, uncommented(text)).watch == roots


@pytest.mark.parametrize(
    "name", ["a: b", "# c", "$HOME", "${HOME}", "~", "'", '"', "{}", "\udcff", "a\nb", "\x85", "-"]
)
def test_a_root_may_have_any_name(tmp_path: Path, name: str) -> None:
    root = RootSettings(path=Path("/srv", name))
    assert written(tmp_path, example([root])).watch[0].path == root.path


def test_each_kind_of_subscriber_is_in_it_and_those_that_are_no_default_are_commented_out() -> None:
    text = example()

    assert [entry["kind"] for entry in yaml.safe_load(text)["subscribers"]] == ["log"]
    assert [entry["kind"] for entry in yaml.safe_load(uncommented(text))["subscribers"]] == list(SUBSCRIBERS)


def test_what_one_kind_says_of_a_key_the_next_does_not_repeat() -> None:
    words = [line.strip(" #") for line in example().splitlines() if line.strip(" #")]
    assert sum(line.startswith("The waits between attempts") for line in words) == 1
    assert sum(line.startswith("retry:") for line in words) == 2


def test_a_plugins_kind_is_shown_even_where_it_has_no_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    class BellSettings(DurableSettings):
        kind: str = "bell"

    class Bell(LogSubscriber):
        kind: ClassVar[str] = "bell"
        settings_type: ClassVar[type[Settings]] = BellSettings

    monkeypatch.setitem(SUBSCRIBERS, "bell", Bell)
    entries: list[dict[str, Any]] = yaml.safe_load(uncommented(example()))["subscribers"]

    assert entries[-1]["kind"] == "bell"
    assert entries[-1].keys() == BellSettings.model_fields.keys()
