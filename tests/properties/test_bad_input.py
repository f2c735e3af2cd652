"""Any value of any type for any parameter gives the documented answer or error, and changes nothing."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import fractions
import functools
import gc
import inspect
import itertools
import uuid
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from unittest import mock

import anyio
import attrs
import httpx
import httpx2
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import swarmguard.httpx
import swarmguard.httpx2
from swarmguard import (
    AgentHealth,
    BreakerMode,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitOpenError,
    CircuitState,
    ConsecutiveFailures,
    CountWindow,
    DuplicateAgentError,
    Event,
    EventBus,
    FailureRate,
    Overseer,
    OverseerConfig,
    TimeWindow,
    UnknownAgentError,
)
from swarmguard._common.monitor import _monitors
from swarmguard.asgi import create_app
from swarmguard.logging import LoggingSink
from swarmguard.otel import OTelMetrics
from swarmguard.prometheus import PrometheusMetrics
from swarmguard.testing import EventRecorder, FakeClock

# --- any value --------------------------------------------------------------------------------------------------------


class OwnError(Exception):
    """The exception that a hostile value raises in every special method."""


def refuse(*args: object, **kwargs: object) -> Any:
    """Raise, as every special method of a hostile value."""
    raise OwnError


SPECIAL_METHODS = (
    "repr",
    "str",
    "eq",
    "ne",
    "lt",
    "bool",
    "len",
    "iter",
    "float",
    "index",
    "int",
    "call",
    "enter",
    "getitem",
)


class Hostile:
    """Raises when it is compared, converted or printed."""

    __hash__ = object.__hash__


for question in SPECIAL_METHODS:
    setattr(Hostile, f"__{question}__", refuse)


class HostileText(str):
    """A text without a repr."""

    __slots__ = ()
    __repr__ = __str__ = refuse


class HostileError(Exception):
    """An exception without a text."""

    __repr__ = __str__ = refuse


class Unhashable:
    """Raise."""

    __hash__ = None  # type: ignore[assignment]


class NumberLike:
    """Claims to be a number, and is not."""

    def __float__(self) -> float:
        """Return the class of a number."""
        return 1.0

    __index__ = __int__ = lambda self: 1


class Whole(int):
    """A subclass of `int`."""


async def a_coroutine_function() -> None:
    """Do nothing."""


def a_generator_function() -> Iterator[None]:
    """Yield nothing."""
    yield


ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 10**400, -(10**400), 0.0, -0.0, 0.5, 1e308, -1e-320, 1e-320),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        1j,
        decimal.Decimal(5),
        decimal.Decimal("nan"),
        fractions.Fraction(1, 3),
    ),
    *("", " ", "api", "\ud800", "\x00", "x" * 5000, b"", b"api", bytearray(b"api"), "Closed", "Normal", "auto", "5"),
    *((), [], {}, set(), frozenset(), (ValueError,), (ValueError, (KeyError,)), (int,), [ValueError], range(3)),
    *(
        int,
        object,
        Exception,
        BaseException,
        ValueError,
        type,
        Hostile,
        mock.Mock(),
        mock.MagicMock(),
        mock.AsyncMock(),
    ),
    *(ValueError("boom"), KeyboardInterrupt(), ExceptionGroup("", [ValueError()]), HostileError()),
    *(print, len, lambda: None, refuse, a_coroutine_function, a_generator_function, functools.partial(print, end="")),
    *(
        dt.timedelta(seconds=5),
        dt.timedelta(-1),
        dt.timedelta.max,
        dt.timedelta(0),
        dt.datetime.now(dt.UTC),
        dt.date.max,
    ),
    *(uuid.UUID(int=1), uuid.UUID(int=2**128 - 1), str(uuid.UUID(int=1)), *BreakerMode, *CircuitState, *AgentHealth),
    *(Hostile(), HostileText("api"), Unhashable(), NumberLike(), Whole(3), inspect, NotImplemented, ..., object()),
    *(CircuitBreakerConfig(), OverseerConfig(), ConsecutiveFailures(), FailureRate(), CountWindow(), TimeWindow()),
    *(FakeClock(), EventRecorder(), EventBus(), CircuitBreaker("api"), CircuitBreakerRegistry(), Overseer()),
    CircuitOpenError("api", CircuitState.OPEN, 1.0, "open"),
]
values = st.one_of(
    st.sampled_from(ODD),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.timedeltas(),
    st.tuples(st.sampled_from(ODD)),
)

# --- everything that takes one ----------------------------------------------------------------------------------------


class World:
    """One object of each kind, with some state."""

    def __init__(self) -> None:
        self.clock, self.events, self.bus = FakeClock(), EventRecorder(), EventBus()
        self.mail = self.bus.subscribe()
        self.registry = CircuitBreakerRegistry(clock=self.clock, sink=self.events)
        self.breaker = self.registry.get_or_create("api")
        self.breaker.acquire().fail()
        self.overseer = Overseer(clock=self.clock, sink=self.events, registry=self.registry)
        self.agent = self.overseer.register_agent("Worker", uuid.UUID(int=7))
        self.overseer.record_agent_failure(self.agent, "boom")
        self.event = Event(topic="a.b", source="c", at=self.clock.now(), sequence=1, payload={})

    def look(self) -> object:
        """Return the visible state of all objects."""
        return (
            self.overseer.get_swarm_status(),
            list(self.registry),
            self.clock.monotonic(),
            list(self.events.events),
            repr(self.mail),
            len(self.bus._mailboxes),
        )


BY_ID = {"agent_id": uuid.UUID(int=7)}
WITH_ERROR = {**BY_ID, "error": "boom"}
TRANSPORT = {
    "registry": CircuitBreakerRegistry(),
    "transport": httpx.MockTransport(print),
    "key": ...,
    "refusal": ...,
}
TRANSPORT2 = TRANSPORT | {"transport": httpx2.MockTransport(print)}
CONSTRUCTORS: dict[Callable[..., object], dict[str, Any]] = {
    CircuitBreakerConfig: {field.name: ... for field in attrs.fields(CircuitBreakerConfig)},
    OverseerConfig: {field.name: ... for field in attrs.fields(OverseerConfig)},
    ConsecutiveFailures: {"threshold": 5},
    FailureRate: {field.name: ... for field in attrs.fields(FailureRate)},
    CountWindow: {"size": 100},
    TimeWindow: {"seconds": 10.0},
    CircuitBreaker: {"name": "api", "config": ..., "clock": ..., "sink": ..., "observer": ..., "topic_prefix": ...},
    CircuitBreakerRegistry: {"default_config": ..., "clock": ..., "sink": ..., "observer": ..., "topic_prefix": ...},
    Overseer: {"config": ..., "clock": ..., "sink": ..., "registry": ...},
    FakeClock: {"start": ...},
    EventBus: {},
    EventRecorder: {},
    LoggingSink: {"logger": ...},
    OTelMetrics: {"meter_provider": ...},
    PrometheusMetrics: {"registry": ...},
    create_app: {"overseer": Overseer(), "registry": ..., "authorize": print, "bus": ...},
    swarmguard.httpx.CircuitBreakerTransport: TRANSPORT,
    swarmguard.httpx.AsyncCircuitBreakerTransport: TRANSPORT,
    swarmguard.httpx2.CircuitBreakerTransport: TRANSPORT2,
    swarmguard.httpx2.AsyncCircuitBreakerTransport: TRANSPORT2,
    swarmguard.httpx.http_config: {"config": ..., "clock": ...},
    swarmguard.httpx2.http_config: {"config": ..., "clock": ...},
}
"""The parameters of each constructor, with a valid value for those without a default."""

METHODS: dict[str, dict[str, Any]] = {
    "breaker.trip": {"duration": ...},
    "breaker.set_mode": {"mode": BreakerMode.NORMAL},
    "breaker.with_fallback": {"fallback": print},
    "breaker.__call__": {"fn": print},
    "breaker.call": {"fn": print},
    "breaker.execute": {"fn": a_coroutine_function},
    "registry.get_or_create": {"name": "api", "config": ...},
    "registry.get": {"name": "api"},
    "registry.reset": {"name": "api"},
    "registry.remove": {"name": "api"},
    "registry.__contains__": {"name": "api"},
    "overseer.register_agent": {"agent_type": "Worker", "agent_id": ...},
    "overseer.unregister_agent": BY_ID,
    "overseer.record_agent_heartbeat": BY_ID,
    "overseer.record_agent_success": BY_ID,
    "overseer.record_agent_failure": WITH_ERROR,
    "overseer.begin_restart": BY_ID,
    "overseer.record_agent_recovery": BY_ID,
    "overseer.record_restart_failure": WITH_ERROR,
    "overseer.reset_agent": BY_ID,
    "overseer.get_agent_status": BY_ID,
    "overseer.agent": {"agent_type": "Worker", "agent_id": ..., "heartbeat": ...},
    "overseer.run": {"restart": ...},
    "overseer.supervise": {"agent_type": "Worker", "main": a_coroutine_function, "heartbeat": ...},
    "bus.subscribe": {"topics": ..., "buffer": ...},
    "bus.publish": {"event": ...},
    "bus.__call__": {"event": ...},
    "clock.advance": {"seconds": 0},
    "clock.run_for": {"seconds": 0},
    "clock.sleep": {"seconds": 0},
}
"""The parameters of each method of the world's objects, with values as above."""

