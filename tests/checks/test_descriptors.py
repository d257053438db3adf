"""How many files may be open."""

import resource

import pytest

from damd.checks import descriptors
from damd.checks.descriptors import look_at_descriptors
from damd.config import Config


@pytest.mark.anyio
async def test_few_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    (told,) = await look_at_descriptors(Config())
    assert told.check == "open files"
    assert hard == resource.RLIM_INFINITY or f"There may be {hard} " in told.says
    monkeypatch.setattr(descriptors, "_FEWEST", 2**62)
    (few,) = await look_at_descriptors(Config())
    if hard != resource.RLIM_INFINITY:
        assert few.health == "warning"
        assert "LimitNOFILE=" in (few.advice or "")
