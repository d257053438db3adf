"""Receivers are who their certificates say they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from subscribers.receiver import CERTIFICATES, Receiver, imported, reset, status, webhook_settings

from damd.errors import ConfigurationError, DeliveryError
from damd.subscribers.http.certificates import client_context
from damd.subscribers.webhook import WebhookSubscriber

pytestmark = pytest.mark.anyio

AUTHORITY = CERTIFICATES / "authority.pem"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(certificate="localhost.pem") as receiver:
        yield receiver


async def refusal(folder: Path, url: str, **others: Any) -> DeliveryError:
    async with WebhookSubscriber(webhook_settings(folder, url, **others)) as webhook:
        with anyio.fail_after(10), pytest.raises(DeliveryError) as caught:
            await webhook.receive(imported())
    assert caught.value.is_down
    return caught.value


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_one_of_an_authority_that_was_named_is_trusted(tmp_path: Path, receiver: Receiver, host: str) -> None:
    receiver.usual = status(200, body=b"thank you")
    settings = webhook_settings(tmp_path, f"https://{host}:{receiver.port}/", ca_file=AUTHORITY)
    async with WebhookSubscriber(settings) as webhook:
        for number in range(3):
            await webhook.receive(imported(number))
        assert receiver.connections == 1
    await receiver.is_left()
    assert len(receiver.received) == 3


async def test_one_of_an_authority_that_nobody_named_is_not(tmp_path: Path, receiver: Receiver) -> None:
    error = await refusal(tmp_path, receiver.url)
    assert str(error).startswith("The receiver cannot be reached: its certificate is not valid (")
    assert not receiver.received


@pytest.mark.parametrize(
    ("certificate", "why"), [("elsewhere.pem", "IP address mismatch"), ("expired.pem", "has expired")]
)
async def test_one_for_another_name_or_time_is_not(tmp_path: Path, certificate: str, why: str) -> None:
    with Receiver(certificate=certificate) as receiver:
        error = await refusal(tmp_path, receiver.url, ca_file=AUTHORITY)
        await receiver.is_left()
    assert "its certificate is not valid" in str(error)
    assert why in str(error)
    assert not receiver.received


async def test_who_speaks_no_tls_is_told_of(tmp_path: Path) -> None:
    with Receiver() as receiver:
        error = await refusal(tmp_path, receiver.url.replace("http:", "https:"))
    assert str(error).startswith("The receiver cannot be reached: ")
    assert "SSL" in str(error)


async def test_one_that_wants_tls_and_is_not_spoken_to_so_gives_no_answer(tmp_path: Path, receiver: Receiver) -> None:
    await refusal(tmp_path, receiver.url.replace("https:", "http:"))
    assert not receiver.received


async def test_a_reset_within_tls_is_told_in_the_systems_words(tmp_path: Path, receiver: Receiver) -> None:
    receiver.usual = reset
    error = await refusal(tmp_path, receiver.url, ca_file=AUTHORITY)
    assert str(error) == "The receiver gave no answer: Connection reset by peer"


def test_the_systems_authorities_are_trusted_beside_the_named_one() -> None:
    alone, both = client_context(), client_context(AUTHORITY)
    added = [each for each in both.get_ca_certs() if each not in alone.get_ca_certs()]
    assert [each["subject"] for each in added] == [((("commonName", "damd's tests"),),)]
    assert len(both.get_ca_certs()) == len(alone.get_ca_certs()) + 1


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "does not exist: name the PEM file"),
        ("", "holds no certificate: name the PEM file of an authority"),
        ("hello\n", "holds no certificate: name the PEM file of an authority"),
        ("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", "holds no certificate"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_file_without_any_is_a_mistake_in_the_configuration(
    tmp_path: Path, content: str | None, what: str, scheme: str
) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        async with WebhookSubscriber(webhook_settings(tmp_path, f"{scheme}://a.example/", ca_file=file)):
            pass
    assert f"the webhook gallery: ca_file: the file {file} {what}" in str(caught.value)
