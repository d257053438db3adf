"""HTTP for as long as the daemon runs."""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import closing

import anyio
import structlog
from anyio.abc import TaskStatus

from damd.errors import ConfigurationError
from damd.web.application import application
from damd.web.pages import Pages
from damd.web.server import Server
from damd.web.settings import HttpSettings, split_listen

_log = structlog.get_logger(__name__)

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_ADVICE = {
    errno.EADDRINUSE: "another program, or another damd, listens there: stop it, or choose another port",
    errno.EACCES: "a port below 1024 needs the capability CAP_NET_BIND_SERVICE: choose one from 1024 on",
    errno.EADDRNOTAVAIL: "this machine has no such address: choose one of those that `ip address` lists",
    errno.EAFNOSUPPORT: "this machine has no IPv6: choose an address such as 127.0.0.1",
}


async def serve(settings: HttpSettings, pages: Pages, *, task_status: TaskStatus[tuple[str, int]]) -> None:
    """Answer over HTTP until cancelled; started with the address and the port, once they are listened on.

    Args:
        settings: Where to listen; port 0 takes any that is free.
        pages: Who answers.
        task_status: Of ``TaskGroup.start``.

    Raises:
        ConfigurationError: It cannot be listened there.
    """
    host, _ = split_listen(settings.listen)
    with closing(_listener(settings.listen)) as listener:
        port = listener.getsockname()[1]
        server = Server(application(pages, hosts=hosts(host)), lambda: task_status.started((host, port)))
        try:
            await server.serve([listener])
        finally:
            with anyio.CancelScope(shield=True):
                await server.close()


def hosts(address: str) -> tuple[str, ...]:
    """The names under which who listens at an address may be asked for; any, where it is open to others anyway."""
    parsed = ipaddress.ip_address(address)
    if not parsed.is_loopback:
        return ("*",)
    return (*_LOOPBACK_NAMES, f"[{parsed}]" if parsed.version == 6 else str(parsed))


def _listener(listen: str) -> socket.socket:
    host, port = split_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = None
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # right after a restart, too
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        if listener is not None:
            listener.close()
        advice = _ADVICE.get(error.errno or 0, "choose another address and port")
        problem = f"http.listen: {listen} cannot be listened on ({error.strerror or error}): {advice}"
        raise ConfigurationError([problem]) from error
    return listener
