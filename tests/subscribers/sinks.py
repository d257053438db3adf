"""Every kind of subscriber with its other side, and every event: a further kind is a sample in `SAMPLES`."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

import anyio
from structlog.testing import capture_logs
from subscribers.receiver import Gate, Receiver, imported, status, webhook_settings

from damd.catalogue.outbox import ForeignEvent
from damd.events import (
    Event,
    FileChangedEvent,
    FileDuplicateEvent,
    FileFailedEvent,
    FileMissingEvent,
    FileMovedEvent,
    FileNearDuplicateEvent,
    RootHeldEvent,
    readable_path,
)
from damd.settings import Settings
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.base import Subscriber

HOSTILE_PATH = b"/in/\xff\xfe \"'$(reboot)\n\\ \xe2\x80\xae.jpg"
PATH, PATH_BASE64 = readable_path(HOSTILE_PATH)
ASSET: dict[str, Any] = {"path": "/in/Zoë 1.jpg", "root": "in", "asset_id": 7, "sha256": "ab" * 32, "revision": 11}

EVENTS_TO_TELL: list[Event] = [
    imported(revision=3, near_duplicates=[{"asset_id": 2, "distance": 4}]),
    FileDuplicateEvent(**ASSET, size_bytes=5, other_path="/in/a.jpg", other_root="in"),
    FileNearDuplicateEvent(**ASSET, near_duplicates=[{"asset_id": 1, "distance": 3}]),
    FileChangedEvent(**ASSET, previous_asset_id=1, previous_sha256="cd" * 32),
    FileMovedEvent(
        **(ASSET | {"path": PATH, "path_base64": PATH_BASE64}), previous_path="/out/a.jpg", previous_root=None
    ),
    FileMissingEvent(**ASSET),
    FileFailedEvent(
        path="/in/a.jpg",
        root=None,
        asset_id=None,
        sha256=None,
        reason="a NUL \0, an escape \x1b[2J and a\nnewline",
        permanent=True,
        mime_type=None,
        size_bytes=0,
    ),
    RootHeldEvent(root="in", path="/in", reason="it is not there", missing_files=None, revision=12),
    ForeignEvent(event_type="file.dreamt", stored={"version": 2, "of": ["sheep"], "path": 5, "root": "a\0b"}),
]

TOLD = ("path", "path_base64", "root", "asset_id", "sha256", "revision")


class Heard(NamedTuple):
    """What a subscriber's other side was told."""

    event_id: str
    event_type: str
    data: dict[str, Any]


class Sample:
    """A kind of subscriber with its other side, in a folder of its own."""

    kind: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stack.close()

    def entry(self) -> dict[str, Any]:
        """An entry of the configuration that works."""
        return {}

    def settings(self, **others: Any) -> Settings:
        return SUBSCRIBERS[self.kind].settings_type.model_validate({"kind": self.kind} | self.entry() | others)

    def subscriber(self, **others: Any) -> Subscriber:
        subscriber_type: Any = SUBSCRIBERS[self.kind]
        subscriber: Subscriber = subscriber_type(self.settings(**{"events": []} | others))
        return subscriber

    @asynccontextmanager
    async def entered(self, **others: Any) -> AsyncIterator[Subscriber]:
        subscriber: Any = self.subscriber(**others)
        async with AsyncExitStack() as stack:
            if hasattr(subscriber, "__aenter__"):
                await stack.enter_async_context(subscriber)
            yield subscriber

    def heard(self) -> list[Heard]:
        raise NotImplementedError

    # Of the other side of a durable one:

    def fail(self) -> None:
        """Take nothing from now on."""
        raise NotImplementedError

    def hang(self) -> None:
        """Be silent from now on."""
        raise NotImplementedError

    async def hangs(self) -> None:
        """Wait until it was told of something, and is silent."""
        raise NotImplementedError

    def recover(self) -> None:
        """Take everything again."""
        raise NotImplementedError


class LogSample(Sample):
    kind = "log"

    def __enter__(self) -> Self:
        self._logs = self.stack.enter_context(capture_logs())
        return self

    def heard(self) -> list[Heard]:
        return [
            Heard(entry["event_id"], entry["event"], {name: entry[name] for name in TOLD if name in entry})
            for entry in self._logs
        ]


class LogFileSample(Sample):
    kind = "log"

    def entry(self) -> dict[str, Any]:
        return {"file": str(self.folder / "events.jsonl")}

    def heard(self) -> list[Heard]:
        lines = (self.folder / "events.jsonl").read_bytes().splitlines()
        return [Heard(line["id"], line["type"], line["data"]) for line in map(json.loads, lines)]


class WebhookSample(Sample):
    kind = "webhook"

    def __enter__(self) -> Self:
        self._receiver = self.stack.enter_context(Receiver())
        self._gate = Gate(self._receiver, status(204))
        return self

    def entry(self) -> dict[str, Any]:
        return dict(webhook_settings(self.folder, self._receiver.url))

    def heard(self) -> list[Heard]:
        return [Heard(each.message_id, each.payload["type"], each.payload["data"]) for each in self._receiver.received]

    def fail(self) -> None:
        self._receiver.usual = status(503, body=b"overloaded")

    def hang(self) -> None:
        self._receiver.usual = self._gate

    async def hangs(self) -> None:
        await self._receiver.has_received(1)

    def recover(self) -> None:
        self._receiver.usual = status(204)
        self._gate.open()


class CommandSample(Sample):
    kind = "command"

    def __enter__(self) -> Self:
        (self.folder / "heard").mkdir()
        self._program = self.folder / "on-event"
        self._program.write_text(
            f"""#!/bin/sh
            cd '{self.folder}' || exit
            test -e hang && echo $$ > hanging && exec sleep 1000
            test -e fail && echo 'there is no room' >&2 && exit 3
            cat > "heard/$DAMD_EVENT_ID.$$"
            """
        )
        self._program.chmod(0o755)
        return self

    def entry(self) -> dict[str, Any]:
        return {"name": "script", "command": [str(self._program)]}

    def heard(self) -> list[Heard]:
        bodies = {path.stem: json.loads(path.read_bytes()) for path in (self.folder / "heard").iterdir()}
        times = [path.stem for path in (self.folder / "heard").iterdir()]
        return [Heard(event_id, bodies[event_id]["type"], bodies[event_id]["data"]) for event_id in times]

    def fail(self) -> None:
        (self.folder / "fail").touch()

    def hang(self) -> None:
        (self.folder / "hang").touch()

    async def hangs(self) -> None:
        await until((self.folder / "hanging").exists)

    def recover(self) -> None:
        (self.folder / "hang").unlink(missing_ok=True)


SAMPLES: dict[str, type[Sample]] = {
    "log": LogSample,
    "log with a file": LogFileSample,
    "webhook": WebhookSample,
    "command": CommandSample,
}


async def until(condition: Callable[[], object]) -> None:
    """Wait for a state of things."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - a file tells nobody
            await anyio.sleep(0.005)
