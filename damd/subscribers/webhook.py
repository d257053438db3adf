"""Webhooks by Standard Webhooks 1.0.0: signed HTTP POSTs, offered again until they are taken.

The status decides, and nothing after it: 2xx is success however its body goes on, anything else is not,
and a redirect is never followed, since whoever may redirect could send the events anywhere.

The standard advises bodies under 20 kB. Damd's are a few hundred bytes, and only a path of thousands of
control characters or of bytes that are no text comes near that. Such a body is sent whole and warned
about: a shortened path would name another file, and one withheld would leave the receiver uninformed.

The operator wrote the target down, often one on the local network, so proxies named in the environment
do not come between; certificates are checked against the system's own store, where private authorities
are found too.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, Self
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import structlog
from pydantic import AfterValidator, Field, model_validator
from standardwebhooks import Webhook

import damd
from damd.errors import ConfigurationError, DeliveryError
from damd.events import Event
from damd.settings import AbsolutePath, Duration, Settings, format_duration
from damd.subscribers.base import DEFAULT_RETRY, EventTypes

if TYPE_CHECKING:
    import httpx  # slow to import, and no command but `damd run` needs it

_log = structlog.get_logger(__name__)

ADVISED_BODY_BYTES = 20_000
"""Standard Webhooks' advice for the size of a body."""
MOST_RESPONSE_BYTES = 20_000
"""Read of a response so that its connection can be used again; a longer one costs the connection."""
LONGEST_RETRY_AFTER_S = 86_400.0
"""A day: however long a receiver asks for, it is asked again then."""

_MOST_SECRET_BYTES = 1024
_MOST_WORDS = 200


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0  # reading it checks it
    except ValueError:
        is_one = False
    if not is_one:
        raise ValueError("expected a URL such as https://gallery.example/hooks/damd")
    return url


class SecretSource(Settings):
    """Where a secret is found; exactly one key, and the secret itself is never in the configuration."""

    file: AbsolutePath | None = None
    env: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> SecretSource:
        if (self.file is None) == (self.env is None):
            raise ValueError("a secret has exactly one source: {file: /path/to/it} or {env: NAME_OF_VARIABLE}")
        return self


class WebhookSettings(Settings):
    """An entry of ``subscribers:`` with ``kind: webhook``."""

    kind: Literal["webhook"] = "webhook"
    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    url: Annotated[str, AfterValidator(_http_url)]
    secret: SecretSource
    events: EventTypes = ("file.imported",)
    """The types to send; all of them when empty."""
    timeout: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=20)
    """Standard Webhooks asks for 15 to 30 seconds."""
    retry: Annotated[tuple[Duration, ...], Field(min_length=1)] = DEFAULT_RETRY
    """The waits between attempts; the last one repeats."""


