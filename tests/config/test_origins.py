"""Where each value of the configuration in force came from."""

import json
from pathlib import Path

import pytest
from command_line import run_damd

from damd.config import load_config
from damd.config.loading import read_config
from damd.config.origins import config_with_origins, flat_with_origins

TEXT = """
watch:
  - path: /in/a$$b
    settle: 2s
    ignore: ["*.tmp", "x #y"]
thumbnails:
  quality: 60
catalogue: {url: sqlite}
"""
ENVIRONMENT = {
    "DAMD__THUMBNAILS__QUALITY": "70",
    "DAMD__THUMBNAILS__SIZES": "[512, 1024]",
    "DAMD__CATALOGUE__URL": "postgresql+psycopg://damd:hunter2@db/damd",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "damd.yaml"
    path.write_text(TEXT)
    return path


def test_each_value_has_its_origin_behind_it(file: Path) -> None:
    config, document = read_config(file, overrides={"state": "/state"}, environment=ENVIRONMENT)
    lines = config_with_origins(config, document).splitlines()

    for line in (
        "state: /state  # --state",
        f"- path: /in/a$$b  # {file}:3",
        "  name: a-b  # default",
        f"  settle: 2s  # {file}:4",
        f"  - 'x #y'  # {file}:5",
        "  include: []  # default",
        "  - 1024  # $DAMD__THUMBNAILS__SIZES",
        "  quality: 70  # $DAMD__THUMBNAILS__QUALITY",
        "  url: postgresql+psycopg://damd:***@db/damd  # $DAMD__CATALOGUE__URL",
        "- kind: log  # default",
        "http: null  # default",
    ):
        assert line in lines
    assert "hunter2" not in str(lines)


def test_with_its_origins_it_is_still_a_configuration(file: Path, tmp_path: Path) -> None:
    config, document = read_config(file, environment={})
    shown = tmp_path / "shown.yaml"
    shown.write_text(config_with_origins(config, document))

    assert load_config(shown, environment={}) == config


def test_a_name_of_a_file_cannot_end_its_comment(tmp_path: Path) -> None:
    file = tmp_path / "a\nlogging: b"
    file.write_text("http: {listen: '127.0.0.1:1'}\n")
    config, document = read_config(file, environment={})
    (tmp_path / "shown.yaml").write_text(config_with_origins(config, document))

    assert load_config(tmp_path / "shown.yaml", environment={}) == config


def test_an_option_is_the_origin_of_all_within_its_value() -> None:
    config, document = read_config(overrides={"watch": [{"path": "/a"}]}, environment={"DAMD__WATCH__0__NAME": "b"})
    flat = flat_with_origins(config, document)

    assert flat["watch.0.path"] == {"value": "/a", "origin": "--watch"}
    assert flat["watch.0.name"] == {"value": "a", "origin": "default"}


def test_the_command_shows_it_as_yaml_or_json(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    shown = run_damd("config", "show", "--origin", "--config", file, "--state", tmp_path / "state")
    assert (shown.code, shown.err) == (0, "")
    assert "  quality: 70  # $DAMD__THUMBNAILS__QUALITY\n" in shown.out
    assert "hunter2" not in shown.out
    (flat,) = run_damd("config", "show", "--json", "--config", file, "--state", tmp_path / "state").objects
    assert flat["state"] == {"value": str(tmp_path / "state"), "origin": "--state"}
    assert flat["watch.0.path"] == {"value": "/in/a$b", "origin": f"{file}:3"}
    assert flat["thumbnails.sizes.1"] == {"value": 1024, "origin": "$DAMD__THUMBNAILS__SIZES"}
    assert flat["watch.0.include"] == {"value": [], "origin": "default"}
    assert "hunter2" not in json.dumps(flat)
