"""``damd config init`` and ``damd config schema``: the first things of a new administrator, and of an editor."""

import json
import os
import stat
from pathlib import Path

import pytest
import yaml
from command_line import Start, run_damd
from schemas import faults
from test_config_example import EXAMPLE

from damd.config import Config, load_config
from damd.config.schema import configuration_schema
from damd.watch.base import RootSettings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "damd.yaml"


@pytest.fixture
def folder(file: Path) -> Path:
    file.parent.mkdir()
    return file.parent


@pytest.mark.usefixtures("folder")
class TestInit:
    def test_what_is_written_has_the_roots_and_otherwise_the_defaults(self, file: Path, tmp_path: Path) -> None:
        one, two = tmp_path / "one", tmp_path / "$two"
        done = run_damd("config", "init", "--config", file, "--watch", one, "--watch", two)

        assert (done.code, done.out) == (0, "")
        assert load_config(file) == Config(watch=(RootSettings(path=one), RootSettings(path=two)))

    def test_without_roots_it_is_the_example_and_says_that_they_are_missing(self, file: Path) -> None:
        done = run_damd("config", "init", "--config", file)

        assert file.read_text().partition("\n")[2] == EXAMPLE.read_text()
        assert load_config(file) == load_config(EXAMPLE)
        assert "name your own folders" in done.err

    def test_a_relative_root_is_meant_from_here(
        self, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        run_damd("config", "init", "--config", file, "--watch", "inbox")
        assert [root.path for root in load_config(file).watch] == [tmp_path / "inbox"]

    def test_it_names_the_schema_that_lies_beside_it(self, file: Path, folder: Path) -> None:
        run_damd("config", "init", "--config", file)

        first = file.read_text().splitlines()[0]
        assert first == "# yaml-language-server: $schema=damd.schema.json"
        assert json.loads((folder / "damd.schema.json").read_text()) == configuration_schema()
        assert {entry.name for entry in folder.iterdir()} == {"damd.yaml", "damd.schema.json"}

    @pytest.mark.parametrize("umask", [0o000, 0o077])
    def test_only_its_owner_may_write_it_and_only_the_group_read_it(self, file: Path, folder: Path, umask: int) -> None:
        former = os.umask(umask)
        try:
            run_damd("config", "init", "--config", file)
        finally:
            os.umask(former)

        assert stat.S_IMODE(file.stat().st_mode) == 0o640
        assert stat.S_IMODE((folder / "damd.schema.json").stat().st_mode) == 0o644

    @pytest.mark.parametrize("is_link", [False, True])
    def test_what_is_there_is_not_overwritten(self, file: Path, folder: Path, is_link: bool) -> None:
        if is_link:
            file.symlink_to("gone")
        else:
            file.write_text("watch: []\n")
        refused = run_damd("config", "init", "--config", file)

        assert (refused.code, refused.out) == (1, "")
        assert f"{file} is there already" in refused.err
        assert is_link or file.read_text() == "watch: []\n"
        assert list(folder.iterdir()) == [file]

    def test_of_two_at_once_one_writes_it(self, file: Path, folder: Path, start: Start) -> None:
        both = [start("config", "init", "--config", file, "--watch", f"/srv/{name}") for name in ("one", "two")]
        codes = [(process.communicate(timeout=60), process.returncode)[1] for process in both]

        assert sorted(codes) == [0, 1]
        winner = ("one", "two")[codes.index(0)]
        assert [root.name for root in load_config(file).watch] == [winner]
        assert {entry.name for entry in folder.iterdir()} == {"damd.yaml", "damd.schema.json"}

    def test_a_former_schema_is_renewed(self, file: Path, folder: Path) -> None:
        (folder / "damd.schema.json").write_text("{}")
        run_damd("config", "init", "--config", file)
        assert json.loads((folder / "damd.schema.json").read_text()) == configuration_schema()

    def test_roots_that_cannot_be_are_refused(self, file: Path, folder: Path) -> None:
        refused = run_damd("config", "init", "--config", file, "--watch", "/srv", "--watch", "/srv/a")

        assert (refused.code, refused.out) == (78, "")
        assert refused.err.startswith("--watch: /srv/a lies in /srv")
        assert list(folder.iterdir()) == []

    def test_it_is_told_what_to_do_next(self, file: Path) -> None:
        done = run_damd("config", "init", "--config", file, "--watch", "/srv")

        assert f"damd config check --config {file}\n" in done.err
        assert f"damd run --config {file}\n" in done.err

    def test_without_a_name_it_is_damd_yaml_here(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        assert run_damd("config", "init").code == 0
        assert (folder / "damd.yaml").exists()

    def test_variables_of_the_environment_do_not_get_into_it(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DAMD__WATCH__0__PATH", "/elsewhere")
        run_damd("config", "init", "--config", file)
        assert "/elsewhere" not in file.read_text()


def test_printed_it_is_the_example_and_no_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_damd("config", "init", "--stdout") == (0, EXAMPLE.read_text(), "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_file", [False, True])
def test_the_folder_must_be_there(file: Path, is_file: bool) -> None:
    if is_file:
        file.parent.write_text("")
    refused = run_damd("config", "init", "--config", file)

    assert (refused.code, refused.out) == (1, "")
    assert f"{file.parent} is no folder, so make it first" in refused.err


def test_a_folder_that_nobody_can_write_to_is_told() -> None:
    refused = run_damd("config", "init", "--config", "/proc/damd.yaml")
    assert refused.code == 1
    assert "damd: /proc/damd.yaml cannot be written (" in refused.err


def test_the_schema_is_printed() -> None:
    printed = run_damd("config", "schema")
    assert (printed.code, printed.err) == (0, "")
    assert json.loads(printed.out) == configuration_schema()
    assert printed.out.startswith('{\n  "$schema"')


def test_the_schema_knows_the_plugins_of_a_configuration(tmp_path: Path, start: Start) -> None:
    (tmp_path / "bells.py").write_text(
        "from typing import Literal\n"
        "from damd.settings import Settings\n"
        "from damd.subscribers import SUBSCRIBERS\n"
        "from damd.subscribers.log import LogSubscriber\n"
        "class BellSettings(Settings):\n"
        "    kind: Literal['bell'] = 'bell'\n"
        "    volume: int = 3\n"
        "    '''How loud.'''\n"
        "class Bell(LogSubscriber):\n"
        "    kind = 'bell'\n"
        "    settings_type = BellSettings\n"
        "SUBSCRIBERS['bell'] = Bell\n"
        "def setup(world):\n"
        "    pass\n"
    )
    text = "plugins: [bells]\nsubscribers: [{kind: bell, volume: 11}]\n"
    (tmp_path / "damd.yaml").write_text(text)
    process = start("config", "schema", "--config", tmp_path / "damd.yaml", PYTHONPATH=str(tmp_path))
    out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (0, b"")
    schema = json.loads(out)
    assert list(faults(yaml.safe_load(text), schema)) == []
    assert list(faults(yaml.safe_load(text), configuration_schema()))
    assert "How loud." in out.decode()
