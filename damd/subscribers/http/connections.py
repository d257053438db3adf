"""The connections to one receiver, used again and again.

httpcore keeps them, and nothing else is between it and damd: no redirects, no cookies, no proxies of the
environment, no unpacking.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from datetime import timedelta

import anyio
import httpcore

import damd
from damd.errors import DeliveryError
from damd.settings import format_duration
from damd.subscribers.http.answers import MOST_RESPONSE_BYTES, Answer
from damd.subscribers.http.network import AddressRefusedError, GuardedNetwork, GuardedStream
from damd.subscribers.http.targets import Target

_IDLE_S = 5.0  # what many servers wait for the next request; httpx's choice, too
_MOST_WORDS = 200


class Connections:
    """To one receiver, at most `limit` at a time.

    Args:
        target: Where requests go.
        limit: How many requests may be under way; further ones wait.
        deny_private: Whether to refuse addresses that are not public.
        certificates: For https: how the receiver is verified.
    """

    def __init__(
        self, target: Target, *, limit: int, deny_private: bool = False, certificates: ssl.SSLContext | None = None
    ) -> None:
        self._url = httpcore.URL(
            scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
        )
        self._headers = [
            ("host", target.authority),
            ("user-agent", f"damd/{damd.__version__}"),
            ("content-type", "application/json"),
            ("accept-encoding", "identity"),
            *([("authorization", target.authorization)] if target.authorization else []),
        ]
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=certificates,
            max_connections=limit,
            keepalive_expiry=_IDLE_S,
            network_backend=GuardedNetwork(deny_private=deny_private, lookups=limit),
        )
        # A request that waits within httpcore and is cancelled there can leave a connection nobody ever uses.
        self._slots = anyio.Semaphore(limit, fast_acquire=True)

    async def aclose(self) -> None:
        """Close them all."""
        await self._pool.aclose()

    async def post(self, body: bytes, headers: Mapping[str, str], *, within: timedelta) -> Answer:
        """Send one request, and have its answer; the body of the answer may be incomplete, as its status decides.

        Args:
            body: As it is sent.
            headers: Beside those that are the same for all requests.
            within: For everything: a timeout for each read would never end a trickle.

        Raises:
            DeliveryError: There is no answer.
        """
        response: httpcore.Response | None = None
        beginning = bytearray()
        try:
            with anyio.move_on_after(within.total_seconds()):
                async with self._slots:
                    response = await self._send(body, headers)
                    await _read(response, beginning)
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            if response is None:
                # What cannot be sent at all is this event's fault.
                is_down = not isinstance(error, httpcore.LocalProtocolError)
                raise DeliveryError(_explain(error), is_down=is_down) from error
        if response is None:
            raise DeliveryError(f"The receiver did not answer within {format_duration(within)}", is_down=True)
        retry_after = next((value for name, value in response.headers if name.lower() == b"retry-after"), None)
        return Answer(response.status, retry_after.decode("latin-1") if retry_after else None, bytes(beginning))

    async def _send(self, body: bytes, headers: Mapping[str, str]) -> httpcore.Response:
        """The head of the answer.

        A connection that was used before may have been closed while this request was on its way, or hold more than
        the answer that it was used for. Then the next is tried, until one is new: whatever fails has one less left.
        """
        while True:
            tried = _Tried()
            request = httpcore.Request(
                "POST",
                self._url,
                headers=[*self._headers, ("content-length", str(len(body))), *headers.items()],
                content=body,
                extensions={"trace": tried.note},
            )
            try:
                response = await self._pool.handle_async_request(request)
            except (httpcore.NetworkError, httpcore.RemoteProtocolError):
                if tried.is_new:
                    raise
                continue
            if tried.is_new or _is_own_answer(response):
                return response
            await response.aclose()


class _Tried:
    """Whether a request made a connection of its own."""

    def __init__(self) -> None:
        self.is_new = False

    async def note(self, name: str, _info: object) -> None:
        if name == "connection.connect_tcp.started":
            self.is_new = True


def _is_own_answer(response: httpcore.Response) -> bool:
    stream = response.extensions["network_stream"]
    return isinstance(stream, GuardedStream) and stream.answer_bytes > 0


async def _read(response: httpcore.Response, beginning: bytearray) -> None:
    """To the end, so that the connection can be used again, unless that is too far."""
    size = 0
    try:
        async for part in response.aiter_stream():
            beginning += part[: MOST_RESPONSE_BYTES - len(beginning)]
            size += len(part)
            if size > MOST_RESPONSE_BYTES:
                break
    finally:
        await response.aclose()


def _explain(error: Exception) -> str:
    """The system's own words, around which httpcore and anyio each wrap an exception."""
    what = (
        "The receiver cannot be reached" if isinstance(error, httpcore.ConnectError) else "The receiver gave no answer"
    )
    words = str(error) or "the connection was closed"
    cause: BaseException | None = error
    while cause is not None and not isinstance(error, AddressRefusedError):
        if isinstance(cause, OSError) and cause.errno:
            words = _words_of(cause)
            break
        first = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else None
        cause = first or cause.__cause__ or cause.__context__
    return f"{what}: {words[:_MOST_WORDS]}"


def _words_of(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    if isinstance(error, (ssl.SSLError, socket.gaierror)):
        return error.strerror or str(error)
    return os.strerror(error.errno or 0)  # asyncio's own words are about itself
