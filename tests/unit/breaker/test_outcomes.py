"""What counts as a success, what as a failure, and what not at all."""

from __future__ import annotations

import asyncio
import functools
from datetime import timedelta

import anyio
import pytest

from swarmguard import CircuitOpenError, CircuitState
from tests.breaker_tools import (
    JUDGES,
    SAFETY,
    BoomError,
    FatalError,
    boom,
    build,
    due_breaker,
    fail,
    half_open_breaker,
    logged,
    raising,
    refused,
    succeed,
)

REFUSAL = CircuitOpenError("inner", CircuitState.OPEN, 1.0, "open")
NO_EXCEPTIONS = [KeyboardInterrupt(), SystemExit(1), GeneratorExit(), FatalError(), asyncio.CancelledError()]
NO_EXCEPTION_IDS = [type(error).__name__ for error in NO_EXCEPTIONS]

judges = pytest.mark.parametrize("judge", JUDGES)


def call_that_raises(error):
    """Return an act that calls a function that raises `error`."""
    return lambda breaker: breaker.call(raising(error))


def always(_):
    """Take everything."""
    return True


def never(_):
    """Take nothing."""
    return False


def broken(*_):
    """Be a predicate with a bug."""
    raise RuntimeError("bug in a predicate")


class Undecided:
    """An answer that is neither true nor false."""

    def __bool__(self):
        """Refuse to say."""
        raise RuntimeError("bug in a predicate")


@judges
@pytest.mark.parametrize(
    ("error", "config", "outcome"),
    [
        # By default every Exception is a failure.
        (ValueError(), {}, "failure"),
        (TimeoutError(), {}, "failure"),
        (StopIteration(), {}, "failure"),
        (Exception(), {}, "failure"),
        # record_exceptions narrows what is a failure; what it does not take is neutral.
        (ValueError(), {"record_exceptions": ValueError}, "failure"),
        (UnicodeError(), {"record_exceptions": ValueError}, "failure"),
        (KeyError(), {"record_exceptions": ValueError}, "neutral"),
        (KeyError(), {"record_exceptions": (ValueError, KeyError)}, "failure"),
        (OSError(), {"record_exceptions": (ValueError, KeyError)}, "neutral"),
        (OSError(), {"record_exceptions": ()}, "neutral"),
        (ValueError("x"), {"record_exceptions": lambda e: e.args == ("x",)}, "failure"),
        (ValueError("y"), {"record_exceptions": lambda e: e.args == ("x",)}, "neutral"),
        # ignore_exceptions goes before it.
        (ValueError(), {"ignore_exceptions": ValueError}, "neutral"),
        (UnicodeError(), {"ignore_exceptions": ValueError}, "neutral"),
        (KeyError(), {"ignore_exceptions": (ValueError, KeyError)}, "neutral"),
        (OSError(), {"ignore_exceptions": (ValueError, KeyError)}, "failure"),
        (OSError(), {"ignore_exceptions": lambda e: isinstance(e, OSError)}, "neutral"),
        (KeyError(), {"ignore_exceptions": lambda e: isinstance(e, OSError)}, "failure"),
        (KeyError(), {"ignore_exceptions": KeyError, "record_exceptions": KeyError}, "neutral"),
        # success_exceptions goes before both.
        (ValueError(), {"success_exceptions": ValueError}, "success"),
        (UnicodeError(), {"success_exceptions": ValueError}, "success"),
        (KeyError(), {"success_exceptions": (ValueError, KeyError)}, "success"),
        (OSError(), {"success_exceptions": ValueError}, "failure"),
        (OSError(), {"success_exceptions": always}, "success"),
        (OSError(), {"success_exceptions": never}, "failure"),
        (KeyError(), {"success_exceptions": KeyError, "ignore_exceptions": KeyError}, "success"),
        (KeyError(), {"success_exceptions": KeyError, "record_exceptions": KeyError}, "success"),
        (
            KeyError(),
            {"success_exceptions": KeyError, "ignore_exceptions": KeyError, "record_exceptions": KeyError},
            "success",
        ),
        # An inner breaker's refusal says nothing about this service.
        (REFUSAL, {}, "neutral"),
        (REFUSAL, {"record_exceptions": CircuitOpenError}, "neutral"),
        (REFUSAL, {"record_exceptions": always}, "neutral"),
    ],
)
def test_judgement(judge, error, config, outcome):
    """A success before neutral before a failure, else neutral: the first setting that takes it decides [B6]."""
    assert judge(call_that_raises(error), **config) == outcome