NOT_HERE = {
    *("breaker.__enter__", "breaker.__exit__", "breaker.__aenter__", "breaker.__aexit__"),
}
"""Methods that other tests cover."""

ALSO_CALLED = {"fn": ["the decorated object"]}
"""Other names of parameters in messages."""

BACKENDS = ("asyncio", "trio")
ERRORS = (TypeError, ValueError, UnknownAgentError, DuplicateAgentError)
POSITIONAL_ONLY = {
    *("breaker.with_fallback", "breaker.__call__", "breaker.call", "breaker.execute"),
    *("registry.__contains__", "bus.__call__"),
}
PASS_ARGUMENTS_ON = {"breaker.call", "breaker.execute"}
RUN = {("breaker.call", "fn"), ("breaker.execute", "fn"), ("overseer.supervise", "main")}
"""Parameters for which any callable is valid, whatever it does."""

NOT_TRIED = {"args", "kwargs", "task_status"}
"""Parameters that are passed on to `fn` or come from anyio."""

LIKE_A_DICT = {"registry.get", "registry.reset", "registry.remove", "registry.__contains__"}
"""Methods that look up the name, so its own hash or comparison may raise."""


def arguments(parameters: dict[str, Any], chosen: str, value: object) -> dict[str, Any]:
    """Return valid arguments, with `value` for the chosen parameter."""
    return {name: good for name, good in parameters.items() if good is not ...} | {chosen: value}


