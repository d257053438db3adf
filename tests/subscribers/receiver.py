"""A webhook's receiver on loopback, which verifies as the standard's own package does."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import anyio.to_thread
from standardwebhooks import Webhook

from damd.events import FileImportedEvent
from damd.subscribers.http.secrets import SecretSource
from damd.subscribers.webhook import WebhookSettings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PATIENCE_S = 20
CERTIFICATES = Path(__file__).parent / "certificates"
"""Valid until the end of 2099: of an authority that nobody else trusts, for localhost, and for another name."""

Answer = Callable[[BaseHTTPRequestHandler], None]


class Received(NamedTuple):
    """One verified request."""

    message_id: str
    timestamp: int
    path: str
    headers: Mapping[str, str]
    body: bytes
    payload: dict[str, Any]


def status(code: int, *, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def raw(answer: bytes, *, close: bool = False) -> Answer:
    """These bytes, whatever they are; afterwards, the connection is closed or waits for the next request."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(answer)
        handler.close_connection = close

    return write


def endless(answer: bytes, repeated: bytes) -> Answer:
    """These bytes, then those for as long as anybody takes them."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(answer)
        while True:
            handler.wfile.write(repeated * 100)

    return write


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection with RST, as a crash does."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing the server ends them all
    request_queue_size = 64  # whoever finds the queue full tries again a second later


class Receiver:
    """Answers each request with the next of `answers`, then with `usual`; `received` has all that were verified.

    It verifies with each of the secrets by itself. With a certificate, it speaks TLS.
    """

    def __init__(self, *, port: int = 0, secrets: Sequence[str] = (SECRET,), certificate: str | None = None) -> None:
        self.received: list[Received] = []
        self.unverified: list[Exception] = []
        self.answers: list[Answer] = []
        self.usual: Answer = status(204)
        self.connections = 0
        self.closing = threading.Event()
        self._verifiers = [Webhook(secret) for secret in secrets]
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", port), self._handler_type())
        self._scheme = "https" if certificate else "http"
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(CERTIFICATES / certificate)
            # Each connection shakes hands in its own thread.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/hooks/damd"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

    async def has_received(self, count: int) -> list[Received]:
        """Wait until so many requests were verified."""

        def wait() -> None:
            with self._changed:
                assert self._changed.wait_for(lambda: len(self.received) >= count, PATIENCE_S), self.unverified

        await anyio.to_thread.run_sync(wait)
        return self.received

    async def is_left(self) -> None:
        """Wait until nobody is connected any more."""

        def wait() -> None:
            with self._changed:
                assert self._changed.wait_for(lambda: not self._open, PATIENCE_S), self._open

        await anyio.to_thread.run_sync(wait)

    def _handler_type(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with receiver._changed:
                    receiver.connections += 1
                    receiver._open.add(self.connection)

            def finish(self) -> None:
                with receiver._changed:
                    receiver._open.discard(self.connection)
                    receiver._changed.notify_all()
                with suppress(OSError):
                    super().finish()

            def handle(self) -> None:
                with suppress(ConnectionError, ValueError, ssl.SSLError):
                    super().handle()

            def do_POST(self) -> None:
                receiver._take(self)(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
                """Quiet."""

        return Handler

    def _take(self, handler: BaseHTTPRequestHandler) -> Answer:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._changed:
            try:
                payload, *_ = [verifier.verify(body, headers) for verifier in self._verifiers]
                timestamp = int(headers["webhook-timestamp"])
            except Exception as error:  # noqa: BLE001 - shown by the test that waits
                self.unverified.append(error)
                return status(401)
            received = Received(headers["webhook-id"], timestamp, handler.path, headers, body, payload)
            self.received.append(received)
            answer = self.answers.pop(0) if self.answers else self.usual
            self._changed.notify_all()
        return answer


class Gate:
    """An answer that waits until it is opened."""

    def __init__(self, receiver: Receiver, then: Answer) -> None:
        self._receiver = receiver
        self._then = then
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        while not self._open.wait(0.01):
            if self._receiver.closing.is_set():
                return
        self._then(handler)


@contextmanager
def closed_port() -> Iterator[int]:
    """A port at which nobody listens, and which nobody else is given."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def webhook_settings(folder: Path, url: str, **others: Any) -> WebhookSettings:
    """Settings whose secret is the receivers'."""
    file = folder / "webhook.secret"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    return WebhookSettings.model_validate({"name": "gallery", "url": url, "secret": SecretSource(file=file)} | others)


def imported(number: int = 1, **others: Any) -> FileImportedEvent:
    """An event as an import makes it."""
    values: dict[str, Any] = {
        "asset_id": number,
        "path": f"/pictures/{number}.jpg",
        "root": "pictures",
        "sha256": f"{number:064x}",
        "size_bytes": 1000 + number,
        "mime_type": "image/jpeg",
        "family": "image",
        "duration_s": 0.25,
    }
    return FileImportedEvent(**values | others)
