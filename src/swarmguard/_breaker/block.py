"""`with breaker:` and `async with breaker:`: finding the entry of a block again at its exit.

One breaker guards many blocks at once: nested, in threads, in tasks, in generators that are resumed elsewhere. Neither
a thread nor a context variable names a block, but the `with` statement itself does: the language loads `__exit__`
*before* it calls `__enter__`, and keeps what it loaded until the block ends. So `__exit__` is a property: each loading
leaves an exit in the slot of its thread, the `__enter__` that follows at once takes it from there, and the exit that
the statement kept is the entry's own, wherever and in whatever order it is called.

On the fast lane all blocks of one period may share one exit, since they all mean the same; off it, each has its own.

Others (an `ExitStack`, which loads `__exit__` from the class, or somebody who calls the two by hand) cannot be matched
like that. Their entries wait in a list, and their exits take the latest from it.
"""

from __future__ import annotations

from _thread import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Self

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

    __slots__ = ("guard",)

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

    __slots__ = ("guard", "late", "period", "unmatched")

    def __init__(self, guard: BlockGuard, period: Tally) -> None:
        self.guard = guard
        self.period = period
        self.unmatched = guard._unmatched
        self.late: list[Passage] = []
        """Entries that found the fast lane closed though their exit had been loaded on it an instant before."""

    def exit(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        """Settle the call by how the block ended."""
        if exc is not None or self.period.heeds_success or self.unmatched or self.late:
            self._exit_otherwise(exc)

    async def exit_async(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        """The same, for `async with`."""
        self.exit(exc_type, exc, traceback)

    def _exit_otherwise(self, exc: Exc) -> None:
        if _forget(self) and self.guard._leave_unmatched(exc):  # no entry took this exit: it was called by hand
            return
        if self.late:
            self.late.pop().leave(exc)
        elif exc is not None:
            self.guard._gate.raised(self.period, exc)
        elif self.period.heeds_success:
            self.guard._gate.succeeded(self.period)


_loaded: dict[int, OwnExit | SharedExit] = {}
"""By thread, the exit that was loaded and whose entry comes next. (A `threading.local` takes twice as long.)"""


def _forget(exit_: OwnExit | SharedExit) -> bool:
    """Clear this thread's slot if the exit is there still: then no entry has taken it."""
    if _loaded.get(get_ident()) is not exit_:
        return False
    del _loaded[get_ident()]
    return True


class _Exit(property):
    """`__exit__` as a property that can also be called as the class's method, which an `ExitStack` does."""

    def __call__(self, guard: BlockGuard, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        guard._leave_unmatched(exc)


class _AsyncExit(property):
    """The same for `__aexit__` and an `AsyncExitStack`."""

    async def __call__(self, guard: BlockGuard, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        guard._leave_unmatched(exc)


class BlockGuard:
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
        if loaded is None or loaded is not self._shared or loaded.period is not self._gate.fast:
            self._enter_otherwise(loaded)
        return self

    async def __aenter__(self) -> Self:
        return self.__enter__()

    def _leave_unmatched(self, exc: Exc) -> bool:
        """Settle the latest entry that no exit is known for; return False when there is none."""
        try:
            passage = self._unmatched.pop()
        except IndexError:
            return False
        return passage.leave(exc)

    def _enter_otherwise(self, loaded: OwnExit | SharedExit | None) -> None:
        """Enter on whichever lane, so that the exit that was loaded finds the entry."""
        if loaded is None or loaded.guard is not self:
            passage, exits = Passage(self._gate), self._unmatched
        elif isinstance(loaded, SharedExit):
            passage, exits = Passage(self._gate), loaded.late
        else:
            loaded.enter()
            return
        passage.enter()
        exits.append(passage)

    def _load_exit(self) -> OwnExit | SharedExit:
        """Return the exit for the block that is about to be entered, and leave it where its entry looks."""
        period, shared = self._gate.fast, self._shared
        exit_: OwnExit | SharedExit
        if period is None:
            exit_ = OwnExit(self)
        elif shared is not None and shared.period is period:
            exit_ = shared
        else:
            exit_ = self._shared = SharedExit(self, period)
        _loaded[get_ident()] = exit_
        return exit_

    if TYPE_CHECKING:

        def __exit__(self, exc_type: ExcType, exc: Exc, traceback: Traceback, /) -> None: ...
        async def __aexit__(self, exc_type: ExcType, exc: Exc, traceback: Traceback, /) -> None: ...

    else:

        @_Exit
        def __exit__(self):  # noqa: ANN204, PLE0302 - see the module's docstring
            shared = self._shared
            if shared is not None and shared.period is self._gate.fast:  # as in _load_exit, without the call
                _loaded[get_ident()] = shared
                return shared.exit
            return self._load_exit().exit

        @_AsyncExit
        def __aexit__(self):  # noqa: ANN204, PLE0302
            return self._load_exit().exit_async
