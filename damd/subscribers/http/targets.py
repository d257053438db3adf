"""A webhook's URL, taken apart into what a request is made of."""

from __future__ import annotations

import base64
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

_AS_IN_A_PATH = "/%:@!$&'()*+,;=~-._"  # RFC 3986, section 3.3; what is escaped already stays as it is


class Target(NamedTuple):
    """Where requests go.

    Attributes:
        scheme: ``http`` or ``https``.
        host: In ASCII, an IPv6 address without its brackets.
        port: The URL's, or its scheme's.
        path: With the query, as the request line has it.
        authorization: The header that the URL's user and password make, or None; a secret.
    """

    scheme: str
    host: str
    port: int
    path: str
    authorization: str | None

    @property
    def authority(self) -> str:
        """The header ``Host``; the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __repr__(self) -> str:
        return f"Target({self.scheme}://{self.authority})"


_PORTS = {"http": 80, "https": 443}


def parse_target(url: str) -> Target:
    """Take an http or https URL apart.

    Raises:
        ValueError: It is none; the message does not hold it.
    """
    if not url.isprintable() or " " in url:  # urlsplit() would leave some of them out
        raise ValueError("a URL holds no spaces and no control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = _ascii_host(parts.hostname or "")
    except ValueError:
        parts, port, host = urlsplit(""), 0, ""
    if parts.scheme not in _PORTS or not host or host.startswith(".") or port == 0:
        raise ValueError("expected a URL such as https://gallery.example/hooks/damd")
    path = quote(parts.path or "/", safe=_AS_IN_A_PATH)
    if parts.query:
        path += f"?{quote(parts.query, safe=_AS_IN_A_PATH + '?')}"
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path, _authorization(parts))


def _ascii_host(host: str) -> str:
    if host.isascii():
        return host
    import idna

    return idna.encode(host, uts46=True).decode("ascii")  # an IDNAError is a UnicodeError is a ValueError


def _authorization(parts: SplitResult) -> str | None:
    if parts.username is None and parts.password is None:
        return None
    both = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(both.encode()).decode("ascii")
