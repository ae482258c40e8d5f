"""Tests and limits on one stored histogram, a search's or anyone's own."""

from __future__ import annotations

from tnt_coffea.histogram_fits.exchange import write_tables, write_workspace
from tnt_coffea.histogram_fits.fitting import FitOptions, FitResult, Method, fit_histogram
from tnt_coffea.histogram_fits.stored import Stored, stored_histogram

__all__ = [
    "FitOptions",
    "FitResult",
    "Method",
    "Stored",
    "fit_histogram",
    "stored_histogram",
    "write_tables",
    "write_workspace",
]
