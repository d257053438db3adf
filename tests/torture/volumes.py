"""File systems that come and go; whoever needs them is root, or is skipped with the reason."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from torture.harness import until

_SBIN = "/usr/sbin:/sbin"
_DETACH_S = 60.0


def run(*command: str | Path) -> str:
    """A program of the system's; what it wrote.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    path = f"{os.environ.get('PATH', os.defpath)}:{_SBIN}"
    done = subprocess.run(
        [*map(str, command)], check=True, capture_output=True, text=True, env=os.environ | {"PATH": path, "LC_ALL": "C"}
    )
    return done.stdout.strip()


def require(*programs: str) -> None:
    """Skip what needs root, or a program that this machine lacks."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    path = f"{os.environ.get('PATH', os.defpath)}:{_SBIN}"
    for program in programs:
        if shutil.which(program, path=path) is None:
            pytest.skip(f"there is no {program} on this machine")


def require_foreign_user() -> tuple[str, ...]:
    """What starts a program as nobody: root may enter any folder, so that it learns nothing of permissions."""
    if os.geteuid() != 0:
        return ()
    require("setpriv")
    return ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")


def few_watches(limit: int) -> tuple[str, ...]:
    """What starts a program with so many inotify watches at most.

    In a user namespace of its own, which has its own limit (namespaces(7)): the machine's stays as it is.
    """
    words = f'echo {limit} > /proc/sys/user/max_inotify_watches && exec "$@"'
    wrapper = ("unshare", "--user", "--map-root-user", "--", "sh", "-c", words, "sh")
    try:
        run(*wrapper, "true")
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        pytest.skip(f"this machine makes no user namespace with a limit of its own: {reason}")
    return wrapper


class Volume:
    """An ext4 file system in a file, on one loop device: however often it is mounted, it is the same one."""

    def __init__(self, device: str) -> None:
        self._device = device

    def mount(self, folder: Path) -> None:
        run("mount", "-t", "ext4", self._device, folder)

    @staticmethod
    def take_away(folder: Path) -> None:
        """At once, whoever has files open in it."""
        run("umount", "--lazy", folder)


@contextmanager
def volume(image: Path, megabytes: int) -> Iterator[Volume]:
    """A new volume, gone afterwards wherever it was mounted."""
    require("mkfs.ext4", "losetup", "mount", "umount")
    with image.open("wb") as file:
        file.truncate(megabytes * 2**20)
    # Many inodes: the files are small.
    run("mkfs.ext4", "-q", "-F", "-i", "4096", image)
    try:
        device = run("losetup", "--find", "--show", image)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"there is no free loop device: {error.stderr.strip()}")
    try:
        yield Volume(device)
    finally:
        for folder in _mounted(device):
            run("umount", "--lazy", folder)
        run("losetup", "--detach", device)
        until(
            lambda: device not in run("losetup", "--noheadings", "--output", "NAME"), f"the end of {device}", _DETACH_S
        )


def _mounted(device: str) -> list[str]:
    return [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[0] == device]


@contextmanager
def memory_disk(folder: Path, size: str) -> Iterator[None]:
    """A tmpfs of this size at a folder."""
    require("mount", "umount")
    try:
        run("mount", "-t", "tmpfs", "-o", f"size={size}", "damd-torture", folder)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"nothing can be mounted here: {error.stderr.strip()}")
    try:
        yield
    finally:
        run("umount", "--lazy", folder)
