"""What the subscribers need, and whether webhooks' hosts take connections."""

import dataclasses
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from damd.checks.findings import Finding
from damd.checks.subscribers import look_at_subscribers
from damd.config import Config
from damd.units.installed import Service

pytestmark = pytest.mark.anyio


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text(f"whsec_{'c2Vj' * 8}")
    return file


class Receiver:
    """Takes connections, and notes what it is sent."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.sent: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self.socket.accept()
        with connection:
            self.sent.append(connection.recv(100))

    def close(self) -> None:
        self._thread.join()
        self.socket.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


async def look(tmp_path: Path, *subscribers: dict[str, Any], service: Service | None = None) -> list[Finding]:
    config = Config.model_validate({"state": tmp_path / "state", "subscribers": subscribers})
    return await look_at_subscribers(config, service=service)


def service(*credentials: str) -> Service:
    unit = {("Service", "LoadCredential"): list(credentials)}
    return Service(name="damd.service", unit=unit, config=Path("/etc/damd/damd.yaml"))


def webhook(url: str, secret: Any, **more: Any) -> dict[str, Any]:
    return {"kind": "webhook", "name": "gallery", "url": url, "secret": secret, **more}


async def test_a_host_that_takes_a_connection_is_sent_nothing(tmp_path: Path, secret: Path, receiver: Receiver) -> None:
    (finding,) = await look(tmp_path, webhook(f"http://localhost:{receiver.port}/x", {"file": secret}))
    assert (finding.check, finding.health) == ("subscriber gallery", "ok")
    receiver.close()
    assert receiver.sent == [b""]


async def test_one_that_takes_none_is_a_warning(tmp_path: Path, secret: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        port = unused.getsockname()[1]
        (finding,) = await look(tmp_path, webhook(f"http://127.0.0.1:{port}/token", {"file": secret}))
    assert finding.health == "warning"
    assert finding.says == (
        f"The host of the subscriber gallery, 127.0.0.1, takes no connection on port {port} (Connection refused)"
    )
    assert "token" not in f"{finding}"


async def test_a_name_that_nobody_knows_is_a_warning(tmp_path: Path, secret: Path) -> None:
    (finding,) = await look(tmp_path, webhook("https://gallery.invalid/x", {"file": secret}))
    assert finding.health == "warning"
    assert "gallery.invalid, cannot be looked up" in finding.says


async def test_a_name_for_an_address_that_is_refused_is_a_warning(tmp_path: Path, secret: Path) -> None:
    hook = webhook("http://localhost:9/x", {"file": secret}, deny_private=True)
    (finding,) = await look(tmp_path, hook)
    assert finding.health == "warning"
    assert "is never connected to (" in finding.says
    assert "deny_private" in finding.says


async def test_an_address_that_is_refused_is_a_problem_and_told_once(tmp_path: Path, secret: Path) -> None:
    (finding,) = await look(tmp_path, webhook("http://169.254.169.254/x", {"file": secret}))
    assert finding.health == "problem"
    assert "it is link-local" in finding.says


async def test_a_secret_that_cannot_be_had_is_a_problem(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    (finding,) = await look(tmp_path, webhook(f"http://127.0.0.1:{receiver.port}/x", {"env": "NO_SUCH_SECRET"}))
    assert finding.health == "problem"
    assert "NO_SUCH_SECRET is not set" in finding.says


async def test_a_credential_is_the_services_and_so_only_a_warning_elsewhere(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    hook = webhook(f"http://127.0.0.1:{receiver.port}/x", {"credential": "gallery"})
    (outside,) = await look(tmp_path, hook)
    assert outside.health == "warning"
    assert "LoadCredential=gallery:" in (outside.advice or "")


@pytest.mark.parametrize(
    ("line", "health", "says"),
    [
        ("gallery:{folder}/secret", "ok", "damd.service has it (LoadCredential=)"),
        ("gallery", "ok", "damd.service has it (LoadCredential=)"),
        ("gallery:{folder}/none", "problem", "does not exist"),
        ("another:{folder}/secret", "problem", "which damd.service lacks"),
    ],
)
async def test_a_credential_is_sought_in_the_unit_of_the_service(
    tmp_path: Path,
    secret: Path,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    health: str,
    says: str,
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    hook = webhook(f"http://127.0.0.1:{receiver.port}/x", {"credential": "gallery"})
    (finding,) = await look(tmp_path, hook, service=service(line.format(folder=secret.parent)))
    assert finding.health == health
    assert says in finding.says


async def test_a_credential_that_a_closed_dropin_may_name_is_a_warning(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    hook = webhook(f"http://127.0.0.1:{receiver.port}/x", {"credential": "gallery"})
    closed = dataclasses.replace(service(), closed=(Path("/etc/systemd/system/damd.service.d/secrets.conf"),))
    (finding,) = await look(tmp_path, hook, service=closed)
    assert finding.health == "warning"
    assert "secrets.conf, which may name it, is closed to this user" in finding.says


async def test_a_credential_that_the_service_was_not_given_is_a_problem(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (finding,) = await look(tmp_path, webhook(f"http://127.0.0.1:{receiver.port}/x", {"credential": "gallery"}))
    assert finding.health == "problem"


async def test_a_secret_that_everybody_may_read_is_a_warning(tmp_path: Path, secret: Path, receiver: Receiver) -> None:
    await anyio.Path(secret).chmod(0o644)
    (finding,) = await look(tmp_path, webhook(f"http://127.0.0.1:{receiver.port}/x", {"file": secret}))
    assert finding.health == "warning"
    assert finding.advice == f"take it from the others: chmod o-rwx {secret}"


async def test_programs_and_files_are_looked_for_and_each_subscriber_is_told_in_its_place(tmp_path: Path) -> None:
    command = {"kind": "command", "name": "teller", "command": [str(tmp_path / "tell")]}
    log = {"kind": "log", "file": tmp_path / "none" / "events.jsonl"}
    found = await look(tmp_path, command, {"kind": "log"}, log)
    assert [(each.check, each.health) for each in found] == [
        ("subscriber teller", "problem"),
        ("subscriber log", "ok"),
        ("subscriber log", "problem"),
    ]
