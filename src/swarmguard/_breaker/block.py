"""`with breaker:` and `async with breaker:`: finding the entry of a block again at its exit.

One breaker guards many blocks at once: nested, in threads, in tasks, in generators that are resumed elsewhere. Neither
a thread nor a context variable names a block, but the `with` statement itself does: the language loads `__exit__`
*before* it calls `__enter__`, and keeps what it loaded until the block ends. So `__exit__` is a property, and each
loading makes a `Block` of its own, which waits in a slot of its thread for the `__enter__` that follows at once. The
exit that the statement kept is that block's own, wherever and in whatever order it is called.

Others (an `ExitStack`, which loads `__exit__` from the class, or somebody who calls the two by hand) cannot be matched
like that. Their entries wait in a list, and their exits take the latest from it.
"""

from __future__ import annotations

from _thread import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from swarmguard._breaker.gate import Gate
from swarmguard._breaker.passage import Passage

ExcType = type[BaseException] | None
Exc = BaseException | None
Traceback = TracebackType | None


class Block(Passage):
    """One guarded block: made when an exit is loaded, entered at once, left when the block ends.

    Args:
        gate: Admits and settles.
        unmatched: The entries that no exit is known for.
    """

    __slots__ = ("unmatched",)

    def __init__(self, gate: Gate, unmatched: list[Block]) -> None:
        self.gate = gate  # what Passage does, without the cost of asking it
        self.period = None
        self.unmatched = unmatched

    def exit(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        """Settle the call by how the block ended."""
        period = self.period
        if period is None or exc is not None or period.heeds_success:
            self._exit_otherwise(exc)

    async def exit_async(self, exc_type: ExcType, exc: Exc, traceback: Traceback) -> None:
        """The same, for `async with`."""
        self.exit(exc_type, exc, traceback)

    def _exit_otherwise(self, exc: Exc) -> None:
        """Settle what is not simply fine; a block that was never entered settles the latest unmatched entry."""
        if self.leave(exc):
            return
        if _loaded.get(get_ident()) is self:
            del _loaded[get_ident()]
        if self.unmatched:
            self.unmatched.pop().leave(exc)


_loaded: dict[int, Block] = {}
"""By thread, the block whose exit was loaded and whose entry comes next. (A `threading.local` takes twice as long.)"""


class _Exit(property):
    """A property that can also be called as a method of the class, as an `ExitStack` does."""

    def __call__(self, guard: BlockGuard, *exc_info: Any) -> Any:
        return self.__get__(guard)(*exc_info)


class BlockGuard:
    """What makes a breaker a context manager, sync and async.

    Args:
        gate: Admits and settles.
    """

    __slots__ = ("__weakref__", "_gate", "_unmatched")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._unmatched: list[Block] = []

    def __enter__(self) -> Self:
        block = _loaded.pop(get_ident(), None)
        gate = self._gate
        if block is not None and block.gate is gate:
            period = gate.fast
            if period is not None:
                block.period = period
            else:
                block.enter()
        else:
            self._enter_unmatched()
        return self

    async def __aenter__(self) -> Self:
        return self.__enter__()

    def _enter_unmatched(self) -> None:
        block = Block(self._gate, self._unmatched)
        block.enter()
        self._unmatched.append(block)

    if TYPE_CHECKING:

        def __exit__(self, exc_type: ExcType, exc: Exc, traceback: Traceback, /) -> None: ...
        async def __aexit__(self, exc_type: ExcType, exc: Exc, traceback: Traceback, /) -> None: ...

    else:

        @_Exit
        def __exit__(self):
            _loaded[get_ident()] = block = Block(self._gate, self._unmatched)
            return block.exit

        @_Exit
        def __aexit__(self):
            _loaded[get_ident()] = block = Block(self._gate, self._unmatched)
            return block.exit_async
