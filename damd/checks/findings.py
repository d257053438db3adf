"""What a check says: `Finding`; and how one is run, so that it neither hangs nor raises."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import anyio

from damd.config import Config

_WITHIN_S = 60.0
"""For one check, whose looks at disks and hosts have bounds of their own: this one is for what was not thought of."""


class Health(StrEnum):
    """How well something is; only a problem keeps damd from working."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was looked at, how well it is, and what there is to say of it.

    Attributes:
        check: What was looked at, such as ``root inbox``.
        health: How well it is.
        says: A sentence, or several, without a full stop.
        advice: What to do; None where there is nothing to do.
    """

    check: str
    health: Health = Health.OK
    says: str
    advice: str | None = None


Check: TypeAlias = Callable[[Config], Awaitable[list[Finding]]]
"""Looks at one thing that a configuration needs."""


async def found_by(name: str, check: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """What a check finds; that it could not look is a finding, too. Raises nothing.

    Args:
        name: What the check is called, should it fail itself.
        check: The check, with all that it needs.
    """
    try:
        with anyio.fail_after(_WITHIN_S):
            return await check()
    except TimeoutError:
        says, advice = "It could not be checked: what was asked does not answer", "see whether a disk or a host hangs"
    except Exception as error:  # noqa: BLE001 - one check that fails must not keep the others from looking
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        says, advice = f"It could not be checked ({reason})", "correct that, and if it is damd's own fault, report it"
    return [Finding(check=name, health=Health.PROBLEM, says=says, advice=advice)]
