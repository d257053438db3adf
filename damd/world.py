"""The World: commands that answer, events that are told, and the systems that handle both.

Decorators mark, registration registers: importing a module with handlers changes nothing. What a handler
asks for by annotation is resolved when it is registered, so that a parameter nobody can provide is an
error at start-up and not at the first file.
"""

from __future__ import annotations

import functools
import inspect
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CellType, SimpleNamespace, TracebackType, UnionType
from typing import Any, Self, TypeVar, cast

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup

from damd.errors import MissingResourceError, NoHandlerError, NotOneResultError, RegistrationError, WorldError

_log = structlog.get_logger(__name__)

_MARK = "__damd_handles__"
_PLAIN_SYSTEMS = 8  # threads for handlers that are plain functions
_EMPTY_CELL = CellType()  # a closure's variable that is assigned later
_VARIADIC = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


class BaseCommand:
    """A request that is answered. Plain, so that a subclass may be any kind of dataclass."""


class BaseEvent:
    """A fact that is told. Plain, so that a subclass may be any kind of dataclass."""


MessageType = type[BaseCommand] | type[BaseEvent]
Handler = TypeVar("Handler", bound=Callable[..., Any])
Resource = TypeVar("Resource")


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """What the systems that handled a command returned, in the order of their registration.

    A system that returned the `CommandResult` of a nested dispatch contributes that one's values, so the
    caller sees the end of the chain.
    """

    results: list[Any]

    def one(self) -> Any:
        """The only result.

        Raises:
            NotOneResultError: There is none, or there are several.
        """
        if len(self.results) != 1:
            raise NotOneResultError(len(self.results))
        return self.results[0]


def handles_command(command_type: type[BaseCommand]) -> Callable[[Handler], Handler]:
    """Mark a function as a handler of this command; registers nothing."""
    return _marker(command_type, BaseCommand)


def handles_event(event_type: type[BaseEvent]) -> Callable[[Handler], Handler]:
    """Mark a function as a handler of this event and of what derives from it; registers nothing."""
    return _marker(event_type, BaseEvent)


def _marker(message_type: MessageType, base: type) -> Callable[[Handler], Handler]:
    _check_message_type(message_type, base)

    def mark(handler: Handler) -> Handler:
        marks = _marks_of(handler)
        if message_type in marks:
            raise RegistrationError(f"{_name(handler)} is already marked for {message_type.__qualname__}")
        setattr(handler, _MARK, (*marks, message_type))
        return handler

    return mark


def _marks_of(handler: Callable[..., Any]) -> tuple[MessageType, ...]:
    while isinstance(handler, functools.partial) and not hasattr(handler, _MARK):
        handler = handler.func
    return cast("tuple[MessageType, ...]", getattr(handler, _MARK, ()))


def _check_message_type(message_type: Any, base: type) -> None:
    if not (isinstance(message_type, type) and issubclass(message_type, base)):
        raise RegistrationError(f"{message_type!r} is no {base.__name__}: derive it from damd.world.{base.__name__}")


@dataclass(frozen=True, slots=True)
class _System:
    """A registered handler, with the values of all its parameters but the message's."""

    handler: Callable[..., Any]
    message_parameter: str | None
    fixed: dict[str, Any]
    positional: tuple[str, ...]
    is_async: bool

    async def run(self, message: object, threads: anyio.CapacityLimiter) -> Any:
        named = dict(self.fixed)
        if self.message_parameter is not None:
            named[self.message_parameter] = message
        positional = [named.pop(name) for name in self.positional if name in named]
        call = functools.partial(self.handler, *positional, **named)
        value = call() if self.is_async else await anyio.to_thread.run_sync(call, limiter=threads)
        # A plain function may hand on another one's coroutine, and a plain wrapper may have finished it.
        return await value if inspect.isawaitable(value) else value


