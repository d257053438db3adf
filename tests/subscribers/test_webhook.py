import base64
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import anyio
import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs
from subscribers.receiver import (
    OTHER_SECRET,
    SECRET,
    Receiver,
    closed_port,
    imported,
    reset,
    status,
    webhook_settings,
)

import damd
from damd.errors import ConfigurationError, DeliveryError
from damd.events import body_of
from damd.subscribers.http.secrets import SecretSource
from damd.subscribers.webhook import WebhookSettings, WebhookSubscriber

pytestmark = pytest.mark.anyio


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def settings(receiver: Receiver, tmp_path: Path) -> WebhookSettings:
    return webhook_settings(tmp_path, receiver.url)


async def refusal(settings: WebhookSettings) -> DeliveryError:
    async with WebhookSubscriber(settings) as webhook:
        with anyio.fail_after(10), pytest.raises(DeliveryError) as caught:
            await webhook.receive(imported())
    return caught.value


async def test_a_receiver_can_verify_what_it_is_sent(receiver: Receiver, settings: WebhookSettings) -> None:
    occurred_at = datetime(2026, 5, 4, 14, 0, 0, tzinfo=timezone(timedelta(hours=2)))
    event = imported(path="/pictures/Zoë.jpg", occurred_at=occurred_at)
    async with WebhookSubscriber(settings) as webhook:
        await webhook.receive(event)
    (received,) = receiver.received
    assert received.message_id == event.event_id
    assert received.path == "/hooks/damd"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"] == f"damd/{damd.__version__}"
    assert received.payload == {
        "type": "file.imported",
        "timestamp": "2026-05-04T12:00:00.000000Z",
        "data": event.data(),
    }
    assert received.body == body_of(event)


async def test_a_receiver_with_another_secret_refuses(tmp_path: Path) -> None:
    with Receiver(secrets=[OTHER_SECRET]) as receiver:
        error = await refusal(webhook_settings(tmp_path, receiver.url))
    assert error.status_code == 401
    assert not receiver.received


async def test_while_a_secret_is_replaced_a_receiver_may_know_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREVIOUS_SECRET", OTHER_SECRET)
    with Receiver(secrets=[SECRET, OTHER_SECRET]) as receiver:
        settings = webhook_settings(tmp_path, receiver.url, previous_secret={"env": "PREVIOUS_SECRET"})
        async with WebhookSubscriber(settings) as webhook:
            await webhook.receive(imported())
    (received,) = receiver.received
    signatures = received.headers["webhook-signature"].split(" ")
    assert len(signatures) == 2
    assert all(signature.startswith("v1,") for signature in signatures)


async def test_connections_are_used_again(receiver: Receiver, settings: WebhookSettings) -> None:
    receiver.usual = status(200, body=b"thank you")
    async with WebhookSubscriber(settings) as webhook:
        for number in range(5):
            await webhook.receive(imported(number))
    assert receiver.connections == 1


async def test_cookies_are_not_kept(receiver: Receiver, settings: WebhookSettings) -> None:
    receiver.usual = status(204, set_cookie="session=1; Path=/")
    async with WebhookSubscriber(settings) as webhook:
        await webhook.receive(imported(1))
        await webhook.receive(imported(2))
    assert "cookie" not in receiver.received[1].headers


