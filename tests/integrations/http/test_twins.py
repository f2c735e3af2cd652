"""The modules for HTTPX and HTTPX2 are the same but for the library's name."""

from __future__ import annotations

import re
from pathlib import Path

import swarmguard

PACKAGE = Path(swarmguard.__file__).parent
OTHER = {"httpx": "httpx2", "httpx2": "httpx", "HTTPX": "HTTPX2", "HTTPX2": "HTTPX"}


def test_the_two_modules_are_the_same() -> None:
    """`httpx2.py` is `httpx.py` with the names of the two libraries exchanged."""
    source = (PACKAGE / "httpx.py").read_text(encoding="utf-8")
    exchanged = re.sub(r"httpx2?", lambda name: OTHER[name[0]], source, flags=re.IGNORECASE)
    assert exchanged.splitlines() == (PACKAGE / "httpx2.py").read_text(encoding="utf-8").splitlines()
