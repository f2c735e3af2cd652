"""Importing the libraries that only an integration needs."""

from __future__ import annotations

from types import TracebackType


class Extra:
    """A `with` block for the imports of an integration: one that fails says which extra brings the library.

    Args:
        name: The extra's name, which is the module's as well.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc, ImportError):
            mend = f'pip install "swarmguard[{self._name}]"'
            raise ImportError(f"swarmguard.{self._name} cannot be imported ({exc}): {mend}", name=exc.name) from exc
