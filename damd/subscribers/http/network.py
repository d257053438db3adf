"""The connections themselves, beneath httpcore: names are looked up here, and addresses are judged here.

There are no timeouts in here: one deadline lies around each whole attempt.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import httpcore
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from damd.subscribers.http.addresses import why_refused

MOST_ANSWER_BYTES = 128 * 1024
"""Read of one answer with its head: more than h11 lets a head have, and damd keeps of a body."""

_READ_AT_ONCE = 16 * 1024  # the event loop has a turn in between
_STAGGER_S = 0.25  # RFC 8305, section 5: the next address is tried while this one is silent
_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)  # ssl's errors are OSErrors


class AddressRefusedError(httpcore.ConnectError):
    """A name has no address that may be connected to."""

    def __init__(self, host: str, refused: Sequence[tuple[str, str]]) -> None:
        why = "; ".join(f"{address}: {reason}" for address, reason in refused)
        super().__init__(f"{host} may not be connected to ({why})")


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that `why_refused` has nothing against.

    Args:
        deny_private: As there.
        lookups: How many names may be looked up at a time by those who still wait for it. A look-up that was given up
            cannot be ended: its thread stays until the system's resolver is done with it, and counts no more.
    """

    def __init__(self, *, deny_private: bool, lookups: int) -> None:
        self._deny_private = deny_private
        self._lookups = anyio.CapacityLimiter(lookups)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - httpcore's signature
        local_address: str | None = None,  # noqa: ARG002 - httpcore's signature
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        """Look the name up, and connect to the first of its addresses that answers.

        Raises:
            AddressRefusedError: It has none that may be.
            httpcore.ConnectError: From what the system said.
        """
        try:
            addresses = await self._addresses(host, port)
            reasons = [(address, why_refused(address, deny_private=self._deny_private)) for address in addresses]
            allowed = [address for address, reason in reasons if reason is None]
            if not allowed:
                raise AddressRefusedError(host, [(address, reason) for address, reason in reasons if reason])
            return GuardedStream(await _first_to_answer(allowed, port))
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error

    async def _addresses(self, host: str, port: int) -> list[str]:
        # Bytes, since a name is ASCII already. Threads of its own: where no resolver answers, others do not wait.
        look_up = partial(socket.getaddrinfo, host.encode("ascii"), port, type=socket.SOCK_STREAM)
        found = await anyio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=self._lookups)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _first_to_answer(addresses: Sequence[str], port: int) -> ByteStream:
    """In their order, each with a head start before the next.

    Raises:
        OSError: What the first one failed with, where all of them did.
    """
    streams: list[ByteStream] = []
    errors: dict[str, OSError] = {}

    async def knock(address: str, failed: anyio.Event) -> None:
        try:
            streams.append(await anyio.connect_tcp(address, port))
        except OSError as error:
            errors[address] = error
            failed.set()
        else:
            tasks.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            for address in addresses:
                failed = anyio.Event()
                tasks.start_soon(knock, address, failed)
                with anyio.move_on_after(_STAGGER_S):
                    await failed.wait()
    except BaseException:
        for stream in streams:
            await anyio.aclose_forcefully(stream)
        raise
    if not streams:
        raise errors[addresses[0]]
    for stream in streams[1:]:  # two answered in the same turn of the event loop
        await anyio.aclose_forcefully(stream)
    return streams[0]


class GuardedStream(httpcore.AsyncNetworkStream):
    """One connection, of which no answer is read without end."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's, not Django's
        self.answer_bytes = 0
        """How much came since something was last sent."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109 - httpcore's
        """What came, at most `max_bytes`; nothing at the end.

        Raises:
            httpcore.ReadError: The connection broke, or the answer is longer than any that is read.
        """
        if self.answer_bytes > MOST_ANSWER_BYTES:
            raise httpcore.ReadError("the answer does not end")
        try:
            data = await self._stream.receive(min(max_bytes, _READ_AT_ONCE))
        except anyio.EndOfStream:
            return b""
        except _BROKEN as error:
            raise httpcore.ReadError(str(error)) from error
        self.answer_bytes += len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - httpcore's
        """Send all of it.

        Raises:
            httpcore.WriteError: The connection broke.
        """
        if not buffer:
            return
        self.answer_bytes = 0
        try:
            await self._stream.send(buffer)
        except _BROKEN as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        """At once, and whatever was not sent is not."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        """The same connection, encrypted; closed if that fails.

        Raises:
            httpcore.ConnectError: The handshake failed, or the certificate is not valid for this name.
        """
        try:
            stream = await TLSStream.wrap(
                self._stream,
                hostname=server_hostname,
                ssl_context=ssl_context,
                server_side=False,
                standard_compatible=False,  # in HTTP the length says where an answer ends
            )
        except BaseException as error:
            await anyio.aclose_forcefully(self._stream)  # httpcore would not, when it is cancelled
            if isinstance(error, (anyio.EndOfStream, *_BROKEN)):
                raise httpcore.ConnectError(str(error)) from error
            raise
        return GuardedStream(stream)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks for."""
        if info == "ssl_object":
            return self._stream.extra(TLSAttribute.ssl_object, None)  # noqa: S610 - as above
        if info == "is_readable":  # asked of idle connections, where it means that the other end has closed it
            return _is_readable(self._socket)
        return None


def _is_readable(connection: socket.socket) -> bool:
    if connection.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
