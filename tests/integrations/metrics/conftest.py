"""What checks Prometheus's formats for us: its own tool."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


@pytest.fixture
def promtool():
    """Give a function that runs promtool on some text and raises what it complains of."""
    if shutil.which("promtool") is None and not os.environ.get("CI"):
        pytest.skip("promtool is not installed; Debian's package `prometheus` has it")

    def run(*arguments, text=None):
        done = subprocess.run(
            ["promtool", *arguments], input=text, capture_output=True, encoding="utf-8", check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert not done.stderr, done.stderr  # what the linter has to say

    return run
