"""Whatever a subscriber raises, as the refusal that it is: those of plugins raise anything."""

from __future__ import annotations

from damd.errors import DeliveryError


def as_refusal(error: BaseException) -> DeliveryError:
    """A `DeliveryError` whose words and values can be kept, whatever class this one is of."""
    if not isinstance(error, DeliveryError):
        return DeliveryError(": ".join(filter(None, (type(error).__name__, _said(error)))))
    return DeliveryError(
        _said(error),
        status_code=error.status_code,
        retry_after_s=error.retry_after_s,
        response=error.response,
        is_down=error.is_down,
        is_gone=error.is_gone,
    )


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - its class is a plugin's
        return ""
