"""Whether the masses, ranges and bins of a search fit into each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

from tnt_coffea.config.fits import FitSettings
from tnt_coffea.config.searches import SearchSettings
from tnt_coffea.config.settings import MassRange
from tnt_coffea.config.signal_points import mass_named
from tnt_coffea.config.systematics import SystematicsSettings
from tnt_coffea.errors import ConfigError

__all__ = ["check_masses", "check_template_masses"]

_MOST_BINS = 10_000
"""Bins of a stored histogram in mass; more is a slip, and would fill the memory."""
_SAME_MASS = 1e-6
"""A mass is that of a template where it differs by less [GeV]."""
_TOLERANCE = 1e-6
"""Of an edge, in bins: decimal numbers differ from their sums by rounding."""


def check_masses(search: SearchSettings, fit: FitSettings) -> None:
    """Refuse masses, ranges and bins that contradict each other.

    Raises
    ------
    ValueError
        The first contradiction; it begins with a setting's name.

    Examples
    --------
    >>> check_masses(SearchSettings(), FitSettings(bump={"mass": 5000}))
    Traceback (most recent call last):
        ...
    ValueError: fit.bump.mass is 5000 GeV, outside search.window (3300 to 3700 GeV), where ...
    """
    message = next(itertools.chain(_ranges(search), _bins(search, fit), _tested(search, fit)), None)
    if message is not None:
        raise ValueError(message)


def check_template_masses(
    systematics: SystematicsSettings, fit: FitSettings, tested: Iterable[float]
) -> None:
    """Refuse signal templates of one mass twice, and masses that none of them reaches.

    Parameters
    ----------
    systematics
        Masses of signals, where their names do not say them.
    fit
        Names of the signals that templates are made of.
    tested
        Masses that are fitted with them [GeV].

    Raises
    ------
    ValueError
        Two signals have one mass, or a mass lies outside theirs; it begins with a setting's name.

    Examples
    --------
    >>> fit = FitSettings(signal={"names": ["m3000", "m3500"]})
    >>> check_template_masses(SystematicsSettings(), fit, [3200.0])
    >>> check_template_masses(SystematicsSettings(), fit, [4000.0])
    Traceback (most recent call last):
        ...
    ValueError: fit.signal.names have masses of 3000 to 3500 GeV, and 4000 GeV is tested: ...
    """
    names = () if fit.signal is None else fit.signal.names
    found: dict[float, str] = {}
    for name in names:
        said = systematics.signals.get(name)
        try:
            mass = mass_named(name) if said is None or said.mass is None else said.mass
        except ConfigError:  # where signals are read, it says that a mass is missing
            return
        if mass in found:
            msg = (
                f"fit.signal.names has {found[mass]} and {name}, both of {mass:g} GeV: a signal "
                "template is of one signal a mass, leave one out"
            )
            raise ValueError(msg)
        found[mass] = name
    low, high = min(found, default=-math.inf), max(found, default=math.inf)
    for mass in tested:
        if not low - _SAME_MASS <= mass <= high + _SAME_MASS:
            reach = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            msg = (
                f"fit.signal.names have masses of {reach} GeV, and {mass:g} GeV is tested: "
                "templates are made between their masses alone; change fit.bump.mass, "
                "fit.scan.masses or search.window, or add a signal"
            )
            raise ValueError(msg)


def _ranges(search: SearchSettings) -> Iterator[str]:
    ranges = ("histogram_range", "fit_range", "window")
    for outer, inner in itertools.pairwise(ranges):
        there, here = getattr(search, outer), getattr(search, inner)
        if not there.low <= here.low < here.high <= there.high:
            yield (
                f"search.{inner} ({_text(here)}) does not lie inside search.{outer} "
                f"({_text(there)}): change one of them"
            )


def _bins(search: SearchSettings, fit: FitSettings) -> Iterator[str]:
    start, width = search.histogram_range.low, search.bin_width
    wide = None if fit.bump.edges else fit.bump.bin_width
    if search.histogram_range.high - start > _MOST_BINS * width:
        yield (
            f"search.bin_width ({width:g} GeV) makes more than {_MOST_BINS} bins of "
            f"search.histogram_range ({_text(search.histogram_range)}): choose wider bins"
        )
    if wide is not None and not _whole(wide / width):
        yield (
            f"fit.bump.bin_width ({wide:g} GeV) must be a multiple of search.bin_width "
            f"({width:g} GeV)"
        )
    for name in ("histogram_range", "fit_range", "window"):
        # Bins of one width begin at the fit range, and have to be whole bins of the histogram.
        even = name == "histogram_range" or (name == "fit_range" and wide is not None)
        own = () if even else search.mass_edges
        for value in getattr(search, name).edges:
            if value != start and not _is_edge(value, start, width, own):
                yield (
                    f"search.{name} ({_text(getattr(search, name))}) does not begin and end at "
                    f"edges of bins: {_edges(search, *own)}"
                    + ("; or give fit.bump.edges" if value in search.mass_edges else "")
                )
    ends = (search.fit_range.low, search.fit_range.high)
    if fit.bump.edges and not set(ends) <= set(fit.bump.edges):
        yield (
            f"search.fit_range ({_text(search.fit_range)}) does not begin and end at edges of "
            "fit.bump.edges: change one of them"
        )
    for edge in fit.bump.edges:
        if not _is_edge(edge, start, width, search.mass_edges):
            yield (
                f"fit.bump.edges: {edge:g} GeV is no edge of the histogram's bins, "
                f"{_edges(search, *search.mass_edges)}; add it to search.mass_edges"
            )
    if wide is not None and not _whole((search.fit_range.high - search.fit_range.low) / wide):
        yield (
            f"search.fit_range ({_text(search.fit_range)}) is no whole number of bins of "
            f"{wide:g} GeV (fit.bump.bin_width): change one of them"
        )
    if fit.window.enabled:
        yield from _window(search, fit, wide)


def _window(search: SearchSettings, fit: FitSettings, wide: float | None) -> Iterator[str]:
    low = search.fit_range.low
    edges, advice = fit.bump.edges, "change one of them"
    if wide is not None:
        # It counts in narrower bins where those of the bump hunt do not fit the window.
        width = search.bin_width
        wrong = [e for e in search.window.edges if e != low and not _is_edge(e, low, width)]
        bins = f"multiples of {width:g} GeV (search.bin_width) from {low:g} GeV on"
        near = [low + width * round((e - low) / width) for e in wrong]
        advice += ", or give fit.bump.edges with those of the window"
    else:
        bins = "fit.bump.edges"
        wrong = [e for e in search.window.edges if edges and e not in edges]
        near = [min((abs(edge - e), edge) for edge in edges)[1] for e in wrong]
        advice += f", or add {' and '.join(f'{e:g}' for e in wrong)} to fit.bump.edges"
    if wrong:
        yield (
            f"search.window ({_text(search.window)}) does not begin and end at edges of the bins "
            f"that fit.window counts in, {bins} (nearest: "
            f"{', '.join(f'{e:g}' for e in dict.fromkeys(near))} GeV): {advice}"
        )
    elif not low < search.window.low < search.window.high < search.fit_range.high:
        yield (
            f"search.window ({_text(search.window)}) leaves no bins beside it in search.fit_range "
            f"({_text(search.fit_range)}), which fit.window fits: widen it"
        )


def _tested(search: SearchSettings, fit: FitSettings) -> Iterator[str]:
    window, mass = search.window, fit.bump.mass
    if mass is not None and not window.low <= mass <= window.high:
        yield (
            f"fit.bump.mass is {mass:g} GeV, outside search.window ({_text(window)}), where the "
            "taggers look for a signal: change one of them, or leave the mass out, which is then "
            "the window's centre"
        )
    for mass in fit.scan.masses:
        if not search.fit_range.low < mass < search.fit_range.high:
            yield f"fit.scan.masses: {mass:g} GeV is outside search.fit_range " + (
                f"({_text(search.fit_range)})"
            )
    edges = fit.bump.lower_edges
    for edge in () if edges == "auto" else edges:
        if edge < fit.bump.lowest_edge:
            yield (
                f"fit.bump.lower_edges: {edge:g} GeV is below fit.bump.lowest_edge "
                f"({fit.bump.lowest_edge:g} GeV), where the trigger shapes the spectrum: change "
                "one of them"
            )
        if not search.histogram_range.low <= edge < window.low:
            yield (
                f"fit.bump.lower_edges: {edge:g} GeV is not between search.histogram_range "
                f"({_text(search.histogram_range)}) and search.window ({_text(window)})"
            )


def _text(found: MassRange) -> str:
    return f"{found.low:g} to {found.high:g} GeV"


def _edges(search: SearchSettings, *others: float) -> str:
    """Return in words where the bins of the stored histogram begin and end."""
    also = " and search.mass_edges" if others else ""
    return (
        f"{search.histogram_range.low:g} GeV and multiples of {search.bin_width:g} GeV from there "
        f"(search.histogram_range, search.bin_width){also}"
    )


def _is_edge(value: float, start: float, width: float, others: tuple[float, ...] = ()) -> bool:
    return value == start or _whole((value - start) / width) or value in others


def _whole(number: float) -> bool:
    return round(number) >= 1 and abs(number - round(number)) < _TOLERANCE