class World:
    """Systems, and the resources they ask for.

    Commands can be dispatched at any time; events need the World to be entered with ``async with``, since
    their handlers run in its own task group. Leaving it waits for those that run.
    """

    def __init__(self) -> None:
        self._systems: dict[MessageType, list[_System]] = {}
        self._resources: list[object] = [self]
        self._threads = anyio.CapacityLimiter(_PLAIN_SYSTEMS)
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise WorldError("This World is already entered")
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        tasks = cast("TaskGroup", self._tasks)
        if error is None:
            # A group that is empty yields once without looking again: what others told it then would be left behind.
            tasks.start_soon(anyio.sleep, 0)
        try:
            return bool(await tasks.__aexit__(error_type, error, traceback))
        except BaseExceptionGroup as group:
            if group.exceptions == (error,):
                return False  # so that the error leaves as it is, not wrapped
            raise
        finally:
            self._tasks = None

    def add_resource(self, resource: object) -> None:
        """Offer an object to every handler that is registered from now on and asks for its type.

        Raises:
            RegistrationError: There is one of exactly this type.
        """
        if any(type(known) is type(resource) for known in self._resources):
            raise RegistrationError(f"The World already has a resource of type {type(resource).__qualname__}")
        self._resources.append(resource)

    def get_resource(self, resource_type: type[Resource]) -> Resource:
        """The resource of this type, or of a type derived from it.

        Raises:
            MissingResourceError: None was added.
        """
        if (resource := self._find_resource(resource_type)) is None:
            raise MissingResourceError(resource_type)
        return cast("Resource", resource)

    def register_system(
        self,
        handler: Callable[..., Any],
        *,
        command_type: type[BaseCommand] | None = None,
        event_type: type[BaseEvent] | None = None,
    ) -> None:
        """Register a handler for what it is marked with, or for the type that is given.

        Raises:
            RegistrationError: Neither mark nor type, a mark that contradicts the type, the same handler
                twice, or a parameter that nothing provides.
        """
        if not callable(handler):
            raise RegistrationError(f"{handler!r} cannot be called, so it cannot handle anything")
        resolved = {kind: self._resolve(handler, kind) for kind in self._types_for(handler, command_type, event_type)}
        for message_type, system in resolved.items():
            self._systems.setdefault(message_type, []).append(system)

    async def dispatch_command(self, command: BaseCommand) -> CommandResult:
        """Run every handler of the command's type, in the order of their registration.

        Raises:
            NoHandlerError: There is none.
            Exception: Whatever a handler raised, unchanged.
        """
        systems = self._systems.get(type(command))
        if not systems:
            raise NoHandlerError(type(command))
        results: list[Any] = []
        for system in tuple(systems):
            value = await system.run(command, self._threads)
            if isinstance(value, CommandResult):
                results.extend(value.results)
            else:
                results.append(value)
        return CommandResult(results=results)

    async def dispatch_event(self, event: BaseEvent) -> None:
        """Tell every handler of the event's type, and of the types it derives from; returns at once.

        A handler that fails is logged and stops nobody.

        Raises:
            WorldError: The World is not entered, so nothing would ever run them; or this is no event.
        """
        if not isinstance(event, BaseEvent):
            raise WorldError(f"{event!r} is no BaseEvent")
        if self._tasks is None:
            raise WorldError("Events need a running World: use `async with World() as world:`")
        for event_type in type(event).__mro__:
            for system in self._systems.get(event_type, ()):
                self._tasks.start_soon(self._tell, system, event)

    async def _tell(self, system: _System, event: BaseEvent) -> None:
        try:
            await system.run(event, self._threads)
        except (Exception, anyio.get_cancelled_exc_class()) as error:
            # Cancelled while nobody cancels the World: the handler awaited something else that was. A failure like any.
            if not isinstance(error, Exception) and anyio.current_effective_deadline() == -math.inf:
                raise
            _log.exception("event handler failed", handler=_name(system.handler), event_handled=repr(event))

    def _types_for(
        self, handler: Callable[..., Any], command_type: type[BaseCommand] | None, event_type: type[BaseEvent] | None
    ) -> tuple[MessageType, ...]:
        if command_type is not None and event_type is not None:
            raise RegistrationError(f"{_name(handler)}: give command_type or event_type, not both")
        marks = _marks_of(handler)
        given: MessageType | None = command_type or event_type
        if given is None:
            if not marks:
                raise RegistrationError(
                    f"{_name(handler)} has neither mark nor type: decorate it with @handles_command or "
                    "@handles_event, or name the type: register_system(handler, command_type=…)"
                )
            return marks
        _check_message_type(given, BaseCommand if command_type is not None else BaseEvent)
        if marks and given not in marks:
            marked = ", ".join(mark.__qualname__ for mark in marks)
            raise RegistrationError(f"{_name(handler)} is marked for {marked}, not for {given.__qualname__}")
        return (given,)

    def _resolve(self, handler: Callable[..., Any], message_type: MessageType) -> _System:
        if any(system.handler == handler for system in self._systems.get(message_type, ())):
            raise RegistrationError(f"{_name(handler)} is already registered for {message_type.__qualname__}")
        parameters = _parameters_of(handler)
        wanted = self._annotations(handler, parameters, message_type)
        message_parameter: str | None = None
        fixed: dict[str, Any] = {}
        for name, parameter in parameters.items():
            if message_parameter is None and _is_a(message_type, wanted.get(name)):
                message_parameter = name
            elif (found := self._find_resource(wanted.get(name))) is not None:
                fixed[name] = found
            elif parameter.default is parameter.empty:
                raise RegistrationError(self._nothing_provides(_name(handler), parameter, message_type))
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                fixed[name] = parameter.default  # another one may follow it
        return _System(
            handler=handler,
            message_parameter=message_parameter,
            fixed=fixed,
            # The first one too, which a decorator's wrapper is free to call otherwise.
            positional=tuple(name for name, each in parameters.items() if each.kind is each.POSITIONAL_ONLY)
            or tuple(name for name, each in parameters.items() if each.kind is each.POSITIONAL_OR_KEYWORD)[:1],
            # A decorator may wrap either kind in the other.
            is_async=any(map(inspect.iscoroutinefunction, (handler, _function_of(handler)))),
        )

    def _find_resource(self, wanted: Any) -> object | None:
        """What fits; what is of exactly this type first, then in the order of being added."""
        fitting = [known for known in self._resources if wanted is not object and _is_a(type(known), wanted)]
        return max(fitting, key=lambda known: type(known) in (wanted, *typing.get_args(wanted)), default=None)

    def _nothing_provides(self, handler: str, parameter: inspect.Parameter, message_type: MessageType) -> str:
        wanted = "has no annotation" if parameter.annotation is parameter.empty else f"wants {parameter.annotation}"
        offered = ", ".join(sorted({message_type.__name__, *(type(known).__name__ for known in self._resources)}))
        return f"{handler}: nothing provides its parameter {parameter.name!r}, which {wanted}; there are {offered}"

    def _annotations(
        self, handler: Callable[..., Any], parameters: Mapping[str, inspect.Parameter], message_type: MessageType
    ) -> dict[str, Any]:
        function = _function_of(handler)
        if not inspect.isfunction(function):
            return {}  # written in C, without annotations
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        closure = {name: cell.cell_contents for name, cell in cells if cell != _EMPTY_CELL}
        # Classes made inside a function are in no module's namespace; the types on offer are known by their names.
        offering = (*map(type, self._resources), message_type)
        offered = {kind.__name__: kind for owner in offering for kind in reversed(owner.__mro__[:-1])}
        namespace = {**offered, **function.__globals__, **closure}
        # Not the function's own: what it returns is nobody's business, and often imported for type checkers only.
        written = {name: each.annotation for name, each in parameters.items() if each.annotation is not each.empty}
        try:
            return typing.get_type_hints(SimpleNamespace(__annotations__=written), globalns=namespace)
        except Exception as error:
            raise RegistrationError(f"{_name(handler)}: its annotations cannot be resolved: {error}") from error


