"""The units and the drop-in, against systemd's own tools where they are installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from damd.config import Config
from damd.errors import DamdError
from damd.units import service, writing
from damd.units.dropin import service_dropin

PROJECT = Path(__file__).parent.parent
PROGRAM = ("/opt/damd/bin/damd",)
TRUE = (shutil.which("true") or "/bin/true",)
"""A program that exists, as `verify` demands."""
UNITS = {
    "damd.service": service.service_unit,
    "damd@.service": service.template_unit,
    "user/damd.service": service.user_unit,
}
SNIPPETS = {"damd.sysusers.conf": "sysusers.conf", "damd.tmpfiles.conf": "tmpfiles.conf"}
STRANGE = ("/srv/a b", '/srv/a"b', "/srv/a'b", "/srv/100%h", "/srv/a\\x20b", "/srv/$HOME", "/srv/a:b", "/srv/#;ä\t")

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True)


def verify(unit: Path) -> subprocess.CompletedProcess[str]:
    scope = ["--user"] if "user" in unit.parts else []
    return analyze(*scope, "verify", "--recursive-errors=no", unit)


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def settings_of(unit: str) -> dict[str, list[str]]:
    """Every setting with all of its values."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        key, separator, value = line.partition("=")
        if separator and not key.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def service_section(unit: str) -> dict[str, str]:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # the documented way to keep capitals
    parser.read_string(unit)
    return dict(parser["Service"])


def config_of(*roots: str | Path, **values: object) -> Config:
    watch = [{"path": Path(root), "name": f"root-{index}"} for index, root in enumerate(roots)]
    return Config.model_validate({"watch": watch, **values})


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that everybody may enter, unlike pytest's."""
    with TemporaryDirectory(prefix="damd-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("name", UNITS)
def test_the_repository_shows_the_unit_that_is_printed(name: str) -> None:
    assert (PROJECT / "systemd" / name).read_text() == UNITS[name](PROGRAM)


@pytest.mark.parametrize("name", SNIPPETS)
def test_the_repository_shows_the_snippet_that_is_printed(name: str) -> None:
    assert (PROJECT / "systemd" / name).read_text() == service.template(SNIPPETS[name])


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_clean_by_systemds_own_verdict(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # which a user's manager always has
    done = verify(write(tmp_path, name, UNITS[name](TRUE)))

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_a_misspelt_key_in_a_unit_would_be_noticed(tmp_path: Path) -> None:
    misspelt = service.service_unit(TRUE).replace("ProtectClock=", "ProtectClok=")

    assert verify(write(tmp_path, "damd.service", misspelt)).returncode != 0


@needs_systemd
@pytest.mark.parametrize("name", ["damd.service", "damd@.service"])
def test_a_unit_exposes_little(name: str, tmp_path: Path) -> None:
    done = analyze("security", "--offline=true", "--threshold=15", write(tmp_path, name, UNITS[name](TRUE)))

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_does_what_the_daemon_relies_on(name: str) -> None:
    section = service_section(UNITS[name](PROGRAM))

    assert (section["Type"], section["NotifyAccess"]) == ("notify", "main")
    assert (section["Restart"], section["RestartPreventExitStatus"]) == ("on-failure", "78")
    assert (section["KillMode"], section["OOMPolicy"]) == ("mixed", "continue")
    assert {"WatchdogSec", "TimeoutStopSec", "Nice", "CPUWeight", "IOSchedulingClass"} <= set(section)
    assert section["ExecReload"] == section["ExecStart"].replace(" run ", " reload ")
    # These would hide the limits of inotify, or the owners of files.
    assert not {"ProcSubset", "PrivateUsers"} & set(section)


def test_the_service_sees_the_homes_and_has_folders_of_its_own() -> None:
    section = service_section(service.service_unit(PROGRAM))

    assert section["ProtectHome"] == "read-only"
    assert {section[f"{kind}Directory"] for kind in ("State", "Configuration", "Runtime", "Logs")} == {"damd"}


def test_instances_share_no_folder_but_that_of_their_configurations() -> None:
    section = service_section(service.template_unit(PROGRAM))

    assert section["ExecStart"] == "/opt/damd/bin/damd run --config /etc/damd/%i.yaml"
    assert all("%i" in section[f"{kind}Directory"] for kind in ("State", "Runtime", "Logs"))
    assert section["ConfigurationDirectory"] == "damd"


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/etc/damd/damd.yaml", "/etc/damd/damd.yaml"),
        ("/etc/a b", '"/etc/a b"'),
        ("/etc/100%$", '"/etc/100%%$$"'),
        ("/etc/a'b\"c\\", '"/etc/a\'b\\"c\\\\"'),
        ("/etc/a\nb\udcff", '"/etc/a\\x0ab\\xff"'),
        ("/etc/ä", '"/etc/\\xc3\\xa4"'),
        (";", '";"'),
        ("", '""'),
    ],
)
def test_a_word_of_a_command_is_what_systemd_reads(word: str, written: str) -> None:
    assert writing.argument(word) == written