@judges
@pytest.mark.parametrize("error", NO_EXCEPTIONS, ids=NO_EXCEPTION_IDS)
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"record_exceptions": BaseException},
        {"record_exceptions": always},
        {"success_exceptions": BaseException},
        {"success_exceptions": always},
        {"record_exceptions": (KeyboardInterrupt, SystemExit, GeneratorExit, FatalError, asyncio.CancelledError)},
    ],
    ids=["default", "record-type", "record-predicate", "success-type", "success-predicate", "record-named"],
)
def test_what_is_no_exception_is_neutral(judge, config, error):
    """A `BaseException` that is no `Exception` is neutral, whatever the configuration says [B6]."""
    assert judge(call_that_raises(error), **config) == "neutral"


@pytest.mark.parametrize("error", [BoomError(), REFUSAL, *NO_EXCEPTIONS], ids=lambda error: type(error).__name__)
def test_exceptions_arrive_unchanged(clock, error):
    """Whatever the outcome, the caller's exception arrives as the same object, unwrapped and unchained [B6]."""
    breaker = build(clock)
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whichever it is
        breaker.call(raising(error))
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    assert getattr(error, "__notes__", []) == []


GROUPS = [
    pytest.param(ExceptionGroup("", [ValueError()]), {}, "failure", id="failure"),
    pytest.param(ExceptionGroup("", [KeyError(), ValueError()]), {"ignore_exceptions": KeyError}, "failure", id="any"),
    pytest.param(
        ExceptionGroup("", [ValueError(), KeyError()]), {"success_exceptions": KeyError}, "failure", id="any-failure"
    ),
    pytest.param(
        ExceptionGroup("", [ValueError(), KeyError()]),
        {"success_exceptions": KeyError, "ignore_exceptions": ValueError},
        "success",
        id="success",
    ),
    pytest.param(ExceptionGroup("", [KeyError()]), {"ignore_exceptions": KeyError}, "neutral", id="neutral"),
    pytest.param(ExceptionGroup("", [REFUSAL]), {}, "neutral", id="refusal"),
    pytest.param(ExceptionGroup("", [REFUSAL, ValueError()]), {}, "failure", id="refusal-failure"),
    pytest.param(BaseExceptionGroup("", [KeyboardInterrupt()]), {}, "neutral", id="base"),
    pytest.param(BaseExceptionGroup("", [KeyboardInterrupt(), ValueError()]), {}, "failure", id="base-failure"),
    pytest.param(
        BaseExceptionGroup("", [KeyboardInterrupt(), KeyError()]),
        {"success_exceptions": KeyError},
        "success",
        id="base-success",
    ),
    pytest.param(
        BaseExceptionGroup("", [asyncio.CancelledError(), SystemExit()]),
        {"record_exceptions": BaseException},
        "neutral",
        id="base-recorded",
    ),
    pytest.param(
        ExceptionGroup("", [ExceptionGroup("", [ExceptionGroup("", [KeyError(), ValueError()])])]),
        {"ignore_exceptions": KeyError},
        "failure",
        id="nested-failure",
    ),
    pytest.param(
        BaseExceptionGroup("", [BaseExceptionGroup("", [FatalError()]), ExceptionGroup("", [KeyError()])]),
        {"ignore_exceptions": KeyError},
        "neutral",
        id="nested-neutral",
    ),
    pytest.param(ExceptionGroup("", [ValueError()]), {"ignore_exceptions": ExceptionGroup}, "failure", id="own-type"),
    pytest.param(
        ExceptionGroup("", [ValueError()]), {"record_exceptions": ExceptionGroup}, "neutral", id="own-type-recorded"
    ),
]


