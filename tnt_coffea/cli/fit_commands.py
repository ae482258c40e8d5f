"""What commands on one histogram have in common: files, the list of tests, what is shown."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tnt_coffea.cli.fit_options import (
    histogram_argument,
    json_option,
    name_option,
    out_of_search_option,
)
from tnt_coffea.cli.options import configured, options, search_of
from tnt_coffea.errors import FitError

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.histogram_fits import StoredHistogram

__all__ = [
    "histogram_command",
    "keep",
    "keep_all",
    "of_sets",
    "refuse",
    "show",
    "show_expected",
    "show_files",
    "stored_at",
]


def histogram_command(*own: Callable[..., Any]) -> Callable[..., click.Command]:
    """Make a function a command on one histogram: options of its own, then those of all."""

    def decorate(function: Callable[..., None]) -> click.Command:
        alone = configured(_only_writer(function))
        return click.command()(
            options(histogram_argument, name_option, *own, json_option, out_of_search_option)(alone)
        )

    return decorate


def _only_writer(function: Callable[..., None]) -> Callable[..., None]:
    """Hold the folder of the search that a histogram is of: the test is added to its list."""

    @functools.wraps(function)
    def alone(histogram: Path, **rest: Any) -> None:
        from tnt_coffea.storage import held

        _check_outputs(rest)
        out = search_of(histogram)
        try:
            with held(out) if out and os.access(out, os.W_OK) else nullcontext():
                function(histogram=histogram, **rest)
        except FitError as error:
            if str(histogram) in str(error):
                raise
            msg = f"{histogram}: {error}"
            raise FitError(msg) from error

    return alone


def _check_outputs(given: dict[str, Any]) -> None:
    """Refuse files that could not be written, before a fit that may take minutes."""
    from tnt_coffea import fit_files

    if given.get("plot") is not None:
        fit_files.figure_format(given["plot"])
    for name in ("plot", "workspace", "json_path", "impacts", "combine", "hs3"):
        if given.get(name) is not None:
            fit_files.check_place(given[name])


def stored_at(path: Path, name: str | None, *, whole: bool = False) -> StoredHistogram:
    """Return what a command is about, as `histogram_fits.stored_histogram`."""
    from tnt_coffea import histogram_fits

    return histogram_fits.stored_histogram(path, name, whole=whole)


def show_expected(
    histogram: Path,
    stored: StoredHistogram,
    config: SearchConfig,
    test: str,
    json_path: Path | None,
    plot: Path | None,
    **given: Any,
) -> None:
    """Show what background alone lets expect, and note that it was looked at."""
    from tnt_coffea import fit_files, histogram_fits

    found = histogram_fits.fit_expected(stored, config, **given)
    keep(histogram, stored, config, test, None, **given)
    show(found, json_path)
    if plot is not None:
        show_files("figure", [fit_files.write_plot(plot, found)])


def refuse(**given: Any) -> None:
    """Refuse options that a blinded fit has no use for, or that would show the window."""
    for name, value in given.items():
        if value is not None:
            option = name.replace("_", "-")
            msg = f"--{option} is not for a blinded fit (--blind, fit.blind): leave it out"
            raise click.UsageError(msg)


def keep(
    histogram: Path,
    stored: StoredHistogram,
    config: SearchConfig,
    test: str,
    p_value: float | None,
    **settings: Any,
) -> None:
    """Add a test on a search's histogram to the list of those that were made on the search."""
    of = of_sets(stored)
    p_values = {} if p_value is None else {of: p_value}
    keep_all(histogram, stored, config, test, p_values, **settings)


def of_sets(stored: StoredHistogram) -> str:
    """Return in words which tagger sets of a search are meant."""
    return ", ".join(("all dijets", *stored.sets) if stored.whole else stored.sets)


def keep_all(
    histogram: Path,
    stored: StoredHistogram,
    config: SearchConfig,
    test: str,
    p_values: dict[str, float],
    **settings: Any,
) -> None:
    """Add a test to the list with its p-values, by what was tested."""
    from tnt_coffea import pipeline
    from tnt_coffea.search_folder import note_trial, noted_trials

    out = search_of(histogram)
    if stored.search is None or out is None:
        return
    if not os.access(out, os.W_OK):
        click.echo(f"{out}: not ours to write, so its list of tests lacks this one", err=True)
        return
    typed = {name: value for name, value in settings.items() if value}
    made = pipeline.trial(stored.search, config, test, p_values, of_sets(stored), **typed)
    note_trial(out, made)
    if (number := len(noted_trials(out, made.data))) > 1:
        click.echo(
            f"{number} tests were made on these data; `tnt-coffea fit` has the global p-value "
            "that counts them"
        )


def show(result: Any, json_path: Path | None) -> None:
    """Show a result, and write it where a file is asked for."""
    from tnt_coffea import fit_files

    click.echo(result.summary())
    if json_path is not None:
        fit_files.write_result(json_path, result)
        show_files("result", [json_path])


def show_files(kind: str, paths: list[Path]) -> None:
    """Say which files were written."""
    for path in paths:
        click.echo(f"{kind}: {path}")
