"""The lower edge of a fit: where a spectrum starts to fall smoothly.

A trigger that is not yet fully efficient takes events from the lowest bins. The function bends
after them, and what it gets wrong stands under the signal: with three or four parameters an
efficiency of 84 % at the edge and of 99 % 200 GeV above costs a signal 0.8 of its uncertainty at
10^4 events and 2.2 at 10^5. There the fit's goodness sees nothing in 85 % of spectra at 10^4; a
test for a deficit at the edge alone sees 45 % of them, and 97 % at 10^5.

Bins within mass +- 2 widths take no part. The p-value of the signal keeps its meaning as far as
its toys do: they keep the range that was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.arguments import listed_numbers
from tnt_coffea.stats.background import Background
from tnt_coffea.stats.families import family_named
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.model import chosen_function, goodness_of_fit, outside_signal
from tnt_coffea.stats.results import EdgeTrial
from tnt_coffea.stats.signals import Signal
from tnt_coffea.stats.spectrum import Spectrum, spectra
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.validity import (
    LEAST_GOODNESS,
    LEAST_RANGE_GOODNESS,
    SIDEBAND_WIDTHS,
    TURN_ON_LEFT,
    TURN_ON_SEEN,
)

__all__ = ["LOWEST_EDGE", "chosen_lower_edge", "turn_on_notes", "turn_on_p_value"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

LOWEST_EDGE = 2600.0
"""Where the LHC Olympics' spectrum falls smoothly, above its trigger (pT > 1.2 TeV) [GeV]."""

# Missing events fall off by e in this part of the edge's mass, about the resolution of jets; twice
# or half of it see a turn-on of 150 GeV at 2600 GeV as well to 7 %.
_TURN_ON_LENGTH = 0.04


def chosen_lower_edge(
    channels: Any,
    signal: Signal,
    candidates: Sequence[float] | Literal["auto"],
    fit: SpectrumFit,
    *,
    lowest: float = LOWEST_EDGE,
    seed: int = 1,
) -> tuple[SpectrumFit, tuple[EdgeTrial, ...]]:
    """Return the fit from the lowest edge from which the background fits, and what was tried.

    Every channel is fitted outside mass +- 2 widths. Of candidates the first, from
    below, with a goodness of fit of 5 % or more in all channels is taken. 'auto' tries every
    edge of the fit's bins from the range's own on, and takes the first with a goodness of 1 % or
    more and no turn-on: a `turn_on_p_value` of 2 % or more at the range's edge, of 30 % above it,
    or where no edge has that the one with the largest, if it has 2 %.

    Parameters
    ----------
    channels
        As for `bump_hunt`.
    signal
        The signal, whose bins take no part.
    candidates
        Edges to try [GeV], in steps that leave whole bins; or 'auto'.
    fit
        The fit, whose upper edge stays.
    lowest
        No candidate below this is accepted: the trigger shapes the spectrum there [GeV].
    seed
        Root seed of the toys for sparse bins.

    Raises
    ------
    FitError
        A candidate lies below the trigger or leaves no whole lower sideband, or none fits.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> signal = fit.signal(3500, 120)
    >>> found, tried = chosen_lower_edge(stats.toy_spectrum(5000), signal, 'auto', fit)
    >>> found.range[0], len(tried)
    (2600.0, 1)
    """
    number = isinstance(lowest, int | float | np.number) and not isinstance(lowest, bool)
    if not (number and np.isfinite(lowest)):
        msg = f"the lowest edge of a fit is a number in GeV, got {lowest!r}"
        raise FitError(msg)
    if isinstance(candidates, str):
        return _found(channels, signal, candidates, fit, seed)
    edges = sorted(map(float, listed_numbers("lower_edges", candidates)))
    if not edges or edges[0] < lowest:
        msg = (
            f"lower edges {edges} GeV: at least one is needed, and none below {lowest:g} GeV, "
            "where the trigger shapes the spectrum"
        )
        raise FitError(msg)
    if edges[-1] > signal.mass - SIDEBAND_WIDTHS * signal.width:
        msg = (
            f"a lower edge of {edges[-1]:g} GeV leaves no lower sideband for a signal at "
            f"{signal.mass:g} GeV of width {signal.width:g} GeV: stay below mass - 3 widths"
        )
        raise FitError(msg)
    tried = []
    for edge in edges:
        from_edge = replace(fit, range=(edge, fit.range[1]))
        data = spectra(channels, from_edge)
        least = min(_sideband_goodness(s, signal, from_edge, seed) for s in data)
        tried.append(EdgeTrial(edge, least))
        if least >= LEAST_GOODNESS:
            return from_edge, tuple(tried)
    raise FitError(_none_fits(tried))


