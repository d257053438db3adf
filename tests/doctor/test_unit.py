"""The installed service against the configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from damd.checks.findings import Finding
from damd.config import Config
from damd.doctor.unit import look_at_unit
from damd.doctor.unit_file import paths_in, read_unit

pytestmark = pytest.mark.anyio

UNIT = """\
[Unit]
Description=damd
[Service]
User=root
StateDirectory=damd
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
"""

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Write the unit and its drop-ins; returns the folder that they are in."""

    def write(unit: str = UNIT, **dropins: str) -> Path:
        folder = tmp_path / "system"
        (folder / "damd.service.d").mkdir(parents=True)
        (folder / "damd.service").write_text(unit)
        for name, text in dropins.items():
            (folder / "damd.service.d" / f"{name}.conf").write_text(text)
        return folder

    return write


def config_of(*roots: str, **values: Any) -> Config:
    return Config.model_validate({"state": "/var/lib/damd", "watch": [{"path": path} for path in roots]} | values)


async def told(config: Config, folder: Path) -> list[str]:
    found = await look_at_unit(config, folder=folder)
    assert all(each.health == "warning" and each.advice for each in found)
    return [each.says for each in found]


async def test_without_a_service_nothing_is_said(tmp_path: Path) -> None:
    assert await look_at_unit(config_of("/srv/a"), folder=tmp_path) == []


async def test_a_service_that_suits_is_well(install: Install) -> None:
    folder = install(roots='[Unit]\nRequiresMountsFor=/srv/a\nRequiresMountsFor="/srv/b c" /srv/d%%\n')
    (finding,) = await look_at_unit(config_of("/srv/a", "/srv/b c", "/srv/d%"), folder=folder)
    assert finding == Finding(check="systemd", says=f"{folder}/damd.service suits this configuration")


async def test_mounts_that_are_not_waited_for_or_in_vain_are_told(install: Install) -> None:
    folder = install(roots="[Unit]\nRequiresMountsFor=/srv/old\n")
    assert await told(config_of("/srv/a"), folder) == [
        "The service does not wait for the root a (/srv/a): RequiresMountsFor= lacks it",
        "The service waits for /srv/old (RequiresMountsFor=), which is nothing of this configuration",
    ]


@pytest.mark.parametrize(
    ("path", "line", "key"),
    [
        ("/home/eva/in", "ProtectHome=yes", "ProtectHome"),
        ("/root/in", "ProtectHome=tmpfs", "ProtectHome"),
        ("/tmp/in", "", "PrivateTmp"),  # noqa: S108 - nothing is written there
        ("/srv/in", "InaccessiblePaths=-/srv", "InaccessiblePaths"),
    ],
)
async def test_a_root_that_the_service_does_not_see_is_told(install: Install, path: str, line: str, key: str) -> None:
    folder = install(roots=f"[Unit]\nRequiresMountsFor={path}\n[Service]\n{line}\n")
    assert await told(config_of(path), folder) == [f"The service does not see the root in ({path}): {key}= hides it"]


async def test_a_root_that_is_bound_into_the_service_is_seen(install: Install) -> None:
    path = "/var/tmp/a:b"  # noqa: S108 - nothing is written there
    escaped = path.replace(":", r"\:")
    folder = install(roots=f"[Unit]\nRequiresMountsFor={path}\n[Service]\nBindReadOnlyPaths=-{escaped}\n")
    (finding,) = await look_at_unit(config_of(path), folder=folder)
    assert finding.health == "ok"


async def test_a_state_that_the_service_may_not_write_is_told(install: Install) -> None:
    (says,) = await told(config_of(state="/srv/state"), install())
    assert says == "The service may not write to /srv/state (ProtectSystem=strict)"


async def test_a_state_that_the_service_is_let_write_is_well(install: Install) -> None:
    folder = install(roots="[Service]\nReadWritePaths=/srv/state\n")
    (finding,) = await look_at_unit(config_of(state="/srv/state"), folder=folder)
    assert finding.health == "ok"


async def test_whoever_asks_of_another_state_than_the_services_is_told(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (finding,) = await look_at_unit(Config(), folder=install())
    assert (
        finding.says == f"The service keeps its state in /var/lib/damd, and what is looked at here is {tmp_path}/damd"
    )
    assert "--state /var/lib/damd" in (finding.advice or "")


async def test_a_user_whom_nobody_has_made_is_told(install: Install) -> None:
    (says,) = await told(config_of(), install(UNIT.replace("User=root", "User=no-such-user")))
    assert says == "The service runs as the user no-such-user, who does not exist"


def test_what_comes_later_is_added_and_an_empty_value_forgets(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text(
        "[Service]\nReadWritePaths=/a \\\n# not this\n  /b\n;ReadWritePaths=/c\n[Unit]\nReadWritePaths=/d\n"
    )
    second.write_text("[Service]\nReadWritePaths=-/e\n")
    assert paths_in(read_unit([first, second]), "Service", "ReadWritePaths") == [Path("/a"), Path("/b"), Path("/e")]
    second.write_text("[Service]\nReadWritePaths=\nReadWritePaths='/f g'\n")
    assert paths_in(read_unit([first, second]), "Service", "ReadWritePaths") == [Path("/f g")]
    assert read_unit([tmp_path / "none"]) == {}
