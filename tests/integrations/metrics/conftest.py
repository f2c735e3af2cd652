"""Prometheus's own tool, to check formats."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


@pytest.fixture
def promtool():
    """Return a function that runs promtool on a text and fails with its complaints."""
    if shutil.which("promtool") is None and not os.environ.get("CI"):
        pytest.skip("promtool is not installed; Debian's package `prometheus` has it")

    def run(*arguments, text=None):
        done = subprocess.run(
            ["promtool", *arguments], input=text, capture_output=True, encoding="utf-8", check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert not done.stderr, done.stderr  # the linter's warnings

    return run
