"""The metrics, for Prometheus."""

from __future__ import annotations

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from damd.metrics.exposition import exposition_for
from damd.web.pages import asking


async def metrics(request: Request) -> Response:
    """What there is to count, in the format that ``Accept`` asks for."""
    asked = asking(request)
    async with asked.turn() as pages:
        numbers = await pages.metrics()
    accept = request.headers.get("accept", "")
    text, media_type = await anyio.to_thread.run_sync(exposition_for, accept, numbers, limiter=asked.thread)
    return Response(text, headers={"Content-Type": media_type})
