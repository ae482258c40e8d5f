"""How the answer of a search is found: the best of its tests, and what its excess is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tnt_coffea import seeds, stats
from tnt_coffea.config import GenerateSettings, MassRange, SearchConfig, SignalModel, digest
from tnt_coffea.errors import (
    ConfigError,
    FitError,
    GeneratorError,
    InputError,
    MissingExtraError,
)
from tnt_coffea.events.sample import Sample
from tnt_coffea.execution import Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.pipeline.answers import ALL_DIJETS, CLAIM, NO_CLAIM, Answer, Estimate
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.characterising import characterise
from tnt_coffea.pipeline.fit_settings import (
    check_made_with,
    fit_from_lower_edge,
    refuse_blinded,
    search_fit,
)
from tnt_coffea.pipeline.folders import one_writer
from tnt_coffea.pipeline.generation import generate
from tnt_coffea.pipeline.global_p_values import all_selections
from tnt_coffea.pipeline.null_chains import BEFORE
from tnt_coffea.pipeline.skimming import skim
from tnt_coffea.products import Histograms, Skim, Taggers, as_skim
from tnt_coffea.results import SearchResult
from tnt_coffea.stats.p_values import significance
from tnt_coffea.stats.results import NULL_CHAINS
from tnt_coffea.typing import BoolArray
from tnt_coffea.working_points import Selection, selection_name

if TYPE_CHECKING:
    from tnt_coffea.reporting import Characterisation, Hypothesis

__all__ = ["SIMULATED", "answer", "most_events", "simulated_signal"]

SIMULATED = 1000
"""Signal events that are simulated at the masses found: they know an efficiency of 10 % to a tenth,
less than the excess is known to."""
_CLEAR = 3.0
"""Excess over its uncertainty from which a daughter's mass is given."""
_REACH = 2.0
"""Widths of the signal on either side of its mass that are characterised."""
_TOLD_APART = 4.0
"""Difference in chi-square from which two numbers of prongs are told apart: two deviations."""
_MODELLING = 0.02
"""Uncertainty of the median of a simulated tau21 or tau32: that of another shower."""
PRONGS = {2: SignalModel.TWO_PRONG, 3: SignalModel.THREE_PRONG}
"""Prongs of both daughters, and the simulated signal that has them."""
_OF_MEDIAN = 1.2533
"""Standard error of a Gaussian's median over that of its mean."""
_SHAPES = ("tau21", "tau32")

Simulate = Callable[[GenerateSettings], "Skim | Sample"]
"""Function from the settings of a signal to its dijets, skimmed as those that were searched."""


@dataclass(frozen=True)
class _Test:
    """A test of a mass in the spectrum of a selection, or of all dijets."""

    name: str
    selection: Selection | None
    mass: float
    p_value: float
    q0: float
    toys: bool


