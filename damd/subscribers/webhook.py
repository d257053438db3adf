"""Webhooks by Standard Webhooks 1.0.0: signed HTTP POSTs, offered again until they are taken.

The status decides, and nothing after it: 2xx is success however its body goes on, anything else is not,
and a redirect is never followed, since whoever may redirect could send the events anywhere.

The operator wrote the target down, often one on the local network, so proxies named in the environment
do not come between; certificates are checked against the system's own store and the ``ca_file``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, Self

import anyio
import anyio.to_thread
import structlog
from pydantic import AfterValidator, Field
from standardwebhooks import Webhook

from damd.errors import ConfigurationError
from damd.events import Event, body_of
from damd.settings import AbsolutePath, Duration, Settings
from damd.subscribers.base import DurableSettings, DurableSubscriber
from damd.subscribers.http.addresses import why_refused
from damd.subscribers.http.answers import refusal_in
from damd.subscribers.http.secrets import SecretSource, is_open_to_all, read_secret
from damd.subscribers.http.signing import signed_headers
from damd.subscribers.http.targets import parse_target

if TYPE_CHECKING:
    from damd.subscribers.http.connections import Connections  # httpcore is slow to import, and few commands need it

_log = structlog.get_logger(__name__)


def _http_url(url: str) -> str:
    parse_target(url)
    return url


_EXAMPLE = {
    "name": "gallery",
    "url": "https://gallery.example/hooks/damd",
    "secret": {"file": "/etc/damd/gallery.secret"},
    "previous_secret": {"file": "/etc/damd/gallery.old-secret"},
    "ca_file": "/etc/damd/ca.pem",
}


class WebhookSettings(DurableSettings, json_schema_extra={"examples": [_EXAMPLE]}):
    """An entry of ``subscribers:`` with ``kind: webhook``; Standard Webhooks asks for a timeout of 15 to 30 seconds."""

    kind: Literal["webhook"] = "webhook"
    """A signed HTTP request for each event, repeated until it is taken (https://www.standardwebhooks.com)."""
    url: Annotated[str, AfterValidator(_http_url), Field(repr=False)]
    """A user and a password in it become the header Authorization, and are told nobody else."""
    secret: SecretSource
    """Where the secret is found: a file, an environment variable as {env: NAME}, or one of systemd's credentials as
    {credential: NAME}."""
    previous_secret: SecretSource | None = None
    """While it is changed for another one, the old one: messages are signed with both."""
    timeout: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=20)
    """For one attempt, from the name's look-up to the answer."""
    ca_file: AbsolutePath | None = None
    """Authorities of your own that sign servers' certificates, beside the system's: a PEM file."""
    deny_private: bool = False
    """Whether to refuse private addresses, too, not only link-local ones and those of clouds' metadata."""

    def lacking(self) -> Iterator[tuple[str, str]]:
        """What is wrong with its secrets, its certificates, and an address in its URL; blocking."""
        from damd.subscribers.http.certificates import client_context

        for what, source in (("secret", self.secret), ("previous_secret", self.previous_secret)):
            try:
                if source is not None:
                    read_secret(source)
            except ValueError as error:
                yield what, f"cannot be used: {error}"
        try:
            if self.ca_file is not None:
                client_context(self.ca_file)
        except ValueError as error:
            yield "ca_file", f"cannot be used: {error}"
        with suppress(ValueError):  # a name: what it stands for is seen when it is connected to
            if why := why_refused(parse_target(self.url).host, deny_private=self.deny_private):
                yield "url", f"is never connected to: {why}"

    @property
    def target(self) -> str:
        """The URL's scheme and host: the rest of it may be as secret as a password, as it is with chat services."""
        target = parse_target(self.url)
        return f"{target.scheme}://{target.authority}"


class _Endpoint(NamedTuple):
    """What it takes to sign and to send."""

    signers: tuple[Webhook, ...]
    connections: Connections


class WebhookSubscriber(DurableSubscriber):
    """One endpoint; an async context manager, which reads the secrets and holds the connections.

    Args:
        settings: Its entry of the configuration.
        clock: The present moment, for signatures and for a ``Retry-After`` that is a date.
    """

    kind: ClassVar[str] = "webhook"
    settings_type: ClassVar[type[Settings]] = WebhookSettings

    _settings: WebhookSettings

    def __init__(self, settings: WebhookSettings, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__(settings)
        self._clock = clock
        self._endpoint: _Endpoint | None = None

    async def __aenter__(self) -> Self:
        """Read the secrets and the certificates.

        Raises:
            ConfigurationError: A secret or the ``ca_file`` cannot be had, or is none.
        """
        self._endpoint = await anyio.to_thread.run_sync(_prepare, self._settings)
        return self

    async def renew(self) -> None:
        """Read the secrets again: messages are signed with what is there now.

        Raises:
            ConfigurationError: One cannot be had, or is none; then the old ones stay.
        """
        signers = await anyio.to_thread.run_sync(_signers, self._settings)
        if self._endpoint is not None:
            self._endpoint = self._endpoint._replace(signers=signers)

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._endpoint is not None:
            endpoint, self._endpoint = self._endpoint, None
            await endpoint.connections.aclose()

    async def receive(self, event: Event) -> None:
        """Send it once, within the configured time.

        Raises:
            DeliveryError: Whatever kept it from being taken, in a sentence for a person.
        """
        if self._endpoint is None:
            raise RuntimeError("A webhook needs its connections: use `async with WebhookSubscriber(settings) as it:`")
        body = body_of(event)
        headers = signed_headers(self._endpoint.signers, event.event_id, body, at=self._clock())
        answer = await self._endpoint.connections.post(body, headers, within=self._settings.timeout)
        refusal = refusal_in(answer, at=self._clock())
        if refusal is not None:
            raise refusal


def _prepare(settings: WebhookSettings) -> _Endpoint:
    """Read what the settings name; blocking."""
    from damd.subscribers.http.certificates import client_context
    from damd.subscribers.http.connections import Connections

    signers = _signers(settings)
    target = parse_target(settings.url)
    try:
        is_encrypted = target.scheme == "https" or settings.ca_file is not None
        certificates = client_context(settings.ca_file) if is_encrypted else None
    except ValueError as error:
        raise _mistake(settings, "ca_file", error) from None
    limit, deny_private = settings.concurrency, settings.deny_private
    return _Endpoint(signers, Connections(target, limit=limit, deny_private=deny_private, certificates=certificates))


def _signers(settings: WebhookSettings) -> tuple[Webhook, ...]:
    sources = {"secret": settings.secret, "previous_secret": settings.previous_secret}
    return tuple(_signer(settings, key, source) for key, source in sources.items() if source is not None)


def _signer(settings: WebhookSettings, key: str, source: SecretSource) -> Webhook:
    try:
        signer = Webhook(read_secret(source))
    except ValueError as error:
        raise _mistake(settings, key, error) from None
    if is_open_to_all(source):
        advice = "take it from the others: chmod o-rwx"
        _log.warning("secret may be read by every user", webhook=settings.name, file=str(source.file), advice=advice)
    return signer


def _mistake(settings: WebhookSettings, key: str, error: ValueError) -> ConfigurationError:
    return ConfigurationError([f"subscribers: the webhook {settings.name}: {key}: {error}"])
