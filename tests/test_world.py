"""The World: what the guide's programs do with it, and what a mistake in using it says."""

import asyncio
import functools
import importlib.util
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, NewType, Optional, Protocol, TypeVar, runtime_checkable

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from damd.errors import (
    MissingResourceError,
    NoHandlerError,
    NotOneResultError,
    RegistrationError,
    WorldError,
)
from damd.world import BaseCommand, BaseEvent, CommandResult, World, handles_command, handles_event

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]  # a name that no run ever sees

pytestmark = pytest.mark.anyio


@dataclass
class AddCommand(BaseCommand):
    left: int = 1
    right: int = 2


@dataclass
class NegateCommand(BaseCommand):
    number: int = 3


@dataclass(frozen=True)
class Rang(BaseEvent):
    bell: str = "door"


@dataclass(frozen=True)
class RangTwice(Rang):
    times: int = 2


async def add(cmd: AddCommand) -> int:
    return cmd.left + cmd.right


class Store:
    """A resource that equals everything and counts as false, as an empty container does."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __len__(self) -> int:
        return 0


class DiskStore(Store):
    """A resource that is also a Store."""


# --- A program such as the guide's: three commands in a chain, answers in dictionaries ------------------


@dataclass
class AcceptLetterCommand(BaseCommand):
    letter: Path


@dataclass
class SortLetterCommand(BaseCommand):
    letter: Path
    words: str


@dataclass
class StampLetterCommand(BaseCommand):
    letter: Path
    words: str


class Archive:
    def __init__(self) -> None:
        self.letters: set[Path] = set()
        self.words: set[str] = set()


@handles_command(AcceptLetterCommand)
async def accept_letter(cmd: AcceptLetterCommand, world: World) -> Any:
    if cmd.letter in world.get_resource(Archive).letters:
        return {"status": "SKIPPED", "reason": "Known letter"}
    words = await anyio.Path(cmd.letter).read_text()
    return await world.dispatch_command(SortLetterCommand(letter=cmd.letter, words=words))


@handles_command(SortLetterCommand)
async def sort_letter(cmd: SortLetterCommand, world: World, archive: Archive) -> Any:
    if cmd.words in archive.words:
        return {"status": "SKIPPED", "reason": "Known words"}
    if cmd.letter.suffix == ".txt":
        return await world.dispatch_command(StampLetterCommand(letter=cmd.letter, words=cmd.words))
    return {"status": "FAILED", "reason": "Unreadable hand"}


@handles_command(StampLetterCommand)
def stamp_letter(cmd: StampLetterCommand, archive: Archive) -> dict[str, str]:
    archive.letters.add(cmd.letter)
    archive.words.add(cmd.words)
    return {"status": "SUCCESS", "stamp": cmd.words[0]}


async def test_a_program_like_the_guides_sees_the_end_of_its_chain(tmp_path: Path) -> None:
    world = World()
    world.add_resource(Archive())
    world.register_system(accept_letter, command_type=AcceptLetterCommand)
    world.register_system(sort_letter, command_type=SortLetterCommand)
    world.register_system(stamp_letter, command_type=StampLetterCommand)

    async def answer(name: str, words: str) -> list[Any]:
        letter = tmp_path / name
        await anyio.Path(letter).write_text(words)
        result = await world.dispatch_command(AcceptLetterCommand(letter=letter))
        assert isinstance(result, CommandResult)
        return result.results

    assert await answer("one.txt", "hello") == [{"status": "SUCCESS", "stamp": "h"}]
    assert await answer("one.txt", "hello") == [{"status": "SKIPPED", "reason": "Known letter"}]
    assert await answer("two.txt", "hello") == [{"status": "SKIPPED", "reason": "Known words"}]
    assert await answer("two.ogg", "la la") == [{"status": "FAILED", "reason": "Unreadable hand"}]


# --- Commands --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FrozenCommand(BaseCommand):
    number: int


@dataclass(kw_only=True)
class KeywordCommand(BaseCommand):
    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StrictCommand(BaseCommand):
    number: int


class PlainCommand(BaseCommand):
    def __init__(self, number: int) -> None:
        self.number = number


@pytest.mark.parametrize("kind", [NegateCommand, FrozenCommand, KeywordCommand, StrictCommand, PlainCommand])
async def test_a_command_may_be_any_kind_of_class(kind: Callable[..., Any]) -> None:
    async def negate(cmd: BaseCommand) -> int:
        return -int(cmd.number)  # type: ignore[attr-defined]  # each of them has one

    world = World()
    world.register_system(negate, command_type=kind)  # type: ignore[arg-type]  # a class, called as a function too
    assert (await world.dispatch_command(kind(number=4))).one() == -4


async def test_handlers_answer_in_the_order_of_their_registration() -> None:
    def answering(value: Any, turns: int) -> Callable[[AddCommand], Awaitable[Any]]:
        async def handle(cmd: AddCommand) -> Any:
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            return value

        return handle

    world = World()
    for value, turns in (("slow", 5), (None, 1), (["a", "list"], 0)):
        world.register_system(answering(value, turns), command_type=AddCommand)
    assert (await world.dispatch_command(AddCommand())).results == ["slow", None, ["a", "list"]]


async def test_nested_answers_are_flattened_through_every_level() -> None:
    world = World()

    async def outer(cmd: AddCommand) -> CommandResult:
        return await world.dispatch_command(NegateCommand(cmd.left))

    async def middle(cmd: NegateCommand) -> CommandResult:
        return await world.dispatch_command(FrozenCommand(cmd.number))

    async def beside(cmd: NegateCommand) -> str:
        return "beside"

    async def inner(cmd: FrozenCommand) -> dict[str, int]:
        return {"number": cmd.number}

    async def silent(cmd: FrozenCommand) -> None:
        return None

    world.register_system(add, command_type=AddCommand)
    world.register_system(outer, command_type=AddCommand)
    world.register_system(middle, command_type=NegateCommand)
    world.register_system(beside, command_type=NegateCommand)
    world.register_system(inner, command_type=FrozenCommand)
    world.register_system(silent, command_type=FrozenCommand)
    assert (await world.dispatch_command(AddCommand())).results == [3, {"number": 1}, None, "beside"]


def test_one_is_the_only_result_or_an_error() -> None:
    assert CommandResult(results=[None]).one() is None
    for results in ([], [1, 2]):
        with pytest.raises(NotOneResultError, match=str(len(results))):
            CommandResult(results=results).one()


async def test_a_command_that_nobody_handles_says_what_to_do() -> None:
    with pytest.raises(NoHandlerError, match=r"register_system\(handler, command_type=AddCommand\)") as caught:
        await World().dispatch_command(AddCommand())
    assert caught.value.command_type is AddCommand


@pytest.mark.parametrize("raising", ["coroutine", "thread"])
async def test_a_handlers_exception_reaches_the_caller_as_the_same_object(raising: str) -> None:
    error, reached = KeyError("mine"), []
    world = World()

    async def nest(cmd: AddCommand) -> CommandResult:
        return await world.dispatch_command(NegateCommand())

    async def fail(cmd: NegateCommand) -> None:
        raise error

    def fail_in_a_thread(cmd: NegateCommand) -> None:
        raise error

    async def never(cmd: NegateCommand) -> None:
        reached.append("after the failure")

    world.register_system(nest, command_type=AddCommand)
    world.register_system(fail if raising == "coroutine" else fail_in_a_thread, command_type=NegateCommand)
    world.register_system(never, command_type=NegateCommand)
    with pytest.raises(KeyError) as caught:
        await world.dispatch_command(AddCommand())
    assert caught.value is error
    assert reached == []


# --- Registration ----------------------------------------------------------------------------------------


async def test_a_mark_registers_nothing() -> None:
    @handles_command(AddCommand)
    async def handle(cmd: AddCommand) -> str:
        return "marked"

    with pytest.raises(NoHandlerError):
        await World().dispatch_command(AddCommand())
    assert await handle(AddCommand()) == "marked"


async def test_a_handler_is_registered_by_its_marks_or_by_a_type() -> None:
    @handles_command(NegateCommand)
    @handles_command(AddCommand)
    async def both(cmd: AddCommand | NegateCommand) -> str:
        return type(cmd).__name__

    marked, typed = World(), World()
    marked.register_system(both)
    typed.register_system(add, command_type=AddCommand)
    typed.register_system(both, command_type=NegateCommand)
    assert (await marked.dispatch_command(AddCommand())).one() == "AddCommand"
    assert (await marked.dispatch_command(NegateCommand())).one() == "NegateCommand"
    assert (await typed.dispatch_command(AddCommand())).one() == 3
    assert (await typed.dispatch_command(NegateCommand())).one() == "NegateCommand"


@handles_command(AddCommand)
async def marked_add(cmd: AddCommand) -> int:
    return cmd.left + cmd.right


@pytest.mark.parametrize(
    ("handler", "types", "message"),
    [
        (marked_add, {"command_type": NegateCommand}, "marked for AddCommand, not for NegateCommand"),
        (functools.partial(marked_add), {"command_type": NegateCommand}, "marked for AddCommand, not for"),
        (add, {}, "neither mark nor type.*@handles_command"),
        (add, {"command_type": AddCommand, "event_type": Rang}, "not both"),
        (add, {"command_type": Store}, "Store.* is no BaseCommand: derive it"),
        (add, {"command_type": "AddCommand"}, "'AddCommand' is no BaseCommand"),
        (add, {"command_type": Rang}, "Rang.* is no BaseCommand"),
        (add, {"event_type": AddCommand}, "AddCommand.* is no BaseEvent"),
        (42, {"command_type": AddCommand}, "42 cannot be called"),
        ([].append, {"command_type": AddCommand}, "append"),
    ],
)
def test_a_registration_that_cannot_be_meant_says_why(handler: Any, types: Any, message: str) -> None:
    with pytest.raises(RegistrationError, match=message):
        World().register_system(handler, **types)


def test_a_mark_for_what_is_no_message_or_a_second_time_says_so() -> None:
    with pytest.raises(RegistrationError, match="is no BaseCommand"):
        handles_command(Rang)  # type: ignore[arg-type]  # the mistake that is tested
    with pytest.raises(RegistrationError, match="is no BaseEvent"):
        handles_event(AddCommand)  # type: ignore[arg-type]  # the mistake that is tested
    with pytest.raises(RegistrationError, match="marked_add is already marked for AddCommand"):
        handles_command(AddCommand)(marked_add)


class Counter:
    def __init__(self) -> None:
        self.count = 0

    async def count_up(self, cmd: AddCommand) -> int:
        self.count += 1
        return self.count


def test_the_same_handler_twice_is_an_error_and_a_method_of_another_object_is_not() -> None:
    world, counter = World(), Counter()
    for handler in (add, counter.count_up, Counter().count_up):
        world.register_system(handler, command_type=AddCommand)
    for handler in (add, counter.count_up):
        with pytest.raises(RegistrationError, match="already registered for AddCommand"):
            world.register_system(handler, command_type=AddCommand)


async def test_a_registration_that_fails_leaves_nothing_behind() -> None:
    @handles_command(NegateCommand)
    @handles_command(AddCommand)
    async def only_adds(cmd: AddCommand) -> None: ...

    world = World()
    with pytest.raises(RegistrationError, match="'cmd'"):
        world.register_system(only_adds)
    with pytest.raises(NoHandlerError):
        await world.dispatch_command(AddCommand())


# --- What handlers receive -------------------------------------------------------------------------------

Item = TypeVar("Item")
Nickname = NewType("Nickname", Store)


class Shelf(Generic[Item]):
    """A generic resource."""


@runtime_checkable
class Countable(Protocol):
    def __len__(self) -> int: ...


class Opaque(Protocol):
    """A protocol that cannot be asked at run time."""

    def unknown(self) -> int: ...


async def ask(world: World, handler: Callable[..., Any]) -> Any:
    world.register_system(handler, command_type=AddCommand)
    return (await world.dispatch_command(AddCommand())).one()


@pytest.mark.parametrize(
    "wanted",
    [
        Store,
        DiskStore,
        "DiskStore",
        "Store | None",
        Optional[DiskStore],  # noqa: UP045 - the older spelling is what is tested
        Annotated[Store, "the big one"],
        Annotated["Store", 1] | None,
        Countable,
        int | Store,
    ],
)
async def test_a_resource_is_given_by_any_annotation_that_names_its_class_or_a_base(wanted: Any) -> None:
    async def handle(cmd: AddCommand, store: Any) -> Any:
        return store

    handle.__annotations__["store"] = wanted
    world, store = World(), DiskStore()
    world.add_resource(store)
    assert await ask(world, handle) is store


async def test_a_generic_resource_is_given_by_its_class() -> None:
    async def handle(cmd: AddCommand, shelf: Shelf[int], other: Shelf[str] | None = None) -> Any:
        return shelf, other

    world, shelf = World(), Shelf[int]()
    world.add_resource(shelf)
    assert await ask(world, handle) == (shelf, shelf)


async def test_a_protocol_that_cannot_be_asked_is_met_by_what_derives_from_it() -> None:
    class Known(Opaque):
        def unknown(self) -> int:
            return 1

    async def handle(cmd: AddCommand, opaque: Opaque) -> int:
        return opaque.unknown()

    world = World()
    world.add_resource(Known())
    assert await ask(world, handle) == 1


async def test_the_exact_class_is_preferred_to_a_derived_one() -> None:
    async def handle(cmd: AddCommand, store: Store, same: Store | None = None) -> Any:
        return type(store), type(same)

    world = World()
    world.add_resource(DiskStore())
    world.add_resource(Store())
    assert await ask(world, handle) == (Store, Store)
    assert type(world.get_resource(Store)) is Store


def test_resources_are_known_by_their_type() -> None:
    world = World()
    with pytest.raises(MissingResourceError, match=r"no resource of type Store: add one with world\.add_resource"):
        world.get_resource(Store)
    store = DiskStore()
    world.add_resource(store)
    assert world.get_resource(Store) is store
    assert world.get_resource(World) is world
    with pytest.raises(RegistrationError, match="already has a resource of type DiskStore"):
        world.add_resource(DiskStore())


async def test_the_world_and_the_message_are_given_wherever_they_stand() -> None:
    class OtherWorld(World):
        """Users may derive from it."""

    async def last(world: World, *rest: Any, cmd: AddCommand, **more: Any) -> Any:
        return world, cmd.left, rest, more

    async def without_message(world: OtherWorld) -> Any:
        return world

    world = OtherWorld()
    assert await ask(world, last) == (world, 1, (), {})
    world.register_system(without_message, command_type=NegateCommand)
    assert (await world.dispatch_command(NegateCommand())).one() is world


async def test_positional_only_parameters_are_given_by_position() -> None:
    async def handle(cmd: AddCommand, limit: int = 7, world: World | None = None, /, *, store: Store) -> Any:
        return cmd.left, limit, world, store

    world, store = World(), Store()
    world.add_resource(store)
    left, limit, given, kept = await ask(world, handle)
    assert (left, limit) == (1, 7)
    assert given is world
    assert kept is store


async def test_a_default_is_left_alone_unless_something_provides_it() -> None:
    async def handle(cmd: AddCommand, limit: int = 5, store: Store | None = None, anything: object = "kept") -> Any:
        return limit, store, anything

    async def handle_last(limit: int = 6, *, cmd: AddCommand) -> Any:
        return limit, cmd.left

    assert await ask(World(), handle) == (5, None, "kept")
    assert await ask(World(), handle_last) == (6, 1)


def unannotated(cmd, limit): ...  # type: ignore[no-untyped-def]  # the mistake that is tested
def of_another_command(cmd: NegateCommand) -> None: ...
def of_an_unknown_name(cmd: "Missing") -> None: ...
def of_no_annotation_at_all(cmd: "the command") -> None: ...  # type: ignore[valid-type]  # noqa: F722 - a mistake to test
def of_a_missing_attribute(cmd: "asyncio.Nothing") -> None: ...  # type: ignore[name-defined]  # a mistake to test
def with_a_missing_resource(cmd: AddCommand, store: Store) -> None: ...
def with_a_number(cmd: AddCommand, limit: int) -> None: ...
def with_anything(cmd: AddCommand, what: Any) -> None: ...
def with_an_object(cmd: AddCommand, what: object) -> None: ...
def with_a_nickname(cmd: AddCommand, what: Nickname) -> None: ...
def with_a_protocol(cmd: AddCommand, what: Opaque) -> None: ...
def with_two_messages(cmd: AddCommand, again: AddCommand) -> None: ...
def with_nothing_known(*args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (unannotated, "'cmd', which has no annotation; there are AddCommand, World"),
        (of_another_command, "'cmd', which wants .*NegateCommand"),
        (of_an_unknown_name, "'Missing'"),
        (of_no_annotation_at_all, "the command"),
        (of_a_missing_attribute, "'Nothing'"),
        (with_a_missing_resource, "'store', which wants .*Store.*; there are AddCommand, World"),
        (with_a_number, "'limit'"),
        (with_anything, "'what'"),
        (with_an_object, "'what'"),
        (with_a_nickname, "'what'"),
        (with_a_protocol, "'what'"),
        (with_two_messages, "'again'"),
        (with_nothing_known, r"functools\.wraps"),
    ],
)
def test_a_parameter_that_nothing_provides_is_an_error_at_registration(
    handler: Callable[..., Any], message: str
) -> None:
    with pytest.raises(RegistrationError, match=f"{handler.__name__}.*{message}"):
        World().register_system(handler, command_type=AddCommand)


FUTURE_MODULE = """
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING
from damd.world import BaseCommand, World, handles_command
if TYPE_CHECKING:
    from nowhere import Answer