def answer(
    source: Skim | Sample,
    taggers: Taggers,
    histograms: Histograms,
    result: SearchResult,
    config: SearchConfig,
    *,
    simulate: Simulate | None = None,
    tried: int = 1,
) -> Answer:
    """Return the answer of a finished search: p-value, masses, number of events before selection.

    The p-value is that of the whole search (`SearchResult.global_p`), times the searches tried. The
    mass is fitted to the most significant spectrum (`stats.resonance_mass`), the daughters are
    those of its excess (`characterise`). Where there is a claim, signals of these masses are
    simulated with two and three prongs: they tell the prongs, the efficiency, and what selection
    and fit make of masses that are known, by which those found are corrected; half of a correction
    and the number of simulated events make its uncertainty. No label is read.

    Parameters
    ----------
    source
        The dijets that were searched.
    taggers, histograms, result
        Of the search.
    config
        Its settings.
    simulate
        Gives the dijets of a signal; without it there is no number of events.
    tried
        Searches of the same events that this one is picked from, itself included.

    Raises
    ------
    ConfigError
        The search is blinded, the histograms are of another one, or `tried` is below 1.
    FitError
        The result has no test of a spectrum.

    Source
    ------
    arXiv:2101.08320, section 2: what contestants were asked for.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import tnt_coffea as tnt
    >>> from tnt_coffea import testing
    >>> tau21 = "{kind: feature, feature: tau21, descending: true}"
    >>> text = f"{{fit: {{bump: {{efficiency: 0.1}}}}, train: {{methods: {{low: {tau21}}}}}}}"
    >>> config = SearchConfig.from_text(text)
    >>> sample = testing.make_sample(4000, signal_share=0.05)
    >>> with TemporaryDirectory() as out:
    ...     taggers = tnt.train(sample, config, out=out)
    ...     histograms = tnt.search(sample, taggers, config, out=out)
    >>> found = answer(sample, taggers, histograms, tnt.fit(histograms, config), config)
    >>> found.claim, abs(found.resonance_mass.value - 3500) < 30, found.events.reason
    (True, True, 'no signal was simulated')
    """
    check_types(
        source=(source, Skim, Sample),
        taggers=(taggers, Taggers),
        histograms=(histograms, Histograms),
        result=(result, SearchResult),
        config=(config, SearchConfig),
    )
    refuse_blinded(config, "an answer")
    check_made_with(histograms, config)
    if tried < 1:
        msg = f"tried is {tried}, expected the number of searches, at least 1"
        raise ConfigError(msg)
    tests = list(_tests(result, histograms, config))
    best = _best(tests)
    hunt = _hunt(histograms, config, best)
    p_value, at_most, calibration = _p_value(result, best, hunt)
    z, none = significance(p_value), Estimate(reason=NO_CLAIM)
    found = Answer(
        p_value=p_value,
        z=z,
        at_most=at_most,
        calibration=calibration,
        tried=1,
        claim=z >= CLAIM and hunt.converged,
        tagger_set=best.name,
        selection=ALL_DIJETS if best.selection is None else selection_name(best.selection),
        knowledge=result.knowledge(best.name) or "none",
        local_z=hunt.z,
        resonance_mass=none,
        heavy_mass=none,
        light_mass=none,
        events=none,
        notes=() if hunt.converged else ("the fit of the most significant test did not converge",),
    ).among(tried)
    if not found.claim:
        return found
    return _described(found, best, tests, as_skim(source), taggers, histograms, config, simulate)


def _tests(result: SearchResult, histograms: Histograms, config: SearchConfig) -> Iterator[_Test]:
    """Yield every bump hunt of a result, those of scans too."""
    every = config.fit.scan.global_over == "all"
    known: Mapping[str, tuple[str, Selection]] = all_selections(histograms, config, every=every)
    own = config.fit.bump.selection
    scans = dict(result.scans)
    if isinstance(result.overall, stats.ScanResult):
        scans |= {"": result.overall}
    for of, scan in scans.items():
        for point in scan.points:
            name, selection = known[point.selection] if not of and point.selection in known else (
                point.selection,
                None if point.selection == BEFORE else own,
            )  # fmt: skip
            q0 = point.z_asymptotic**2
            yield _Test(name, selection, point.mass, point.p_local, q0, point.toys > 0)
    for name, hunt in {BEFORE: result.before, **result.after}.items():
        selection = None if name == BEFORE else own
        of_toys = hunt.calibration != "asymptotic"
        yield _Test(name, selection, hunt.mass, hunt.p_value, hunt.q0, of_toys)


def _best(tests: Iterable[_Test]) -> _Test:
    return min(tests, key=lambda one: (one.p_value, -one.q0))


def _channels(histograms: Histograms, config: SearchConfig, test: _Test) -> tuple[Any, Any]:
    """Return the spectra of a test by fold, and how they are fitted."""
    first = next(iter(histograms.hists))
    if test.selection is None:
        spectra: Any = {BEFORE: stats.inclusive_spectrum(histograms.hists[first])}
    else:
        point = histograms.points[test.name][test.selection]
        spectra = stats.selected_spectrum(histograms.hists[test.name], point)
    own = search_fit(
        histograms, config, first if test.selection is None else test.name, test.selection
    )
    return spectra, fit_from_lower_edge({"it": spectra}, config, seed=config.seed, fit=own)


def most_events(
    histograms: Histograms, result: SearchResult, config: SearchConfig
) -> stats.LimitResult:
    """Return the upper limit on signal events before any selection, at the mass of the best test.

    It is that of all dijets: which share of an unknown signal the taggers select is not known.

    Raises
    ------
    FitError
        The result has no test of a spectrum, or there is no limit.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import tnt_coffea as tnt
    >>> from tnt_coffea import testing
    >>> tau21 = "{kind: feature, feature: tau21, descending: true}"
    >>> text = f"{{fit: {{bump: {{efficiency: 0.1}}}}, train: {{methods: {{low: {tau21}}}}}}}"
    >>> config = SearchConfig.from_text(text)
    >>> sample = testing.make_sample(4000, signal_share=0.0)
    >>> with TemporaryDirectory() as out:
    ...     taggers = tnt.train(sample, config, out=out)
    ...     histograms = tnt.search(sample, taggers, config, out=out)
    >>> most = most_events(histograms, tnt.fit(histograms, config), config)
    >>> most.mass, 20 < most.observed < 200
    (3500.0, True)
    """
    best = _best(_tests(result, histograms, config))
    spectra, fit = _channels(histograms, config, replace(best, selection=None))
    return stats.upper_limit(
        spectra, mass=best.mass, width=config.fit.bump.width, fit=fit, toys=0, cross_check=False
    )