@pytest.mark.parametrize(
    ("path", "written", "bound"),
    [
        ("/srv/in", "-/srv/in", "-/srv/in"),
        ("/srv/a b", '"-/srv/a b"', '"-/srv/a b"'),
        ("/srv/100%", "-/srv/100%%", "-/srv/100%%"),
        ("/srv/a'b\"c\\", '"-/srv/a\'b\\"c\\\\"', '"-/srv/a\'b\\"c\\\\"'),
        ("/srv/a:b", "-/srv/a:b", r"-/srv/a\:b"),
        ("/srv/$ä", "-/srv/$ä", "-/srv/$ä"),
        ("/srv/a\nb", None, None),
        ("/srv/a\udcff", None, None),
        ("/srv/a\ufdd0", None, None),
    ],
)
def test_a_path_in_a_list_is_what_systemd_reads(path: str, written: str | None, bound: str | None) -> None:
    assert writing.path_entry(Path(path), may_be_missing=True) == written
    assert writing.bind_entry(Path(path), may_be_missing=True) == bound


@pytest.mark.parametrize("path", ["/opt/a'b/damd", "/opt/a\\b/damd", "/opt/a\nb/damd", "/opt/\udcff/damd"])
def test_a_program_that_systemd_cannot_start_is_refused(path: str) -> None:
    with pytest.raises(DamdError, match="install damd elsewhere"):
        service.service_unit((path,))


