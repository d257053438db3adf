"""Which file system a path lies on, by a mountinfo of our own and by this system's."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from damd.mounts import NETWORK_FILESYSTEMS, Mount, Mounts, filesystem_id, filesystem_type, is_network_mount

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


@pytest.fixture
def mounts(mountinfo: Path) -> Iterator[Mounts]:
    with closing(Mounts(mountinfo)) as mounts:
        yield mounts


def test_a_path_is_held_by_the_innermost_mount_and_by_the_topmost_of_one_place(mounts: Mounts) -> None:
    assert mounts.holding(b"/srv/photos/local/a") == Mount(b"/srv/photos/local", "xfs")
    assert mounts.holding(b"/srv/photos/locals") == Mount(b"/srv/photos", "nfs4")
    assert mounts.holding(b"/mnt/twice") == Mount(b"/mnt/twice", "fuse.sshfs")
    assert mounts.holding(b"/") == Mount(b"/", "ext4")


def test_what_is_mounted_below_a_folder_is_told_once_for_each_place_and_without_the_folder(mounts: Mounts) -> None:
    assert mounts.below(b"/srv") == [
        Mount(b"/srv/photos", "nfs4"),
        Mount(b"/srv/photos/local", "xfs"),
        Mount(b"/srv/with blank\\", "cifs"),
    ]
    assert mounts.below(b"/srv/photos") == [Mount(b"/srv/photos/local", "xfs")]
    assert mounts.below(b"/mnt/twice") == mounts.below(b"/sr") == []
    assert [mount.path for mount in mounts.below(b"/mnt")] == [b"/mnt/disk", b"/mnt/phone", b"/mnt/twice"]
    assert len(mounts.below(b"/")) == 6


def test_without_a_table_nothing_is_mounted_anywhere(tmp_path: Path) -> None:
    with closing(Mounts(tmp_path / "no-such-file")) as mounts:
        assert mounts.holding(b"/a/b") == Mount(b"/", "unknown")
        assert mounts.below(b"/") == []
        assert mounts.version == 0
        assert mounts.filesystem_of(os.fsencode(tmp_path)) == filesystem_id(os.fsencode(tmp_path))


def test_a_table_that_the_kernel_does_not_speak_of_is_read_once(mountinfo: Path, mounts: Mounts) -> None:
    version = mounts.version
    mountinfo.write_text(LINE.format(number=1, mount_point="/", kind="btrfs"))
    assert mounts.version == version
    assert mounts.holding(b"/srv/photos/a").kind == "nfs4"


def test_once_closed_the_table_is_read_anew_by_whoever_asks_again(mountinfo: Path, mounts: Mounts) -> None:
    version = mounts.version
    mounts.close()
    mounts.close()
    again = mounts.version
    assert again != version, "nobody knows what was mounted meanwhile, where the table is the same, too"
    assert mounts.version == again
    mounts.close()
    mountinfo.write_text(LINE.format(number=1, mount_point="/", kind="btrfs"))
    assert mounts.version not in {version, again}
    assert mounts.holding(b"/srv/photos/a") == Mount(b"/", "btrfs")


def test_the_number_of_a_file_system_is_asked_once_until_the_table_changes(
    mountinfo: Path, mounts: Mounts, tmp_path: Path
) -> None:
    folder = os.fsencode(tmp_path)
    number = mounts.filesystem_of(folder)
    assert -(2**63) <= number < 2**63
    assert mounts.filesystem_of(folder + b"/not there") == number, "remembered, since it is held by the same mount"
    mounts.close()
    mountinfo.write_text(LINE.format(number=1, mount_point="/", kind="btrfs"))
    with pytest.raises(FileNotFoundError):
        mounts.filesystem_of(folder + b"/not there")


def test_what_carries_a_mount_point_is_told_from_the_folder_below_it(mountinfo: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "bound")
    (tmp_path / "bound" / "below").mkdir(parents=True)
    number = filesystem_id(folder)
    with closing(Mounts(mountinfo)) as mounts:
        assert mounts.carrier_of(folder) == number == mounts.filesystem_of(folder)
        assert mounts.carrier_of(b"/") != mounts.filesystem_of(b"/")
        mounts.close()
        # A bind mount of the same file system.
        with mountinfo.open("a") as table:
            table.write(LINE.format(number=99, mount_point=os.fsdecode(folder), kind="ext4"))
        bound = mounts.carrier_of(folder)
        assert bound not in {number, mounts.filesystem_of(folder)}
        assert -(2**63) <= bound < 2**63
        assert mounts.carrier_of(folder + b"/below") == number == mounts.filesystem_of(folder)


def test_a_closed_table_leaves_no_file_open(mountinfo: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("only Linux tells of its open files there")
    before = len(list(descriptors.iterdir()))
    with closing(Mounts(mountinfo)) as mounts:
        assert mounts.version == 1
    assert len(list(descriptors.iterdir())) == before


def test_many_threads_may_ask_at_once(mounts: Mounts, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        numbers = set(threads.map(lambda _: (mounts.version, mounts.filesystem_of(folder)), range(200)))
    assert numbers == {(mounts.version, filesystem_id(folder))}


NAMESPACE = """
import ctypes, os, sys
from damd.mounts import Mounts, filesystem_id

