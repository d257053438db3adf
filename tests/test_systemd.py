"""The notify protocol against a real socket, and the unit against systemd's own tools."""

import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from damd import systemd

UNIT = Path(__file__).parent.parent / "systemd" / "damd.service"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def bound(address: str) -> socket.socket:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.settimeout(5)
    receiver.bind(address)
    return receiver


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    # A socket's path has to be short, and pytest's folders are not.
    with TemporaryDirectory() as folder, bound(f"{folder}/notify") as receiver:
        monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/notify")
        yield receiver


def test_the_life_of_a_service_is_told(manager: socket.socket) -> None:
    for tell, message in (
        (systemd.ready, b"READY=1"),
        (systemd.stopping, b"STOPPING=1"),
        (lambda: systemd.status("scans inbox"), b"STATUS=scans inbox"),
        (lambda: systemd.notify("RELOADING=1", "MONOTONIC_USEC=7"), b"RELOADING=1\nMONOTONIC_USEC=7"),
    ):
        assert tell()
        assert manager.recv(4096) == message


def test_a_status_is_one_line_that_fits_whatever_is_in_it(manager: socket.socket) -> None:
    assert systemd.status("two\nREADY=1 lines \udcff" + "\N{GRINNING FACE}" * 5000)

    message = manager.recv(65536)
    assert message.startswith(b"STATUS=two READY=1 lines \\udcff")
    assert b"\n" not in message
    assert len(message) <= 4096


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="the abstract namespace is Linux's")
def test_an_abstract_socket_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"damd-{uuid.uuid4()}"
    with bound(f"\0{name}") as receiver:
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")

        assert systemd.ready()
        assert receiver.recv(4096) == b"READY=1"


@pytest.mark.parametrize(
    "address", [None, "", "vsock:2:1234", "relative", "/no/such/socket", "/" + "x" * 300, "/\udcff"]
)
def test_nobody_to_tell_is_no_error(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)

    assert not systemd.ready()


def test_a_manager_that_does_not_read_delays_nobody_for_long(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_SEND_TIMEOUT_S", 0.01)

    assert any(not systemd.ready() for _ in range(100_000))


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("30000000", None, 15.0),
        ("30000000", "self", 15.0),
        ("30000000", "1", None),
        (None, "self", None),
        ("0", None, None),
        ("soon", None, None),
        ("-5", None, None),
        ("9" * 5000, None, None),
    ],
)
def test_the_watchdog_is_fed_at_half_of_its_patience(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, expected: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", str(os.getpid()) if pid == "self" else pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)

    assert systemd.watchdog_interval_s() == expected


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """A copy that starts a program that exists, as `verify` demands."""
    text = UNIT.read_text()
    assert "ExecStart=/usr/bin/damd run --config " in text
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace("/usr/bin/damd", shutil.which("true") or "/bin/true"))
    return copy


@needs_systemd
def test_the_unit_is_clean_by_systemds_own_verdict(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", unit], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_a_misspelt_key_in_the_unit_would_be_noticed(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("ProtectClock=", "ProtectClok="))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", unit], capture_output=True, text=True, check=False
    )

    assert done.returncode != 0


@needs_systemd
def test_the_unit_exposes_little(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", unit],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_unit_does_what_the_daemon_relies_on() -> None:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # the documented way to keep capitals
    parser.read(UNIT)
    service = parser["Service"]

    assert service["Type"] == "notify"
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == "78"
    assert service["KillMode"] == "mixed"
    assert service["OOMPolicy"] == "continue"
    assert {service[f"{kind}Directory"] for kind in ("State", "Configuration", "Runtime")} == {"damd"}
    # These would hide the roots, the limits of inotify, or the owners of files.
    assert not {"ProcSubset", "PrivateUsers", "WatchdogSec"} & set(service)
    assert service["ProtectHome"] == "read-only"