@needs_systemd
def test_a_strange_installation_has_a_clean_unit(tmp_path: Path) -> None:
    program = tmp_path / "a b%h$c"
    program.symlink_to(TRUE[0])
    unit = service.service_unit((str(program), "-m", "damd"), tmp_path / "ä\n;%i.yaml")

    done = verify(write(tmp_path, "damd.service", unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_a_dropin_of_strange_folders_is_clean_by_systemds_own_verdict(tmp_path: Path) -> None:
    roots = [*STRANGE, *(each.replace("/srv", "/tmp") for each in STRANGE), "/srv/a\nb", "/tmp/a\nb"]  # noqa: S108 - names
    config = config_of(*roots, state="/srv/the state%")
    write(tmp_path, "damd.service", service.service_unit(TRUE))
    write(tmp_path, "damd.service.d/folders.conf", service_dropin(config))

    done = verify(tmp_path / "damd.service")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    write(tmp_path, "damd.service.d/wrong.conf", "[Service]\nReadOnlyPaths=srv\n")
    assert "srv" in verify(tmp_path / "damd.service").stderr


def test_a_dropin_names_each_root_where_the_unit_would_not_do() -> None:
    written = settings_of(service_dropin(config_of("/srv/photos", "/var/tmp/drop", "/srv/a\nb/in")))  # noqa: S108 - names

    assert "RequiresMountsFor" not in written  # with any of them, systemd would stop damd for all
    assert written["ReadOnlyPaths"] == ["-/srv/photos"]
    assert written["BindReadOnlyPaths"] == ["-/var/tmp/drop"]
    assert "ReadWritePaths" not in written


def test_a_dropin_waits_for_the_disks_of_the_roots_and_requires_none(open_folder: Path) -> None:
    (open_folder / "link").symlink_to("/srv/of another/disk")
    fstab = write(
        open_folder,
        "fstab",
        "# UUID=1 /srv/commented ext4\nUUID=2 /srv/photos ext4 noauto 0 2\n/dev/sdc /srv/of\\040another ext4 nofail\n"
        "UUID=3 /srv/elsewhere ext4 defaults\nUUID=4 / ext4 defaults\nUUID=5 none swap sw\nUUID=6 /srv/p ext4 rw\n",
    )
    text = service_dropin(config_of("/srv/photos/in", open_folder / "link"), fstab=fstab)
    written = settings_of(text)

    places = [name for name in written["After"] if name.startswith("srv-")]
    assert places == [r"srv-of\x20another.mount", "srv-photos.mount"]
    assert written["Wants"] == written["After"]
    assert "RequiresMountsFor" not in written
    assert f"-{open_folder}/link" in written["BindReadOnlyPaths"]  # the link is hidden, not what it leads to


@pytest.mark.skipif(shutil.which("systemd-escape") is None, reason="systemd-escape is not installed")
def test_a_mount_has_the_name_that_systemd_gives_it() -> None:
    places = [*STRANGE, "/", "/.a/.b", "/srv/a-b_c", "/srv/ä\n\udcff", "/srv/" + "a" * 240]
    asked = ["systemd-escape", "--path", "--suffix=mount", "--", *places]
    names = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()

    assert [writing.mount_unit(Path(place)) for place in places] == names
    assert writing.mount_unit(Path("/srv/" + "a" * 250)) is None


def test_a_dropin_opens_what_damd_writes_outside_of_its_own_folders() -> None:
    config = config_of(
        state="/srv/damd",
        catalogue={"url": "sqlite:////srv/db/damd.sqlite3"},
        subscribers=[
            {"kind": "log", "file": "/srv/damd/events.jsonl"},
            {"kind": "log", "file": "/var/log/damd/events.jsonl"},
            {"kind": "log", "file": "/tmp/log/events.jsonl"},  # noqa: S108 - a name
        ],
    )
    written = settings_of(service_dropin(config))

    assert written["ReadWritePaths"] == ["/srv/damd", "/srv/db"]
    assert written["BindPaths"] == ["/tmp/log"]  # noqa: S108 - a name
    assert written["RequiresMountsFor"] == ["/srv/damd", "/srv/db", "/tmp/log"]  # noqa: S108 - a name


def test_the_services_own_folders_need_no_word() -> None:
    for config in (config_of(), config_of(state="/var/lib/damd"), config_of(state="/var/lib/damd/photos")):
        assert settings_of(service_dropin(config)) == {}


def test_a_dropin_says_how_a_credential_is_loaded() -> None:
    hooks = [
        {"kind": "webhook", "name": name, "url": "https://gallery.example/", "secret": {"credential": secret}}
        for name, secret in (("gallery", "gallery-secret"), ("other", "a:b\nExecStart=x"))
    ]
    text = service_dropin(config_of(subscribers=hooks))

    assert "#LoadCredential=gallery-secret:/etc/damd/secrets/gallery-secret\n" in text
    assert settings_of(text) == {}


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives a folder to a group that it is not in")
def test_a_dropin_names_the_group_that_may_read_a_root(open_folder: Path) -> None:
    root = open_folder / "closed"
    root.mkdir()
    os.chown(root, 0, 54_321)
    root.chmod(0o750)

    assert f"may not read {root}.\n# Its group may:\n#SupplementaryGroups=54321\n" in service_dropin(config_of(root))


def test_a_dropin_names_the_folder_on_the_way_to_a_root_that_is_closed(open_folder: Path) -> None:
    root = open_folder / "mine\nonly" / "photos"
    root.mkdir(parents=True)
    root.parent.chmod(0o700)
    text = service_dropin(config_of(root))

    assert f"may not enter {open_folder}/mine\\nonly.\n# Let it: setfacl -m u:damd:x FOLDER\n" in text


def test_a_dropin_has_the_command_that_opens_a_root(open_folder: Path) -> None:
    root = open_folder / "my photos"
    root.mkdir(mode=0o700)
    text = service_dropin(config_of(root))

    assert f"# Let it: setfacl -R -m u:damd:rX -m d:u:damd:rX '{root}'\n# That holds for what is there" in text
    assert "(mode 600)" in text
