"""Everything that systemd hears, in its order, from a daemon in a process of its own."""

import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from daemons import DEADLINE_S, Daemon, running, running_on, until
from pictures import make_picture

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by way of /proc")


class Manager:
    """What systemd would hear: a bound socket, and the messages in their order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.messages: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(os.fspath(path))
        self._socket.settimeout(DEADLINE_S)

    def hear_until(self, condition: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """The next message that is so, with all before it kept."""
        while True:
            text = self._socket.recv(4096).decode()
            message = dict(line.partition("=")[::2] for line in text.splitlines())
            self.messages.append(message)
            if condition(message):
                return message

    def forget(self) -> None:
        """All that was sent until now."""
        self.messages.clear()
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(4096)
        self._socket.settimeout(DEADLINE_S)

    def close(self) -> None:
        self._socket.close()

    @property
    def told(self) -> list[str]:
        """The first key of each message, without what is told every few seconds."""
        return [next(iter(each)) for each in self.messages if not each.keys() & {"WATCHDOG", "EXTEND_TIMEOUT_USEC"}]


@pytest.fixture
def folder(migrated: Path) -> Iterator[Path]:
    # Not pytest's own: a socket's path is short.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "inbox").mkdir()
        shutil.copytree(migrated, Path(folder) / "state")
        yield Path(folder).resolve()


@pytest.fixture
def manager(folder: Path) -> Iterator[Manager]:
    manager = Manager(folder / "notify")
    yield manager
    manager.close()


def write_config(folder: Path, **keys: object) -> Path:
    config = folder / "damd.yaml"
    watch = [{"path": str(folder / "inbox")}]
    config.write_text(yaml.safe_dump({"state": str(folder / "state"), "watch": watch} | keys))
    return config


def reload(daemon: Daemon) -> None:
    daemon.process.send_signal(signal.SIGHUP)


def test_a_service_s_life_is_told_from_its_start_by_reloads_good_and_bad_to_its_stop(
    folder: Path, manager: Manager
) -> None:
    config = write_config(folder)
    with running("--config", config, NOTIFY_SOCKET=manager.path, WATCHDOG_USEC="200000") as daemon:
        manager.hear_until(lambda message: message.get("READY") == "1")
        assert manager.told == ["READY"], "nothing but signs of life before the watches are armed"
        manager.hear_until(lambda message: message.get("STATUS") == "Watching 1 folder")
        daemon.wait_for("ready")

        manager.messages.clear()
        write_config(folder, logging={"level": "warning"})
        reload(daemon)
        began = manager.hear_until(lambda message: "RELOADING" in message)
        assert began["RELOADING"] == "1"
        assert int(began["MONOTONIC_USEC"]) > 0
        manager.hear_until(lambda message: message.get("READY") == "1")
        assert manager.told == ["RELOADING", "READY"]

        manager.messages.clear()
        config.write_text("watch: [{path: 7}]\nthumbnail: {}\n")
        reload(daemon)
        manager.hear_until(lambda message: "REFUSED" in message.get("STATUS", ""))
        assert manager.told == ["RELOADING", "READY", "STATUS"], "ready also where the new configuration is refused"
        refused = daemon.wait_for("the new configuration is refused, the old one stays")
        assert [problem.split(": ")[1] for problem in refused["problems"]] == ["watch.0.path", "thumbnail"]

        manager.messages.clear()
        write_config(folder)
        reload(daemon)
        manager.hear_until(lambda message: message.get("STATUS") == "Watching 1 folder")
        assert manager.told == ["RELOADING", "READY", "STATUS"]

        manager.hear_until(lambda message: message.get("WATCHDOG") == "1")
        manager.messages.clear()
        assert daemon.stop() == 0
        manager.hear_until(lambda message: message.get("STATUS", "").startswith("Stopping"))
        assert manager.told == ["STOPPING", "STATUS"]


def test_a_signal_on_a_terminal_that_is_gone_ends_the_daemon(folder: Path) -> None:
    leader, terminal = os.openpty()
    with running_on(terminal, "--watch", folder / "inbox", "--state", folder / "state") as daemon:
        os.close(terminal)
        daemon.wait_for("ready")
        os.close(leader)  # the kernel sends SIGHUP to those whose terminal it was
        assert daemon.end() == 0
    assert daemon.logged("stopped")


def test_a_signal_that_comes_before_all_is_ready_is_a_reload_afterwards(folder: Path) -> None:
    with running("--config", write_config(folder)) as daemon:
        status = Path(f"/proc/{daemon.process.pid}/status")
        caught = re.compile(r"SigCgt:\s*([0-9a-f]+)")
        until(lambda: bool(_mask(caught, status) >> (signal.SIGHUP - 1) & 1), "a handler")
        reload(daemon)
        daemon.wait_for("configuration reloaded")
        assert daemon.stop() == 0


def _mask(pattern: re.Pattern[str], status: Path) -> int:
    found = pattern.search(status.read_text())
    assert found is not None
    return int(found[1], 16)


def test_a_root_whose_name_is_no_text_is_waited_for_as_any_other(folder: Path) -> None:
    root = folder / "x\udcff"
    root.mkdir()
    (folder / "damd.yaml").write_text(f'state: {folder}/state\nwatch: [{{path: "{folder}/x\\udcff", name: odd}}]\n')
    with running("--config", folder / "damd.yaml") as daemon:
        daemon.wait_for("ready")
        root.rename(folder / "away")
        daemon.wait_for("root.held")
        (folder / "away").rename(root)
        make_picture(root / "a.png")
        daemon.wait_for("file.imported")
        assert daemon.stop() == 0


def test_while_no_file_makes_progress_the_watchdog_is_told_nothing(folder: Path, manager: Manager) -> None:
    (folder / "plugins").mkdir()
    (folder / "plugins" / "stuck_plugin.py").write_text(STUCK)
    make_picture(folder / "inbox" / "a.png")
    config = write_config(folder, plugins=["stuck_plugin"])
    with running(
        "--config",
        config,
        NOTIFY_SOCKET=manager.path,
        WATCHDOG_USEC="100000",
        PYTHONPATH=folder / "plugins",
        GO=folder / "go",
    ) as daemon:
        daemon.wait_for("no file makes progress any more: the watchdog is told nothing until one does")
        manager.forget()  # the signs of life from before, each of which was sent before the next was thought of
        (folder / "go").touch()
        manager.hear_until(lambda message: "WATCHDOG" in message)
        daemon.wait_for("file.imported")


STUCK = """
import os
import anyio
import damd.daemon.running
from damd.ingest.process_by_hash import ProcessFileByHashCommand
from damd.stages import stage

damd.daemon.running._STUCK_AFTER_S = damd.daemon.running._STUCK_AFTER_TIMEOUTS = 0

async def hang(cmd: ProcessFileByHashCommand) -> None:
    with stage("record"):
        while not await anyio.Path(os.environ["GO"]).exists():
            await anyio.sleep(0.01)

def setup(world):
    world.register_system(hang, command_type=ProcessFileByHashCommand)
"""
