"""Background of a selection from weighted simulation, or from a template of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import poisson

from tnt_coffea.config.parameter_names import CLOSURE, MU, SIMULATION
from tnt_coffea.errors import FitError
from tnt_coffea.stats.counting import AsymptoticCount, CountModel
from tnt_coffea.stats.direct_results import (
    DirectEstimate,
    DirectLimit,
    DirectRefusal,
    DirectSpectrum,
    ValidationWindow,
    WeightedSimulation,
)
from tnt_coffea.stats.limit_results import BANDS, LimitRefusal
from tnt_coffea.stats.p_values import (
    counting_limit,
    normal_p_value,
    poisson_p_value,
    significance,
)
from tnt_coffea.stats.quantities import check_kind, check_level, check_numbers
from tnt_coffea.stats.search_histogram import Plane, mass_bins, passing_bins, score_plane
from tnt_coffea.stats.signal_norm import combined_norm
from tnt_coffea.stats.signals import norm_factors, norm_modifiers
from tnt_coffea.stats.validity import LEAST_BACKGROUND, LEAST_EFFECTIVE, LEAST_UNDER_LIMIT
from tnt_coffea.stats.window_results import WindowResult
from tnt_coffea.working_points import WorkingPoint

__all__ = ["direct_estimate", "direct_in_window", "direct_workspace", "template_in_window"]

Array = NDArray[np.float64]

_EVENTS, _NOMINAL, _MEMBER = "events", "nominal", "member "
# Edges of bins that are the same number.
_TOLERANCE = 1e-9
_LEAST = 1e-9
# Backgrounds of equal probability that an expected limit takes.
_NODES = 400


def direct_estimate(
    observed: float,
    predicted: float,
    *,
    variance: float,
    simulated: float,
    member_spread: float = 0.0,
    windows: Sequence[ValidationWindow] = (),
    systematic: float = 0.03,
    closure_limit: float = 0.5,
    level: float | None = 0.95,
    scale: float = 1.0,
    normalisation: float | None = None,
    corrected: bool = False,
    systematics: Mapping[str, float | tuple[float, float]] | None = None,
) -> DirectEstimate | DirectRefusal:
    """Return what a count says beside a prediction of weighted simulation, or of a template.

    The likelihood is HistFactory's: a Poisson count, an auxiliary measurement with the effective
    number of simulated events, and a relative uncertainty from members and closure together.
    That of the closure is the largest of `systematic`, of the statistical uncertainty of observed
    over predicted in all validation windows, and of the deviations of that ratio from 1 in each;
    from that of all windows where the prediction is corrected by it.

    Parameters
    ----------
    observed
        Events seen.
    predicted, variance
        Sums of weights and of squared weights of the simulated events.
    simulated
        Their number.
    member_spread
        Uncertainty of the prediction from the training of the weights [events].
    windows
        Where the prediction was tested.
    systematic
        Least relative uncertainty of the closure.
    closure_limit
        How far the ratio of a window may be from 1 for the estimate to be given.
    level
        Confidence level of the upper limit; None: no limit.
    scale
        Weight of an effective event of the data; 1 where they are not weighted.
    normalisation
        Of a template, the relative uncertainty of all events in the window.
    corrected
        Multiply the prediction by observed over predicted in all validation windows.
    systematics
        Uncertainties of the signal's norm in the limit, as `SpectrumFit.systematics`.

    Returns
    -------
    The estimate; or why there is none: no simulated event passes, their effective number is below
    10 % of them, or the closure is too far from 1.

    Raises
    ------
    FitError
        A number is not finite or out of range.

    Source
    ------
    LHC Olympics 2020, arXiv:2101.08320, equation 4.8; of a template: arXiv:2411.00085.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> result = stats.direct_estimate(130, 100, variance=25, simulated=400)
    >>> round(result.z, 2), round(result.uncertainty, 2)
    (2.45, 5.83)
    """
    check_numbers({"observed": observed, "variance": variance, "simulated": simulated}, 0)
    check_numbers({"predicted": predicted})
    check_numbers({"member_spread": member_spread, "systematic": systematic}, 0)
    check_numbers({"scale": scale, "closure_limit": closure_limit}, 0, above=True)
    if level is not None:
        check_level(level)
    template, beside = normalisation is not None, normalisation or 0.0
    check_numbers({"normalisation": beside}, 0)
    made = "event of the template" if template else "simulated event"
    tested = tuple(one for one in windows if one.predicted > 0)
    effective = predicted**2 / variance if variance > 0 else simulated
    reason = _why_not(predicted, simulated, effective, tested, closure_limit, template)
    if reason:
        return DirectRefusal(reason, tested)
    correction = _whole(tested).ratio if corrected and tested else 1.0
    predicted, variance = correction * predicted, correction**2 * variance
    member_spread *= correction
    closure = max(systematic, *_deviations(tested, correction), 0.0)
    notes = [
        f"no {made} is expected in the {one.name} window: it tests nothing"
        for one in windows
        if one.predicted <= 0
    ]
    if corrected and tested:
        notes.append(f"the prediction is multiplied by {correction:.3f}, the closure's ratio")
    if not tested:
        notes.append(
            f"no validation window tests the {'template: its' if template else 'weights: their'} "
            "closure is known to nobody, the "
            f"systematic uncertainty is the least of the settings, {100 * systematic:g} %"
        )
    relative = float(np.hypot(np.hypot(closure, member_spread / predicted), beside))
    b = predicted / scale
    model = CountModel(b, float(np.sqrt(variance)) / scale, relative)
    data = model.data([observed / scale])
    null, best = model.at(data, 0.0), model.best(data)
    q0 = max(0.0, 2 * float(null.nll[0] - best.nll[0]))
    z = float(np.sqrt(q0))
    p_value, calibration = normal_p_value(z), "asymptotic"
    sigma = float(np.hypot(model.statistical, relative * b))
    if b < LEAST_BACKGROUND:
        p_value, calibration = poisson_p_value(observed / scale, b, sigma), "Poisson"
        z = significance(p_value)
        notes.append(f"{b:.1f} events expected: the p-value is the Poisson one")
    if scale != 1:
        notes.append(
            f"events are weighted: {observed / scale:.6g} effective ones stand for {observed:.6g} "
            "(scaled Poisson law); signal and limit are sums of weights"
        )
    return DirectEstimate(
        observed=float(observed),
        predicted=float(predicted),
        statistical=float(np.sqrt(variance)),
        member_spread=float(member_spread),
        systematic=closure,
        simulated=float(simulated),
        effective=float(effective),
        mu_hat=scale * float(best.mu[0]),
        q0=q0,
        z=z,
        p_value=p_value,
        calibration=calibration,
        scale=float(scale),
        converged=bool(null.converged[0] and best.converged[0]),
        notes=tuple(notes),
        windows=tested,
        limit=None
        if level is None
        else _limit(model, observed / scale, sigma, level, scale, combined_norm(systematics)),
        template=template,
        normalisation=beside,
        correction=correction,
    )


def _why_not(
    predicted: float,
    simulated: float,
    effective: float,
    windows: Sequence[ValidationWindow],
    closure_limit: float,
    template: bool,
) -> str:
    if simulated <= 0 or predicted <= 0:
        made = "event of the template" if template else "simulated event"
        return f"no {made} passes the selection in the window"
    if effective < LEAST_EFFECTIVE * simulated:
        return (
            f"the weights of {simulated:g} simulated events are worth {effective:.1f} events, less "
            f"than {100 * LEAST_EFFECTIVE:g} % of them: a few large weights decide"
        )
    worst = max(windows, key=lambda one: abs(one.ratio - 1), default=None)
    if worst is None or abs(worst.ratio - 1) <= closure_limit:
        return ""
    return (
        f"observed over predicted is {worst.ratio:.2f} +- {worst.uncertainty:.2f} in the "
        f"{worst.name} window, further from 1 than {closure_limit:g}: take a looser selection, "
        f"more events or {'wider sidebands' if template else 'more simulation'}, or another "
        "fit.direct.closure_limit"
    )


def _deviations(windows: Sequence[ValidationWindow], correction: float) -> list[float]:
    """Return the uncertainty of the ratio in all windows together, and each one's deviation."""
    if not windows:
        return [0.0]
    off = [abs(one.ratio / correction - 1) for one in windows]
    return [_whole(windows).uncertainty / correction, *off]