folder = os.fsencode(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x10000000, 0x4000, 0x40000, 2
if libc.unshare(CLONE_NEWNS) and libc.unshare(CLONE_NEWNS | CLONE_NEWUSER):
    sys.exit("no namespaces")
if libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
    sys.exit("no private mounts")
mounts = Mounts()
"""
MOUNTED = """
before, number = mounts.version, mounts.filesystem_of(folder)
assert mounts.version == before
if libc.mount(b"none", folder, b"tmpfs", 0, None):
    sys.exit("no tmpfs")
assert mounts.version != before
assert mounts.holding(folder + b"/a").kind == "tmpfs"
assert mounts.filesystem_of(folder) != number
between = mounts.version
assert libc.umount2(folder, MNT_DETACH) == 0
assert mounts.version != between
assert mounts.filesystem_of(folder) == number
print("seen")
"""
REPLACED = """
if libc.mount(b"none", folder, b"tmpfs", 0, None):
    sys.exit("no tmpfs")
before, table, number = mounts.version, mounts.below(b"/"), mounts.filesystem_of(folder)
assert libc.umount2(folder, MNT_DETACH) == 0
assert libc.mount(b"none", folder, b"tmpfs", 0, None) == 0
assert mounts.below(b"/") == table
assert mounts.version != before
assert mounts.filesystem_of(folder) == filesystem_id(folder)
print("seen")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of its mounts")
@pytest.mark.parametrize(
    "happens", [MOUNTED, REPLACED], ids=["mounted-and-unmounted", "replaced-by-another-of-its-kind"]
)
def test_what_the_kernel_mounts_and_unmounts_is_seen_at_once(tmp_path: Path, happens: str) -> None:
    script = NAMESPACE + happens
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
    if done.stderr.startswith("no "):
        pytest.skip(f"cannot mount here: {done.stderr}")
    assert (done.stdout, done.stderr) == ("seen\n", "")


def test_folders_of_one_file_system_that_are_mounted_in_turn_at_one_place_are_told_apart(tmp_path: Path) -> None:
    numbers: set[int] = set()
    for origin in ("/", "/photos", "/films"):
        table = tmp_path / f"mountinfo{len(numbers)}"
        table.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 8:1 {origin} {tmp_path} rw - ext4 /dev/sda rw\n")
        mounts = Mounts(table)
        number = mounts.filesystem_of(bytes(tmp_path))
        assert number == mounts.filesystem_of(bytes(tmp_path))
        assert -(2**63) <= number < 2**63
        numbers.add(number)
        mounts.close()
    assert len(numbers) == 3
