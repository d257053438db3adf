"""How the daemon stands, for programs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from damd.web.pages import JsonResponse, asking


async def status(request: Request) -> Response:
    """What the control socket answers, and so what ``damd status --json`` prints."""
    async with asking(request).turn() as pages:
        return JsonResponse(await pages.status())
