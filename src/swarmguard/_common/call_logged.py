"""Running the users' callbacks so that their errors reach the log and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
D = TypeVar("D")


def call_logged(what: str, fallback: D, callback: Callable[..., T], *args: object) -> T | D:
    """Call back and return the answer; an exception is logged under `what`, and the answer is `fallback`."""
    try:
        return callback(*args)
    except Exception:
        if not sys.is_finalizing():  # a finalizer at the very end has no log left to write to
            import logging  # noqa: PLC0415 - seldom needed, and not cheap to load

            logging.getLogger("swarmguard").exception("%s raised; carrying on as if it were not there", what)
        return fallback
