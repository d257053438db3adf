"""The notify protocol against a real socket."""

import os
import socket
import uuid
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest

from damd import systemd


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