@judges
@pytest.mark.parametrize(("group", "config", "outcome"), GROUPS)
def test_groups_are_judged_by_their_leaves(judge, group, config, outcome):
    """A group is a failure if any leaf is one, else a success if any is, else neutral [B6]."""
    assert judge(call_that_raises(group), **config) == outcome


def test_predicates_see_the_leaves(clock):
    """A predicate is asked about the exceptions in a group, never about the group [B6]."""
    asked = []

    def ask(error):
        asked.append(error)
        return False

    leaves = [ValueError(), KeyError()]
    breaker = build(clock, ignore_exceptions=ask, record_exceptions=())
    with pytest.raises(ExceptionGroup):
        breaker.call(raising(ExceptionGroup("", [leaves[0], ExceptionGroup("", leaves[1:])])))
    assert set(asked) == set(leaves)


def test_deep_groups_are_judged(clock):
    """However deep a group is nested, it is judged and arrives unchanged [B6]."""
    group = ExceptionGroup("", [ValueError()])
    for _ in range(3000):
        group = ExceptionGroup("", [group])
    breaker = build(clock, failure_threshold=1)
    caught = None
    try:
        breaker.call(raising(group))
    except Exception as error:  # noqa: BLE001 - pytest.raises would print it all
        caught = error
    assert caught is group
    assert breaker.state is CircuitState.OPEN


def test_inner_refusal_leaves_the_outer_circuit(clock):
    """An outer breaker takes an inner one's refusals for no verdict on its own service [B6]."""
    outer, inner = build(clock, failure_threshold=1, name="outer"), build(clock, failure_threshold=1, name="inner")
    with pytest.raises(BoomError):
        inner.call(boom)
    for _ in range(5):
        with pytest.raises(CircuitOpenError) as caught:
            outer.call(inner.call, boom)
        assert caught.value.name == "inner"
    assert outer.state is CircuitState.CLOSED


@judges
@pytest.mark.parametrize(
    ("result", "outcome"), [(None, "success"), (0, "success"), (503, "failure"), (BoomError(), "success")]
)
def test_results(judge, result, outcome):
    """A returned value is a success, unless `record_result` takes it for a failure [B6]."""
    assert judge(lambda breaker: breaker.call(lambda: result), record_result=lambda value: value == 503) == outcome
    assert judge(lambda breaker: breaker.call(lambda: result)) == "success"


def test_bad_result_still_reaches_the_caller(clock):
    """A value that counts as a failure is returned all the same, and may open the circuit [B6]."""
    breaker = build(clock, failure_threshold=2, record_result=lambda value: value == 503)
    assert [breaker.call(lambda: 503), breaker.call(lambda: 503)] == [503, 503]
    refused(breaker)


def test_bad_results_count_on_every_face(clock):
    """Results are judged for decorated functions and coroutine functions as well [B6]."""
    breaker = build(clock, failure_threshold=10, record_result=lambda value: value == 503)

    @breaker
    def function():
        return 503

    @breaker
    async def coroutine_function():
        return 503

    async def plain():
        return 503

    assert function() == 503
    for coroutine in (coroutine_function(), breaker.execute(plain)):
        with pytest.raises(StopIteration) as caught:
            coroutine.send(None)
        assert caught.value.value == 503
    assert breaker.status().failure_count == 3


CONFIGS_THAT_FAIL = [{}, {"record_exceptions": BaseException}, {"record_exceptions": always}]


