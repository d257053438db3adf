"""Where the daemon listens for HTTP."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

from damd.settings import Settings

_LISTEN = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:\s]+)):(?P<port>[0-9]{1,5})\Z")


def split_listen(value: str) -> tuple[str, int]:
    """``127.0.0.1:8420`` or ``[::1]:8420`` to address and port.

    Raises:
        ValueError: It is neither; only addresses are taken, and ``localhost``, since a name may change its mind.
    """
    match = _LISTEN.match(value)
    host = (match["v6"] or match["host"]) if match else ""
    if match is None or int(match["port"]) > 65_535:
        raise ValueError("expected an address and a port, such as 127.0.0.1:8420 or [::1]:8420")
    if host == "localhost":
        return "127.0.0.1", int(match["port"])
    try:
        return str(ipaddress.ip_address(host)), int(match["port"])
    except ValueError:
        raise ValueError("expected an address and a port, such as 127.0.0.1:8420 or [::1]:8420") from None


def _listens(value: str) -> str:
    split_listen(value)
    return value


class HttpSettings(Settings):
    """The section ``http:``."""

    listen: Annotated[str, AfterValidator(_listens)] = "127.0.0.1:8420"
    """Address and port. There is no password: on any other address than loopback, everybody there may read it all."""