async def test_the_query_and_the_password_of_the_url_are_used(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = receiver.url.replace("http://", "http://damd:sesame%21@") + "?tenant=7"
    async with WebhookSubscriber(webhook_settings(tmp_path, url)) as webhook:
        await webhook.receive(imported())
    (received,) = receiver.received
    assert received.path == "/hooks/damd?tenant=7"
    assert received.headers["authorization"] == "Basic " + base64.b64encode(b"damd:sesame!").decode()
    assert "sesame" not in caplog.text


async def test_proxies_of_the_environment_do_not_come_between(
    receiver: Receiver, settings: WebhookSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closed_port() as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        async with WebhookSubscriber(settings) as webhook:
            await webhook.receive(imported())
    assert len(receiver.received) == 1


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_a_redirect_is_a_refusal_and_not_followed(
    receiver: Receiver, settings: WebhookSettings, code: int
) -> None:
    receiver.usual = status(code, location=receiver.url)
    error = await refusal(settings)
    assert error.status_code == code
    assert "redirect" in str(error)
    assert len(receiver.received) == 1


async def test_what_the_receiver_asks_to_wait_is_told(receiver: Receiver, settings: WebhookSettings) -> None:
    receiver.usual = status(429, retry_after="120")
    assert (await refusal(settings)).retry_after_s == 120


async def test_words_from_beside_a_refusal_are_told(receiver: Receiver, settings: WebhookSettings) -> None:
    receiver.usual = status(422, body=b"no such album")
    assert (await refusal(settings)).response == "no such album"


async def test_what_it_asks_to_wait_is_told_from_the_clock_that_was_given(
    receiver: Receiver, settings: WebhookSettings
) -> None:
    receiver.usual = status(429, retry_after="Mon, 04 May 2026 12:05:00 GMT")
    now = datetime.now(UTC)
    moments = iter([now, datetime(2026, 5, 4, 12, tzinfo=UTC)])
    async with WebhookSubscriber(settings, clock=lambda: next(moments)) as webhook:
        with pytest.raises(DeliveryError) as caught:
            await webhook.receive(imported())
    assert caught.value.retry_after_s == 300
    assert receiver.received[0].timestamp == int(now.timestamp())


async def test_an_event_that_cannot_be_sent_says_nothing_about_the_receiver(
    receiver: Receiver, settings: WebhookSettings
) -> None:
    async with WebhookSubscriber(settings) as webhook:
        with pytest.raises(DeliveryError) as caught:
            await webhook.receive(imported(event_id="evt_1\r\nx-other: 1"))
        assert not caught.value.is_down
        await webhook.receive(imported())
    assert len(receiver.received) == 1


async def test_no_more_are_under_way_than_the_settings_allow(receiver: Receiver, tmp_path: Path) -> None:
    async with (
        WebhookSubscriber(webhook_settings(tmp_path, receiver.url, concurrency=2)) as webhook,
        anyio.create_task_group() as tasks,
    ):
        for number in range(20):
            tasks.start_soon(webhook.receive, imported(number))
    assert len({received.message_id for received in receiver.received}) == 20
    assert receiver.connections <= 2


async def test_all_connections_are_closed_at_the_end(receiver: Receiver, settings: WebhookSettings) -> None:
    async with WebhookSubscriber(settings) as webhook, anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(webhook.receive, imported(number))
    await receiver.is_left()
    assert not receiver.unverified


async def test_the_longest_paths_arrive_in_a_body_of_the_standards_size(
    receiver: Receiver, settings: WebhookSettings
) -> None:
    path = "\x01" * 4095
    async with WebhookSubscriber(settings) as webhook:
        await webhook.receive(imported(path=path))
    (received,) = receiver.received
    assert len(received.body) < 20_000
    assert base64.b64decode(received.payload["data"]["path_base64"]) == path.encode()


async def test_a_lone_surrogate_is_sent_as_json_spells_it(receiver: Receiver, settings: WebhookSettings) -> None:
    async with WebhookSubscriber(settings) as webhook:
        await webhook.receive(imported(path="/a\udcff.jpg"))
    assert receiver.received[0].payload["data"]["path"] == "/a\udcff.jpg"


async def test_what_was_not_entered_says_so(settings: WebhookSettings) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await WebhookSubscriber(settings).receive(imported())


@pytest.mark.parametrize(
    "url", ["gallery", "ftp://gallery/", "http://a:0/", "http://gallery.example/\x01", "http://[::1"]
)
def test_what_cannot_be_a_webhooks_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValidationError, match="URL"):
        webhook_settings(tmp_path, url)


@pytest.mark.parametrize("key", ["secret", "previous_secret"])
async def test_a_secret_that_is_none_is_a_mistake_in_the_configuration(tmp_path: Path, key: str) -> None:
    file = tmp_path / "none"
    settings = webhook_settings(tmp_path, "http://127.0.0.1:9/", **{key: SecretSource(file=file)})
    with pytest.raises(ConfigurationError) as caught:
        async with WebhookSubscriber(settings):
            pass
    assert f"the webhook gallery: {key}: the file {file} does not exist" in str(caught.value)


@pytest.mark.parametrize(("mode", "count"), [(0o644, 1), (0o640, 0), (0o600, 0)])
async def test_a_secret_that_every_user_may_read_is_warned_of_once(
    tmp_path: Path, receiver: Receiver, mode: int, count: int
) -> None:
    settings = webhook_settings(tmp_path, receiver.url)
    file = tmp_path / "webhook.secret"
    file.chmod(mode)
    with capture_logs() as logs:
        async with WebhookSubscriber(settings) as webhook:
            await webhook.receive(imported())
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["file"] for entry in warnings] == [str(file)] * count


async def test_the_secret_is_in_no_log_no_repr_and_no_error(
    receiver: Receiver, settings: WebhookSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answers = [status(500, connection="close"), reset, status(204)]
    shown: list[str] = []
    with capture_logs() as logs:
        async with WebhookSubscriber(settings) as webhook:
            for _ in range(2):
                with pytest.raises(DeliveryError) as caught:
                    await webhook.receive(imported())
                shown += [str(caught.value), repr(caught.value)]
            await webhook.receive(imported())
            shown += [repr(webhook), str(webhook), repr(settings)]
    everything = "\n".join([*shown, caplog.text, repr(logs)])
    assert "gallery" in everything
    assert SECRET.removeprefix("whsec_") not in everything
