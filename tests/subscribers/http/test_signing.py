"""Signatures by the standard."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError
from subscribers.receiver import OTHER_SECRET, SECRET

from damd.subscribers.http.signing import signed_headers

KNOWN_ANSWER = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_signature_is_the_standards_known_answer() -> None:
    signer = Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, timezone(timedelta(hours=-7)))
    headers = signed_headers([signer], "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', at=at)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": KNOWN_ANSWER,
    }


def test_while_a_secret_is_replaced_each_of_the_two_verifies() -> None:
    now = datetime.now(UTC)
    headers = signed_headers([Webhook(SECRET), Webhook(OTHER_SECRET)], "evt_1", b'{"a":1}', at=now)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, OTHER_SECRET):
        assert Webhook(secret).verify(b'{"a":1}', headers) == {"a": 1}
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(b'{"a":2}', headers)