def _whole(windows: Sequence[ValidationWindow]) -> ValidationWindow:
    """Return all windows as one."""
    return ValidationWindow(
        "all",
        windows[0].mass_range,
        sum(one.observed for one in windows),
        sum(one.predicted for one in windows),
        float(np.sqrt(sum(one.observed_uncertainty**2 for one in windows))),
        float(np.sqrt(sum(one.predicted_uncertainty**2 for one in windows))),
    )


def _limit(
    model: CountModel, n: float, sigma: float, level: float, scale: float, norm: tuple[float, float]
) -> DirectLimit | LimitRefusal:
    try:
        if model.expected < LEAST_UNDER_LIMIT:
            found, calibration = _counted_limits(model.expected, sigma, n, level, norm), "Poisson"
        else:
            asymptotic = AsymptoticCount(model, model.data([n]), norm)
            found, calibration = asymptotic.limits(1 - level), "asymptotic"
    except FitError as error:
        # The p-value stands without it.
        return LimitRefusal(str(error))
    observed, *expected = (scale * limit for limit in found)
    return DirectLimit(float(level), observed, tuple(expected), calibration)


def _counted_limits(
    b: float, sigma: float, n: float, level: float, norm: tuple[float, float]
) -> list[float]:
    """Return the limit of a count, and those at the quantiles of counts of background alone."""
    spread = float(0.5 * np.log(norm[0] / norm[1]))
    nodes = np.maximum(b + sigma * ndtri((np.arange(_NODES) + 0.5) / _NODES), 0.0)
    counts = np.arange(round(b + 10 * np.sqrt(b + sigma**2)) + 10)
    below = poisson.cdf(counts, nodes[:, None]).mean(axis=0)
    shares = [1 - normal_p_value(band) for band in BANDS]
    seen = [round(n), *(int(np.argmax(below >= share)) for share in shares)]
    return [counting_limit(count, b, sigma, level, spread) for count in seen]


