"""A check is bounded in time, and raises nothing."""

import anyio
import pytest

from damd.checks import findings
from damd.checks.findings import Finding, found_by

pytestmark = pytest.mark.anyio


async def test_what_a_check_finds_is_passed_on() -> None:
    async def look() -> list[Finding]:
        return [Finding(check="a", says="It is there")]

    assert [each.says for each in await found_by("a", look)] == ["It is there"]


async def test_a_check_that_fails_is_a_problem_with_its_reason() -> None:
    async def look() -> list[Finding]:
        raise LookupError("no such\nthing")

    (finding,) = await found_by("a", look)
    assert (finding.check, finding.health) == ("a", "problem")
    assert finding.says == "It could not be checked (LookupError: no such thing)"
    assert finding.advice


async def test_of_several_tasks_the_one_that_failed_is_told() -> None:
    async def fail() -> None:
        raise LookupError("here")

    async def look() -> list[Finding]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
        return []

    (finding,) = await found_by("a", look)
    assert "(LookupError: here)" in finding.says


async def test_a_check_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "_WITHIN_S", 0)

    async def look() -> list[Finding]:
        await anyio.sleep_forever()
        raise AssertionError

    (finding,) = await found_by("a", look)
    assert finding.health == "problem"
    assert "does not answer" in finding.says