def _is_a(kind: type, wanted: Any) -> bool:
    """Whether an object of this class is what an annotation names: a class, a generic one, a union of some."""
    origin = typing.get_origin(wanted)
    if origin in {typing.Union, UnionType}:
        return any(_is_a(kind, member) for member in typing.get_args(wanted))
    try:
        return (origin or wanted) in kind.__mro__ or issubclass(kind, origin or wanted)
    except TypeError:  # no class at all, or one that cannot be asked, as most protocols
        return False


def _parameters_of(handler: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """What the World has to fill: neither ``*args`` and ``**kwargs`` nor what a partial has bound by name."""
    everything = inspect.signature(handler).parameters
    bound = handler.keywords if isinstance(handler, functools.partial) else {}
    named = {name: each for name, each in everything.items() if each.kind not in _VARIADIC}
    if everything and not named:
        raise RegistrationError(f"{_name(handler)} names no parameter: a decorator's wrapper needs functools.wraps")
    return {name: each for name, each in named.items() if name not in bound}


def _function_of(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The plain function beneath partials, bound methods, callable objects and decorators."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not (inspect.isfunction(handler) or inspect.ismethod(handler)):
        handler = type(handler).__call__
    return cast("Callable[..., Any]", inspect.unwrap(getattr(handler, "__func__", handler)))


def _name(handler: Callable[..., Any]) -> str:
    function = _function_of(handler)
    return f"{function.__module__}.{function.__qualname__}" if inspect.isfunction(function) else repr(handler)