def _found(
    channels: Any, signal: Signal, how: str, fit: SpectrumFit, seed: int
) -> tuple[SpectrumFit, tuple[EdgeTrial, ...]]:
    """Return the fit from the lowest edge without a turn-on."""
    if how != "auto":
        msg = f"lower edges are numbers in GeV, or 'auto', got {how!r}"
        raise FitError(msg)
    highest = signal.mass - SIDEBAND_WIDTHS * signal.width
    edges = spectra(channels, fit)[0].edges
    edges = edges[edges <= highest]
    if not edges.size:
        fit.check_sidebands(signal)
    fits = [replace(fit, range=(float(edge), fit.range[1])) for edge in edges]
    tried: list[EdgeTrial] = []

    def holds(trial: EdgeTrial, from_edge: SpectrumFit) -> bool:
        """Fit from an edge, note how well, and say whether the function describes that."""
        data = spectra(channels, from_edge)
        goodness = min(_sideband_goodness(s, signal, from_edge, seed) for s in data)
        tried[tried.index(trial)] = replace(trial, goodness_of_fit=goodness)
        return goodness * len(data) >= LEAST_RANGE_GOODNESS

    for from_edge in fits:
        p_value = turn_on_p_value(spectra(channels, from_edge), signal, from_edge)
        trial = EdgeTrial(from_edge.range[0], None, p_value)
        tried.append(trial)
        least = TURN_ON_LEFT if len(tried) > 1 else TURN_ON_SEEN
        if p_value >= least and holds(trial, from_edge):
            return from_edge, tuple(tried)
    # None is clear of the turn-on: a fluctuation may look like one. The clearest has to do.
    clear = [trial for trial in tried if trial.goodness_of_fit is None]
    clearest = max(clear, key=_turn_on_of, default=None)
    if clearest is not None and _turn_on_of(clearest) >= TURN_ON_SEEN:
        from_edge = replace(fit, range=(clearest.edge, fit.range[1]))
        if holds(clearest, from_edge):
            return from_edge, tuple(tried)
    raise FitError(_none_fits(tried))


def _turn_on_of(trial: EdgeTrial) -> float:
    return 0.0 if trial.turn_on is None else trial.turn_on


def _none_fits(tried: Sequence[EdgeTrial]) -> str:
    listed = [
        f"{trial.edge:g} GeV "
        + (
            f"(turn-on, p = {trial.turn_on:.2g})"
            if trial.goodness_of_fit is None
            else f"(p = {trial.goodness_of_fit:.2g})"
        )
        for trial in tried
    ]
    if len(listed) > 5:
        listed = [*listed[:2], "...", *listed[-2:]]
    return (
        f"the background fits from none of the lower edges {', '.join(listed)}: try another "
        "family, or give the trigger efficiency"
    )


def turn_on_p_value(data: Sequence[Spectrum], signal: Signal, fit: SpectrumFit) -> float:
    """Return the p-value of spectra without a turn-on, against a deficit at their lower edge.

    The deficit is an efficiency exp(-a exp(-(m - edge) / L)) with L = 4 % of the edge,
    the same in all channels. In every channel the functions of all orders that the fit allows are
    fitted outside mass +- 2 widths; Rao's score gives the gain in ln L by a, and with and without
    a the order counts that has the least -ln L + parameters: a turn-on must not pass for a
    richer function, nor what a poorer function misses for a turn-on.

    Parameters
    ----------
    data
        The spectra, from the same edge on.
    signal
        The signal, whose bins take no part.
    fit
        How they are fitted.

    Raises
    ------
    FitError
        Too few bins outside the signal hold events.

    Source
    ------
    Rao, Proc. Camb. Phil. Soc. 44 (1948) 50; the orders: Akaike, IEEE Trans. Autom. Control 19
    (1974) 716.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> from tnt_coffea.stats.spectrum import spectra
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> data = spectra(stats.toy_spectrum(5000), fit)
    >>> turn_on_p_value(data, fit.signal(3500, 120), fit) > 0.02
    True
    """
    score = information = 0.0
    for spectrum in data:
        z, known = _turn_on(spectrum, outside_signal(spectrum.edges, signal), fit)
        score += z * np.sqrt(known)
        information += known
    return float(ndtr(-score / np.sqrt(information))) if information > 0 else 1.0


