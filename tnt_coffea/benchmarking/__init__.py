"""The cost of the kernels against named peers, measured in one run."""

from __future__ import annotations

from tnt_coffea.benchmarking.report import BenchmarkReport
from tnt_coffea.benchmarking.suite import benchmark
from tnt_coffea.benchmarking.table import markdown

__all__ = ["BenchmarkReport", "benchmark", "markdown"]
