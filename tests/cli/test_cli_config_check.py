"""``damd config check``: the file, and then what it names."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Outcome, run_damd


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Outcome]:
    def run(*arguments: str, **keys: Any) -> Outcome:
        file = tmp_path / "damd.yaml"
        file.write_text(json.dumps({"state": str(tmp_path / "state"), **keys}))
        return run_damd("config", "check", "--config", file, *arguments)

    return run


@pytest.fixture
def unheard() -> Any:
    """The URL of a port that nobody listens on, and that nobody else gets."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/hook"


def test_what_is_good_is_called_good_and_nothing_is_made(tmp_path: Path, check: Callable[..., Outcome]) -> None:
    (tmp_path / "in").mkdir()
    assert check(watch=[{"path": str(tmp_path / "in")}]) == (0, "", "The configuration is good.\n")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["damd.yaml", "in"]


def test_each_problem_is_a_line_with_what_to_do(tmp_path: Path, check: Callable[..., Outcome]) -> None:
    told = check(watch=[{"path": str(tmp_path / name)} for name in ("a", "b")])
    assert (told.code, told.out) == (78, "")
    advice = "create the folder, mount its disk, or correct its path"
    assert told.err.splitlines() == [
        f"The root {name} ({tmp_path}/{name}) does not exist: {advice}." for name in ("a", "b")
    ]


def test_warnings_are_told_and_keep_nobody_from_starting(
    check: Callable[..., Outcome], unheard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALLERY_SECRET", f"whsec_{'c2Vj' * 8}")
    webhook = {"kind": "webhook", "name": "gallery", "url": unheard, "secret": {"env": "GALLERY_SECRET"}}
    told = check(subscribers=[webhook], http={"listen": "0.0.0.0:0"})
    first, second, last = told.err.splitlines()
    assert (told.code, told.out, last) == (0, "", "The configuration is good.")
    assert first.startswith("warning: The host of the subscriber gallery, 127.0.0.1, takes no connection")
    assert second.startswith("warning: Whoever reaches 0.0.0.0:0 ")


def test_static_looks_at_the_file_alone(tmp_path: Path, check: Callable[..., Outcome], unheard: str) -> None:
    webhook = {"kind": "webhook", "name": "gallery", "url": unheard, "secret": {"env": "NO_SUCH_SECRET_ANYWHERE"}}
    told = check("--static", watch=[{"path": str(tmp_path / "gone")}], subscribers=[webhook])
    assert told == (0, "", "The configuration is good.\n")
    assert check("--static", wacth=[]).code == 78


def test_json_is_one_finding_a_line_with_all_that_is_well(tmp_path: Path, check: Callable[..., Outcome]) -> None:
    told = check("--json", watch=[{"path": str(tmp_path / "gone")}])
    assert (told.code, told.err) == (78, "")
    assert all(list(each) == ["check", "health", "says", "advice"] for each in told.objects)
    found = {each["check"]: each["health"] for each in told.objects}
    assert (found["state"], found["catalogue"], found["root gone"]) == ("ok", "ok", "problem")
    assert check("--json").code == 0


def test_a_database_that_does_not_answer_is_a_problem_without_its_password(check: Callable[..., Outcome]) -> None:
    pytest.importorskip("psycopg", reason="needs damd[postgresql]")
    told = check(catalogue={"url": "postgresql+psycopg://damd:swordfish@127.0.0.1:1/damd"})
    assert told.code == 78
    assert "onnection refused" in told.err
    assert "swordfish" not in told.err
