"""Check values that users pass in. Each error names the value, what is allowed, and the value received."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    import attrs

Seconds = int | float | timedelta
"""A duration as users may pass it; stored as a `float` of seconds."""

T = TypeVar("T")
Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def wrong_type(name: str, allowed: str, value: object) -> NoReturn:
    """Raise the `TypeError` for a value of a type that is not allowed."""
    raise TypeError(f"{name} must be {allowed}, got {_shown(value)} ({type(value).__name__})")


def wrong_value(name: str, allowed: str, value: object) -> NoReturn:
    """Raise the `ValueError` for a value of the right type that is out of range."""
    raise ValueError(f"{name} must be {allowed}, got {_shown(value)}")


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - the error to raise is another one
        return "an object whose repr() failed"


def check_seconds(name: str, value: object, *, zero: bool = True) -> float:
    """Return the duration as a float of seconds, or raise. `zero`: whether 0 is allowed."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    elif isinstance(value, bool) or not isinstance(value, int | float):
        wrong_type(name, "a number of seconds (int, float or timedelta)", value)
    seconds = _to_float(value)
    if not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and not zero):
        wrong_value(name, f"a finite number of seconds, {'0 or more' if zero else 'more than 0'}", value)
    return seconds


def check_count(name: str, value: object, *, minimum: int) -> int:
    """Return the int, or raise if the value is not one or is below `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int):
        wrong_type(name, f"a whole number, {minimum} or more", value)
    if value < minimum:
        wrong_value(name, f"a whole number, {minimum} or more", value)
    return value


def check_number(
    name: str, value: object, allowed: str, *, low: float, high: float = math.inf, above_low: bool = False
) -> float:
    """Return the number as a float, or raise if it is not in the range that `allowed` describes."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        wrong_type(name, allowed, value)
    number = _to_float(value)
    if not (low < number <= high if above_low else low <= number <= high) or math.isinf(number):
        wrong_value(name, allowed, value)
    return number


def check_text(name: str, value: object) -> str:
    """Return the text, or raise if the value is not a str or is empty."""
    if not isinstance(value, str):
        wrong_type(name, "a non-empty str", value)
    if not value:
        wrong_value(name, "a non-empty str", value)
    return value


def check_delay(name: str, value: object) -> float:
    """Return the time to sleep as a float of seconds, or raise. 0 or less returns at once; infinity never ends."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        wrong_type(name, "a number of seconds (int or float)", value)
    seconds = _to_float(value)
    if math.isnan(seconds):
        wrong_value(name, "a number of seconds", value)
    return seconds


def check_callable(name: str, value: object, allowed: str = "a callable") -> None:
    """Raise unless the value is callable."""
    if not callable(value):
        wrong_type(name, allowed, value)


def check_callable_or_none(name: str, value: object) -> None:
    """Raise unless the value is callable or None."""
    if value is not None:
        check_callable(name, value, "a callable or None")


def check_instance(name: str, value: object, cls: type[T], allowed: str | None = None) -> T:
    """Return the value, or raise if it is not an instance of `cls`."""
    if not isinstance(value, cls):
        wrong_type(name, allowed or f"a {cls.__name__}", value)
    return value


def check_wiring(clock: object, sink: object, topic_prefix: str) -> None:
    """Raise unless a breaker or an overseer can use the clock, the sink and the prefix of the topics."""
    if not all(callable(getattr(clock, method, None)) for method in ("monotonic", "now", "sleep")):
        wrong_type("clock", "a Clock, an object with monotonic(), now() and sleep()", clock)
    check_callable_or_none("sink", sink)
    check_text("topic_prefix", topic_prefix)


def to_seconds(value: Seconds) -> float:
    """Convert a duration for an attrs field. Other values pass unchanged; the field's validator rejects them."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int) and not isinstance(value, bool):
        return _to_float(value)
    return value


def to_seconds_or_none(value: Seconds | None) -> float | None:
    """Convert a duration that may be None for an attrs field."""
    return None if value is None else to_seconds(value)


def seconds(*, zero: bool = True) -> Validator:
    """Return the attrs validator of a duration."""
    return lambda _, field, value: void(check_seconds(field.name, value, zero=zero))


def count(minimum: int) -> Validator:
    """Return the attrs validator of a whole number."""
    return lambda _, field, value: void(check_count(field.name, value, minimum=minimum))


def share() -> Validator:
    """Return the attrs validator of a share: more than 0, at most 1."""
    allowed = "a number more than 0, at most 1"
    return lambda _, field, value: void(check_number(field.name, value, allowed, low=0, high=1, above_low=True))


def text() -> Validator:
    """Return the attrs validator of a non-empty text."""
    return lambda _, field, value: void(check_text(field.name, value))


def optional(validator: Validator) -> Validator:
    """Return the attrs validator of a field that may be None."""
    return lambda owner, field, value: None if value is None else validator(owner, field, value)


def _to_float(value: float) -> float:
    """Return the number as a float; infinity for an `int` that is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def void(_: object) -> None:
    """Drop a value: attrs validators return nothing."""
