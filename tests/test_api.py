"""The public names and signatures, compared with a written list, so that every change is a decision.

`python -m tests.test_api --write` writes the list. It is read from the source, without running it, so it is the same on
every Python and needs no library of an integration.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator
from pathlib import Path

import griffe

SOURCE = Path(__file__).parents[1] / "src"
LIST = Path(__file__).with_name("api.txt")
MODULES = ["", ".asgi", ".bus", ".clock", ".errors", ".events", ".httpx", ".httpx2", ".logging", ".otel", ".prometheus"]
MODULES += [".pytest_plugin", ".testing"]
PROTOCOL = {"__init__", "__call__", "__aiter__", "__anext__", "__iter__", "__len__", "__contains__"}
PROTOCOL |= {"__enter__", "__exit__", "__aenter__", "__aexit__", "__lt__", "__le__", "__gt__", "__ge__"}
"""The special methods that users rely on."""
NEVER_CONSTRUCTED = {"AgentHandle", "Permit", "Subscription"}
"""Classes that users get from a method; the parameters of their constructors are private."""


def listing() -> list[str]:
    """Return the lines of the list."""
    package = griffe.load("swarmguard", search_paths=[SOURCE])
    lines: list[str] = []
    for name in MODULES:
        module = package[name[1:]] if name else package
        lines += [f"swarmguard{name}"]
        for export in exported(module):
            target = module[export]
            lines += described(target.final_target if target.is_alias else target)
    return lines


def exported(module: griffe.Module) -> list[str]:
    """Return the public names of a module: its `__all__`, or what it defines; the package's are defined elsewhere."""
    if module.path == "swarmguard":
        homes = [name for name, member in module.members.items() if member.is_alias and name[0].isupper()]
        return sorted(set(homes) - {"TYPE_CHECKING"})
    own = [name for name, member in module.members.items() if member.is_public and not member.is_alias]
    return sorted(map(str, module.exports or own))


def described(public: griffe.Object) -> Iterator[str]:
    """Iterate over the lines of one name and of its public members."""
    yield f"  {signature(public)}"
    if public.is_class:
        for name, member in sorted(public.all_members.items()):
            if name == "__init__" and public.name in NEVER_CONSTRUCTED:
                continue
            offered = member.final_target if member.is_alias else member
            if (not name.startswith("_") or name in PROTOCOL) and offered.path.startswith("swarmguard"):
                yield f"    {signature(offered)}"


def signature(public: griffe.Object) -> str:
    """Return the signature of a name, as it is written where it is defined."""
    if isinstance(public, griffe.Class):
        return f"class {public.name}({', '.join(map(str, public.bases))})"
    if isinstance(public, griffe.Function):
        words = [*sorted(public.labels & {"async", "classmethod", "staticmethod"}), "def"]
        return f"{' '.join(words)} {public.signature(name=public.name)}"
    if isinstance(public, griffe.Attribute):
        words = [*sorted(public.labels & {"property"}), public.name]
        annotation = "" if public.annotation is None else f": {public.annotation}"
        value = "" if public.value is None else f" = {public.value}"
        return f"{' '.join(words)}{annotation}{value}"
    return f"{public.kind.value} {public.name}"


def test_the_public_interface_is_the_written_one() -> None:
    """The public names and signatures are those of `api.txt`."""
    written = LIST.read_text().splitlines()
    changes = "\n".join(difflib.unified_diff(written, listing(), "tests/api.txt", "the package", lineterm="", n=1))
    assert not changes, f"{changes}\nIf that is meant: python -m tests.test_api --write, and say so in CHANGELOG.md."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.test_api", description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    LIST.write_text("".join(f"{line}\n" for line in listing()))