@pytest.mark.anyio
@pytest.mark.parametrize("config", CONFIGS_THAT_FAIL, ids=["default", "types", "predicate"])
@pytest.mark.parametrize("face", ["execute", "function", "block", "permit", "generator", "group"])
async def test_cancellation_is_neutral(clock, face, config):
    """A cancelled test call counts as nothing and frees its place, on either event loop and every face [B6]."""
    breaker = half_open_breaker(clock, half_open_max_calls=1, success_threshold=2, **config)
    succeed(breaker)

    async def hang():
        scope.cancel()
        await anyio.sleep_forever()

    async def block():
        async with breaker:
            await hang()

    async def permit():
        async with breaker.acquire():
            await hang()

    async def group():
        async with breaker, anyio.create_task_group() as tasks:
            tasks.start_soon(hang)
            tasks.start_soon(anyio.sleep_forever)

    @breaker
    async def numbers():
        await hang()
        yield 1

    async def generator():
        async for _ in numbers():
            pass

    faces = {
        "execute": lambda: breaker.execute(hang),
        "function": breaker(hang),
        "block": block,
        "permit": permit,
        "generator": generator,
        "group": group,
    }
    with anyio.fail_after(SAFETY), anyio.CancelScope() as scope:
        await faces[face]()
    assert scope.cancelled_caught
    status = breaker.status()
    assert (status.state, status.success_count, status.half_open_calls) == (CircuitState.HALF_OPEN, 1, 0)
    succeed(breaker)
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.anyio
async def test_cancellation_leaves_the_streak(clock):
    """A cancelled call of a closed circuit neither adds to the streak nor ends it [B6]."""
    breaker = build(clock, failure_threshold=2)
    fail(breaker)
    for _ in range(5):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await breaker.execute(anyio.sleep_forever)
    assert breaker.status().failure_count == 1


@pytest.mark.anyio
async def test_timeout_inside_is_a_failure(clock):
    """A timeout that the guarded code raises is a failure like any other exception [B6]."""
    breaker = build(clock)

    async def impatient():
        with anyio.fail_after(0):
            await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        await breaker.execute(impatient)
    assert breaker.status().failure_count == 1


@pytest.mark.anyio
async def test_timeout_outside_is_a_cancellation(clock):
    """A timeout around the breaker is a cancellation to it, hence neutral [B6]."""
    breaker = build(clock)
    with pytest.raises(TimeoutError), anyio.fail_after(0):
        await breaker.execute(anyio.sleep_forever)
    assert breaker.status().failure_count == 0


def test_cancelled_asyncio_task(clock):
    """`task.cancel()` is neutral, and the task ends cancelled [B6]."""
    breaker = due_breaker(clock, half_open_max_calls=1)

    async def main():
        started = asyncio.Event()

        async def hang():
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(breaker.execute(hang))
        await started.wait()
        refused(breaker)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert (breaker.state, breaker.status().half_open_calls) == (CircuitState.HALF_OPEN, 0)


@judges
@pytest.mark.parametrize(
    ("config", "outcome"),
    [
        ({"success_exceptions": broken}, "failure"),
        ({"ignore_exceptions": broken}, "failure"),
        ({"record_exceptions": broken}, "failure"),
        ({"success_exceptions": broken, "ignore_exceptions": BoomError}, "neutral"),
        ({"success_exceptions": BoomError, "ignore_exceptions": broken}, "success"),
        ({"success_exceptions": broken, "ignore_exceptions": broken, "record_exceptions": broken}, "failure"),
        ({"ignore_exceptions": broken, "record_exceptions": KeyError}, "neutral"),
        ({"retry_after": broken}, "failure"),
        ({"random": broken, "jitter": 0.5}, "failure"),
        ({"success_exceptions": lambda _: Undecided()}, "failure"),
        ({"ignore_exceptions": lambda _: Undecided()}, "failure"),
        ({"record_exceptions": lambda _: Undecided()}, "failure"),
    ],
)
def test_broken_predicate_counts_as_absent(judge, config, outcome):
    """A setting that raises counts as if it were not there, and the place of the call is freed [B7]."""
    assert judge(call_that_raises(BoomError()), **config) == outcome


@judges
@pytest.mark.parametrize("predicate", [broken, lambda _: Undecided()], ids=["raises", "undecided"])
def test_broken_record_result_counts_as_absent(judge, predicate):
    """A `record_result` that raises leaves the returned value a success [B7]."""
    assert judge(lambda breaker: breaker.call(lambda: 1), record_result=predicate) == "success"


@pytest.mark.parametrize("setting", ["success_exceptions", "ignore_exceptions", "record_exceptions", "retry_after"])
def test_broken_predicate_leaves_the_callers_exception(clock, caplog, setting):
    """When a predicate raises, the caller still gets its own exception, and the predicate's goes to the log [B7]."""
    breaker = build(clock, failure_threshold=1, **{setting: broken})
    error = BoomError()
    with pytest.raises(BoomError) as caught:
        breaker.call(raising(error))
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    assert any("bug in a predicate" in line for line in logged(caplog))
    assert (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 30.0)


