"""Subclasses of `CircuitBreaker`."""

from __future__ import annotations

import abc
from contextlib import AsyncExitStack, ExitStack

import pytest

from swarmguard import CircuitBreaker, CircuitBreakerConfig
from tests.breaker_tools import BoomError


class Named(abc.ABC):
    """An abstract base class, whose metaclass is `ABCMeta`."""

    @property
    @abc.abstractmethod
    def name(self):
        """The name."""


class NamedBreaker(CircuitBreaker, Named):
    """A breaker that is registered with an abstract base class."""


@pytest.fixture
def breaker(clock):
    """Give a breaker of a subclass with a metaclass of its own."""
    return NamedBreaker("api", CircuitBreakerConfig(failure_threshold=2), clock=clock)


def test_a_subclass_may_have_a_metaclass(breaker):
    """A breaker can be combined with an abstract base class, and its blocks count as ever [B14]."""
    assert isinstance(breaker, Named)
    with pytest.raises(BoomError), breaker:
        raise BoomError
    with pytest.raises(BoomError), ExitStack() as stack:
        stack.enter_context(breaker)
        raise BoomError
    assert breaker.state == "Open"


@pytest.mark.anyio
async def test_async_blocks_of_a_subclass(breaker):
    """The async blocks of a subclass count as ever [B14]."""
    with pytest.raises(BoomError):
        async with breaker:
            raise BoomError
    with pytest.raises(BoomError):
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(breaker)
            raise BoomError
    assert breaker.state == "Open"


def test_an_exit_that_was_only_looked_at_takes_no_entry_of_an_exit_stack(breaker):
    """An `ExitStack` settles its own entry, even if `__exit__` of the breaker was read before [B14]."""
    looked_at = breaker.__exit__
    with pytest.raises(BoomError), ExitStack() as stack:
        stack.enter_context(breaker)
        raise BoomError
    assert breaker.status().failure_count == 1
    del looked_at