def _hunt(histograms: Histograms, config: SearchConfig, test: _Test) -> stats.BumpHuntResult:
    """Return the test alone: with toys where it needs them, and cross-checks."""
    spectra, fit = _channels(histograms, config, test)
    return stats.bump_hunt(
        spectra,
        mass=test.mass,
        width=config.fit.bump.width,
        fit=fit,
        toys=config.fit.bump.toys,
        seed=seeds.integer(config.seed, "answer", "hunt"),
    )


def _p_value(
    result: SearchResult, best: _Test, hunt: stats.BumpHuntResult
) -> tuple[float, bool, str]:
    """Return the p-value of the box, whether it is a bound, and where it comes from."""
    every = result.global_p
    if every is None:
        msg = "the result is of an older version, without a global p-value: fit again"
        raise FitError(msg)
    p_value, text = every.p_value, every.text().partition(") over ")[2]
    # An asymptotic formula that does not hold may promise too much for the best of all tests.
    holds = best.toys or every.calibration == NULL_CHAINS or not best.p_value
    larger = 1.0 if holds else max(1.0, hunt.p_value / best.p_value)
    if larger > 1:
        p_value *= larger
        text += f"; the best test has p = {hunt.p_value:.2g} ({hunt.calibration})"
    return min(1.0, p_value), every.is_bound, text


def _mass(
    best: _Test, tests: Sequence[_Test], histograms: Histograms, config: SearchConfig
) -> tuple[stats.MassEstimate, list[str]]:
    """Return the mass in the most significant spectrum that can be fitted, and which if another.

    A tight selection may leave no event beside the signal.
    """
    width = config.fit.bump.width
    near = (one for one in tests if abs(one.mass - best.mass) <= _REACH * width)
    refused: list[str] = []
    for one in sorted(near, key=lambda one: (one.p_value, -one.q0)):  # `best` is the first
        spectra, fit = _channels(histograms, config, one)
        try:
            fitted = stats.resonance_mass(spectra, near=one.mass, width=width, fit=fit)
        except FitError as error:
            refused.append(str(error))
            continue
        if not refused:
            return fitted, []
        after = "no selection" if one.selection is None else f"{one.name}, {one.selection}"
        return fitted, [f"the mass is that after {after}, as the best test has none: {refused[0]}"]
    raise FitError(refused[0])


def _described(
    found: Answer,
    best: _Test,
    tests: list[_Test],
    dijets: Skim,
    taggers: Taggers,
    histograms: Histograms,
    config: SearchConfig,
    simulate: Simulate | None,
) -> Answer:
    """Return an answer with all that a claim says of the new particles."""
    width = config.fit.bump.width
    try:
        fitted, notes = _mass(best, tests, histograms, config)
    except FitError as error:
        return replace(found, resonance_mass=Estimate(reason=str(error)))
    notes = [*found.notes, *notes]
    if not fitted.bounded:
        notes.append("the mass has no likelihood interval within 2.5 widths: the error is larger")
    mass = Estimate(fitted.mass, fitted.uncertainty)
    found = replace(found, resonance_mass=mass, notes=tuple(notes))
    selected = [
        one
        for one in tests
        if one.selection is not None and abs(one.mass - fitted.mass) <= _REACH * width
    ]
    if not selected:
        none = Estimate(reason="no selection was tested at this mass")
        return replace(found, heavy_mass=none, light_mass=none, events=none)
    own = min(selected, key=lambda one: (one.p_value, -one.q0))
    window = _window(fitted.mass, config)
    try:
        shown = characterise(
            dijets, taggers, histograms, config, name=own.name, selection=own.selection,
            window=window,
        )  # fmt: skip
    except FitError as error:
        none = Estimate(reason=str(error))
        return replace(found, heavy_mass=none, light_mass=none, events=none)
    daughters = {jet: _daughter(shown, f"{jet}_mass") for jet in ("heavy", "light")}
    found = replace(found, heavy_mass=daughters["heavy"], light_mass=daughters["light"])
    return _with_simulation(found, shown, own, dijets, taggers, histograms, config, simulate)