def direct_in_window(
    histogram: Any,
    simulation: WeightedSimulation,
    point: WorkingPoint,
    *,
    systematic: float = 0.03,
    closure_limit: float = 0.5,
    level: float | None = 0.95,
    systematics: Mapping[str, float | tuple[float, float]] | None = None,
) -> DirectEstimate | DirectRefusal:
    """Return the direct estimate of a search's selection in the window of its weights.

    Simulated events of every fold, weighted and ranked by taggers that were not trained on them,
    predict the data of that fold; observed and predicted events are summed over the folds.

    Parameters
    ----------
    histogram
        The search histogram of the data.
    simulation
        Weighted simulation of the same tagger set.
    point
        The working point.
    systematic, closure_limit, level, systematics
        As for `direct_estimate`.

    Raises
    ------
    FitError
        A histogram lacks an axis or an edge.

    Source
    ------
    LHC Olympics 2020, arXiv:2101.08320, equation 4.8.

    Examples
    --------
    >>> import hist
    >>> from tnt_coffea import stats
    >>> data = stats.toy_search(60_000, 200)
    >>> simulated = stats.toy_search(60_000, seed=2)
    >>> names = hist.axis.StrCategory(["nominal", "events"], name="weights")
    >>> filled = hist.Hist(names, *simulated.axes, storage=simulated.storage_type())
    >>> filled.view(flow=True)[:2] = simulated.view(flow=True)
    >>> simulation = stats.WeightedSimulation(filled, "dctr", (3300, 3700))
    >>> point = stats.WorkingPoint.at({0: 0.9, 1: 0.9})
    >>> result = stats.direct_in_window(data, simulation, point)
    >>> result.observed, round(result.predicted)
    (288.0, 87)
    """
    check_kind(WeightedSimulation, {"simulation": simulation})
    data, predictions = _Selected(score_plane(histogram), point), _planes(simulation)
    chosen = {name: _Selected(plane, point) for name, plane in predictions.items()}
    return _in_window(
        data, simulation, chosen, None,
        systematic=systematic, closure_limit=closure_limit, level=level, systematics=systematics,
    )  # fmt: skip


