"""Which calls are successes, which are failures, and which are neutral."""

from __future__ import annotations

import asyncio
import functools

import anyio
import pytest

from swarmguard import CircuitOpenError, CircuitState
from tests.breaker_tools import (
    CLASSIFIERS,
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
BASE_EXCEPTIONS = [KeyboardInterrupt(), SystemExit(1), GeneratorExit(), FatalError(), asyncio.CancelledError()]
BASE_EXCEPTION_IDS = [type(error).__name__ for error in BASE_EXCEPTIONS]

in_both_states = pytest.mark.parametrize("classify", CLASSIFIERS)


def call_that_raises(error):
    """Return a function that makes a call which raises `error`."""
    return lambda breaker: breaker.call(raising(error))


def always(_):
    """Match every exception."""
    return True


def never(_):
    """Match no exception."""
    return False


def broken(*_):
    """Raise, as a predicate with a bug."""
    raise RuntimeError("bug in a predicate")


class Undecided:
    """An answer whose truth value raises."""

    def __bool__(self):
        """Raise."""
        raise RuntimeError("bug in a predicate")


@in_both_states
@pytest.mark.parametrize(
    ("error", "config", "outcome"),
    [
        # By default every Exception is a failure.
        (ValueError(), {}, "failure"),
        (TimeoutError(), {}, "failure"),
        (StopIteration(), {}, "failure"),
        (Exception(), {}, "failure"),
        # record_exceptions limits the failures; every other exception is neutral.
        (ValueError(), {"record_exceptions": ValueError}, "failure"),
        (UnicodeError(), {"record_exceptions": ValueError}, "failure"),
        (KeyError(), {"record_exceptions": ValueError}, "neutral"),
        (KeyError(), {"record_exceptions": (ValueError, KeyError)}, "failure"),
        (OSError(), {"record_exceptions": (ValueError, KeyError)}, "neutral"),
        (OSError(), {"record_exceptions": ()}, "neutral"),
        (ValueError("x"), {"record_exceptions": lambda e: e.args == ("x",)}, "failure"),
        (ValueError("y"), {"record_exceptions": lambda e: e.args == ("x",)}, "neutral"),
        # ignore_exceptions comes before record_exceptions.
        (ValueError(), {"ignore_exceptions": ValueError}, "neutral"),
        (UnicodeError(), {"ignore_exceptions": ValueError}, "neutral"),
        (KeyError(), {"ignore_exceptions": (ValueError, KeyError)}, "neutral"),
        (OSError(), {"ignore_exceptions": (ValueError, KeyError)}, "failure"),
        (OSError(), {"ignore_exceptions": lambda e: isinstance(e, OSError)}, "neutral"),
        (KeyError(), {"ignore_exceptions": lambda e: isinstance(e, OSError)}, "failure"),
        (KeyError(), {"ignore_exceptions": KeyError, "record_exceptions": KeyError}, "neutral"),
        # success_exceptions comes before both.
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
        # The refusal of an inner breaker is neutral, whatever the configuration.
        (REFUSAL, {}, "neutral"),
        (REFUSAL, {"record_exceptions": CircuitOpenError}, "neutral"),
        (REFUSAL, {"record_exceptions": always}, "neutral"),
    ],
)
def test_the_first_matching_setting_classifies_an_exception(classify, error, config, outcome):
    """The first setting that matches decides, in the order success, ignore, record; otherwise: neutral [B6]."""
    assert classify(call_that_raises(error), **config) == outcome


@in_both_states
@pytest.mark.parametrize("error", BASE_EXCEPTIONS, ids=BASE_EXCEPTION_IDS)
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
def test_a_base_exception_is_neutral(classify, config, error):
    """A `BaseException` that is not an `Exception` is neutral, whatever the configuration says [B6] [T09]."""
    assert classify(call_that_raises(error), **config) == "neutral"


@pytest.mark.parametrize("error", [BoomError(), REFUSAL, *BASE_EXCEPTIONS], ids=lambda error: type(error).__name__)
def test_exceptions_reach_the_caller_unchanged(clock, error):
    """Whatever the outcome, the exception reaches the caller as the same object, unwrapped and unchained [B6]."""
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


@in_both_states
@pytest.mark.parametrize(("group", "config", "outcome"), GROUPS)
def test_groups_are_classified_by_their_leaves(classify, group, config, outcome):
    """A group is a failure if any leaf is one, else a success if any is, else neutral [B6]."""
    assert classify(call_that_raises(group), **config) == outcome


def test_predicates_get_the_leaves(clock):
    """A predicate gets the exceptions in a group, never the group [B6]."""
    got = []

    def predicate(error):
        got.append(error)
        return False

    leaves = [ValueError(), KeyError()]
    breaker = build(clock, ignore_exceptions=predicate, record_exceptions=())
    with pytest.raises(ExceptionGroup):
        breaker.call(raising(ExceptionGroup("", [leaves[0], ExceptionGroup("", leaves[1:])])))
    assert set(got) == set(leaves)


def test_deep_groups_are_classified(clock):
    """However deeply a group is nested, it is classified, and reaches the caller unchanged [B6]."""
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


def test_the_refusal_of_an_inner_breaker_is_neutral(clock):
    """The refusal of an inner breaker is neutral to the outer breaker [B6]."""
    outer, inner = build(clock, failure_threshold=1, name="outer"), build(clock, failure_threshold=1, name="inner")
    with pytest.raises(BoomError):
        inner.call(boom)
    for _ in range(5):
        with pytest.raises(CircuitOpenError) as caught:
            outer.call(inner.call, boom)
        assert caught.value.name == "inner"
    assert outer.state is CircuitState.CLOSED


@in_both_states
@pytest.mark.parametrize(
    ("result", "outcome"), [(None, "success"), (0, "success"), (503, "failure"), (BoomError(), "success")]
)
def test_results_are_classified(classify, result, outcome):
    """A returned value is a success, unless `record_result` matches it [B6]."""
    assert classify(lambda breaker: breaker.call(lambda: result), record_result=lambda value: value == 503) == outcome
    assert classify(lambda breaker: breaker.call(lambda: result)) == "success"


def test_a_failed_result_reaches_the_caller(clock):
    """A value that counts as a failure is returned all the same, and may open the circuit [B6]."""
    breaker = build(clock, failure_threshold=2, record_result=lambda value: value == 503)
    assert [breaker.call(lambda: 503), breaker.call(lambda: 503)] == [503, 503]
    refused(breaker)


def test_results_are_classified_on_every_face(clock):
    """The results of decorated functions, coroutine functions and `execute` are classified as well [B6]."""
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
async def test_a_cancelled_probe_is_neutral(clock, face, config):
    """A cancelled probe is neutral and frees its slot, on either event loop and every face [B6]."""
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
async def test_a_cancelled_call_leaves_the_consecutive_failures(clock):
    """A cancelled call of a closed circuit neither adds to the consecutive failures nor resets them [B6]."""
    breaker = build(clock, failure_threshold=2)
    fail(breaker)
    for _ in range(5):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await breaker.execute(anyio.sleep_forever)
    assert breaker.status().failure_count == 1


@pytest.mark.anyio
async def test_a_timeout_inside_is_a_failure(clock):
    """A timeout that the guarded code raises is a failure like any other exception [B6]."""
    breaker = build(clock)

    async def impatient():
        with anyio.fail_after(0):
            await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        await breaker.execute(impatient)
    assert breaker.status().failure_count == 1


@pytest.mark.anyio
async def test_a_timeout_outside_is_neutral(clock):
    """A timeout around the breaker cancels the call, so it is neutral [B6]."""
    breaker = build(clock)
    with pytest.raises(TimeoutError), anyio.fail_after(0):
        await breaker.execute(anyio.sleep_forever)
    assert breaker.status().failure_count == 0


def test_a_cancelled_asyncio_task_is_neutral(clock):
    """`task.cancel()` is neutral, and the task ends as cancelled [B6]."""
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


@in_both_states
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
def test_a_setting_that_raises_is_ignored(classify, config, outcome):
    """A setting that raises is ignored, and the call's slot is freed [B7]."""
    assert classify(call_that_raises(BoomError()), **config) == outcome


@in_both_states
@pytest.mark.parametrize("predicate", [broken, lambda _: Undecided()], ids=["raises", "undecided"])
def test_a_record_result_that_raises_is_ignored(classify, predicate):
    """If `record_result` raises, the returned value is a success [B7]."""
    assert classify(lambda breaker: breaker.call(lambda: 1), record_result=predicate) == "success"


@pytest.mark.parametrize("setting", ["success_exceptions", "ignore_exceptions", "record_exceptions", "retry_after"])
def test_a_predicate_that_raises_hides_no_exception(clock, caplog, setting):
    """If a predicate raises, the caller still gets the call's exception, and the predicate's is logged [B7]."""
    breaker = build(clock, failure_threshold=1, **{setting: broken})
    error = BoomError()
    with pytest.raises(BoomError) as caught:
        breaker.call(raising(error))
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    assert any("bug in a predicate" in line for line in logged(caplog))
    assert (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 30.0)


def test_a_record_result_that_raises_hides_no_result(clock, caplog):
    """If `record_result` raises, the caller still gets the call's result, and the error is logged [B7]."""
    breaker = build(clock, record_result=broken)
    result = object()
    assert breaker.call(lambda: result) is result
    assert any("bug in a predicate" in line for line in logged(caplog))


def test_a_random_that_raises_is_replaced(clock, caplog):
    """If `random` raises, the `random` module draws the jitter, and the error is logged [B7]."""
    breaker = build(clock, failure_threshold=1, jitter=0.5, random=broken)
    fail(breaker)
    assert 30.0 <= breaker.retry_after <= 45.0
    assert any("bug in a predicate" in line for line in logged(caplog))


def test_a_retry_after_that_raises_hides_no_result(clock, caplog):
    """If `retry_after` raises for a result, the caller still gets the result, and the error is logged [B7]."""
    breaker = build(clock, failure_threshold=1, record_result=always, retry_after=broken)
    assert breaker.call(lambda: 503) == 503
    assert (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 30.0)
    assert any("bug in a predicate" in line for line in logged(caplog))


@pytest.mark.parametrize("answer", ["soon", object(), float("nan"), float("-inf"), -5, [], Undecided()])
def test_an_invalid_retry_after_is_ignored(clock, answer):
    """An invalid answer of `retry_after` neither changes the open time nor hides the caller's exception [B7]."""
    breaker = build(clock, failure_threshold=1, retry_after=lambda _: answer)
    fail(breaker)
    assert breaker.retry_after == 30.0


@pytest.mark.parametrize("answer", ["much", None, float("nan"), float("inf"), float("-inf"), -1.0])
def test_an_invalid_random_is_replaced(clock, answer):
    """An invalid answer of `random` neither breaks the open time nor hides the caller's exception [B7]."""
    breaker = build(clock, failure_threshold=1, jitter=0.5, random=lambda: answer)
    fail(breaker)
    assert 30.0 <= breaker.retry_after <= 45.0


def test_predicates_that_raise_free_the_slots(clock):
    """However often a predicate raises in half-open, no slot is lost, and the circuit closes [B7]."""
    breaker = due_breaker(clock, half_open_max_calls=1, success_threshold=5, record_result=broken)
    succeed(breaker, 5)
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("setting", ["record_result", "record_exceptions"])
def test_an_interrupted_predicate_frees_the_slot(clock, setting):
    """A `KeyboardInterrupt` in a predicate keeps no slot [B7] [B4]."""

    def interrupted(_):
        raise KeyboardInterrupt

    breaker = half_open_breaker(clock, half_open_max_calls=1, **{setting: interrupted})
    with pytest.raises((KeyboardInterrupt, BoomError)):
        if breaker.call(boom if setting == "record_exceptions" else lambda: 1) == 1:
            raise KeyboardInterrupt  # the breaker may also catch the interrupt
    assert breaker.status().half_open_calls == 0


def test_a_partial_is_a_predicate(clock):
    """A predicate may be any callable, such as a `functools.partial` [B6]."""
    breaker = build(clock, ignore_exceptions=functools.partial(lambda kind, error: isinstance(error, kind), BoomError))
    fail(breaker)
    assert breaker.status().failure_count == 0


def test_a_stop_iteration_is_a_failure(clock):
    """A `StopIteration` raised in a block or by a call passes unchanged, and is a failure [B6]."""
    breaker = build(clock)
    error = StopIteration(3)
    with pytest.raises(StopIteration) as caught, breaker:
        raise error
    assert caught.value is error
    with pytest.raises(StopIteration) as caught:
        breaker.call(raising(error))
    assert caught.value is error
    assert breaker.status().failure_count == 2
