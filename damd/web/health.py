"""Whether damd is alive, and whether it can do its work."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from damd.errors import DamdError
from damd.web.pages import JsonResponse, asking


async def healthz(_request: Request) -> Response:
    """``ok``, as long as the event loop turns; nothing else is asked for it."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """``{"ready": …, "reasons": […]}``, and 503 where there are any."""
    try:
        async with asking(request).turn() as pages:
            reasons = await pages.not_ready()
    except DamdError as error:
        reasons = [str(error)]
    except TimeoutError:
        reasons = ["damd did not say in time whether it is ready: its log or `damd doctor` may say why"]
    return JsonResponse({"ready": not reasons, "reasons": reasons}, status_code=503 if reasons else 200)
