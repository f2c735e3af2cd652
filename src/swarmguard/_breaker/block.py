"""`with breaker:` and `async with breaker:`: how an exit finds the entry of its own block.

One breaker guards many blocks at once: nested, in threads, in tasks, and in generators that are resumed elsewhere.
Neither a thread nor a context variable identifies a block, but the `with` statement does: the language loads `__exit__`
before it calls `__enter__`, and keeps what it loaded until the block ends (language reference, 8.5, "The with
statement"). So `__exit__` is a descriptor. Each time it is loaded, it puts an exit into `_loaded`, under the current
thread; `__enter__`, which is called next, takes the exit from there. The exit that the statement kept then belongs to
that entry, wherever and in whatever order the blocks end.

On the fast path, all blocks of one closed period share one exit, since they all do the same. An exit per block would
cost twice as much. On the slow path each block has its own exit.

An `ExitStack` loads both methods from the class, and some code calls the two by hand. They cannot be matched like that:
their entries wait in a list, and their exits take the latest one from it. One case is left: code that only reads
`breaker.__exit__`, and then calls `type(breaker).__enter__` and `type(breaker).__exit__` by hand, loses the outcome. A
descriptor for `__enter__` would cover it, and would cost every block more than it is worth.
"""

from __future__ import annotations

from _thread import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import ref

from swarmguard._breaker.core import BreakerCore
from swarmguard._breaker.periods import ClosedPeriod
from swarmguard._breaker.permit import GuardedCall

T = TypeVar("T")
ExcType = type[BaseException] | None
Exc = BaseException | None
Traceback = TracebackType | None


class OwnExit(GuardedCall):
    """The exit of one block on the slow path, or of a block that began on it.

    Args:
        guard: The breaker of the block.
    """

    __slots__ = ("__weakref__", "guard")

    def __init__(self, guard: BlockGuard) -> None:
        super().__init__(guard._core)
        self.guard = guard

    def exit(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        """Settle the call of the block; without an entry, this exit was called by hand."""
        if not self.leave(exc):
            _forget(self)
            self.guard._leave_unmatched(exc)

    async def exit_async(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        """Do what `exit` does, for `async with`."""
        self.exit(exc_type, exc, traceback)


class SharedExit:
    """The exit of every block that is entered on the fast path in one closed period.

    Args:
        guard: The breaker of the blocks.
        period: The closed period.
    """

    __slots__ = ("guard", "period", "unmatched")

    def __init__(self, guard: BlockGuard, period: ClosedPeriod) -> None:
        self.guard = guard
        self.period = period
        self.unmatched = guard._unmatched

    def exit(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        """Settle the call of a block."""
        if exc is not None or self.period.counts_successes or self.unmatched:
            self._exit_slowly(exc)

    async def exit_async(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        """Do what `exit` does, for `async with`."""
        if exc is not None or self.period.counts_successes or self.unmatched:
            self._exit_slowly(exc)

    def _exit_slowly(self, exc: Exc) -> None:
        if _forget(self) and self.guard._leave_unmatched(exc):  # no entry took this exit: it was called by hand
            return
        if exc is not None:
            self.guard._core.record_exception(self.period, exc)
        elif self.period.counts_successes:
            self.guard._core.record_success(self.period)


_loaded: dict[int, SharedExit | ref[OwnExit]] = {}
"""By thread, the exit that was loaded last, until an entry takes it. (A `threading.local` takes twice as long.)"""


def _forget(exit_: OwnExit | SharedExit) -> bool:
    """Remove the exit from `_loaded`, and return True, if it is still there: then no entry has taken it."""
    loaded = _loaded.get(get_ident())
    if loaded is not exit_ and not (isinstance(loaded, ref) and loaded() is exit_):
        return False
    del _loaded[get_ident()]
    return True


class _Exit:
    """The descriptor behind `__exit__`.

    `__aexit__` has one of its own: one class that looks the method up by name costs `with` 2.75 x nullcontext, not 2.4.
    """

    def __get__(self, guard: BlockGuard | None, owner: type[BlockGuard]) -> Any:
        if guard is None:
            return _loaded_from_class(owner._exit_by_hand)
        shared = guard._shared
        if shared is not None and shared.period is guard._core.closed_period:
            _loaded[get_ident()] = shared
            return shared.exit
        return guard._load_exit().exit


class _AsyncExit:
    """The descriptor behind `__aexit__`."""

    def __get__(self, guard: BlockGuard | None, owner: type[BlockGuard]) -> Any:
        if guard is None:
            return _loaded_from_class(owner._exit_async_by_hand)
        shared = guard._shared
        if shared is not None and shared.period is guard._core.closed_period:
            _loaded[get_ident()] = shared
            return shared.exit_async
        return guard._load_exit().exit_async


def _loaded_from_class(by_hand: T) -> T:
    """Return the exit for an `ExitStack` and for calls by hand; clear `_loaded`."""
    _loaded.pop(get_ident(), None)  # an exit that was loaded before does not belong to the next entry
    return by_hand


class BlockGuard:
    """The part of a breaker that makes it a context manager, sync and async.

    Args:
        core: Admits the calls of the blocks and settles them.
    """

    __slots__ = ("__weakref__", "_core", "_shared", "_unmatched")

    def __init__(self, core: BreakerCore) -> None:
        self._core = core
        self._unmatched: list[GuardedCall] = []
        """The entries without an exit of their own, the latest last."""
        self._shared: SharedExit | None = None

    def __enter__(self) -> Self:
        loaded = _loaded.pop(get_ident(), None)
        shared = self._shared
        if shared is None or loaded is not shared or shared.period is not self._core.closed_period:
            self._enter_slowly(loaded)
        return self

    async def __aenter__(self) -> Self:
        loaded = _loaded.pop(get_ident(), None)
        shared = self._shared
        if shared is None or loaded is not shared or shared.period is not self._core.closed_period:
            self._enter_slowly(loaded)
        return self

    def _exit_by_hand(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        self._leave_unmatched(exc)

    async def _exit_async_by_hand(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        self._leave_unmatched(exc)

    if TYPE_CHECKING:

        def __exit__(self, exc_type: ExcType, exc: Exc, traceback: Traceback, /) -> None: ...
        async def __aexit__(self, exc_type: ExcType, exc: Exc, traceback: Traceback, /) -> None: ...

    else:
        __exit__ = _Exit()
        __aexit__ = _AsyncExit()

    def _enter_slowly(self, loaded: SharedExit | ref[OwnExit] | None) -> None:
        """Enter a block so that the exit that was loaded, if there is one, finds the entry."""
        exit_ = loaded() if isinstance(loaded, ref) else loaded
        if exit_ is None or exit_.guard is not self:
            call = GuardedCall(self._core)
            call.enter()
            self._unmatched.append(call)
        elif isinstance(exit_, OwnExit):
            exit_.enter()
        else:  # the fast path was closed after the exit was loaded
            self._core.admit_late()

    def _leave_unmatched(self, exc: Exc) -> bool:
        """Settle the latest entry without an exit of its own; return False if there is none."""
        try:
            call = self._unmatched.pop()
        except IndexError:
            return False
        return call.leave(exc)

    def _load_exit(self) -> OwnExit | SharedExit:
        """Return a new exit for the block that is about to be entered, and put it into `_loaded`."""
        period = self._core.closed_period
        if period is None:
            own = OwnExit(self)
            _loaded[get_ident()] = ref(own)
            return own
        shared = self._shared = SharedExit(self, period)
        _loaded[get_ident()] = shared
        return shared
