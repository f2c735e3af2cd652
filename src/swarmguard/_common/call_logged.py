"""Running a user's callback so that its errors are logged and go no further."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
D = TypeVar("D")


def call_logged(what: str, fallback: D, callback: Callable[..., T], *args: object) -> T | D:
    """Run a callback; log an exception and return a fallback instead.

    Args:
        what: The subject of the log message: "the sink", for "the sink raised; ignored".
        fallback: Returned if the callback raises.
        callback: The function to run.
        args: Its arguments.

    Returns:
        The callback's result, or the fallback.
    """
    try:
        return callback(*args)
    except Exception:
        if not sys.is_finalizing():  # at interpreter shutdown `logging` may be gone
            import logging  # noqa: PLC0415 - seldom needed, and slow to import

            logging.getLogger("swarmguard").exception("%s raised; ignored", what)
        return fallback
