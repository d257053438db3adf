"""Which file system a path lies on, by a mountinfo of our own and by this system's."""

from pathlib import Path

import pytest

from damd.mounts import NETWORK_FILESYSTEMS, filesystem_type, is_network_mount

LINE = "{number} 1 0:{number} / {mount_point} rw,relatime shared:1 - {kind} source rw\n"


@pytest.fixture
def mountinfo(tmp_path: Path) -> Path:
    mounts = [
        ("/", "ext4"),
        ("/srv/photos", "nfs4"),
        ("/srv/photos/local", "xfs"),
        ("/srv/with\\040blank\\134", "cifs"),
        ("/mnt/twice", "ext4"),
        ("/mnt/twice", "fuse.sshfs"),
        ("/mnt/phone", "fuse"),
        ("/mnt/disk", "fuseblk"),
    ]
    path = tmp_path / "mountinfo"
    lines = (LINE.format(number=number, mount_point=at, kind=kind) for number, (at, kind) in enumerate(mounts))
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/someone", "ext4"),
        ("/srv/photos", "nfs4"),
        ("/srv/photos/2024/not-there-yet.jpg", "nfs4"),
        ("/srv/photos/local/a", "xfs"),
        ("/srv/photos-elsewhere", "ext4"),
        ("/srv/with blank\\/a", "cifs"),
        ("/mnt/twice/a", "fuse.sshfs"),
    ],
)
def test_the_longest_and_latest_mount_point_decides(mountinfo: Path, path: str, kind: str) -> None:
    assert filesystem_type(Path(path), mountinfo=mountinfo) == kind


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/home", False), ("/srv/photos", True), ("/mnt/twice", True), ("/mnt/phone", True), ("/mnt/disk", False)],
)
def test_networks_and_fuse_are_remote_and_disks_are_not(mountinfo: Path, path: str, *, expected: bool) -> None:
    assert is_network_mount(Path(path), mountinfo=mountinfo) is expected


def test_a_symbolic_link_counts_as_what_it_leads_to(mountinfo: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/srv/photos/2024")

    assert filesystem_type(link, mountinfo=mountinfo) == "nfs4"


def test_a_path_whose_bytes_are_no_text_has_a_file_system_too(mountinfo: Path) -> None:
    assert filesystem_type(Path("/srv/photos/\udcff"), mountinfo=mountinfo) == "nfs4"


def test_where_nobody_tells_the_mount_is_taken_for_local(tmp_path: Path) -> None:
    nowhere = tmp_path / "no-such-file"

    assert filesystem_type(tmp_path, mountinfo=nowhere) == "unknown"
    assert not is_network_mount(tmp_path, mountinfo=nowhere)


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="only Linux tells of its mounts there")
def test_this_system_tells_the_truth_about_proc() -> None:
    assert filesystem_type(Path("/proc/self")) == "proc"
    assert "proc" not in NETWORK_FILESYSTEMS
