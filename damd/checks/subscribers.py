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
from damd.units.installed import Service

_KNOCK_S = 3.0


async def look_at_subscribers(config: Config, *, service: Service | None = None) -> list[Finding]:
    """What each lacks; the hosts are asked at the same time, and are sent nothing.

    Args:
        config: The configuration.
        service: The service that starts it, which may have credentials that nobody else has.
    """
    found: dict[int, list[Finding]] = {}
    async with anyio.create_task_group() as tasks:
        for index, settings in enumerate(config.subscribers):
            tasks.start_soon(_look_into, settings, service, index, found)
    return [finding for index in sorted(found) for finding in found[index]]


async def _look_into(settings: Settings, service: Service | None, index: int, found: dict[int, list[Finding]]) -> None:
    check = f"subscriber {name_of(settings)}"
    try:
        findings = await in_time(lambda: list(_lacks(settings, service, check)))
    except TimeoutError:
        says, advice = "What it needs does not answer: a disk, or the host that has it, hangs", "mount it anew"
        findings = [Finding(check=check, health=Health.PROBLEM, says=says, advice=advice)]
    if isinstance(settings, WebhookSettings):
        findings += await _unreachable(settings, check)
    found[index] = findings or [Finding(check=check, says="All that it needs is there")]


def _lacks(settings: Settings, service: Service | None, check: str) -> Iterator[Finding]:
    for what, sentence in lacking(settings):
        source = getattr(settings, what, None)
        if (
            isinstance(source, SecretSource)
            and source.credential is not None
            and not os.environ.get("CREDENTIALS_DIRECTORY")
        ):
            # What systemd hands to the service, nobody else can see.
            yield _of_the_service(f"The {what} of the subscriber {name_of(settings)}", source, service, check)
        else:
            yield Finding(check=check, health=Health.PROBLEM, says=sentence)
    if isinstance(settings, WebhookSettings):
        for source in (settings.secret, settings.previous_secret):
            if source is not None and is_open_to_all(source):
                says = f"The secret of the subscriber {settings.name} may be read by every user ({source})"
                advice = f"take it from the others: chmod o-rwx {source.file}"
                yield Finding(check=check, health=Health.WARNING, says=says, advice=advice)


def _of_the_service(what: str, source: SecretSource, service: Service | None, check: str) -> Finding:
    name = source.credential or ""
    advice = f"put LoadCredential={name}:/path/to/it into a drop-in of the service"
    if service is None:
        says = f"{what} is {source}, which only a service is given, and none starts this configuration"
        return Finding(check=check, health=Health.WARNING, says=says, advice=advice)
    given = service.credential(name)
    if given is None and service.closed:
        says = f"{what} is {source}, and {service.closed[0]}, which may name it, is closed to this user"
        advice = f"ask as root, or let everybody read it: chmod go+rX {service.closed[0]}"
        return Finding(check=check, health=Health.WARNING, says=says, advice=advice)
    if given is None:
        says, advice = f"{what} is {source}, which {service.name} lacks", f"{advice} ({service.name}.d)"
        return Finding(check=check, health=Health.PROBLEM, says=says, advice=advice)
    key, path = given[0], given[1].partition(":")[2]
    if key.startswith("Load") and path.startswith("/") and _is_missing(path):
        says = f"{what} is {source}, and {path}, where {service.name} has it from, does not exist"
        return Finding(check=check, health=Health.PROBLEM, says=says, advice=f"put it there, or correct {key}=")
    return Finding(check=check, says=f"{what} is {source}: {service.name} has it ({key}=)")


def _is_missing(path: str) -> bool:
    """What may not be looked at may be there."""
    try:
        os.stat(path)  # noqa: PTH116 - Path.exists() says no to what may not be looked at
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


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
