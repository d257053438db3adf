"""The drop-in of the service: what of the system a configuration needs, which no unit can know.

The unit lets damd read all that its user may, and write its own folders alone; so a root needs a word only where it is
another disk, where the unit would hide it, or where the user damd may not go.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from damd.config import Config
from damd.units import writing
from damd.units.disks import wait_for
from damd.units.fstab import FSTAB

USER = "damd"
"""As the unit says."""

_OWN = (Path("/var/lib/damd"), Path("/var/log/damd"))
"""The unit's StateDirectory= and LogsDirectory=."""
_HIDDEN = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - where PrivateTmp= puts folders of the service's own
_PLAIN_CREDENTIAL = re.compile(r"[A-Za-z0-9_.@-]+")

_HEAD = """\
# What the configured folders need of systemd, as `damd systemd dropin` prints it; write it again when they change.
# It belongs into /etc/systemd/system/damd.service.d/folders.conf (--output); then: systemctl daemon-reload"""


def service_dropin(config: Config, *, fstab: Path = FSTAB) -> str:
    """The text of the drop-in for a configuration; blocking, since it looks at the roots and at what is mounted.

    Args:
        config: The configuration.
        fstab: The table of what is to be mounted.
    """
    written = _written_folders(config)
    unit = [*wait_for(_ways([root.path for root in config.watch]), fstab), *_required(written)]
    service = [
        *(line for root in config.watch for line in _read_root(root.path)),
        *(line for folder in written for line in _write_folder(folder)),
        *_credentials(config),
    ]
    return "\n".join([_HEAD, "", "[Unit]", *unit, "", "[Service]", *service]) + "\n"


def _written_folders(config: Config) -> list[Path]:
    """The folders that damd writes to, without those that the unit gives it."""
    folders = []
    if "state" in config.model_fields_set:  # else the service's own is the default
        folders.append(config.state)
    if config.catalogue.file is not None:
        folders.append(config.catalogue.file.parent)  # SQLite writes further files beside it
    for settings in config.subscribers:
        file = getattr(settings, "file", None)
        if isinstance(file, Path):
            folders.append(file.parent)  # its former files lie beside it
    kept = [folder for folder in folders if not _is_within(folder, _OWN)]
    return [
        folder for folder in dict.fromkeys(kept) if not any(folder.is_relative_to(up) for up in kept if up != folder)
    ]


def _required(folders: list[Path]) -> Iterator[str]:
    written = dict.fromkeys(map(writing.nearest_written, _ways(folders)))
    if written:
        yield "# Without these damd cannot work: it stops with their disk."
    for folder in written:
        yield f"RequiresMountsFor={writing.path_entry(folder)}"


def _ways(folders: list[Path]) -> list[Path]:
    # systemd takes a link for a folder: what it leads to may be on another disk.
    return [way for folder in folders for way in (folder, _real(folder))]


def _read_root(root: Path) -> Iterator[str]:
    hidden = [way for way in dict.fromkeys((root, _real(root))) if _is_within(way, _HIDDEN)]
    if hidden:
        yield "# PrivateTmp= would hide it. It must be there when damd starts, and not be made anew afterwards."
    for way in hidden:
        entry = writing.bind_entry(way, may_be_missing=True)
        yield f"BindReadOnlyPaths={entry}" if entry else f"# systemd cannot name {writing.shown(way)}: move the folder."
    if not hidden:
        entry = writing.path_entry(root, may_be_missing=True)
        yield (
            f"ReadOnlyPaths={entry}"
            if entry
            else (
                f"# systemd cannot name {writing.shown(root)}, which ProtectSystem=strict lets damd only read, anyway."
            )
        )
    yield from _closed(_real(root))


def _write_folder(folder: Path) -> Iterator[str]:
    """Without a folder that is named here, the service does not start, and systemd says which one."""
    hidden = _is_within(_real(folder), _HIDDEN)
    entry = writing.bind_entry(_real(folder)) if hidden else writing.path_entry(folder)
    if entry is None:
        yield f"# damd writes to {writing.shown(folder)}, which systemd cannot name: rename the folder."
        return
    yield f"# damd writes here. The folder must be there: install -d -o {USER} -g {USER} -m 0750 FOLDER"
    yield f"BindPaths={entry}" if hidden else f"ReadWritePaths={entry}"


def _credentials(config: Config) -> Iterator[str]:
    for settings in config.subscribers:
        for key in ("secret", "previous_secret"):
            name = getattr(getattr(settings, key, None), "credential", None)
            if name is None:
                continue
            if not _PLAIN_CREDENTIAL.fullmatch(name):
                yield f"# Give the credential {writing.shown(Path(name))} a plainer name: letters, digits, - _ . @"
                continue
            yield f"# The secret of {writing.shown(Path(getattr(settings, 'name', '?')))}; name the file that holds it:"
            yield f"#LoadCredential={name}:/etc/damd/secrets/{name}"


def _real(folder: Path) -> Path:
    # Unlike Path.resolve(), this takes a loop of symbolic links as it is.
    return Path(os.path.realpath(folder))


def _is_within(folder: Path, folders: tuple[Path, ...]) -> bool:
    return any(folder.is_relative_to(each) for each in folders)


def _closed(root: Path) -> Iterator[str]:
    """What the user damd may not enter or read on the way to a root, by owner, group and mode."""
    user, groups = _membership()
    for folder in (*reversed(root.parents), root):
        try:
            found = folder.stat()
        except OSError:
            return  # not there now, or not to be seen by whoever asks
        needed = 0o5 if folder == root else 0o1
        shift = 6 if found.st_uid == user else 3 if found.st_gid in groups else 0
        if (found.st_mode >> shift) & needed == needed:
            continue
        what = "read" if folder == root else "enter"
        yield f"# The user {USER} may not {what} {writing.shown(folder)}."
        if shift == 0 and (found.st_mode >> 3) & needed == needed and found.st_gid != 0:
            yield "# Its group may:"
            yield f"#SupplementaryGroups={_group_name(found.st_gid)}"
        else:
            yield from _opening(folder, is_root=folder == root)


def _opening(folder: Path, *, is_root: bool) -> Iterator[str]:
    """The command that lets it, by an access list."""
    text = str(folder)
    named = shlex.quote(text) if text.isprintable() else "FOLDER"
    if not is_root:
        yield f"# Let it: setfacl -m u:{USER}:x {named}"
        return
    yield f"# Let it: setfacl -R -m u:{USER}:rX -m d:u:{USER}:rX {named}"
    yield "# That holds for what is there and what is made there later, but for files that a program makes for itself"
    yield "# alone (mode 600), or that are moved in from elsewhere: for those, run it again."


def _membership() -> tuple[int | None, frozenset[int]]:
    """The number of the user damd and those of its groups; it may not exist yet."""
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        return None, frozenset()
    return entry.pw_uid, frozenset(os.getgrouplist(USER, entry.pw_gid))


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
