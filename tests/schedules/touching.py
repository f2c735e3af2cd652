"""What each step of a thread touches that other threads may see, read from the source of the shells.

Rather too much than too little, since a step that seems to touch nothing is never held up:

- An attribute stands for all of its name, in whatever object. It counts if it is set outside `__init__` anywhere, or
  holds a container. A line that calls a container's mutating method writes it; every other mention reads it.
- All locks that a file takes are one. So is the clock.
- A call of a function of the shells touches nothing by itself: what that function does is steps of its own. A call of
  the machines, which are not interleaved, writes all that they keep. Any other call touches everything, but for those
  that are known to be harmless.
- A step does not end where its line does: if the function may return there, the line of its caller goes on.

Tests tell by themselves what their own code shares (`touch`, in `searching`).
"""

from __future__ import annotations

import ast
import dis
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

import interleave_test

import swarmguard

PACKAGE = Path(swarmguard.__file__).parent
EXPLORER = Path(interleave_test.__file__).parent

SHELLS = [
    str(PACKAGE / name)
    for name in (
        "_breaker/block.py",
        "_breaker/calls.py",
        "_breaker/decorate.py",
        "_breaker/core.py",
        "_breaker/passage.py",
        "_breaker/permit.py",
        "_breaker/registry.py",
        "_breaker/counting.py",
        "_common/call_logged.py",
        "_common/monitor.py",
        "_common/outbox.py",
        "_overseer/core.py",
        "bus.py",
    )
]
"""What is interleaved: all that may run without a lock, and the locks. The machines run under them."""

EVERYTHING = "everything"
CLOCK = "the clock"
LOCKS = "the locks of "
MACHINES = "the machines"
OUTSIDE = "what a test does next"
"""Nobody writes it: it says that a step goes on into a test's code, which may touch what only the test knows."""

CONTAINERS = {"WeakValueDictionary", "deque", "dict", "list", "set"}
MUTATORS = {
    "add",
    "append",
    "clear",
    "discard",
    "extend",
    "pop",
    "popitem",
    "popleft",
    "remove",
    "setdefault",
    "update",
}
READS_TIME = {"_monotonic", "monotonic", "now"}
TAKES_LOCKS = {"acquire", "release", "set", "wait", "wake"}
RUNS_THE_TEST = {"fn"}
RUNS_MACHINES = {"action", "callback"}
HARMLESS = {
    *("AssertionError", "CallRecord", "CircuitOpenError", "Event", "IndexError", "Refusal", "Terms", "_is_owned"),
    *("_leave", "_new", "callable", "cast", "check_callable", "check_count", "check_instance", "get_ident", "hasattr"),
    *("is_finalizing", "isinstance", "iter", "judge_exception", "judge_result", "known", "len", "loaded", "partial"),
    *("reached", "ref", "suppress", "takes", "timedelta", "tuple", "type", "until"),
}
"""What touches nothing that threads share; `known` and `loaded` are weak references, to what a test keeps alive."""


class Touched(NamedTuple):
    """What a step reads and what it writes, by name."""

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()

    def and_also(self, reads: Iterable[str] = (), writes: Iterable[str] = ()) -> Touched:
        """Return this with more."""
        return Touched(self.reads.union(reads), self.writes.union(writes))


NOTHING = Touched()


@functools.cache
def lines_of(path: str) -> dict[int, Touched]:
    """Return what each line of one of the shells touches by itself, by the line's number."""
    tree, names, touched = ast.parse(Path(path).read_text()), _names(), dict[int, Touched]()
    for function in _functions(tree):
        aliases = dict(names.aliases_in(function))
        for statement in ast.walk(function):
            for part in _own_parts(statement):
                found = names.touched(part, aliases, LOCKS + path)
                for line in {statement.lineno, *range(part.lineno, part.end_lineno + 1)}:
                    touched[line] = touched.get(line, NOTHING).and_also(*found)
    return {line: found for line, found in touched.items() if found != NOTHING}


def next_step(frame: FrameType | None) -> Touched:
    """Return what a thread touches from where it has stopped to where it stops next.

    Args:
        frame: The innermost frame, in which the explorer asks.
    """
    while frame is not None and not _is_explorers(frame):
        frame = frame.f_back
    touched, at_lock = NOTHING, False
    while frame is not None:
        path = frame.f_code.co_filename
        if path in SHELLS:
            line = _line(frame.f_code, frame.f_lineno, at_lock)
            touched = line.touched if touched is NOTHING else touched.and_also(*line.touched)
            if not line.may_return:
                break
            at_lock = False
        elif path.startswith(str(PACKAGE)):
            touched = touched.and_also(writes=_names().kept_by_machines)
        elif _is_explorers(frame):
            at_lock = path.endswith("_primitives.py")
        else:
            touched = touched.and_also(reads={OUTSIDE})
        frame = frame.f_back
    return touched


class _Line(NamedTuple):
    """A line of a function, and whether the function may return there."""

    touched: Touched
    may_return: bool