def template_in_window(
    histogram: Any,
    template: WeightedSimulation,
    point: WorkingPoint,
    beside: WindowResult,
    *,
    systematic: float = 0.03,
    closure_limit: float = 0.5,
    level: float | None = 0.95,
    systematics: Mapping[str, float | tuple[float, float]] | None = None,
    corrected: bool = False,
) -> DirectEstimate | DirectRefusal:
    """Return the direct estimate of a search's selection in the window of a template.

    Expected are the events that a fit beside the window expects in it before any selection, times
    the share of the template's events that pass, fold by fold. In a validation window the events
    seen before the selection take the place of those of the fit.

    Parameters
    ----------
    histogram
        The search histogram of the data.
    template
        Events of the template, of each fold's own sidebands, as the fold's taggers rank them.
    point
        The working point.
    beside
        All dijets in the same window, of `masked_window_test`.
    systematic, closure_limit, level, corrected, systematics
        As for `direct_estimate`.

    Raises
    ------
    FitError
        A histogram lacks an axis or an edge, the windows differ, or a fold has no template.

    Source
    ------
    arXiv:2411.00085.

    Examples
    --------
    >>> import hist
    >>> from tnt_coffea import stats
    >>> data, synthetic = stats.toy_search(60_000, 200), stats.toy_search(60_000, seed=2)
    >>> names = hist.axis.StrCategory(["nominal", "events"], name="weights")
    >>> filled = hist.Hist(names, *synthetic.axes, storage=synthetic.storage_type())
    >>> filled.view(flow=True)[:2] = synthetic.view(flow=True)
    >>> template = stats.WeightedSimulation(filled, "", (3300, 3700), template=True)
    >>> beside = stats.masked_window_test(
    ...     stats.inclusive_spectrum(data), window=(3300, 3700), fit=stats.SpectrumFit((2600, 7000))
    ... )
    >>> point = stats.WorkingPoint.at({0: 0.9, 1: 0.9})
    >>> result = stats.template_in_window(data, template, point, beside)
    >>> result.observed, round(result.predicted)
    (288.0, 87)
    """
    check_kind(WeightedSimulation, {"template": template})
    check_kind(WindowResult, {"beside": beside})
    if beside.window != template.window:
        msg = (
            f"the template is of the window {template.window[0]:g}-{template.window[1]:g} GeV, and "
            f"the events expected of {beside.window[0]:g}-{beside.window[1]:g} GeV"
        )
        raise FitError(msg)
    plane = score_plane(histogram)
    inside, of_fold = mass_bins(plane, template.window), plane.counts.sum(axis=(2, 3))
    elsewhere = of_fold.sum(axis=1) - of_fold[:, inside].sum(axis=1)
    wanted = {_NOMINAL: beside.expected * elsewhere / max(elsewhere.sum(), _LEAST)}
    bins = {_NOMINAL: inside}
    for name, edges in template.validation.items():
        found = _whole_bins(plane, edges)
        if found is not None:
            bins[name], wanted[name] = found, of_fold[:, found].sum(axis=1)
    chosen = {}
    for name, own in _planes(template).items():
        scale = np.ones(len(own.folds))
        if name in wanted:
            there = own.counts[:, bins[name]].sum(axis=(1, 2, 3))
            if name == _NOMINAL and not there.all():
                fold = own.folds[int(np.argmin(there))]
                msg = f"the template has no event in the window for fold {fold}"
                raise FitError(msg)
            scale = wanted[name] / np.maximum(there, _LEAST)
        # (fold, mass, q_heavy, q_light)
        scale = scale[:, None, None, None]
        scaled = replace(own, counts=scale * own.counts, variances=scale**2 * own.variances)
        chosen[name] = _Selected(scaled, point)
    return _in_window(
        _Selected(plane, point), template, chosen, beside.uncertainty / beside.expected,
        systematic=systematic, closure_limit=closure_limit, level=level, corrected=corrected,
        systematics=systematics,
    )  # fmt: skip


