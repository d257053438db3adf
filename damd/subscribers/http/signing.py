"""Signatures by Standard Webhooks 1.0.0: https://github.com/standard-webhooks/standard-webhooks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook


def signed_headers(signers: Sequence[Webhook], message_id: str, body: bytes, *, at: datetime) -> dict[str, str]:
    """The three headers of the standard for one attempt, made at `at`.

    Args:
        signers: One for each secret that a receiver may know: two, while one is replaced by another.
        message_id: The same for every attempt.
        body: As it is sent.
        at: With its time zone.
    """
    at = at.astimezone(UTC)  # sign() puts UTC in place of any other time zone
    text = body.decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(math.floor(at.timestamp())),
        "webhook-signature": " ".join(signer.sign(message_id, at, text) for signer in signers),
    }
