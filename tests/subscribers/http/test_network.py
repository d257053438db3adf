"""The address that was judged is the one that is connected to."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from subscribers.receiver import Receiver, closed_port, imported, status, webhook_settings

from damd.errors import DeliveryError
from damd.subscribers.webhook import WebhookSubscriber

pytestmark = pytest.mark.anyio

Resolved = list[tuple[Any, ...]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


async def send(folder: Path, url: str, **others: Any) -> None:
    async with WebhookSubscriber(webhook_settings(folder, url, **others)) as webhook:
        with anyio.fail_after(10):
            await webhook.receive(imported())


async def refusal(folder: Path, url: str, **others: Any) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await send(folder, url, **others)
    assert caught.value.is_down  # any other event would fare alike
    return caught.value


@contextmanager
def silent_host() -> Iterator[tuple[str, int]]:
    """An address that answers nothing: its queue of connections is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        for _ in range(4):
            visitor = stack.enter_context(socket.socket())
            visitor.setblocking(False)
            visitor.connect_ex(listener.getsockname())
        yield listener.getsockname()


def name_resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """As a resolver would answer whose owner may answer anything."""
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, **others: Any) -> Resolved:
        if host in {b"gallery.example", "gallery.example"}:
            return [entry for address in addresses for entry in real(address, port, **others)]
        return real(host, port, **others)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("169.254.169.254", "169.254.169.254"),
        ("2852039166", "169.254.169.254"),
        ("0xa9.0xfe.0xa9.0xfe", "169.254.169.254"),
        ("0251.0376.0251.0376", "169.254.169.254"),
        ("[::ffff:169.254.169.254]", "::ffff:169.254.169.254"),
        ("[fe80::1]", "fe80::1"),
        ("0.0.0.0", "0.0.0.0"),  # noqa: S104 - connected to, not bound
        ("0", "0.0.0.0"),  # noqa: S104 - as above
        ("[::]", "::"),
    ],
)
async def test_however_it_is_spelled_it_is_refused(tmp_path: Path, receiver: Receiver, host: str, address: str) -> None:
    error = await refusal(tmp_path, f"http://{host}:{receiver.port}/")
    assert str(error).startswith(f"The receiver cannot be reached: {host.strip('[]')} may not be connected to (")
    assert f"{address}: it is " in str(error)
    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "localhost"])
async def test_this_machine_is_one_like_others_until_private_ones_are_denied(
    tmp_path: Path, receiver: Receiver, host: str
) -> None:
    await send(tmp_path, f"http://{host}:{receiver.port}/")
    assert len(receiver.received) == 1
    error = await refusal(tmp_path, f"http://{host}:{receiver.port}/", deny_private=True)
    assert "it is not a public address, and deny_private is set" in str(error)
    assert receiver.connections == 1


async def test_a_name_is_judged_by_each_of_its_addresses(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://gallery.example:{receiver.port}/"
    name_resolves_to(monkeypatch, "169.254.169.254", "127.0.0.1")
    await send(tmp_path, url)
    assert receiver.received[0].headers["host"] == f"gallery.example:{receiver.port}"
    name_resolves_to(monkeypatch, "169.254.169.254", "100.100.100.200")
    error = await refusal(tmp_path, url)
    assert str(error) == (
        "The receiver cannot be reached: gallery.example may not be connected to (169.254.169.254: it is link-local, "
        "where clouds have their metadata; 100.100.100.200: it is a cloud's metadata service)"
    )


async def test_a_name_that_changes_is_judged_at_every_connection(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_resolves_to(monkeypatch, "127.0.0.1")
    receiver.usual = status(204, connection="close")
    settings = webhook_settings(tmp_path, f"http://gallery.example:{receiver.port}/")
    async with WebhookSubscriber(settings) as webhook:
        await webhook.receive(imported(1))
        name_resolves_to(monkeypatch, "169.254.169.254")
        with pytest.raises(DeliveryError, match="link-local"):
            await webhook.receive(imported(2))


async def test_an_address_that_is_silent_does_not_keep_the_next_from_being_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent_host() as (address, port), Receiver(port=port) as receiver:
        name_resolves_to(monkeypatch, address, "127.0.0.1")
        await send(tmp_path, f"http://gallery.example:{port}/")
        assert len(receiver.received) == 1


async def test_an_address_that_refuses_is_followed_by_the_next(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_resolves_to(monkeypatch, "127.0.0.3", "127.0.0.1")
    await send(tmp_path, f"http://gallery.example:{receiver.port}/")
    assert len(receiver.received) == 1


async def test_nobody_listening_is_told_in_the_systems_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name_resolves_to(monkeypatch, "127.0.0.3", "127.0.0.1")
    with closed_port() as port:
        for host in ("127.0.0.1", "gallery.example"):
            error = await refusal(tmp_path, f"http://{host}:{port}/")
            assert str(error) == "The receiver cannot be reached: Connection refused"


async def test_one_that_is_silent_is_given_up_in_time(tmp_path: Path) -> None:
    with silent_host() as (address, port):
        error = await refusal(tmp_path, f"http://{address}:{port}/", timeout="100ms")
    assert str(error) == "The receiver did not answer within 100ms"


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "a" * 64 + ".example"])
async def test_a_name_that_does_not_exist_is_told(tmp_path: Path, host: str) -> None:
    error = await refusal(tmp_path, f"http://{host}/")
    assert str(error).startswith("The receiver cannot be reached: ")