def _window(mass: float, config: SearchConfig) -> MassRange:
    """Return two widths on either side of a mass, on edges of the fit's bins, within its range."""
    bump, (low, high) = config.fit.bump, config.search.fit_range.edges
    if bump.edges:
        edges = np.asarray(bump.edges)
    else:
        step = bump.bin_width or config.search.bin_width
        edges = np.arange(low, high + step / 2, step)
    reach = _REACH * bump.width
    first = int(np.clip(np.searchsorted(edges, mass - reach), 1, len(edges) - 3))
    last = int(np.clip(np.searchsorted(edges, mass + reach), first + 1, len(edges) - 2))
    return MassRange(low=float(edges[first]), high=float(edges[last]))


def _daughter(shown: Characterisation, feature: str) -> Estimate:
    peak = shown.features.get(feature)
    if peak is None:
        return Estimate(reason=shown.left_out.get(feature, "the dijets have no masses of jets"))
    if peak.z < _CLEAR:
        return Estimate(reason=f"its excess is unclear ({peak.z:.1f} of its uncertainty)")
    return Estimate(peak.value, peak.uncertainty)


def _with_simulation(
    found: Answer,
    shown: Characterisation,
    test: _Test,
    dijets: Skim,
    taggers: Taggers,
    histograms: Histograms,
    config: SearchConfig,
    simulate: Simulate | None,
) -> Answer:
    """Return an answer with prongs and number of events, and masses corrected, by simulation."""
    masses = (found.resonance_mass, found.heavy_mass, found.light_mass)
    reason = ""
    if simulate is None:
        reason = "no signal was simulated"
    elif config.search.variable != "m_jj":
        reason = f"no signal is simulated that peaks in {config.search.variable}"
    elif any(one.value is None for one in masses):
        reason = "no signal can be simulated without the masses of both daughters"
    if reason or simulate is None:
        return replace(found, events=Estimate(reason=reason))
    resonance, heavy, light = (float(one.value or 0.0) for one in masses)
    signals: dict[int, Skim | Sample] = {}
    shapes: dict[int, Hypothesis] = {}
    window = MassRange(low=shown.window[0], high=shown.window[1])
    try:
        for prongs, model in PRONGS.items():
            changed = {"background": 0, "signal": SIMULATED, "model": model, "hidden": False}
            changed |= {"resonance_mass": round(resonance, 1), "blind": False}
            changed |= {"heavy_mass": round(max(heavy, light), 1)}
            changed |= {"light_mass": round(min(heavy, light), 1)}
            signals[prongs] = simulate(config.generate.model_copy(update=changed))
        every = characterise(
            dijets, taggers, histograms, config, name=test.name, selection=test.selection,
            window=window, signals={str(prongs): one for prongs, one in signals.items()},
        )  # fmt: skip
        shapes = {int(name): one for name, one in (every.hypotheses or {}).items()}
    except (MissingExtraError, GeneratorError, InputError, ConfigError) as error:
        return replace(found, events=Estimate(reason=f"no signal could be simulated: {error}"))
    best, apart, events = _likely(shown, shapes)
    if best is None:
        return replace(found, events=events)
    sample = as_skim(signals[best]).sample()
    selected = sample.select(_passed(taggers, test, sample))
    # Taggers may prefer masses, as they prefer features.
    seen = sample if found.selection == ALL_DIJETS else selected
    core = _core(seen.mass, resonance, config.fit.bump.width)
    inside = selected.select(window.contains(selected.mass))
    return replace(
        found,
        resonance_mass=_corrected(found.resonance_mass, resonance, core),
        heavy_mass=_corrected(found.heavy_mass, heavy, _middle(inside.columns["heavy_mass"])),
        light_mass=_corrected(found.light_mass, light, _middle(inside.columns["light_mass"])),
        events=events,
        prongs=best if apart else None,
        notes=(
            *found.notes,
            f"simulated signals of {resonance:.0f}, {heavy:.0f} and {light:.0f} GeV, 2 and 3 "
            f"prongs: of {best} prongs {shapes[best].efficiency:.3g} are selected; detector and "
            "shower of the box may be others",
        ),
    )


def _passed(taggers: Taggers, test: _Test, sample: Sample) -> BoolArray:
    """Return which events the selection of a test takes, each scored out of fold."""
    tagger_set = taggers.sets[test.name]
    assert tagger_set.quantiles is not None
    assert test.selection is not None
    ranks = tagger_set.ranks(sample)
    point = tagger_set.quantiles.points[test.selection]
    return point.passes(ranks.fold, ranks.heavy, ranks.light)


