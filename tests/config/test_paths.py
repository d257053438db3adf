"""Variables in paths, and only there."""

from pathlib import Path

import pytest

from damd.config import Config, config_as_yaml, load_config
from damd.errors import ConfigurationError


def load(file: Path, text: str) -> Config:
    file.write_text(text)
    return load_config(file, environment={})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${MEDIA}/inbox", "/media/inbox"),
        ("/a${MEDIA}b", "/a/mediab"),
        ("${UNSET:-/srv}/inbox", "/srv/inbox"),
        ("${EMPTY:-/srv}", "/srv"),
        ("${MEDIA:-/srv}", "/media"),
        ("${UNSET:-~}/inbox", "/home/someone/inbox"),
        ("~/${NAME}", "/home/someone/a$b"),
        ("/srv/$$RECYCLE.BIN", "/srv/$RECYCLE.BIN"),
        ("/srv/$${MEDIA}$$", "/srv/${MEDIA}$"),
    ],
)
def test_a_variable_in_a_path_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.delenv("UNSET", raising=False)
    for name, value in {"MEDIA": "/media", "EMPTY": "", "NAME": "a$b", "HOME": "/home/someone"}.items():
        monkeypatch.setenv(name, value)
    config = load(tmp_path / "damd.yaml", f"watch: [{{path: '{text}'}}]\n")

    assert config.watch[0].path == Path(expected)
    assert load(tmp_path / "shown.yaml", config_as_yaml(config)) == config


@pytest.mark.parametrize(
    "text", ["$HOME/a", "/a/$", "/a/${HOME", "/a/${}", "/a/${1}", "/a/${A:-${B}}", "/a/${A-b}", "/$(id)"]
)
def test_any_other_dollar_is_told_rather_than_taken_literally(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"written \$\{NAME\} or \$\{NAME:-default\}, and the sign \$ itself"):
        load(tmp_path / "damd.yaml", f"state: '{text}'\n")


@pytest.mark.parametrize("text", ["${UNSET_VARIABLE}/a", "/a/${UNSET_VARIABLE}", "${UNSET_VARIABLE:-}/a"])
def test_a_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("UNSET_VARIABLE", raising=False)
        else:
            monkeypatch.setenv("UNSET_VARIABLE", value)
        with pytest.raises(ConfigurationError, match="the variable UNSET_VARIABLE is not set, or empty: set it where"):
            load(tmp_path / "damd.yaml", f"subscribers: [{{kind: log, file: '{text}'}}]\n")


def test_what_a_shell_has_read_already_is_taken_as_it_is() -> None:
    config = load_config(overrides={"state": "/a/$HOME", "watch": [{"path": "/b/${HOME}$$"}]}, environment={})

    assert (config.state, config.watch[0].path) == (Path("/a/$HOME"), Path("/b/${HOME}$$"))


def test_elsewhere_a_dollar_is_only_that(tmp_path: Path) -> None:
    config = load(tmp_path / "damd.yaml", "watch: [{path: /a, ignore: ['${HOME}', '$$x']}]\n")

    assert config.watch[0].ignore == ("${HOME}", "$$x")