def test_broken_record_result_leaves_the_callers_result(clock, caplog):
    """When `record_result` raises, the caller still gets its own result, and the error goes to the log [B7]."""
    breaker = build(clock, record_result=broken)
    result = object()
    assert breaker.call(lambda: result) is result
    assert any("bug in a predicate" in line for line in logged(caplog))


def test_broken_random_is_replaced(clock, caplog):
    """When `random` raises, the jitter is drawn as without it, and the error goes to the log [B7]."""
    breaker = build(clock, failure_threshold=1, jitter=0.5, random=broken)
    fail(breaker)
    assert 30.0 <= breaker.retry_after <= 45.0
    assert any("bug in a predicate" in line for line in logged(caplog))


def test_broken_retry_after_of_a_result(clock, caplog):
    """When `retry_after` raises about a result, the caller still gets the result [B7]."""
    breaker = build(clock, failure_threshold=1, record_result=always, retry_after=broken)
    assert breaker.call(lambda: 503) == 503
    assert (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 30.0)
    assert any("bug in a predicate" in line for line in logged(caplog))


@pytest.mark.parametrize("answer", ["soon", object(), float("nan"), float("-inf"), -5, [], Undecided()])
def test_nonsense_retry_after_is_dropped(clock, answer):
    """A `retry_after` answer that is no time to wait changes nothing, and never the caller's exception [B7]."""
    breaker = build(clock, failure_threshold=1, retry_after=lambda _: answer)
    fail(breaker)
    assert breaker.retry_after == 30.0


@pytest.mark.parametrize("answer", ["much", None, float("nan"), float("inf"), float("-inf"), -1.0])
def test_nonsense_random_is_dropped(clock, answer):
    """A `random` that answers nonsense neither disturbs the caller nor the length of the opening [B7]."""
    breaker = build(clock, failure_threshold=1, jitter=0.5, random=lambda: answer)
    fail(breaker)
    assert 30.0 <= breaker.retry_after <= 45.0


def test_broken_predicates_of_test_calls_free_their_places(clock):
    """However often a predicate raises in half-open, no place is lost and the circuit closes [B7]."""
    breaker = due_breaker(clock, half_open_max_calls=1, success_threshold=5, record_result=broken)
    succeed(breaker, 5)
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("setting", ["record_result", "record_exceptions"])
def test_interrupted_predicate_frees_its_place(clock, setting):
    """A `KeyboardInterrupt` that strikes in a predicate keeps no place [B7] [B4]."""

    def interrupted(_):
        raise KeyboardInterrupt

    breaker = half_open_breaker(clock, half_open_max_calls=1, **{setting: interrupted})
    with pytest.raises((KeyboardInterrupt, BoomError)):
        if breaker.call(boom if setting == "record_exceptions" else lambda: 1) == 1:
            raise KeyboardInterrupt  # contained: as good
    assert breaker.status().half_open_calls == 0


def test_retry_after_may_answer_a_timedelta(clock):
    """A `retry_after` answer may be a `timedelta`, as every duration [B18]."""
    breaker = build(clock, failure_threshold=1, retry_after=lambda _: timedelta(minutes=2))
    fail(breaker)
    assert breaker.retry_after == 120.0


def test_partial_is_a_predicate(clock):
    """Any callable is a predicate, a `functools.partial` too [B6]."""
    breaker = build(clock, ignore_exceptions=functools.partial(lambda kind, error: isinstance(error, kind), BoomError))
    fail(breaker)
    assert breaker.status().failure_count == 0


def test_stop_iteration_passes_a_block(clock):
    """A `StopIteration` raised in a block or by a call arrives as it is, and is a failure [B6]."""
    breaker = build(clock)
    error = StopIteration(3)
    with pytest.raises(StopIteration) as caught, breaker:
        raise error
    assert caught.value is error
    with pytest.raises(StopIteration) as caught:
        breaker.call(raising(error))
    assert caught.value is error
    assert breaker.status().failure_count == 2
