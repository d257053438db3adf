"""The subscribers: their secrets, programs and files, and whether a webhook's host takes connections."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Iterator, Sequence

import anyio
from anyio.abc import TaskGroup

from damd.checks.environment import lacking, name_of
from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.patience import in_time
from damd.settings import Settings
from damd.subscribers.http.addresses import why_refused
from damd.subscribers.http.secrets import SecretSource, is_open_to_all
from damd.subscribers.http.targets import Target, parse_target
from damd.subscribers.webhook import WebhookSettings

_KNOCK_S = 3.0


async def look_at_subscribers(config: Config) -> list[Finding]:
    """What each lacks; the hosts are asked at the same time, and are sent nothing."""
    found: dict[int, list[Finding]] = {}
    async with anyio.create_task_group() as tasks:
        for index, settings in enumerate(config.subscribers):
            tasks.start_soon(_look_into, settings, index, found)
    return [finding for index in sorted(found) for finding in found[index]]


async def _look_into(settings: Settings, index: int, found: dict[int, list[Finding]]) -> None:
    check = f"subscriber {name_of(settings)}"
    try:
        findings = await in_time(lambda: list(_lacks(settings, check)))
    except TimeoutError:
        says, advice = "What it needs does not answer: a disk, or the host that has it, hangs", "mount it anew"
        findings = [Finding(check=check, health=Health.PROBLEM, says=says, advice=advice)]
    if isinstance(settings, WebhookSettings):
        findings += await _unreachable(settings, check)
    found[index] = findings or [Finding(check=check, says="All that it needs is there")]


def _lacks(settings: Settings, check: str) -> Iterator[Finding]:
    for what, sentence in lacking(settings):
        source = getattr(settings, what, None)
        # What systemd hands to the service, nobody else can see, and so cannot miss.
        is_the_services = isinstance(source, SecretSource) and source.credential is not None and not _is_given()
        health = Health.WARNING if is_the_services else Health.PROBLEM
        yield Finding(check=check, health=health, says=sentence, advice=None)
    if isinstance(settings, WebhookSettings):
        for source in (settings.secret, settings.previous_secret):
            if source is not None and is_open_to_all(source):
                says = f"The secret of the subscriber {settings.name} may be read by every user ({source})"
                advice = f"take it from the others: chmod o-rwx {source.file}"
                yield Finding(check=check, health=Health.WARNING, says=says, advice=advice)


def _is_given() -> bool:
    return bool(os.environ.get("CREDENTIALS_DIRECTORY"))


async def _unreachable(settings: WebhookSettings, check: str) -> list[Finding]:
    """Only a warning: what is not delivered now is offered again for days."""
    target = parse_target(settings.url)
    what = f"The host of the subscriber {settings.name}, {target.host}"
    problem = await _why_unreachable(target, deny_private=settings.deny_private)
    if problem is None:
        return []
    fault, advice = problem
    return [Finding(check=check, health=Health.WARNING, says=f"{what}, {fault}", advice=advice)]


async def _why_unreachable(target: Target, *, deny_private: bool) -> tuple[str, str] | None:
    try:
        look_up = functools.partial(socket.getaddrinfo, target.host, target.port, type=socket.SOCK_STREAM)
        found = await in_time(look_up, within_s=_KNOCK_S)
    except TimeoutError:
        return "cannot be looked up: no name server answers", "see to /etc/resolv.conf and the network"
    except (OSError, UnicodeError) as error:
        return f"cannot be looked up ({getattr(error, 'strerror', error)})", "correct the URL, or its name server"
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    refused = {address: why_refused(address, deny_private=deny_private) for address in addresses}
    allowed = [address for address, reason in refused.items() if reason is None]
    if not allowed and target.host in refused:
        return None  # an address, of which its settings have told already
    if not allowed:
        reasons = "; ".join(f"{address}: {reason}" for address, reason in refused.items())
        return f"is never connected to ({reasons})", "correct the URL"
    return await _why_silent(allowed, target.port)


async def _why_silent(addresses: Sequence[str], port: int) -> tuple[str, str] | None:
    """Knock at all of them at once; one that opens is enough."""
    errors: list[str] = []
    opened: list[str] = []

    async def knock(address: str, tasks: TaskGroup) -> None:
        try:
            async with await anyio.connect_tcp(address, port):
                opened.append(address)
                tasks.cancel_scope.cancel()
        except OSError as error:
            number = getattr(error.__cause__ or error, "errno", None)
            errors.append(os.strerror(number) if number else str(error))

    with anyio.move_on_after(_KNOCK_S):
        async with anyio.create_task_group() as tasks:
            for address in addresses:
                tasks.start_soon(knock, address, tasks)
    if opened:
        return None
    why = errors[0] if errors else f"no answer within {_KNOCK_S:g} s"
    return f"takes no connection on port {port} ({why})", "start it, correct the URL, or let this machine through to it"
