"""What the system lacks for a configuration to work."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from damd.checks.environment import check_environment
from damd.config import Config


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def nobody(self, unprivileged: Callable[[], AbstractContextManager[None]]) -> None:
        self.unprivileged = unprivileged

    def check(self, public: Path, **values: Any) -> list[str]:
        config = Config.model_validate({"state": public / "state", **values})
        with self.unprivileged():
            return check_environment(config)

    def test_a_healthy_one_has_no_problems(self, public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (public / "in").mkdir(mode=0o755)
        monkeypatch.setenv("GALLERY_SECRET", f"whsec_{'c2Vj' * 8}")
        webhook = {"kind": "webhook", "name": "a", "url": "https://a", "secret": {"env": "GALLERY_SECRET"}}

        assert self.check(public, watch=[{"path": public / "in"}], subscribers=[webhook]) == []

    def test_roots_have_to_be_folders_that_can_be_read(self, public: Path) -> None:
        (public / "a-file").touch()
        (public / "unreadable").mkdir()
        (public / "unreadable").chmod(0o333)
        (public / "unsearchable").mkdir()
        (public / "unsearchable").chmod(0o444)
        (public / "hidden").mkdir()
        (public / "hidden").chmod(0)
        paths = [public / name for name in ("missing", "a-file", "unreadable", "unsearchable", "hidden/in")]

        assert self.check(public, watch=[{"path": path} for path in paths]) == [
            f"The root missing ({paths[0]}) does not exist: create the folder, mount its disk, or correct its path.",
            f"The root a-file ({paths[1]}) is not a folder: name a folder, or move away what is in its place.",
            f"The root unreadable ({paths[2]}) is closed to damd: let the user that it runs as read this folder.",
            f"The root unsearchable ({paths[3]}) is closed to damd: let the user that it runs as enter this folder.",
            (
                f"The root in ({paths[4]}) cannot be reached (Permission denied): "
                "let the user that damd runs as enter the folders above it."
            ),
        ]

    def test_the_state_has_to_be_writable_or_to_be_made(self, public: Path) -> None:
        (public / "locked").mkdir()
        (public / "locked").chmod(0o555)
        (public / "a-file").touch()

        assert self.check(public, state=public / "new" / "state") == []
        assert self.check(public, state=public / "locked") == [
            f"The state folder {public}/locked is closed to damd: let the user that it runs as write to this folder."
        ]
        assert self.check(public, state=public / "locked" / "state") == [
            (
                f"The state folder {public}/locked/state cannot be created: {public}/locked is closed to damd: "
                "let the user that it runs as write to this folder."
            )
        ]
        assert "is not a folder" in self.check(public, state=public / "a-file" / "state")[0]

    def test_secrets_have_to_be_there(self, public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
        (public / "empty").touch(mode=0o644)
        (public / "unreadable").touch(mode=0o000)
        sources: list[dict[str, Any]] = [{"file": public / name} for name in ("missing", "empty", "unreadable")]
        webhooks = [
            {"kind": "webhook", "name": f"hook{number}", "url": "https://a", "secret": source}
            for number, source in enumerate([*sources, {"env": "NO_SUCH_SECRET"}])
        ]

        assert self.check(public, subscribers=webhooks) == [
            (
                f"The secret of the subscriber hook0 cannot be used: the file {public}/missing does not exist: "
                "put the secret there, or correct its name."
            ),
            (
                f"The secret of the subscriber hook1 cannot be used: the file {public}/empty is empty: "
                "make one with: echo whsec_$(openssl rand -base64 32)."
            ),
            (
                f"The secret of the subscriber hook2 cannot be used: the file {public}/unreadable cannot be read "
                "(Permission denied): let the user that damd runs as read it."
            ),
            (
                "The secret of the subscriber hook3 cannot be used: "
                "the environment variable NO_SUCH_SECRET is not set: set it for the process, or name another source."
            ),
        ]

    def test_programs_and_the_places_of_log_files_have_to_be_there(self, public: Path) -> None:
        log = {"kind": "log", "file": public / "missing" / "events.jsonl"}
        folder = {"kind": "log", "file": public}
        command = {"kind": "command", "name": "teller", "command": [str(public / "tell")]}
        good = {"kind": "log", "file": public / "events.jsonl"}

        advice = "name a file in a folder that exists and that the user that damd runs as may write to."
        assert self.check(public, subscribers=[log, folder, command, good]) == [
            f"The file of the subscriber log cannot be written (its folder does not exist): {advice}",
            f"The file of the subscriber log cannot be written (it is not a regular file): {advice}",
            (
                "The command of the subscriber teller cannot be run: "
                f"the program {public}/tell does not exist: correct its path."
            ),
        ]
        assert not (public / "events.jsonl").exists()

    def test_so_have_the_one_that_is_replaced_and_the_authorities(
        self, public: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GALLERY_SECRET", f"whsec_{'c2Vj' * 8}")
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        (public / "authority.pem").write_text("none")
        webhook = {
            "kind": "webhook",
            "name": "hook",
            "url": "https://a",
            "secret": {"env": "GALLERY_SECRET"},
            "previous_secret": {"credential": "old"},
            "ca_file": public / "authority.pem",
        }

        secret, authorities = self.check(public, subscribers=[webhook])
        assert secret.startswith("The previous_secret of the subscriber hook cannot be used: the credential old needs")
        assert authorities == (
            f"The ca_file of the subscriber hook cannot be used: the file {public}/authority.pem holds no certificate: "
            "name the PEM file of an authority."
        )