def read_secret(source: SecretSource) -> str:
    """A webhook's secret, ``whsec_`` and base64, ready for `standardwebhooks.Webhook`; blocking.

    Raises:
        ValueError: It cannot be had, or is none: 24 to 64 bytes by the standard. The message holds nothing of it.
    """
    where = f"the file {source.file}" if source.file is not None else f"the environment variable {source.env}"
    text = _read_file(source.file, where) if source.file is not None else os.environ.get(source.env or "")
    if not text:
        raise ValueError(f"{where} is {'not set' if text is None else 'empty'}")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.startswith("whsec_"):
        raise ValueError(f"what {where} holds does not begin with whsec_")
    encoded = text.removeprefix("whsec_")
    encoded += "=" * (-len(encoded) % 4)  # some write it without its padding
    try:
        size = len(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        raise ValueError(f"what {where} holds is not base64 after its whsec_") from None
    if not 24 <= size <= 64:  # the standard's own bounds
        raise ValueError(f"what {where} holds is a secret of {size} bytes, and the standard asks for 24 to 64")
    return f"whsec_{encoded}"


def _read_file(file: Path, where: str) -> str:
    try:
        if not file.is_file():  # a FIFO would be waited for
            raise ValueError(f"{where} is no file" if file.exists() else f"{where} does not exist")
        with file.open("rb") as stream:
            return stream.read(_MOST_SECRET_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise ValueError(f"{where} cannot be read ({error.strerror})") from error


def body_of(event: Event) -> bytes:
    """The JSON that is sent, made once, so that what is signed is what is sent."""
    occurred_at = event.occurred_at.astimezone(UTC).isoformat(timespec="microseconds")
    envelope = {
        "type": event.event_type,
        "timestamp": occurred_at.replace("+00:00", "Z"),
        "data": event.data(),
    }
    # A lone surrogate becomes the escape that JSON has for it.
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def signed_headers(signer: Webhook, message_id: str, body: bytes, *, at: datetime) -> dict[str, str]:
    """The three headers of the standard for one attempt, made at `at`."""
    at = at.astimezone(UTC)  # sign() puts UTC in place of any other time zone
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(math.floor(at.timestamp())),
        "webhook-signature": signer.sign(message_id, at, body.decode()),
    }


def parse_retry_after(value: str | None, *, at: datetime) -> float | None:
    """The seconds that a ``Retry-After`` asks for, at most `LONGEST_RETRY_AFTER_S`; None if it says nothing.

    Either form of RFC 9110, section 10.2.3: seconds, or a date, which is taken from `at`.
    """
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - at
    return min(max(wait.total_seconds(), 0.0), LONGEST_RETRY_AFTER_S)


class _Endpoint(NamedTuple):
    """What it takes to sign and to send."""

    signer: Webhook
    client: httpx.AsyncClient
    url: httpx.URL


class WebhookSubscriber:
    """One endpoint; an async context manager, which reads the secret and holds the connections.

    Args:
        settings: Its entry of the configuration.
        clock: The present moment, for signatures and for a ``Retry-After`` that is a date.
    """

    kind: ClassVar[str] = "webhook"
    settings_type: ClassVar[type[Settings]] = WebhookSettings
    durable: ClassVar[bool] = True

    def __init__(self, settings: WebhookSettings, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._clock = clock
        self._endpoint: _Endpoint | None = None

    def __repr__(self) -> str:
        return f"WebhookSubscriber(name={self.name!r})"

    @property
    def name(self) -> str:
        """As the configuration calls it."""
        return self._settings.name

    @property
    def retry(self) -> tuple[timedelta, ...]:
        """The waits between attempts; the last one repeats."""
        return self._settings.retry

    def wants(self, event_type: str) -> bool:
        """Whether this type is sent."""
        return not self._settings.events or event_type in self._settings.events

    async def __aenter__(self) -> Self:
        """Read the secret and the certificates.

        Raises:
            ConfigurationError: The secret cannot be had, or is none; or the URL is none.
        """
        self._endpoint = await anyio.to_thread.run_sync(_prepare, self._settings)
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._endpoint is not None:
            endpoint, self._endpoint = self._endpoint, None
            await endpoint.client.aclose()

    async def receive(self, event: Event) -> None:
        """Send it once, within the configured time.

        Raises:
            DeliveryError: Whatever kept it from being taken, in a sentence for a person.
        """
        if self._endpoint is None:
            raise RuntimeError("A webhook needs its connections: use `async with WebhookSubscriber(settings) as it:`")
        body = body_of(event)
        if len(body) > ADVISED_BODY_BYTES:
            _log.warning("webhook body is large", subscriber=self.name, event_id=event.event_id, size_bytes=len(body))
        headers = signed_headers(self._endpoint.signer, event.event_id, body, at=self._clock())
        response = await self._post(self._endpoint, body, headers)
        if response is None:
            raise DeliveryError(f"The receiver did not answer within {format_duration(self._settings.timeout)}")
        if not response.is_success:
            raise DeliveryError(
                _describe(response.status_code),
                status_code=response.status_code,
                retry_after_s=parse_retry_after(response.headers.get("retry-after"), at=self._clock()),
            )

    async def _post(self, endpoint: _Endpoint, body: bytes, headers: dict[str, str]) -> httpx.Response | None:
        """The response, of which only the head is sure to be complete; None where time ran out before it."""
        import httpx

        response: httpx.Response | None = None
        try:
            # One deadline for everything: a timeout for each read never ends a trickle.
            with anyio.move_on_after(self._settings.timeout.total_seconds()):
                async with endpoint.client.stream("POST", endpoint.url, content=body, headers=headers) as response:
                    await _drain(response)
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, httpx.CookieConflict, OSError) as error:
            if response is None:
                raise DeliveryError(_explain(error)) from error
        return response


async def _drain(response: httpx.Response) -> None:
    size = 0
    async for chunk in response.aiter_raw():  # as it came: what is not unpacked cannot swell
        size += len(chunk)
        if size > MOST_RESPONSE_BYTES:
            return


def _prepare(settings: WebhookSettings) -> _Endpoint:
    """Read what the settings name; blocking."""
    import httpx

    try:
        signer = Webhook(read_secret(settings.secret))
    except ValueError as error:
        advice = "make one with: echo whsec_$(openssl rand -base64 32)"
        raise ConfigurationError([f"subscribers: the webhook {settings.name}: secret: {error}: {advice}"]) from None
    try:
        url = httpx.URL(settings.url)
    except httpx.InvalidURL as error:
        raise ConfigurationError([f"subscribers: the webhook {settings.name}: url: {error}"]) from None
    client = httpx.AsyncClient(
        # Apart from the URL, which httpx logs.
        auth=(url.username, url.password) if url.userinfo else None,
        headers={"content-type": "application/json", "user-agent": f"damd/{damd.__version__}"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        verify=_certificates(),
        trust_env=False,
        follow_redirects=False,
        timeout=None,  # noqa: S113 - each attempt has a deadline of its own
    )
    return _Endpoint(signer, client, url.copy_with(username=None, password=None))


def _certificates() -> ssl.SSLContext:
    """The system's certificate authorities; httpx's own where the system has none."""
    import httpx

    paths = ssl.get_default_verify_paths()
    return ssl.create_default_context() if paths.cafile or paths.capath else httpx.create_ssl_context(trust_env=False)


def _describe(status_code: int) -> str:
    try:
        status = f"{status_code} {HTTPStatus(status_code).phrase}"
    except ValueError:
        status = str(status_code)
    if 300 <= status_code < 400:
        return f"The receiver redirects ({status}), which is never followed: correct the URL"
    return f"The receiver answered {status}"


def _explain(error: Exception) -> str:
    """The system's own words, around which httpx, httpcore and anyio each wrap an exception."""
    import httpx

    words = str(error) or "the connection was closed"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            words = _words_of(cause)
            break
        first = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else None
        cause = first or cause.__cause__ or cause.__context__
    what = "The receiver cannot be reached" if isinstance(error, httpx.ConnectError) else "The receiver gave no answer"
    return f"{what}: {words[:_MOST_WORDS]}"


def _words_of(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    if isinstance(error, (ssl.SSLError, socket.gaierror)):
        return error.strerror or str(error)
    return os.strerror(error.errno or 0)  # asyncio's own words are about itself