def _in_window(
    data: _Selected,
    simulation: WeightedSimulation,
    predictions: dict[str, _Selected],
    normalisation: float | None,
    **options: Any,
) -> DirectEstimate | DirectRefusal:
    """Return the estimate of what passes, in the window of what predicts it."""
    inside = mass_bins(data.plane, simulation.window)
    nominal, number = predictions[_NOMINAL], predictions[_EVENTS]
    spread, members = _member_spread(predictions, inside)
    tested = {name: predictions[name] for name in simulation.validation if name in predictions}
    windows = [
        _window(name, data, own, simulation.validation[name]) for name, own in tested.items()
    ]
    observed, squares = data.sums(inside)
    predicted, variance = nominal.sums(inside)
    result = direct_estimate(
        observed,
        predicted,
        variance=variance,
        simulated=number.sums(inside)[0],
        member_spread=spread,
        windows=[window for window in windows if window is not None],
        scale=_scale(data, inside, observed, squares),
        normalisation=normalisation,
        **options,
    )
    if isinstance(result, DirectRefusal):
        return replace(result, window=simulation.window)
    notes, shown = result.notes, [nominal.times(result.correction)]
    if simulation.template:
        # Each window has a template of its own, which has no event elsewhere.
        shown += tested.values()
    elif members < 2:
        notes = (*notes, "one network a fold gives the weights: their spread is not known")
    return replace(
        result,
        notes=notes,
        window=simulation.window,
        weights=simulation.weights,
        members=members,
        spectrum=_spectrum(simulation, data, shown, number),
    )


class _Selected:
    """Sums of weights, and of squared ones, of what passes: shape (folds, bins of mass)."""

    def __init__(self, plane: Plane, point: WorkingPoint) -> None:
        self.plane = plane
        sums = []
        for index, fold in enumerate(plane.folds):
            heavy, light = passing_bins(plane, point, fold)
            passed = (index, slice(None), slice(heavy, None), slice(light, None))
            sums.append(
                [values[passed].sum(axis=(1, 2)) for values in (plane.counts, plane.variances)]
            )
        self.values, self.variances = np.moveaxis(np.array(sums), 1, 0)

    def times(self, factor: float) -> _Selected:
        """Return the sums for events of another weight."""
        other = copy(self)
        other.values, other.variances = factor * self.values, factor**2 * self.variances
        return other

    def sums(self, bins: slice) -> tuple[float, float]:
        """Return both of some bins, all folds together."""
        return float(self.values[:, bins].sum()), float(self.variances[:, bins].sum())


def _planes(simulation: WeightedSimulation) -> dict[str, Plane]:
    names = list(map(str, simulation.histogram.axes["weights"]))
    if missing := {_NOMINAL, _EVENTS} - set(names):
        what = ("template", "of it") if simulation.template else ("simulation", "simulated")
        msg = (
            f"the histogram of the {what[0]} lacks {sorted(missing)}: no event {what[1]} lies in "
            "its range, or no search filled it"
        )
        raise FitError(msg)
    return {name: score_plane(simulation.histogram[{"weights": name}]) for name in names}


def _member_spread(predictions: dict[str, _Selected], inside: slice) -> tuple[float, int]:
    """Return the uncertainty of the mean over the members of every fold, and their least number.

    The members of different folds are different trainings, so the folds add up in quadrature.
    """
    members = [own for name, own in predictions.items() if name.startswith(_MEMBER)]
    variance, fewest = 0.0, len(members)
    for fold in range(len(predictions[_NOMINAL].plane.folds)):
        there = [own for own in members if own.plane.counts[fold].any()]
        sums = [own.values[fold, inside].sum() for own in there]
        fewest = min(fewest, len(sums))
        if len(sums) > 1:
            variance += float(np.var(sums, ddof=1)) / len(sums)
    return float(np.sqrt(variance)), fewest


def _window(
    name: str, data: _Selected, predicted: _Selected, mass_range: tuple[float, float]
) -> ValidationWindow | None:
    """Return a validation window of the whole bins in a range; None where there are none."""
    bins, edges = _whole_bins(data.plane, mass_range), data.plane.mass
    if bins is None:
        return None
    observed, squares = data.sums(bins)
    expected, variance = predicted.sums(bins)
    return ValidationWindow(
        name,
        (float(edges[bins.start]), float(edges[bins.stop])),
        observed,
        expected,
        # Of a count that nobody saw, that of the events expected.
        float(np.sqrt(squares if squares > 0 else max(expected, 0.0))),
        float(np.sqrt(variance)),
    )


