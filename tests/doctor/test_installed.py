"""Which service starts a configuration, and how what it alone is given reaches a command."""

import os
from pathlib import Path

import pytest

from damd.units import service
from damd.units.installed import Service, find_service

PROGRAM = ("/opt/damd/bin/damd",)


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """The folder of the machine's units."""
    folder = tmp_path / "system"
    folder.mkdir()
    return folder


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def find(config: str, *folders: Path, users: Path | None = None) -> Service | None:
    return find_service(Path(config), machine=folders, users=users)


def name_of(found: Service | None) -> str | None:
    return found.name if found is not None else None


def test_a_service_is_found_by_the_configuration_that_it_starts(etc: Path) -> None:
    assert find("/etc/damd/damd.yaml", etc) is None
    write(etc / "damd.service", service.service_unit(PROGRAM))
    assert name_of(find("/etc/damd/damd.yaml", etc)) == "damd.service"
    assert find("/etc/damd/other.yaml", etc) is None
    assert find_service(None, machine=[etc]) is None


def test_a_dropin_may_name_another_configuration(etc: Path, tmp_path: Path) -> None:
    write(etc / "damd.service", service.service_unit(PROGRAM))
    write(
        etc / "damd.service.d/own.conf", f"[Service]\nExecStart=\nExecStart=/opt/d run --config={tmp_path}/own.yaml\n"
    )
    assert find("/etc/damd/damd.yaml", etc) is None
    assert name_of(find(os.path.relpath(tmp_path / "own.yaml"), etc)) == "damd.service"


def test_an_instance_is_found_with_its_own_dropins_and_folders(etc: Path) -> None:
    write(etc / "damd@.service", service.template_unit(PROGRAM))
    write(etc / "damd@.service.d/all.conf", "[Service]\nReadWritePaths=/srv/%i\n")
    write(etc / "damd@family.service.d/own.conf", "[Service]\nReadWritePaths=/srv/own%%\n")
    found = find("/etc/damd/family.yaml", etc)
    assert found is not None
    assert found.name == "damd@family.service"
    assert found.unit["Service", "StateDirectory"] == ["damd/family"]
    assert found.unit["Service", "ReadWritePaths"] == ["/srv/family", "/srv/own%"]
    assert find("/srv/family.yaml", etc) is None


def test_an_instance_that_nobody_has_begun_starts_nothing(etc: Path) -> None:
    write(etc / "damd@.service", service.template_unit(PROGRAM))
    assert find("/etc/damd/nobodys.yaml", etc) is None
    write(etc / "multi-user.target.wants/damd@nobodys.service", "")
    assert name_of(find("/etc/damd/nobodys.yaml", etc)) == "damd@nobodys.service"


def test_an_instance_may_be_named_otherwise_than_its_configuration(etc: Path) -> None:
    write(etc / "damd@.service", service.template_unit(PROGRAM))
    write(etc / "damd@us.service.d/own.conf", "[Service]\nExecStart=\nExecStart=/opt/d run -c /srv/them.yaml\n")
    assert name_of(find("/srv/them.yaml", etc)) == "damd@us.service"


def test_what_an_administrator_wrote_goes_before_what_a_package_has(etc: Path, tmp_path: Path) -> None:
    packaged = tmp_path / "lib"
    write(packaged / "damd.service", service.service_unit(PROGRAM))
    write(packaged / "damd.service.d/a.conf", "[Service]\nNice=1\n")
    assert name_of(find("/etc/damd/damd.yaml", etc, packaged)) == "damd.service"
    write(etc / "damd.service.d/a.conf", "[Service]\nNice=2\n")
    found = find("/etc/damd/damd.yaml", etc, packaged)
    assert found is not None
    assert found.unit["Service", "Nice"][-1] == "2"
    assert "1" not in found.unit["Service", "Nice"]


def test_a_users_own_service_is_found_in_the_users_folder(
    etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "mine"))
    write(tmp_path / "mine/systemd/user/damd.service", service.user_unit(PROGRAM))
    found = find(f"{tmp_path}/mine/damd/damd.yaml", etc, users=tmp_path / "mine/systemd/user")
    assert found is not None
    assert found.is_users


def test_a_command_is_run_with_the_credentials_of_the_service(etc: Path) -> None:
    write(etc / "damd.service", service.service_unit(PROGRAM))
    lines = "LoadCredential=gallery:/etc/damd/secrets/gallery\nLoadCredentialEncrypted=old:/etc/damd/the old one\n"
    write(etc / "damd.service.d/secrets.conf", f"[Service]\n{lines}")
    found = find("/etc/damd/damd.yaml", etc)
    assert found is not None
    assert found.run_with(["gallery", "old"], "damd", "webhooks", "test", "gallery") == (
        "systemd-run --pipe --wait --quiet -p User=damd -p LoadCredential=gallery:/etc/damd/secrets/gallery "
        "-p 'LoadCredentialEncrypted=old:/etc/damd/the old one' "
        "damd webhooks test gallery --config /etc/damd/damd.yaml"
    )
    assert found.run_with(["gallery", "none"], "damd") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_dropin_that_may_not_be_read_is_named(etc: Path) -> None:
    write(etc / "damd.service", service.service_unit(PROGRAM))
    write(etc / "damd.service.d/secrets.conf", "[Service]\nLoadCredential=gallery:/x\n")
    (etc / "damd.service.d/secrets.conf").chmod(0)
    found = find("/etc/damd/damd.yaml", etc)
    assert found is not None
    assert found.closed == (etc / "damd.service.d/secrets.conf",)
