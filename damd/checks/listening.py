"""Whether the address of ``http.listen`` can be taken, and who could read there."""

from __future__ import annotations

import errno
import http.client
import ipaddress
import json
import socket
from contextlib import closing
from typing import Any

import anyio.to_thread

from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.patience import in_time
from damd.web.settings import split_listen

_CHECK = "http"
_ANSWER_S = 3.0
_LONGEST_ANSWER = 2**22


async def look_at_listening(config: Config) -> list[Finding]:
    """The address is taken for a moment; one that our own daemon holds is as it should be."""
    if config.http is None:
        return []
    host, port = split_listen(config.http.listen)
    error = await anyio.to_thread.run_sync(_why_not_taken, host, port)
    if error is not None:
        return [await _refused(config, config.http.listen, error)]
    says = f"{config.http.listen} is free"
    if not ipaddress.ip_address(host).is_loopback:
        return [_open_to_others(config.http.listen)]
    return [Finding(check=_CHECK, says=says)]


def _why_not_taken(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended are no hindrance
            taken.bind((host, port))
            taken.listen(1)
    except OSError as error:
        return error
    return None


async def _refused(config: Config, listen: str, error: OSError) -> Finding:
    advice = {
        errno.EADDRINUSE: "see what holds it with ss -ltnp, and name another port",
        errno.EADDRNOTAVAIL: "name an address of this machine, such as 127.0.0.1",
        errno.EACCES: "name a port above 1023",
        errno.EAFNOSUPPORT: "name an IPv4 address",
    }.get(error.errno or 0, "name another address")
    host, port = split_listen(listen)
    if error.errno == errno.EADDRINUSE and (answer := await _status_at(host, port)).get("state") == str(config.state):
        if not ipaddress.ip_address(host).is_loopback:
            return _open_to_others(listen)
        return Finding(check=_CHECK, says=f"The damd that runs here (process {answer.get('pid')}) answers on {listen}")
    says = f"damd cannot listen on {listen}: {error.strerror}"
    return Finding(check=_CHECK, health=Health.PROBLEM, says=says, advice=advice)


async def _status_at(host: str, port: int) -> dict[str, Any]:
    """What a damd says of itself on that address; nothing where none does: a daemon may run without, or on another."""
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    try:
        answer = json.loads(await in_time(lambda: _get_status(host, port)))
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _get_status(host: str, port: int) -> bytes:
    with closing(http.client.HTTPConnection(host, port, timeout=_ANSWER_S)) as connection:
        connection.request("GET", "/status")
        return connection.getresponse().read(_LONGEST_ANSWER)


def _open_to_others(listen: str) -> Finding:
    says = f"Whoever reaches {listen} may read status and metrics, without a password"
    advice = "listen on 127.0.0.1, with a proxy in front of it that asks who they are"
    return Finding(check=_CHECK, health=Health.WARNING, says=says, advice=advice)
