"""Nothing here runs where the explorer does not."""

from __future__ import annotations

import sys

collect_ignore_glob = ["test_*.py"] if sys.version_info < (3, 12) else []
