"""Which page answers what: one small ASGI application.

A further page is a file with a function that takes the request, and a line in `ROUTES`.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from damd.errors import DamdError
from damd.web.headers import SAFE, SafeHeaders
from damd.web.health import healthz, readyz
from damd.web.numbers import metrics
from damd.web.pages import Asking, Pages
from damd.web.status import status

_log = structlog.get_logger(__name__)

ROUTES = (
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Route("/metrics", metrics),
    Route("/status", status),
)


def application(pages: Pages, *, hosts: Sequence[str]) -> Starlette:
    """The pages over HTTP.

    Args:
        pages: Who answers.
        hosts: The names, without a port, under which it may be asked for; ``*`` for any. A browser may be made to ask
            for a stranger's name at a loopback address (DNS rebinding): it is answered nothing.
    """
    built = Starlette(
        routes=list(ROUTES),
        middleware=[
            Middleware(SafeHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        ],
        exception_handlers={DamdError: _cannot, TimeoutError: _too_late, Exception: _failed},
    )
    built.router.redirect_slashes = False  # each page has one address
    built.state.asking = Asking(pages)
    return built


async def _cannot(request: Request, error: Exception) -> Response:
    """Something is wrong of which damd knows what it is."""
    _log.warning("page cannot be answered", page=request.url.path, error=str(error))
    return _unavailable(" ".join(str(error).split()))


async def _too_late(request: Request, _error: Exception) -> Response:
    _log.warning("page cannot be answered", page=request.url.path, error="it took too long")
    return _unavailable("damd did not answer in time: ask again, or see its log")


async def _failed(request: Request, error: Exception) -> Response:
    """Something is wrong with damd; starlette raises it again, which `damd.web.server` keeps quiet about."""
    _log.error("page failed", page=request.url.path, exc_info=error)
    return _unavailable("damd cannot answer this now: its log says why")


def _unavailable(reason: str) -> Response:
    return PlainTextResponse(reason + "\n", status_code=503, headers=SAFE)  # _failed answers outside of SafeHeaders
