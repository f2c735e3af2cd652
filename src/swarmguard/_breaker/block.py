"""`with breaker:` and `async with breaker:`: finding the entry of a block again at its exit.

One breaker guards many blocks at once: nested, in threads, in tasks, in generators that are resumed elsewhere. Neither
a thread nor a context variable names a block, but the `with` statement itself does: the language loads `__exit__`
*before* it calls `__enter__`, and keeps what it loaded until the block ends. So `__exit__` is a property: each loading
leaves an exit in the slot of its thread, the `__enter__` that follows at once takes it from there, and the exit that
the statement kept is the entry's own, wherever and in whatever order it is called.

On the fast lane all blocks of one period may share one exit, since they all mean the same; off it, each has its own.

Others (an `ExitStack`, which loads both from the class, or somebody who calls the two by hand) cannot be matched like
that. Their entries wait in a list, and their exits take the latest from it.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self
from weakref import ref

from swarmguard._breaker.gate import Gate
from swarmguard._breaker.passage import Passage
from swarmguard._breaker.trip import Tally

ExcType = type[BaseException] | None
Exc = BaseException | None
Traceback = TracebackType | None


class OwnExit(Passage):
    """The exit of one block.

    Args:
        guard: Whose block it is.
    """

    __slots__ = ("__weakref__", "guard")

    def __init__(self, guard: BlockGuard) -> None:
        super().__init__(guard._gate)
        self.guard = guard

    def exit(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        """Settle the call by how the block ended; one that was never entered was called by hand."""
        if not self.leave(exc):
            _forget(self)
            self.guard._leave_unmatched(exc)

    async def exit_async(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        """The same, for `async with`."""
        self.exit(exc_type, exc, traceback)


class SharedExit:
    """The exit of every block that is entered on the fast lane in one period.

    Args:
        guard: Whose blocks they are.
        period: The period.
    """

    __slots__ = ("guard", "period", "unmatched")

    def __init__(self, guard: BlockGuard, period: Tally) -> None:
        self.guard = guard
        self.period = period
        self.unmatched = guard._unmatched

    def exit(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        """Settle the call by how the block ended."""
        if exc is not None or self.period.heeds_success or self.unmatched:
            self._exit_otherwise(exc)

    async def exit_async(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        """The same, for `async with`."""
        if exc is not None or self.period.heeds_success or self.unmatched:
            self._exit_otherwise(exc)

    def _exit_otherwise(self, exc: Exc) -> None:
        if _forget(self) and self.guard._leave_unmatched(exc):  # no entry took this exit: it was called by hand
            return
        if exc is not None:
            self.guard._gate.raised(self.period, exc)
        elif self.period.heeds_success:
            self.guard._gate.succeeded(self.period)


_loaded: dict[int, SharedExit | ref[OwnExit]] = {}
"""By thread, the exit that was loaded last; its entry comes next, if somebody did not merely look at the method. (A
`threading.local` takes twice as long.)"""


def _forget(exit_: OwnExit | SharedExit) -> bool:
    """Clear this thread's slot if the exit is there still: then no entry has taken it."""
    loaded = _loaded.get(get_ident())
    if loaded is not exit_ and not (isinstance(loaded, ref) and loaded() is exit_):
        return False
    del _loaded[get_ident()]
    return True


class _LoadedFromTheClass(type):
    """Gives those who take the two methods from the class, as an `ExitStack` does, the ones for calls by hand."""

    @property
    def __enter__(cls) -> Callable[[BlockGuard], BlockGuard]:
        return cls._enter_by_hand

    @property
    def __exit__(cls) -> Callable[[BlockGuard, ExcType, Exc, Traceback], None]:
        return cls._exit_by_hand

    @property
    def __aenter__(cls) -> Callable[[BlockGuard], Awaitable[BlockGuard]]:
        return cls._aenter_by_hand

    @property
    def __aexit__(cls) -> Callable[[BlockGuard, ExcType, Exc, Traceback], Awaitable[None]]:
        return cls._aexit_by_hand

    def _enter_by_hand(cls, guard: BlockGuard) -> BlockGuard:
        guard._enter_unmatched()
        return guard

    def _exit_by_hand(cls, guard: BlockGuard, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        guard._leave_unmatched(exc)

    async def _aenter_by_hand(cls, guard: BlockGuard) -> BlockGuard:
        return cls._enter_by_hand(guard)

    async def _aexit_by_hand(cls, guard: BlockGuard, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        guard._leave_unmatched(exc)


class BlockGuard(metaclass=_LoadedFromTheClass):
    """What makes a breaker a context manager, sync and async.

    Args:
        gate: Admits and settles.
    """

    __slots__ = ("__weakref__", "_gate", "_shared", "_unmatched")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._unmatched: list[Passage] = []
        """The entries that no exit is known for, the latest last."""
        self._shared: SharedExit | None = None

    def __enter__(self) -> Self:
        loaded = _loaded.pop(get_ident(), None)
        shared = self._shared
        if shared is None or loaded is not shared or shared.period is not self._gate.fast:
            self._enter_otherwise(loaded)
        return self

    async def __aenter__(self) -> Self:
        loaded = _loaded.pop(get_ident(), None)
        shared = self._shared
        if shared is None or loaded is not shared or shared.period is not self._gate.fast:
            self._enter_otherwise(loaded)
        return self

    def _enter_unmatched(self) -> None:
        passage = Passage(self._gate)
        passage.enter()
        self._unmatched.append(passage)

    def _leave_unmatched(self, exc: Exc) -> bool:
        """Settle the latest entry that no exit is known for; return False when there is none."""
        try:
            passage = self._unmatched.pop()
        except IndexError:
            return False
        return passage.leave(exc)

    def _enter_otherwise(self, loaded: SharedExit | ref[OwnExit] | None) -> None:
        """Enter on whichever lane, so that the exit that was loaded finds the entry."""
        exit_ = loaded() if isinstance(loaded, ref) else loaded
        if exit_ is None or exit_.guard is not self:
            self._enter_unmatched()
        elif isinstance(exit_, OwnExit):
            exit_.enter()
        else:  # the lane was closed since the exit was loaded, an instant ago
            self._gate.overtaken()

    def _load_exit(self) -> OwnExit | SharedExit:
        """Return a new exit for the block that is about to be entered, and leave it where its entry looks."""
        period = self._gate.fast
        if period is None:
            own = OwnExit(self)
            _loaded[get_ident()] = ref(own)
            return own
        shared = self._shared = SharedExit(self, period)
        _loaded[get_ident()] = shared
        return shared

    if TYPE_CHECKING:

        def __exit__(self, exc_type: ExcType, exc: Exc, traceback: Traceback, /) -> None: ...
        async def __aexit__(self, exc_type: ExcType, exc: Exc, traceback: Traceback, /) -> None: ...

    else:

        @property
        def __exit__(self):
            shared = self._shared
            if shared is not None and shared.period is self._gate.fast:
                _loaded[get_ident()] = shared
                return shared.exit
            return self._load_exit().exit

        @property
        def __aexit__(self):
            shared = self._shared
            if shared is not None and shared.period is self._gate.fast:
                _loaded[get_ident()] = shared
                return shared.exit_async
            return self._load_exit().exit_async
