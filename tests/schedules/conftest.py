"""Skip the schedules on Python 3.11, which interleave-test does not support."""

from __future__ import annotations

import sys

collect_ignore_glob = ["test_*.py"] if sys.version_info < (3, 12) else []
