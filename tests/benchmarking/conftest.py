"""The benchmarks are scripts beside each other: this makes them importable, as running one does."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
