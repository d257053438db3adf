"""The installed service against the configuration that it starts."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from damd.checks.findings import Finding
from damd.config import Config
from damd.doctor.unit import look_at_unit
from damd.units.installed import Service
from damd.units.reading import option_of, paths_in, read_unit

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

Install = Callable[..., Service]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """The service of a unit and its drop-in."""

    def write(unit: str = UNIT, dropin: str = "") -> Service:
        files = [tmp_path / "damd.service", tmp_path / "damd.conf"]
        for file, text in zip(files, (unit, dropin), strict=True):
            file.write_text(text)
        return Service(name="damd.service", unit=read_unit(files), config=Path("/etc/damd/damd.yaml"))

    return write


def config_of(*roots: str, **values: Any) -> Config:
    return Config.model_validate({"state": "/var/lib/damd", "watch": [{"path": path} for path in roots]} | values)


async def told(config: Config, service: Service) -> list[str]:
    found = await look_at_unit(config, service=service)
    assert all(each.health == "warning" and each.advice for each in found)
    return [each.says for each in found]


async def test_where_no_service_starts_it_that_is_no_fault() -> None:
    (finding,) = await look_at_unit(config_of("/srv/a"), service=None)
    assert finding.health == "ok"
    assert finding.says.startswith("No unit of systemd")


async def test_what_an_administrator_has_set_otherwise_is_nobodys_fault(install: Install) -> None:
    service = install(dropin="[Unit]\nRequiresMountsFor=/srv/old\n[Service]\nNice=0\nProtectHome=no\nWatchdogSec=0\n")
    (finding,) = await look_at_unit(config_of("/srv/a", "/home/eva/in"), service=service)
    assert finding == Finding(check="systemd", says="damd.service suits this configuration")


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
    service = install(dropin=f"[Service]\n{line}\n")
    assert await told(config_of(path), service) == [f"damd.service does not see the root in ({path}): {key}= hides it"]


async def test_a_root_that_is_bound_into_the_service_is_seen(install: Install) -> None:
    path = "/var/tmp/a:b"  # noqa: S108 - nothing is written there
    escaped = path.replace(":", r"\:")
    service = install(dropin=f"[Service]\nBindReadOnlyPaths=-{escaped}\n")
    (finding,) = await look_at_unit(config_of(path), service=service)
    assert finding.health == "ok"


async def test_what_the_service_may_not_write_is_told(install: Install) -> None:
    logs = [{"kind": "log", "file": f"/{place}/events.jsonl"} for place in ("srv/log", "var/lib/damd/log")]
    assert await told(config_of(state="/srv/state", subscribers=logs), install()) == [
        "damd.service may not write to /srv/state (ProtectSystem=strict)",
        "damd.service may not write to /srv/log (ProtectSystem=strict)",
    ]


async def test_a_state_that_the_service_is_let_write_is_well(install: Install) -> None:
    service = install(dropin="[Service]\nReadWritePaths=/srv/state\n")
    (finding,) = await look_at_unit(config_of(state="/srv/state"), service=service)
    assert finding.health == "ok"


async def test_whoever_asks_of_another_state_than_the_services_is_told(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (finding,) = await look_at_unit(Config(), service=install())
    assert (
        finding.says == f"damd.service keeps its state in /var/lib/damd, and what is looked at here is {tmp_path}/damd"
    )
    assert "--state /var/lib/damd" in (finding.advice or "")


async def test_a_user_whom_nobody_has_made_is_told(install: Install) -> None:
    (says,) = await told(config_of(), install(UNIT.replace("User=root", "User=no-such-user")))
    assert says == "The service runs as the user no-such-user, who does not exist"


async def test_where_a_dropin_is_closed_nothing_else_is_said(install: Install) -> None:
    hidden = dataclasses.replace(install(), closed=(Path("/etc/systemd/system/damd.service.d/a.conf"),))
    (says,) = await told(config_of(state="/srv/state"), hidden)
    assert "a.conf is closed to this user" in says


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


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("/opt/damd/bin/damd run --config /etc/damd/damd.yaml", "/etc/damd/damd.yaml"),
        ("/usr/bin/python3 -m damd run -c=/etc/x --watch /srv", "/etc/x"),
        ('/opt/damd run --config "/etc/100$$ \\xc3\\xa4"', "/etc/100$ ä"),
        ("/opt/damd run --config", None),
        ("/opt/damd run", None),
    ],
)
def test_the_option_of_a_command_is_read_as_systemd_does(command: str, found: str | None) -> None:
    assert option_of(command, "--config", "-c") == found
