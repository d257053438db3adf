"""``damd webhooks test``."""

from __future__ import annotations

import os
import shlex
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from damd.cli.application import EXIT_FAILURE, ConfigOption, JsonOption, StateOption, load, print_json, say
from damd.cli.webhooks.listing import NameArgument, configured, unknown_endpoint
from damd.errors import ConfigurationError

if TYPE_CHECKING:
    from damd.config import Config
    from damd.errors import DeliveryError
    from damd.subscribers.base import Subscriber, TrialEvent

_MOST_OF_AN_ANSWER = 300
"""Characters of what a receiver answered that are shown: enough for the sentence of an error page."""


def send_test(
    name: NameArgument, config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Send an endpoint a test message, at once and only now.

    It is of the type webhook.test, and is signed and sent as every other; a command is run. The exit code is 0
    where it was taken, else 1.
    """
    import anyio

    from damd import logs

    settings = load(config, state)
    logs.configure("warning", settings.logging.format)
    if not anyio.run(_test, settings, config, name, as_json):
        raise typer.Exit(EXIT_FAILURE)


async def _test(config: Config, path: Path | None, name: str, as_json: bool) -> bool:
    """Whether it took the test message."""
    import anyio.to_thread

    from damd.subscribers import SUBSCRIBERS
    from damd.subscribers.base import TrialEvent

    settings = configured(config)
    if name not in settings:
        raise unknown_endpoint(name, settings, " in the configuration")
    await anyio.to_thread.run_sync(_need_credentials, settings[name], path)
    make: Any = SUBSCRIBERS[config.endpoints[name].kind]  # each kind takes its own settings
    subscriber: Subscriber = make(settings[name])
    event = TrialEvent()
    async with subscriber if isinstance(subscriber, AbstractAsyncContextManager) else nullcontext():
        began = anyio.current_time()
        error = await _offer(subscriber, event)
        took_s = anyio.current_time() - began
    if as_json:
        print_json(_as_values(name, event.event_id, took_s, error))
    elif error is None:
        say(f"{name} took the test message {event.event_id} in {took_s * 1000:.0f} ms.")
    else:
        say("\n".join(_refusal(name, error)))
    return error is None


def _need_credentials(settings: object, path: Path | None) -> None:
    """Only a service is given credentials, and so is what systemd-run starts in its stead.

    Raises:
        ConfigurationError: There are none here; it says how to run the command.
    """
    from damd.subscribers.webhook import WebhookSettings
    from damd.units.installed import credentials_of, find_service

    if not isinstance(settings, WebhookSettings) or os.environ.get("CREDENTIALS_DIRECTORY"):
        return
    if not (names := credentials_of(settings)):
        return
    service = find_service(path)
    run = service.run_with(names, "damd", "webhooks", "test", settings.name) if service else None
    if run is None:
        given = " ".join(f"-p LoadCredential={name}:/path/to/{name}" for name in names)
        config = f" --config {shlex.quote(os.path.abspath(path))}" if path else ""  # noqa: PTH100 - as it is spelt
        run = f"systemd-run --pipe --wait --quiet {given} damd webhooks test {settings.name}{config}"
    what = "the credential " + " and ".join(names)
    raise ConfigurationError([f"{settings.name} is signed with {what}, which only systemd hands over: {run}"])


async def _offer(subscriber: Subscriber, event: TrialEvent) -> DeliveryError | None:
    from damd.relay.refusals import as_refusal

    try:
        await subscriber.receive(event)
    except Exception as error:  # noqa: BLE001 - a plugin's may raise anything
        return as_refusal(error)
    return None


def _refusal(name: str, error: DeliveryError) -> list[str]:
    lines = [f"{name} did not take the test message: {error}"]
    if error.response and (answer := " ".join(error.response.split())):
        lines.append(f"What it said begins: {answer[:_MOST_OF_AN_ANSWER]}")
    if error.is_gone:
        lines.append("This means that it wants no event any more: a running damd would disable it.")
    return lines


def _as_values(name: str, event_id: str, took_s: float, error: DeliveryError | None) -> dict[str, Any]:
    return {
        "name": name,
        "event_id": event_id,
        "taken": error is None,
        "took_s": round(took_s, 3),
        "error": None if error is None else str(error),
        "status_code": None if error is None else error.status_code,
        "response": None if error is None else error.response,
    }