def check_message(error: Exception, parameter: str) -> None:
    """Check that the error names the parameter."""
    if type(error) in (TypeError, ValueError):
        shown = parameter.removesuffix("_id")
        assert any(name in str(error) for name in (shown, *ALSO_CALLED.get(shown, ()))), error


def construct(make: Callable[..., object], parameter: str, value: object) -> None:
    """Call a constructor, and check the result or the error."""
    try:
        made = make(**arguments(CONSTRUCTORS[make], parameter, value))
    except (TypeError, ValueError) as error:
        check_message(error, parameter)
    else:
        assert not inspect.isclass(make) or isinstance(made, make)


async def begin(work: Coroutine[object, object, object]) -> None:
    """Run an async method until its first checkpoint."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await work


def ask(method: str, parameter: str, value: object, backend: str) -> None:
    """Call a method, and check the result or the error."""
    world = World()
    owner, _, name = method.partition(".")
    chosen = arguments(METHODS[method], parameter, value)
    before = world.look()
    bound = getattr(getattr(world, owner), name)
    if (method, parameter) in RUN and callable(value):
        return
    try:
        answer = bound(*chosen.values()) if method in POSITIONAL_ONLY else bound(**chosen)
        if inspect.iscoroutine(answer):
            anyio.run(begin, answer, backend=backend)
    except ERRORS as error:
        if method not in LIKE_A_DICT:
            check_message(error, parameter)
        assert world.look() == before


OF_CONSTRUCTORS = pytest.mark.parametrize(
    ("make", "parameter"),
    [
        pytest.param(make, name, id=f"{make.__module__.removeprefix('swarmguard.')}.{make.__name__}-{name}")
        for make, names in CONSTRUCTORS.items()
        for name in names
    ],
)
OF_METHODS = pytest.mark.parametrize(
    ("method", "parameter"),
    [pytest.param(method, name, id=f"{method}-{name}") for method, names in METHODS.items() for name in names],
)
FEW = settings(max_examples=max(10, settings.default.max_examples // 5))


@OF_CONSTRUCTORS
def test_constructors_and_odd_values(make: Callable[..., object], parameter: str) -> None:
    """A constructor returns an object or raises an error that names the parameter [B7] [R3]."""
    for value in ODD:
        construct(make, parameter, value)


@OF_CONSTRUCTORS
@FEW
@given(value=values)
def test_constructors_and_any_value(make: Callable[..., object], parameter: str, value: object) -> None:
    """A constructor returns an object or raises an error that names the parameter [B7] [R3]."""
    construct(make, parameter, value)


@OF_METHODS
def test_methods_and_odd_values(method: str, parameter: str) -> None:
    """A method returns, or raises a documented error and changes nothing [O1] [O3] [R1] [R2] [C5] [B16]."""
    for value, backend in itertools.product(ODD, BACKENDS):
        ask(method, parameter, value, backend)


@OF_METHODS
@FEW
@given(value=values, backend=st.sampled_from(BACKENDS))
def test_methods_and_any_value(method: str, parameter: str, value: object, backend: str) -> None:
    """A method returns, or raises a documented error and changes nothing [O1] [O3] [R1] [R2] [C5] [B16]."""
    ask(method, parameter, value, backend)


@given(data=st.data())
def test_arguments_that_no_one_knows(data: st.DataObject) -> None:
    """Too many arguments, or an unknown one, raise Python's own `TypeError`, and change nothing [R1]."""
    world = World()
    owner, _, name = data.draw(st.sampled_from(sorted(METHODS.keys() - PASS_ARGUMENTS_ON))).partition(".")
    before = world.look()
    with pytest.raises(TypeError):
        getattr(getattr(world, owner), name)(*data.draw(st.lists(values, min_size=5, max_size=5)))
    with pytest.raises(TypeError):
        getattr(getattr(world, owner), name)(unknown=data.draw(values))
    assert world.look() == before