@functools.cache
def _line(code: CodeType, number: int, at_lock: bool) -> _Line:
    touched = lines_of(code.co_filename).get(number, NOTHING)
    if at_lock:
        touched = touched.and_also(writes={LOCKS + code.co_filename})
    returning = (
        instruction.positions.lineno
        for instruction in dis.get_instructions(code)
        if instruction.positions and instruction.opname.startswith(("RETURN_", "YIELD_", "SEND"))
    )
    return _Line(touched, number in returning)


class _Names:
    """Which names stand for what threads share."""

    def __init__(self) -> None:
        self.functions: set[str] = set()
        self.kept_by_machines: set[str] = set()
        self._changing: set[str] = set()
        self._containers: set[str] = set()
        self._globals: set[str] = set()
        self._aliases: dict[str, str] = {}
        trees = {str(path): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
        for path, tree in trees.items():
            self._look_at(tree, path in SHELLS)
        for tree in trees.values():
            for target, value in _assignments(tree):
                if isinstance(target, ast.Attribute) and self._holds_container(value):
                    self._aliases[target.attr] = value.attr
        self.kept_by_machines &= self._changing | self._containers

    def _look_at(self, tree: ast.Module, is_shell: bool) -> None:
        for statement in tree.body:
            for target, value in _assignments_of(statement):
                if isinstance(target, ast.Name) and _is_container(value):
                    self._globals.add(target.id)
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                self._globals.update(node.names)
            elif isinstance(node, ast.ClassDef) and is_shell:
                self.functions.add(node.name)
        for function in _functions(tree):
            if is_shell:
                self.functions.add(function.name)
            for target, value in _assignments(function):
                if isinstance(target, ast.Attribute):
                    if _is_container(value):
                        self._containers.add(target.attr)
                    if function.name != "__init__":
                        self._changing.add(target.attr)
                    if not is_shell:
                        self.kept_by_machines.add(target.attr)

    def aliases_in(self, function: ast.AST) -> Iterator[tuple[str, str]]:
        """Iterate over a function's local names for containers, each with the attribute that holds the container."""
        for target, value in _assignments(function):
            if isinstance(target, ast.Name) and self._holds_container(value):
                yield target.id, value.attr

    def touched(self, tree: ast.AST, aliases: dict[str, str], locks: str) -> Touched:
        """Return what a piece of source touches by itself; `locks` stands for those that its file takes."""
        touched = Touched()
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Name):
                name = self._shared(node, aliases)
                if name is not None:
                    is_read = isinstance(node.ctx, ast.Load)
                    touched = touched.and_also({name} if is_read else (), () if is_read else {name})
            elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
                touched = touched.and_also(writes={self._shared(node.value, aliases) or EVERYTHING})
            elif isinstance(node, ast.Call):
                touched = touched.and_also(*self._called(node.func, aliases, locks))
        return touched

    def _shared(self, node: ast.expr, aliases: dict[str, str]) -> str | None:
        if isinstance(node, ast.Name):
            return aliases.get(node.id) or (node.id if node.id in self._globals else None)
        name = self._aliases.get(node.attr, node.attr) if isinstance(node, ast.Attribute) else None
        return name if name in self._containers or name in self._changing else None

    def _called(self, function: ast.expr, aliases: dict[str, str], locks: str) -> Touched:
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
        receiver = function.value if isinstance(function, ast.Attribute) else None
        if name in READS_TIME:
            return Touched(reads=frozenset({CLOCK}))
        if name in RUNS_THE_TEST:
            return Touched(reads=frozenset({OUTSIDE}))
        if name in TAKES_LOCKS:
            return Touched(writes=frozenset({locks}))
        if name in RUNS_MACHINES or (receiver is not None and "machine" in ast.unparse(receiver)):
            return Touched(writes=frozenset(self.kept_by_machines))
        if receiver is not None and name in MUTATORS:
            return Touched(writes=frozenset({self._shared(receiver, aliases) or EVERYTHING}))
        if name in HARMLESS or (name in self.functions and not ast.unparse(function).startswith("inner.")):
            return Touched()
        return Touched(writes=frozenset({EVERYTHING}))

    def _holds_container(self, value: ast.expr | None) -> bool:
        return isinstance(value, ast.Attribute) and value.attr in self._containers


@functools.cache
def _names() -> _Names:
    return _Names()


def _is_explorers(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(str(EXPLORER))


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _assignments(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    for node in ast.walk(tree):
        yield from _assignments_of(node)


def _assignments_of(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple):
                values = node.value.elts if isinstance(node.value, ast.Tuple) else [None] * len(target.elts)
                yield from zip(target.elts, values, strict=True)
            else:
                yield target, node.value
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
        yield node.target, node.value


def _is_container(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id in CONTAINERS
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def _own_parts(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Iterate over what a statement does by itself: all of a simple one, the head of one that has others in it."""
    if not isinstance(node, ast.stmt | ast.ExceptHandler) or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    children = list(ast.iter_child_nodes(node))
    if not any(isinstance(child, ast.stmt) for child in children):
        yield node
        return
    for child in children:
        if isinstance(child, ast.expr):
            yield child
        elif isinstance(child, ast.withitem):
            yield child.context_expr
            if not isinstance(child.context_expr, ast.Call):  # a lock
                acquire = ast.Attribute(child.context_expr, "acquire", ast.Load())
                yield ast.copy_location(ast.Call(acquire, [], []), child.context_expr)