def _whole_bins(plane: Plane, mass_range: tuple[float, float]) -> slice | None:
    """Return the bins of mass in a range; None where there are none."""
    edges, (low, high) = plane.mass, mass_range
    inside = np.flatnonzero(
        (edges[:-1] >= low * (1 - _TOLERANCE)) & (edges[1:] <= high * (1 + _TOLERANCE))
    )
    return slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else None


def _scale(data: _Selected, inside: slice, observed: float, squares: float) -> float:
    """Return the weight of an effective event, of all those selected where none is seen."""
    if observed > 0 and squares > 0:
        return squares / observed
    total, whole = data.sums(slice(None))
    return whole / total if total > 0 and whole > 0 else 1.0


def _spectrum(
    simulation: WeightedSimulation, data: _Selected, nominal: list[_Selected], number: _Selected
) -> DirectSpectrum:
    ranges = [simulation.window, *simulation.validation.values()]
    low, high = min(edges[0] for edges in ranges), max(edges[1] for edges in ranges)
    edges = data.plane.mass
    first = max(0, int(np.searchsorted(edges, low * (1 + _TOLERANCE), side="right")) - 1)
    last = min(len(edges) - 1, int(np.searchsorted(edges, high * (1 - _TOLERANCE))))
    bins = slice(first, last)

    def listed(values: Array) -> tuple[float, ...]:
        return tuple(map(float, values[:, bins].sum(axis=0)))

    return DirectSpectrum(
        tuple(map(float, edges[first : last + 1])),
        listed(data.values),
        listed(data.variances),
        listed(sum(own.values for own in nominal)),
        listed(sum(own.variances for own in nominal)),
        listed(number.values),
        str(data.plane.mass_axis.name),
    )


def direct_workspace(
    result: DirectEstimate,
    systematics: Mapping[str, float | tuple[float, float]] | None = None,
) -> dict[str, Any]:
    """Return a direct estimate as a pyhf workspace, JSON values.

    One channel of one bin holds the count, the prediction with its statistics as a shapesys and
    the uncertainty from members and closure as a normsys, and one signal event times 'mu'. Of
    weighted events all numbers are effective counts.

    Parameters
    ----------
    result
        The estimate.
    systematics
        Uncertainties of the signal's norm, those of its limit.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> result = stats.direct_estimate(130, 100, variance=25, simulated=400)
    >>> workspace = stats.direct_workspace(result)
    >>> [sample["name"] for sample in workspace["channels"][0]["samples"]]
    ['background', 'signal']
    """
    seen, expected = result.observed / result.scale, result.predicted / result.scale
    modifiers: list[dict[str, Any]] = []
    parameters: list[dict[str, Any]] = [
        {"name": MU, "inits": [1.0], "bounds": [[0.0, 10 * (seen + 10)]]}
    ]
    if result.statistical > 0:
        spread = result.statistical / result.scale
        modifiers.append({"name": SIMULATION, "type": "shapesys", "data": [spread]})
    if (relative := result.relative) > 0:
        data = {"hi": 1 + relative, "lo": 1 / (1 + relative)}
        modifiers.append({"name": CLOSURE, "type": "normsys", "data": data})
        # Five sigma, as usual, would cut off the closure of a large excess.
        parameters.append({"name": CLOSURE, "inits": [0.0], "bounds": [[-100.0, 100.0]]})
    mu = {"name": MU, "type": "normfactor", "data": None}
    norms = norm_modifiers(norm_factors(systematics or {}))
    samples = [
        {"name": "background", "data": [expected], "modifiers": modifiers},
        {"name": "signal", "data": [1.0], "modifiers": [mu, *norms]},
    ]
    return {
        "channels": [{"name": "selection", "samples": samples}],
        "observations": [{"name": "selection", "data": [seen]}],
        "measurements": [{"name": "direct", "config": {"poi": MU, "parameters": parameters}}],
        "version": "1.0.0",
    }
