"""The worker process, ``python -P -m damd.readers PARENT MEMORY MAX_ANSWER``; `damd.sandbox` starts it.

Both ways a message is four bytes of length, big-endian, and a JSON object in ASCII, so that a path that
is no UTF-8 survives as the lone surrogates of `os.fsdecode`. A request is
``{"id", "module", "path", "options"}``; it is answered twice, with ``{"id", "taken": true}`` before
anything is done about it (a worker that dies earlier never met the file), and then with
``{"id", "result": {…}}`` or ``{"id", "error": {"kind", "message", …}}``.

PARENT is the process that must stay alive, MEMORY the address space in bytes, MAX_ANSWER the longest
answer in bytes. Everything is limited before the first decoder is imported. What an error looks like on the way is told
in `damd.readers.failures`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
from typing import Any, BinaryIO

from damd.readers.failures import describe, describe_import
from damd.readers.plain import plain

_MAX_FILE_BYTES = 2**30  # of a preview: no decoder that went mad fills the disk
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38  # <linux/prctl.h>


def main() -> None:
    """Answer requests until standard input ends."""
    parent, memory_bytes, max_answer_bytes = map(int, sys.argv[1:4])
    # Terminals and service managers signal every process at once; only the parent decides when a worker ends.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _die_with(parent)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)
    _limit(resource.RLIMIT_AS, memory_bytes)
    requests, answers = _take_pipes()
    with contextlib.suppress(BrokenPipeError):
        while (request := _receive(requests)) is not None:
            _send(answers, json.dumps({"id": request["id"], "taken": True}))
            _send(answers, _answer(request, max_answer_bytes))
    os._exit(0)  # at once, whatever threads a library has left behind


def _die_with(parent: int) -> None:
    """End when the parent does, even in the midst of a file; elsewhere than on Linux only between files.

    And gain nothing on the way: no program that is run from here has more rights than this one, and no core dump
    holds what was read, even where a pipe takes dumps whatever their limit is.
    """
    if sys.platform == "linux":
        import ctypes

        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if os.getppid() != parent:  # it died before it could be watched
        os._exit(0)


def _limit(which: int, wanted: int) -> None:
    _, hard = resource.getrlimit(which)
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses limits of address space
        resource.setrlimit(which, (value, value))


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Move the protocol to private descriptors, so that a library's chatter on 0 and 1 goes nowhere."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return requests, answers


def _receive(requests: BinaryIO) -> dict[str, Any] | None:
    header = requests.read(4)
    length = int.from_bytes(header, "big")
    body = requests.read(length)
    if len(header) < 4 or len(body) < length:
        return None
    request: dict[str, Any] = json.loads(body)
    return request


def _send(answers: BinaryIO, text: str) -> None:
    body = text.encode("ascii")
    answers.write(len(body).to_bytes(4, "big") + body)
    answers.flush()


def _answer(request: dict[str, Any], max_bytes: int) -> str:
    try:
        read = importlib.import_module(request["module"]).read
    except Exception as error:  # noqa: BLE001 - whatever hinders the import, the file is not to blame
        return json.dumps({"id": request["id"], "error": describe_import(error)})
    try:
        result = read(request["path"], **request["options"])
        if not isinstance(result, dict):
            raise TypeError(f"the reader returned {type(result).__name__}, not a dict")
        text = json.dumps({"id": request["id"], "result": plain(result)}, allow_nan=False)
    except Exception as error:  # noqa: BLE001 - answered, and raised in the parent
        error.__traceback__ = None  # its frames hold the memory that may be short now
        return json.dumps({"id": request["id"], "error": describe(error)})
    if len(text) > max_bytes:
        message = f"What its reader found takes {len(text)} bytes, more than {max_bytes}"
        return json.dumps({"id": request["id"], "error": {"kind": "LimitExceededError", "message": message}})
    return text


if __name__ == "__main__":
    main()
