"""Bump hunt: a resonance on smooth backgrounds, one channel or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.background import MIN_PARAMETERS
from tnt_coffea.stats.calibration import Calibration, calibrated, from_null_chains
from tnt_coffea.stats.engine import Discovery
from tnt_coffea.stats.families import family_named
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.model import (
    Envelope,
    channel_models,
    enveloped,
    goodness_of_fit,
    signal_shares,
)
from tnt_coffea.stats.p_values import normal_p_value
from tnt_coffea.stats.pyhf_fit import PyhfTest, asimov_closure, mu_interval, pyhf_test
from tnt_coffea.stats.results import (
    COMBINATION_NOTE,
    BumpHuntResult,
    ChannelResult,
    EdgeTrial,
    SpuriousSignal,
)
from tnt_coffea.stats.signals import SignalShape
from tnt_coffea.stats.spectrum import Spectrum, SpectrumFit, sample_notes, spectra
from tnt_coffea.stats.spurious import LOWEST_EDGE, chosen_lower_edge, spurious_signals
from tnt_coffea.stats.validity import CLOSURE_AGREEMENT, MOST_TOYS, minimiser_problems

__all__ = ["bump_hunt", "data_notes"]

Array = NDArray[np.float64]


def bump_hunt(
    channels: Any,
    *,
    mass: float,
    width: float,
    fit: SpectrumFit,
    toys: int | None = None,
    seed: int = 1,
    envelope: Sequence[str] = (),
    lower_edges: Sequence[float] = (),
    lowest_edge: float = LOWEST_EDGE,
    null_chains: Sequence[float] = (),
    progress: Callable[[int, int], None] | None = None,
) -> BumpHuntResult:
    """Test one mass hypothesis in a spectrum, or in several that share the signal.

    Parameters
    ----------
    channels
        `hist.Hist` in m_jj [GeV], or a mapping from channel to such histograms
        (cross-validation folds, windows).
    mass, width
        Peak and Gaussian width of the signal [GeV].
    fit
        Range, bins, background functions and shape of the signal.
    toys
        Background-only toys for the p-value; 0 gives the asymptotic one. None takes
        that where it holds and toys elsewhere, as `validity.why_not_asymptotic` says. Toys
        keep the functions that were chosen on the data.
    seed
        Root seed of the toys.
    envelope
        Further families to profile over.
    lower_edges
        Lower edges of the fit to choose from by fit quality [GeV], none below
        `lowest_edge`; `fit.range` then gives the upper edge only.
    lowest_edge
        From where on the trigger leaves the spectrum as it is [GeV].
    null_chains
        q0 of the same test on null chains with retraining: they give the p-value.
    progress
        Called with the toys that are done, and all of them.

    Returns
    -------
    The result of the pyhf model, cross-checked by our own minimiser; mu is the
    number of signal events over all channels.

    Raises
    ------
    FitError
        The histograms do not suit the fit, or it fails.

    Source
    ------
    Bump hunt of arXiv:2002.12376, section 4.1, with smooth functions in place
    of its cubic polynomial; q0 from arXiv:1007.1727, equation 12.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> result = stats.bump_hunt(spectrum, mass=3500, width=120, fit=fit)
    >>> round(result.z, 1), round(result.mu_hat)
    (3.4, 104)
    >>> result.converged, result.calibration
    (True, 'asymptotic')
    """
    _check(toys, null_chains)
    signal = fit.signal(mass, width)
    edges_tried: tuple[EdgeTrial, ...] = ()
    if lower_edges:
        fit, edges_tried = chosen_lower_edge(
            channels, signal, lower_edges, fit, lowest=lowest_edge, seed=seed
        )
    fit.check_inside(mass)
    # The model: in every family a background function for each channel.
    data = spectra(channels, fit)
    shares = signal_shares(data, fit)
    models = {
        family: channel_models(data, signal, shares, fit.with_family(family))
        for family in dict.fromkeys((fit.family, *envelope))
    }
    unit = data[0].unit
    test = _tested(models)
    if len(null_chains):
        calibration = from_null_chains(test.q0, null_chains)
    else:
        random = seeds.generator(seed, "stats", "bump_hunt", "toys")
        calibration = calibrated(models, signal, test.envelope, test.q0, toys, random, progress)
    interval = mu_interval(test.channels, test.check.best, test.pyhf.mu_uncertainty)
    # The checks: minimisers, and the function where there is no signal.
    problems = _problems(test)
    own_family = fit.with_family(test.family)
    spurious = spurious_signals(test.channels, data, signal, own_family, test.pyhf.scale)
    notes = (
        *problems,
        *data_notes(data, width, (mass, mass)),
        *_model_notes(test.channels, test.family, signal, spurious),
        *_calibration_notes(calibration, several=len(data) > 1),
    )
    return BumpHuntResult(
        mass=float(mass),
        width=float(width),
        fit_range=(float(fit.range[0]), float(fit.range[1])),
        channels=tuple(
            _channel_result(test.pyhf, channel, spectrum, shares[channel.name], seed)
            for channel, spectrum in zip(test.channels, data, strict=True)
        ),
        q0=test.q0,
        z=calibration.z,
        p_value=calibration.p_value,
        p_uncertainty=calibration.uncertainty,
        p_asymptotic=normal_p_value(float(np.sqrt(test.q0))),
        mu_hat=unit * test.pyhf.mu_hat,
        mu_uncertainty=unit * test.pyhf.mu_uncertainty,
        z_numpy=float(np.sqrt(test.envelope.q0[0])),
        asimov_closure=test.asimov_closure,
        converged=not problems,
        edm=test.pyhf.test.edm,
        minimiser=test.pyhf.test.minimiser,
        calibration=calibration.kind,
        toys=calibration.experiments,
        notes=notes,
        family=test.family,
        interval=(unit * interval[0], unit * interval[1]),
        shape=fit.shape,
        nuisances=tuple(zip(signal.nuisances, test.pyhf.alpha, strict=True)),
        envelope=test.envelope.families(unit) if envelope else (),
        spurious=spurious,
        edges_tried=edges_tried,
    )


@dataclass(frozen=True, eq=False)
class _Test:
    """The test of mu = 0 in the data.

    Attributes
    ----------
    envelope
        By the numpy engine, of every family.
    family, channels
        The family of the best fit, and its channels.
    check, pyhf
        The test with that family by the numpy engine, and by pyhf.
    q0
        The reported test statistic: pyhf's, over all families.
    asimov_closure
        Fitted over injected signal without fluctuations.
    """

    envelope: Envelope
    family: str
    channels: Sequence[Channel]
    check: Discovery
    pyhf: PyhfTest
    q0: float
    asimov_closure: float


def _tested(models: Mapping[str, Sequence[Channel]]) -> _Test:
    """Return the test of the data, with the family that fits them best."""
    first = next(iter(models.values()))
    envelope = enveloped(models, [channel.observed[None] for channel in first])
    _, family = envelope.chosen()
    test = envelope.tests[family]
    check = Discovery(test.background.one(0), test.best.one(0), float(test.q0[0]))
    pyhf = pyhf_test(models[family], check)
    # A family that is better at mu = 0 lowers q0 by as much; the same numbers, to the
    # precision of the minimisers, stand on both sides.
    lowered = 2 * float(envelope.null.min() - envelope.null[list(models).index(family), 0])
    q0 = max(0.0, pyhf.test.q0 + lowered)
    return _Test(envelope, family, models[family], check, pyhf, q0, asimov_closure(pyhf))


def _channel_result(
    pyhf: PyhfTest, channel: Channel, spectrum: Spectrum, share: float, seed: int
) -> ChannelResult:
    expected = pyhf.background(channel)
    p_value, calibration = goodness_of_fit(channel, expected, seed)
    return ChannelResult(
        name=channel.name,
        edges=tuple(spectrum.edges.tolist()),
        observed=tuple(spectrum.sums.tolist()),
        background=tuple(spectrum.weights(expected).tolist()),
        signal_plus_background=tuple(spectrum.weights(pyhf.full(channel)).tolist()),
        parameters=channel.background.parameters,
        goodness_of_fit=p_value,
        goodness_calibration=calibration,
        pulls=tuple(engine.pulls(channel.observed, expected).tolist()),
        share=share,
        scale=tuple(spectrum.weights(np.ones_like(expected)).tolist()) if spectrum.weighted else (),
    )


def _problems(test: _Test) -> list[str]:
    """Return every reason not to trust the fit."""
    problems = []
    if not test.check.converged:
        edm = max(test.check.background.edm, test.check.best.edm)
        problems.append(f"the cross-check stopped {edm:.2g} in ln L from its minimum")
    problems += minimiser_problems(test.pyhf.test.edm, test.pyhf.test.z, test.check.z)
    if abs(test.asimov_closure - 1) > CLOSURE_AGREEMENT:
        problems.append(
            f"the fit returns {test.asimov_closure:.4f} of a signal injected without fluctuations"
        )
    return problems


def data_notes(data: Sequence[Spectrum], width: float, masses: tuple[float, float]) -> list[str]:
    """Return what the histograms' binning and weights cost.

    Parameters
    ----------
    data
        The spectra.
    width, masses
        Of the signal, and its least and largest mass [GeV].
    """
    notes = []
    low, high = masses[0] - width, masses[1] + width
    widest = max(
        float(np.diff(s.edges)[(s.edges[1:] > low) & (s.edges[:-1] < high)].max(initial=0.0))
        for s in data
    )
    if widest > 0.5 * width:
        notes.append(
            f"bins of {widest:g} GeV are wider than half the signal's width ({width:g} GeV): "
            "significance is lost"
        )
    return [*notes, *sample_notes(data)]


def _model_notes(
    models: Sequence[Channel], family: str, signal: SignalShape, spurious: Sequence[SpuriousSignal]
) -> list[str]:
    """Return what the choice of functions leaves open."""
    notes = []
    few = [c.name for c in models if c.background.parameters == MIN_PARAMETERS]
    if few:
        notes.append(
            f"{', '.join(few)}: a two-parameter function was kept because a third did not gain "
            "enough; such a choice can leave a spurious signal of a few tenths of a sigma: compare "
            "with min_parameters=3"
        )
    if family_named(family).reproduction_only:
        notes.append(
            f"'{family}' repeats a published result and follows no falling spectrum: quote no "
            "significance from it"
        )
    notes += [
        f"spurious signal of {s.relative:+.2f} of its uncertainty where the truth is {s.truth}: "
        "the background function is biased at this mass"
        for s in spurious
        if s.is_biased
    ]
    return notes


def _calibration_notes(calibration: Calibration, several: bool) -> list[str]:
    """Return what must be said about the p-value of one channel, or of several."""
    notes = [COMBINATION_NOTE] if several and calibration.kind != "null chains" else []
    why = "; ".join(calibration.reasons)
    if why and calibration.kind == "asymptotic":
        notes.append(f"{why}: the asymptotic p-value is not reliable there; allow toys")
    if calibration.kind == "null chains":
        text = (
            f"{calibration.reached} of {calibration.experiments} whole searches of background, "
            "with taggers trained anew, reach this excess"
        )
        if not calibration.reached:
            text += ", so that p may be smaller than they can tell"
        notes.append(text)
    if calibration.kind == "toys":
        plain = calibration.experiments - calibration.with_signal
        text = f"{calibration.reached} of {plain} background-only toys reach this excess"
        if calibration.with_signal:
            text += (
                f"; {calibration.with_signal} more were thrown with a signal and weighted by their "
                "probability without one"
            )
        elif not calibration.reached:
            text += ", so that p may be smaller than they can tell"
        notes.append(f"{text} ({why})" if why else text)
    if calibration.failed:
        notes.append(
            f"{calibration.failed} of {calibration.experiments} toy fits did not converge; they "
            "count as they stand"
        )
    return notes


def _check(toys: int | None, null_chains: Sequence[float]) -> None:
    if toys is not None and not 0 <= toys <= MOST_TOYS:
        msg = f"a bump hunt takes 0 to {MOST_TOYS:,} toys, got {toys:,}"
        raise FitError(msg)
    if len(null_chains) and not np.isfinite(np.asarray(null_chains, dtype=float)).all():
        msg = "null_chains holds a q0 that is not finite: leave no failed chain in it"
        raise FitError(msg)