def turn_on_notes(data: Sequence[Spectrum], signal: Signal, fit: SpectrumFit) -> list[str]:
    """Return that spectra begin in a turn-on; nothing where its p-value is 1 % or more.

    Parameters
    ----------
    data, signal, fit
        As for `turn_on_p_value`.

    Raises
    ------
    FitError
        Too few bins outside the signal hold events.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> from tnt_coffea.stats.spectrum import spectra
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> turn_on_notes(spectra(stats.toy_spectrum(5000), fit), fit.signal(3500, 120), fit)
    []
    """
    p_value = turn_on_p_value(data, signal, fit)
    if p_value >= LEAST_RANGE_GOODNESS:
        return []
    return [
        f"events are missing at the lower edge of the range, {fit.range[0]:g} GeV, as in a "
        f"trigger's turn-on (p = {p_value:.2g}): begin it higher (lower_edges: auto), or give the "
        "trigger efficiency"
    ]


def _turn_on(spectrum: Spectrum, seen: Mask, fit: SpectrumFit) -> tuple[float, float]:
    """Return the significance of a deficit at the lower edge, and the information on it."""
    counts, edge = spectrum.counts[seen], spectrum.edges[0]
    centres = 0.5 * (spectrum.edges[1:] + spectrum.edges[:-1])[seen]
    missing = -np.exp(-(centres - edge) / (_TURN_ON_LENGTH * edge))
    without, with_it, scores, known = [], [], [], []
    for function in _functions(spectrum, seen, fit):
        fitted = engine.fitted_background(function, spectrum.counts, seen)[0].restricted(seen)
        here = fitted.evaluated(np.zeros(fitted.parameters))
        slopes, expected = here.jacobian, np.maximum(here.expected, 1e-150)
        mixed = slopes.T @ missing
        background = slopes.T @ (slopes / expected[:, None])
        left = float(missing**2 @ expected - mixed @ np.linalg.lstsq(background, mixed)[0])
        z = float(missing @ (counts - expected)) / np.sqrt(left) if left > 0 else 0.0
        penalised = 0.5 * float(engine.deviance(counts, expected)) + fitted.parameters
        without.append(penalised)
        with_it.append(penalised - 0.5 * max(0.0, z) ** 2)
        scores.append(z)
        known.append(max(0.0, left))
    best = int(np.argmin(with_it))
    gain = 2 * (min(without) - with_it[best])
    return float(np.sqrt(gain)) if gain > 0 else min(0.0, scores[best]), known[best]


def _functions(spectrum: Spectrum, seen: Mask, fit: SpectrumFit) -> Iterator[Background]:
    """Return the function of every order that the fit allows and the bins can hold."""
    family, orders, scale = (
        family_named(fit.family),
        fit.orders(fit.family),
        spectrum.before_trigger,
    )
    weights = spectrum.counts if scale is None else spectrum.counts * scale
    most = min(np.count_nonzero(spectrum.counts[seen]), np.count_nonzero(seen) - 1)
    if most < orders[0]:
        chosen_function(spectrum, seen, fit)  # which says so
    for order in orders:
        if order <= most:
            built = family.build(spectrum.edges, order, weights, seen, fit.sqrt_s)
            yield built if scale is None else built.scaled(1 / scale)


def _sideband_goodness(spectrum: Spectrum, signal: Signal, fit: SpectrumFit, seed: int) -> float:
    outside, counts = outside_signal(spectrum.edges, signal), spectrum.counts
    built = chosen_function(spectrum, outside, fit)
    seen = engine.fitted_background(built, counts, outside)[0].restricted(outside)
    channel = Channel(spectrum.name, counts[outside], np.zeros(int(outside.sum())), seen)
    return goodness_of_fit(channel, seen.expected(np.zeros(seen.parameters)), seed)[0]