def _likely(
    shown: Characterisation, shapes: Mapping[int, Hypothesis]
) -> tuple[int | None, bool, Estimate]:
    """Return the likely prongs, whether they are told apart, and events before any selection.

    A signal of which nothing is selected is not the excess, and has no shape to compare.
    """
    numbers = {
        prongs: (one.events, one.events_uncertainty)
        for prongs, one in shapes.items()
        if one.events is not None and one.events_uncertainty is not None
    }
    if not numbers:
        return None, False, Estimate(reason="no event of the simulated signal is selected")
    distance = {prongs: _distance(shown, shapes[prongs]) for prongs in numbers}
    best = min(distance, key=lambda one: distance[one])
    apart = len(distance) > 1 and max(distance.values()) - distance[best] >= _TOLD_APART
    events, error = numbers[best]
    if not apart:
        every = [one for one, _ in numbers.values()]
        error = float(np.hypot(error, (max(every) - min(every)) / 2))
    return best, apart, Estimate(events, error)


def _distance(shown: Characterisation, simulated: Hypothesis) -> float:
    """Return the chi-square of the shapes of both jets, excess against selected simulation."""
    total = 0.0
    for jet in ("heavy", "light"):
        for shape in _SHAPES:
            name = f"{jet}_{shape}"
            peak, medians = shown.features.get(name), simulated.features.get(name)
            if peak is None or medians is None or peak.z < _CLEAR:
                continue
            if medians.selected is not None:
                error = float(np.hypot(peak.uncertainty, _MODELLING))
                total += ((peak.value - medians.selected) / error) ** 2
    return total


def _middle(values: Any) -> tuple[float, float] | None:
    """Return the median of simulated events and its error, that of their core, of two or more."""
    if len(values) < 2:
        return None
    low, middle, high = np.quantile(np.asarray(values, np.float64), [0.25, 0.5, 0.75])
    return float(middle), float(_OF_MEDIAN * (high - low) / 1.349 / np.sqrt(len(values)))


def _core(masses: Any, near: float, width: float) -> tuple[float, float] | None:
    """Return the median of the masses within two widths of it, as a fit sees, and its error."""
    middle = near
    for _ in range(10):
        inside = masses[np.abs(masses - middle) <= _REACH * width]
        if len(inside) < 2:
            return None
        middle = float(np.median(inside))
    return middle, float(_OF_MEDIAN * np.std(inside) / np.sqrt(len(inside)))


def _corrected(one: Estimate, simulated: float, seen: tuple[float, float] | None) -> Estimate:
    """Return a mass corrected by what comes out of a simulated one.

    Half of the correction is uncertain, and the simulated events that it is made of are few.
    """
    if one.value is None or one.uncertainty is None or seen is None or not seen[0] > 0:
        return one
    factor = simulated / seen[0]
    value = one.value * factor
    errors = one.uncertainty * factor, (value - one.value) / 2, value * seen[1] / seen[0]
    return Estimate(value, float(np.linalg.norm(errors)))


@one_writer
def simulated_signal(
    settings: GenerateSettings,
    config: SearchConfig,
    *,
    out: str | Path,
    events: int = SIMULATED,
    resources: Resources | None = None,
) -> Skim:
    """Return the dijets of a generated signal, skimmed as those of a search.

    Parameters
    ----------
    settings
        The signal.
    config
        `seed`, `data` and `skim` of the search.
    out
        Folder for signals; each has a subfolder.
    events
        How many, instead of those of the settings.
    resources
        What may be used.

    Raises
    ------
    ConfigError
        The search is of a table, or of another energy.
    MissingExtraError, GeneratorError
        As `generate`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> config = SearchConfig.from_text("skim: {images: null}")
    >>> with TemporaryDirectory() as out:
    ...     len(simulated_signal(GenerateSettings(background=0), config, out=out, events=2))
    2
    """
    if config.skim.table is not None:
        msg = "the search is of a table of features, which simulated particles do not give"
        raise ConfigError(msg)
    settings = settings.model_copy(update={"signal": events, "background": 0})
    changed = {"seed": seeds.integer(config.seed, "answer", "signal"), "generate": settings}
    # Which events of the data are kept is no matter of simulated ones.
    own = config.model_copy(update=changed)
    place = Path(out) / f"{settings.model.value}-{digest(settings.model_dump(mode='json'))[:8]}"
    fileset = generate(own, out=place, resources=resources)
    return skim(Fileset.from_paths(fileset.files), own, out=place, resources=resources)
