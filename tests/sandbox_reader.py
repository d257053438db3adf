"""A reader for the tests of the sandbox: it does what its option ``do`` says, good or bad."""

import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from damd.errors import BrokenFileError, UnsupportedTypeError


def read(path: str, *, do: str = "echo", **options: Any) -> dict[str, Any]:
    result: dict[str, Any] = _DEEDS[do](path, **options)
    return result


def _echo(path: str, **options: Any) -> dict[str, Any]:
    return {"path": path, "bytes": os.fsencode(path).hex(), "pid": os.getpid(), **options}


def _hang(path: str) -> None:
    """Say so in the file, then never come back."""
    Path(path).write_text(str(os.getpid()))
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        time.sleep(60)


def _hang_once(path: str) -> dict[str, Any]:
    if not Path(path).exists():
        _hang(path)
    return _echo(path)


def _take_150ms(path: str) -> dict[str, Any]:
    time.sleep(0.15)
    return _echo(path)


def _die(path: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _segfault(path: str) -> None:
    ctypes.string_at(0)


def _exit(path: str) -> None:
    os._exit(3)


def _terminate(path: str) -> dict[str, Any]:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(os.getpid(), number)
    return _echo(path)


def _crash_once(path: str) -> dict[str, Any]:
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return _echo(path)


def _log(path: str, *, name: str, crash_first: bool = False) -> dict[str, Any]:
    """Note the beginning and the end in one file that all the calls share."""
    before = Path(path).read_text() if Path(path).exists() else ""
    with Path(path).open("a") as log:
        print("begin", name, file=log, flush=True)
        if crash_first and name not in before:
            os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(0.02)
        print("end", name, file=log, flush=True)
    return {"name": name}


def _allocate(path: str) -> dict[str, Any]:
    return {"length": len(bytearray(2**40))}


def _leak_then_allocate(path: str, *, leak_mib: int, need_mib: int) -> dict[str, Any]:
    _leaked.append(bytearray(leak_mib * 2**20))
    return {"length": len(bytearray(need_mib * 2**20))}


_leaked: list[bytearray] = []


def _chatter(path: str) -> dict[str, Any]:
    """Write to the standard descriptors as a C library would, and read what it may not."""
    sys.stdout.write("a warning\n" * 1000)
    sys.stdout.flush()
    os.write(1, b"\0\0\0\2{}" * 1000)
    os.write(2, b"a warning\n" * 20_000)
    return {"read": os.read(0, 10).decode()}


def _forge(path: str, *, body: str, length: int | None = None) -> dict[str, Any]:
    """Write to every pipe there is, the protocol's among them."""
    raw = body.encode()
    for fd in range(3, 20):
        try:
            os.write(fd, struct.pack(">I", len(raw) if length is None else length) + raw)
        except OSError:
            continue
    return _echo(path)


def _close_pipes(path: str) -> None:
    os.closerange(3, 20)
    time.sleep(60)


def _long_answer(path: str) -> dict[str, Any]:
    return {"texts": ["x" * 4000] * 1000}


def _not_a_dict(path: str) -> list[int]:
    return [1]


def _not_json(path: str) -> dict[str, Any]:
    return {"bytes": b"\0"}


def _spawn_and_hang(path: str) -> None:
    child = subprocess.Popen(["sleep", "600"])
    Path(path).write_text(str(child.pid))
    child.wait()


def _limits(path: str) -> dict[str, Any]:
    import resource

    return {
        "memory": resource.getrlimit(resource.RLIMIT_AS),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "file": resource.getrlimit(resource.RLIMIT_FSIZE),
        "no_new_privs": "NoNewPrivs:\t1" in Path("/proc/self/status").read_text(),
        "session": os.getsid(0) == os.getpid(),
        "threads": [os.environ["OPENBLAS_NUM_THREADS"], os.environ["OMP_NUM_THREADS"]],
        "path": sys.path,
        "modules": [name for name in sys.modules if name.startswith("damd")],
    }


def _fail(path: str, *, how: str) -> None:
    raise {
        "broken": BrokenFileError("no\theader\x1b[31m \udcff"),
        "unsupported": UnsupportedTypeError("odd", mime_type="image/x-odd"),
        "missing": ModuleNotFoundError("No module named 'pillow_heif'", name="pillow_heif"),
    }[how]


def _open(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:  # noqa: PTH123 - as decoders do
        return {"length": len(file.read())}


_DEEDS: dict[str, Callable[..., Any]] = {
    name.removeprefix("_"): deed for name, deed in list(globals().items()) if callable(deed) and name.startswith("_")
}


def tell(**fields: Any) -> None:
    """Print one JSON line, at once."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()
