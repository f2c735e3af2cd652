"""Importing the optional libraries of the integrations."""

from __future__ import annotations

from types import TracebackType


class Extra:
    """A `with` block around the imports of an integration.

    An `ImportError` in the block is raised again with the `pip install` command for the missing library.

    Args:
        name: The name of the extra, which is also the name of the module.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc, ImportError):
            command = f'pip install "swarmguard[{self._name}]"'
            raise ImportError(f"swarmguard.{self._name} cannot be imported ({exc}): {command}", name=exc.name) from exc