def test_a_breaker_that_was_not_made_leaves_nothing() -> None:
    """A constructor that raises registers no lock for a fork [B19]."""
    gc.collect()
    known = len(_monitors)
    for value in ODD:
        with contextlib.suppress(TypeError, ValueError):
            CircuitBreaker(value)  # type: ignore[arg-type]
        with contextlib.suppress(TypeError, ValueError):
            EventBus().subscribe(value)  # type: ignore[arg-type]
    gc.collect()
    assert len(_monitors) == known


def public_methods() -> Iterator[tuple[str, list[str]]]:
    """Iterate over the methods of the world's objects, and their parameters."""
    for owner, instance in vars(World()).items():
        for name, member in inspect.getmembers(type(instance), inspect.isfunction):
            special = name in {"__call__", "__contains__", "__enter__", "__exit__", "__aenter__", "__aexit__"}
            if type(instance).__module__.startswith("swarmguard") and (special or not name.startswith("_")):
                yield f"{owner}.{name}", list(inspect.signature(member).parameters)[1:]


def test_nothing_is_left_out() -> None:
    """The tables have every constructor and method with a parameter, and all its parameters."""
    for make, names in CONSTRUCTORS.items():
        assert list(names) == list(inspect.signature(make).parameters)
    configs = {name for name in swarmguard.__all__ if name.endswith(("Config", "Window", "Rate", "Failures"))}
    assert configs <= {make.__name__ for make in CONSTRUCTORS}
    tried = {owner for owner, _, _ in (method.partition(".") for method in METHODS)}
    for method, names in public_methods():
        if names and method.partition(".")[0] in tried and method not in NOT_HERE:
            assert list(METHODS[method]) == [name for name in names if name not in NOT_TRIED], method