def build():
    class Local(BaseCommand): ...
    class Derived(Local): ...
    class Tool: ...
    class Helper: ...

    @handles_command(Derived)
    async def handle(cmd: Local, world: World, tool: Tool | None, helper: Helper = None) -> Answer:
        return cmd, world, tool, helper, Helper, later

    @handles_command(Derived)
    async def early(cmd: Derived):
        return later

    def register(world, tools):
        world.add_resource(tools[0])
        world.register_system(handle)

    return Derived, Tool, Helper, early, register

def register_before_its_closure_is_filled(world):
    class Local(BaseCommand): ...
    async def handle(cmd: Local):
        return later
    world.register_system(handle, command_type=Local)
    later = "filled"
    return Local

later = "now"
"""


async def test_string_annotations_of_local_classes_and_closures_are_resolved(tmp_path: Path) -> None:
    source = tmp_path / "future_module.py"
    source.write_text(FUTURE_MODULE)
    spec = importlib.util.spec_from_file_location("future_module", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    command, tool, helper, early, register = module.build()
    world = World()
    given = tool()
    register(world, [given])
    world.register_system(early)
    results = (await world.dispatch_command(command())).results
    assert results[0][1:] == (world, given, None, helper, "now")
    assert results[1] == "now"
    unfilled = module.register_before_its_closure_is_filled(world)
    assert (await world.dispatch_command(unfilled())).one() == "filled"


# --- Kinds of handlers -----------------------------------------------------------------------------------


class Calling:
    async def __call__(self, cmd: AddCommand, world: World) -> str:
        return type(world).__name__


class CallingPlainly:
    def __call__(self, cmd: AddCommand, world: World) -> str:
        assert threading.current_thread() is not threading.main_thread()
        return type(world).__name__


class Holder:
    async def method(self, cmd: AddCommand, world: "World") -> str:
        return type(world).__name__

    @classmethod
    async def class_method(cls, cmd: AddCommand, world: World) -> str:
        return type(world).__name__

    @staticmethod
    def static_method(cmd: AddCommand, world: World) -> str:
        return type(world).__name__


async def with_prefix(prefix: str, cmd: AddCommand, world: World, suffix: str) -> str:
    return prefix + type(world).__name__ + suffix


def plain_wrapper(handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return handler(*args, **kwargs)

    return wrapper


def async_wrapper(handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    async def wrapper(message: BaseCommand, **resources: Any) -> Any:
        answer = handler(message, **resources)
        return await answer if asyncio.iscoroutine(answer) else answer

    return wrapper


async def of_a_coroutine(cmd: AddCommand, world: "World") -> str:
    return type(world).__name__


def of_a_function(cmd: AddCommand, world: "World") -> str:
    return type(world).__name__


def returning_a_coroutine(cmd: AddCommand, world: World) -> Awaitable[str]:
    return of_a_coroutine(cmd, world)


@pytest.mark.parametrize(
    "handler",
    [
        Calling(),
        CallingPlainly(),
        Holder().method,
        Holder.class_method,
        Holder.static_method,
        functools.partial(with_prefix, "", suffix=""),
        functools.partial(functools.partial(with_prefix, ""), suffix=""),
        functools.partial(Calling()),
        plain_wrapper(of_a_coroutine),
        plain_wrapper(of_a_function),
        async_wrapper(of_a_coroutine),
        async_wrapper(of_a_function),
        plain_wrapper(async_wrapper(of_a_function)),
        returning_a_coroutine,
    ],
)
async def test_every_kind_of_callable_may_be_a_handler(handler: Callable[..., Any]) -> None:
    assert await ask(World(), handler) == "World"


async def test_a_wrapper_of_a_coroutine_function_stays_on_the_event_loop() -> None:
    async def where(thread: int) -> bool:
        return thread == threading.get_ident()

    @functools.wraps(of_a_coroutine)
    def wrapper(*args: Any, **kwargs: Any) -> Awaitable[bool]:
        return where(threading.get_ident())

    assert await ask(World(), wrapper) is True


async def test_what_a_partial_binds_is_not_replaced_by_a_resource() -> None:
    async def handle(cmd: AddCommand, store: Store, world: World) -> Any:
        return store, world

    world, mine = World(), Store()
    world.add_resource(Store())
    store, given = await ask(world, functools.partial(handle, store=mine))
    assert store is mine
    assert given is world


async def test_a_partial_of_a_marked_handler_and_a_wrapper_of_one_are_marked() -> None:
    world = World()
    world.register_system(functools.partial(marked_add))
    world.register_system(plain_wrapper(marked_add))
    assert (await world.dispatch_command(AddCommand())).results == [3, 3]


async def test_a_plain_function_runs_in_a_worker_thread_while_the_loop_goes_on() -> None:
    opened = threading.Event()

    def wait_for_the_loop(cmd: AddCommand) -> int:
        assert opened.wait(5), "the event loop was blocked"
        return threading.get_ident()

    world = World()
    world.register_system(wait_for_the_loop, command_type=AddCommand)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            answers: list[int] = []

            async def dispatch() -> None:
                answers.append((await world.dispatch_command(AddCommand())).one())

            tasks.start_soon(dispatch)
            await anyio.wait_all_tasks_blocked()
            assert answers == []
            opened.set()
    assert answers != [threading.get_ident()]


async def test_a_plain_function_may_dispatch_from_its_thread() -> None:
    def nest(cmd: NegateCommand, world: World) -> CommandResult:
        return anyio.from_thread.run(world.dispatch_command, AddCommand())

    world = World()
    world.register_system(add, command_type=AddCommand)
    world.register_system(nest, command_type=NegateCommand)
    assert (await world.dispatch_command(NegateCommand())).results == [3]


# --- Events ----------------------------------------------------------------------------------------------


async def test_an_event_returns_at_once_and_leaving_waits_for_its_handlers() -> None:
    heard: list[str] = []
    gate = anyio.Event()

    async def slow(event: Rang) -> None:
        await gate.wait()
        heard.append(event.bell)

    def plain(event: Rang) -> None:
        heard.append("plain")

    async with World() as world:
        world.register_system(slow, event_type=Rang)
        world.register_system(plain, event_type=Rang)
        await world.dispatch_event(Rang())
        await world.dispatch_event(Rang("back"))
        assert heard == []
        gate.set()
    assert sorted(heard) == ["back", "door", "plain", "plain"]


async def test_an_event_is_heard_by_listeners_of_its_bases_and_not_of_its_derivations() -> None:
    heard: list[str] = []

    @handles_event(BaseEvent)
    async def everything(event: BaseEvent) -> None:
        heard.append(f"everything {type(event).__name__}")

    @handles_event(RangTwice)
    async def twice(event: Rang) -> None:
        heard.append(f"twice {type(event).__name__}")

    async with World() as world:
        world.register_system(everything)
        world.register_system(twice)
        await world.dispatch_event(RangTwice())
        await world.dispatch_event(Rang())
    assert sorted(heard) == ["everything Rang", "everything RangTwice", "twice RangTwice"]


async def test_an_event_that_nobody_hears_is_no_error() -> None:
    async with World() as world:
        await world.dispatch_event(Rang())


async def fail_to_listen(event: Rang) -> None:
    raise RuntimeError("deaf")


async def wait_for_what_is_cancelled(event: Rang) -> None:
    other = asyncio.get_running_loop().create_future()
    other.cancel()
    await other


@pytest.mark.parametrize(
    ("failing", "error"), [(fail_to_listen, RuntimeError), (wait_for_what_is_cancelled, asyncio.CancelledError)]
)
async def test_a_failing_event_handler_is_logged_with_the_event_and_stops_nobody(
    failing: Callable[..., Any], error: type[BaseException]
) -> None:
    heard: list[str] = []
    after = anyio.Event()

    async def listen(event: Rang) -> None:
        await after.wait()
        heard.append(event.bell)

    with capture_logs() as logs:
        async with World() as world:
            world.register_system(failing, event_type=Rang)
            world.register_system(listen, event_type=Rang)
            await world.dispatch_event(Rang("bicycle"))
            await anyio.wait_all_tasks_blocked()
            heard.append("the body goes on")
            after.set()
    assert heard == ["the body goes on", "bicycle"]
    [entry] = logs
    assert entry["log_level"] == "error"
    assert entry["event_handled"] == "Rang(bell='bicycle')"
    assert entry["handler"].endswith(failing.__name__)
    assert entry["exc_info"]


async def test_events_that_handlers_dispatch_while_the_world_is_left_are_still_heard() -> None:
    heard: list[str] = []

    async def echo(event: Rang, world: World) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append(event.bell)
        if len(heard) < 4:
            await world.dispatch_event(Rang(f"{event.bell}!"))

    async with World() as world:
        world.register_system(echo, event_type=Rang)
        await world.dispatch_event(Rang("hey"))
    assert heard == ["hey", "hey!", "hey!!", "hey!!!"]


async def test_an_event_that_somebody_else_dispatches_while_the_world_is_left_is_heard() -> None:
    heard: list[str] = []
    left = anyio.Event()

    async def listen(event: Rang) -> None:
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        heard.append(event.bell)

    async def dispatch_when_left() -> None:
        await left.wait()
        await world.dispatch_event(Rang())

    async with anyio.create_task_group() as tasks:
        async with World() as world:
            world.register_system(listen, event_type=Rang)
            tasks.start_soon(dispatch_when_left)
            await anyio.wait_all_tasks_blocked()
            left.set()
        assert heard == ["door"]


async def test_an_event_needs_a_world_that_is_entered() -> None:
    world = World()
    with pytest.raises(WorldError, match="async with World"):
        await world.dispatch_event(Rang())
    async with world:
        await world.dispatch_event(Rang())
    with pytest.raises(WorldError, match="async with World"):
        await world.dispatch_event(Rang())


async def test_an_event_class_in_place_of_an_event_is_an_error() -> None:
    async with World() as world:
        with pytest.raises(WorldError, match=r"Rang.* is no BaseEvent"):
            await world.dispatch_event(Rang)  # type: ignore[arg-type]  # the mistake that is tested


# --- Entering and leaving --------------------------------------------------------------------------------


class Patient:
    """A handler that never ends by itself, and notes how it ended."""

    def __init__(self) -> None:
        self.endings: list[str] = []

    async def wait(self, event: Rang) -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.endings.append("cancelled")
            raise


@pytest.mark.parametrize("kind", [ValueError, SystemExit, ExceptionGroup])
@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_error_leaves_the_world_unchanged_and_cancels_its_handlers(
    kind: type[BaseException], busy: bool, cancelled: bool
) -> None:
    error = ExceptionGroup("mine", [ValueError()]) if kind is ExceptionGroup else kind("mine")
    patient = Patient()

    async def fail(cmd: AddCommand) -> None:
        raise error

    async def leave() -> None:
        with anyio.CancelScope() as scope:
            async with World() as world:
                world.register_system(fail, command_type=AddCommand)
                world.register_system(patient.wait, event_type=Rang)
                if busy:
                    await world.dispatch_event(Rang())
                    await anyio.wait_all_tasks_blocked()
                if cancelled:
                    scope.cancel()
                await world.dispatch_command(AddCommand())

    with anyio.fail_after(10), pytest.raises(kind) as caught:
        await leave()
    assert caught.value is error
    assert patient.endings == ["cancelled"] * busy


@pytest.mark.parametrize("leaving", [False, True])
async def test_cancelling_what_surrounds_the_world_cancels_its_handlers_and_nothing_else(leaving: bool) -> None:
    patient = Patient()
    with capture_logs() as logs, anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:

                async def cancel_when_all_wait() -> None:
                    await anyio.wait_all_tasks_blocked()
                    scope.cancel()

                tasks.start_soon(cancel_when_all_wait)
                async with World() as world:
                    world.register_system(patient.wait, event_type=Rang)
                    await world.dispatch_event(Rang())
                    if not leaving:
                        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert patient.endings == ["cancelled"]
    assert logs == []
    with pytest.raises(WorldError):
        await world.dispatch_event(Rang())


async def test_a_world_can_be_entered_again_but_not_twice_at_once() -> None:
    heard: list[str] = []

    async def listen(event: Rang) -> None:
        heard.append(event.bell)

    world = World()
    world.register_system(listen, event_type=Rang)
    with pytest.raises(ValueError, match="first"):
        async with world:
            raise ValueError("first")
    async with world:
        with pytest.raises(WorldError, match="already entered"):
            await world.__aenter__()
        await world.dispatch_event(Rang())
    assert heard == ["door"]


async def test_two_worlds_know_nothing_of_each_other() -> None:
    heard: list[str] = []

    def listening(name: str) -> Callable[[Rang], Awaitable[None]]:
        async def listen(event: Rang) -> None:
            heard.append(f"{name} {event.bell}")

        return listen

    async with World() as left, World() as right:
        left.register_system(listening("left"), event_type=Rang)
        right.register_system(listening("right"), event_type=Rang)
        right.register_system(marked_add)
        await left.dispatch_event(Rang("here"))
        await right.dispatch_event(Rang("there"))
        with pytest.raises(NoHandlerError):
            await left.dispatch_command(AddCommand())
    assert sorted(heard) == ["left here", "right there"]


def test_a_world_may_be_made_before_any_event_loop_and_outlive_one() -> None:
    world = World()
    world.register_system(of_a_function, command_type=AddCommand)

    async def run() -> Any:
        async with world:
            return (await world.dispatch_command(AddCommand())).one()

    assert [anyio.run(run), anyio.run(run)] == ["World", "World"]
