"""The kinds of subscriber; a further one is a file beside this and a line here."""

from __future__ import annotations

from damd.subscribers.base import Subscriber
from damd.subscribers.command import CommandSubscriber
from damd.subscribers.log import LogSubscriber
from damd.subscribers.webhook import WebhookSubscriber

SUBSCRIBERS: dict[str, type[Subscriber]] = {
    subscriber.kind: subscriber for subscriber in (LogSubscriber, WebhookSubscriber, CommandSubscriber)
}
"""By the word that the configuration has for them; a plugin adds its own."""
