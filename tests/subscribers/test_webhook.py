import base64
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import anyio
import pytest
from pydantic import ValidationError
from standardwebhooks import Webhook
from structlog.testing import capture_logs
from subscribers.receiver import (
    OTHER_SECRET,
    SECRET,
    Gate,
    Receiver,
    closed_port,
    imported,
    reset,
    status,
    webhook_settings,
)

import damd
from damd.errors import ConfigurationError, DeliveryError
from damd.subscribers.webhook import (
    ADVISED_BODY_BYTES,
    LONGEST_RETRY_AFTER_S,
    SecretSource,
    WebhookSettings,
    WebhookSubscriber,
    body_of,
    parse_retry_after,
    read_secret,
    signed_headers,
)

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


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


def test_the_signature_is_the_standards_known_answer() -> None:
    signer = Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, timezone(timedelta(hours=-7)))
    headers = signed_headers(signer, "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', at=at)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


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
    with Receiver(secret=OTHER_SECRET) as receiver:
        error = await refusal(webhook_settings(tmp_path, receiver.url))
    assert error.status_code == 401
    assert not receiver.received


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


@pytest.mark.parametrize("code", [400, 404, 410, 429, 500, 503])
async def test_every_status_but_2xx_is_a_refusal(receiver: Receiver, settings: WebhookSettings, code: int) -> None:
    receiver.usual = status(code)
    error = await refusal(settings)
    assert error.status_code == code
    assert str(code) in str(error)
    assert error.retry_after_s is None


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
async def test_every_2xx_is_success(receiver: Receiver, settings: WebhookSettings, code: int) -> None:
    receiver.usual = status(code)
    async with WebhookSubscriber(settings) as webhook:
        await webhook.receive(imported())


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


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("9" * 400, LONGEST_RETRY_AFTER_S),
        ("9" * 5000, LONGEST_RETRY_AFTER_S),
        (format_datetime(NOON + timedelta(minutes=5), usegmt=True), 300),
        (format_datetime(NOON + timedelta(minutes=5)).replace("+0000", "-0000"), 300),
        (format_datetime(NOON - timedelta(minutes=5), usegmt=True), 0),
        (format_datetime(NOON + timedelta(days=9), usegmt=True), LONGEST_RETRY_AFTER_S),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("nan", None),
        ("Mon, 99 May 2026 12:00:00 GMT", None),
        ("Mon, 04 May 99999999999999999999 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, at=NOON) == seconds


async def test_a_receiver_that_does_not_answer_is_a_refusal(receiver: Receiver, tmp_path: Path) -> None:
    receiver.usual = Gate(receiver, status(200))
    error = await refusal(webhook_settings(tmp_path, receiver.url, timeout="100ms"))
    assert str(error) == "The receiver did not answer within 100ms"


async def test_an_answer_that_trickles_in_is_bounded_by_the_same_time(receiver: Receiver, tmp_path: Path) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not receiver.closing.wait(0.01):
            handler.wfile.write(b"x: y\r\n")

    receiver.usual = trickle
    error = await refusal(webhook_settings(tmp_path, receiver.url, timeout="200ms"))
    assert str(error) == "The receiver did not answer within 200ms"


async def test_a_body_that_trickles_in_after_success_is_still_success(receiver: Receiver, tmp_path: Path) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n")
        while not receiver.closing.wait(0.01):
            handler.wfile.write(b"x")

    receiver.usual = trickle
    async with WebhookSubscriber(webhook_settings(tmp_path, receiver.url, timeout="200ms")) as webhook:
        with anyio.fail_after(10):
            await webhook.receive(imported())


@pytest.mark.parametrize("code", [200, 500])
async def test_a_gigabyte_for_an_answer_is_not_read(receiver: Receiver, settings: WebhookSettings, code: int) -> None:
    sent = 0
    ended = threading.Event()

    def flood(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(code)
        handler.send_header("content-length", str(10**9))
        handler.end_headers()
        try:
            while sent < 10**9:
                sent += handler.connection.send(b"x" * 65536)
        finally:
            ended.set()

    receiver.usual = flood
    if code == 200:
        async with WebhookSubscriber(settings) as webhook:
            await webhook.receive(imported())
    else:
        assert (await refusal(settings)).status_code == 500
    assert await anyio.to_thread.run_sync(ended.wait, 10)
    assert sent < 50_000_000  # what the system's buffers took


async def test_a_connection_that_is_reset_is_a_refusal(receiver: Receiver, settings: WebhookSettings) -> None:
    receiver.usual = reset
    error = await refusal(settings)
    assert str(error) == "The receiver gave no answer: Connection reset by peer"
    assert error.status_code is None


async def test_a_connection_that_is_closed_is_a_refusal(receiver: Receiver, settings: WebhookSettings) -> None:
    receiver.usual = lambda handler: setattr(handler, "close_connection", True)
    assert str(await refusal(settings)).startswith("The receiver gave no answer: ")


async def test_an_answer_that_is_no_http_is_a_refusal(receiver: Receiver, settings: WebhookSettings) -> None:
    def greet(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.9 " + b"\x07" * 5000 + b"\r\n\r\n")

    receiver.usual = greet
    error = await refusal(settings)
    assert str(error).startswith("The receiver gave no answer: ")
    assert len(str(error)) < 300
    assert str(error).isprintable()


async def test_nobody_listening_is_a_refusal_in_the_systems_words(tmp_path: Path) -> None:
    with closed_port() as port:
        error = await refusal(webhook_settings(tmp_path, f"http://127.0.0.1:{port}/"))
    assert str(error) == "The receiver cannot be reached: Connection refused"


async def test_a_name_that_does_not_exist_is_a_refusal(tmp_path: Path) -> None:
    error = await refusal(webhook_settings(tmp_path, "http://nowhere.invalid/"))
    assert str(error).startswith("The receiver cannot be reached: ")


async def test_tls_with_who_speaks_none_is_a_refusal(receiver: Receiver, tmp_path: Path) -> None:
    error = await refusal(webhook_settings(tmp_path, receiver.url.replace("http:", "https:")))
    assert str(error).startswith("The receiver cannot be reached: ")
    assert "SSL" in str(error)


async def test_an_id_that_cannot_be_a_header_is_a_refusal(settings: WebhookSettings) -> None:
    async with WebhookSubscriber(settings) as webhook:
        with pytest.raises(DeliveryError):
            await webhook.receive(imported(event_id="evt_1\r\nx-other: 1"))


async def test_the_longest_paths_arrive_whole(receiver: Receiver, settings: WebhookSettings) -> None:
    control = imported(1, path="\x01" * 4095)
    bytes_that_are_no_text = imported(2, path="\ufffd" * 4095, path_base64=base64.b64encode(b"\xff" * 4095).decode())
    async with WebhookSubscriber(settings) as webhook:
        with capture_logs() as logs:
            await webhook.receive(control)
            await webhook.receive(bytes_that_are_no_text)
    first, second = receiver.received
    assert first.payload["data"] == control.data()
    assert second.payload["data"] == bytes_that_are_no_text.data()
    assert len(first.body) > ADVISED_BODY_BYTES > len(second.body)
    assert [(entry["event"], entry["event_id"]) for entry in logs] == [("webhook body is large", control.event_id)]


async def test_a_lone_surrogate_is_sent_as_json_spells_it(receiver: Receiver, settings: WebhookSettings) -> None:
    async with WebhookSubscriber(settings) as webhook:
        await webhook.receive(imported(path="/a\udcff.jpg"))
    assert receiver.received[0].payload["data"]["path"] == "/a\udcff.jpg"


async def test_what_was_not_entered_says_so(settings: WebhookSettings) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await WebhookSubscriber(settings).receive(imported())


async def test_a_url_that_is_none_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="webhook gallery: url"):
        async with WebhookSubscriber(webhook_settings(tmp_path, "http://gallery.example/\x01")):
            pass


@pytest.mark.parametrize(
    "url", ["gallery", "ftp://gallery/", "https://", "http://a:0/", "http://a:99999/", "http://[::1"]
)
def test_what_cannot_be_a_webhooks_url_is_refused_with_an_example(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValidationError, match=r"expected a URL such as https://"):
        webhook_settings(tmp_path, url)


def secret_of(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(range(size))).decode()


@pytest.mark.parametrize("secret", [secret_of(24), secret_of(64), SECRET, secret_of(25).rstrip("=")])
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_is_read_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str, ending: str
) -> None:
    file = tmp_path / "secret"
    file.write_bytes((secret + ending).encode())
    monkeypatch.setenv("GALLERY_SECRET", secret + ending)
    for source in (SecretSource(file=file), SecretSource(env="GALLERY_SECRET")):
        assert read_secret(source).rstrip("=") == secret.rstrip("=")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "does not exist"),
        ("", "is empty"),
        ("\n", "does not begin with whsec_"),
        (SECRET.removeprefix("whsec_"), "does not begin with whsec_"),
        ("whsec_sesame sesame!", "is not base64"),
        (SECRET + "\n\n", "is not base64"),
        (SECRET + "ü", "is not base64"),
        (secret_of(23), "is a secret of 23 bytes, and the standard asks for 24 to 64"),
        (secret_of(65), "is a secret of 65 bytes, and the standard asks for 24 to 64"),
    ],
)
async def test_a_secret_that_is_none_is_a_configuration_error_that_does_not_tell_it(
    tmp_path: Path, content: str | None, what: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    settings = webhook_settings(tmp_path, "http://127.0.0.1:9/", secret=SecretSource(file=file))
    with pytest.raises(ConfigurationError) as caught:
        async with WebhookSubscriber(settings):
            pass
    message = str(caught.value)
    assert "webhook gallery" in message
    assert str(file) in message
    assert what in message
    assert not content or not content.strip() or content.strip().removeprefix("whsec_") not in message


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GALLERY_SECRET", raising=False)
    with pytest.raises(ValueError, match="the environment variable GALLERY_SECRET is not set"):
        read_secret(SecretSource(env="GALLERY_SECRET"))


async def test_the_secret_is_in_no_log_no_repr_and_no_error(
    receiver: Receiver, settings: WebhookSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answers = [status(500), reset, status(204)]
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
