"""Bump hunt: a resonance on smooth backgrounds, one channel or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tnt_coffea import seeds
from tnt_coffea.stats import engine
from tnt_coffea.stats.arguments import check_arguments, listed_numbers
from tnt_coffea.stats.background import MIN_PARAMETERS
from tnt_coffea.stats.calibration import Calibration, calibrated, from_null_chains
from tnt_coffea.stats.engine import Discovery
from tnt_coffea.stats.envelope import Envelope, family_of, mu_interval
from tnt_coffea.stats.families import family_named
from tnt_coffea.stats.likelihood import Channel, nuisance_names
from tnt_coffea.stats.lower_edge import LOWEST_EDGE, chosen_lower_edge, turn_on_notes
from tnt_coffea.stats.model import (
    SpectrumModel,
    goodness_of_fit,
    range_notes,
    spectrum_model,
    spurious_notes,
)
from tnt_coffea.stats.p_values import normal_p_value
from tnt_coffea.stats.pyhf_fit import PyhfTest, asimov_closure, pyhf_test
from tnt_coffea.stats.results import COMBINATION_NOTE, BumpHuntResult, ChannelResult, EdgeTrial
from tnt_coffea.stats.signals import Signal, TemplateShape
from tnt_coffea.stats.spectrum import Spectrum, sample_notes
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.validity import CLOSURE_AGREEMENT, minimiser_problems

__all__ = ["bump_hunt", "data_notes", "negative_notes", "template_notes"]

Array = NDArray[np.float64]


def bump_hunt(
    channels: Any,
    *,
    mass: float,
    width: float,
    fit: SpectrumFit,
    toys: int | None = None,
    seed: int = 1,
    lower_edges: Sequence[float] | Literal["auto"] = (),
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
    lower_edges
        Lower edges of the fit to choose from by fit quality [GeV], none below
        `lowest_edge`; `fit.range` then gives the upper edge only. 'auto' finds where the spectrum
        starts to fall smoothly, from `fit.range` on.
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
    (3.1, 107)
    >>> result.converged, result.calibration
    (True, 'asymptotic')
    """
    check_arguments(mass=mass, width=width, fit=fit, toys=toys, seed=seed)
    null_chains = listed_numbers("null_chains", null_chains)
    signal = fit.signal(mass, width)
    edges_tried: tuple[EdgeTrial, ...] = ()
    if lower_edges:
        fit, edges_tried = chosen_lower_edge(
            channels, signal, lower_edges, fit, lowest=lowest_edge, seed=seed
        )
    model = spectrum_model(channels, signal, fit)
    data, unit = model.data, model.unit
    test = _tested(model)
    if len(null_chains):
        calibration = from_null_chains(test.q0, null_chains)
    else:
        random = seeds.generator(seed, "stats", "bump_hunt", "toys")
        calibration = calibrated(model, test.envelope, test.q0, toys, random, progress)
    interval = mu_interval(model.functions, test.envelope.best, test.pyhf.mu_uncertainty)
    problems = _problems(test)
    notes = (
        *problems,
        *data_notes(data, width, (mass, mass)),
        *range_notes(model, seed),
        *turn_on_notes(data, signal, fit),
        *template_notes(signal),
        *negative_notes(signal, data),
        *_model_notes(model, test),
        *_interval_notes(interval),
        *_calibration_notes(calibration, several=len(data) > 1),
    )
    return BumpHuntResult(
        mass=float(mass),
        width=float(width),
        fit_range=(float(fit.range[0]), float(fit.range[1])),
        channels=tuple(
            _channel_result(test, i, spectrum, model.shares[spectrum.name], seed)
            for i, spectrum in enumerate(data)
        ),
        q0=test.q0,
        z=calibration.z,
        p_value=calibration.p_value,
        p_uncertainty=calibration.uncertainty,
        p_asymptotic=normal_p_value(float(np.sqrt(test.q0))),
        mu_hat=unit * test.pyhf.mu_hat,
        mu_uncertainty=unit * _uncertainty(test, interval),
        z_numpy=float(np.sqrt(test.envelope.q0[0])),
        asimov_closure=test.asimov_closure,
        converged=not problems,
        edm=test.pyhf.test.edm,
        minimiser=test.pyhf.test.minimiser,
        calibration=calibration.kind,
        toys=calibration.experiments,
        notes=notes,
        family=family_of(test.function),
        interval=(unit * interval[0], None if interval[1] is None else unit * interval[1]),
        shape=signal.kind,
        nuisances=tuple(zip(nuisance_names(test.channels), test.pyhf.alpha, strict=True)),
        envelope=test.envelope.functions(unit) if len(model.functions) > 1 else (),
        spurious=() if model.spurious is None else model.spurious.signals(unit),
        spurious_uncertainty=unit * model.spurious_events,
        edges_tried=edges_tried,
    )


@dataclass(frozen=True, eq=False)
class _Test:
    """The test of mu = 0 in the data.

    Attributes
    ----------
    envelope
        By the numpy engine, of every function.
    function, channels
        The function of the best fit, and its channels.
    check, pyhf
        The test with that function by the numpy engine, and by pyhf.
    null_channels, null
        The channels of the best function without a signal, and what each expects, shape (bins,).
    q0
        The reported test statistic: pyhf's, over all functions.
    asimov_closure
        Fitted over injected signal without fluctuations.
    """

    envelope: Envelope
    function: str
    channels: Sequence[Channel]
    check: Discovery
    pyhf: PyhfTest
    null_channels: Sequence[Channel]
    null: Sequence[Array]
    q0: float
    asimov_closure: float


def _tested(model: SpectrumModel) -> _Test:
    """Return the test of the data, with the function that fits them best."""
    envelope = model.test
    function = envelope.best.function()
    channels, test = model.functions[function], envelope.tests[function]
    check = Discovery(test.background.one(0), test.best.one(0), float(test.q0[0]))
    pyhf = pyhf_test(channels, check)
    q0 = envelope.with_q0_of(function, pyhf.test.q0)
    without = envelope.background.function()
    null = (
        [pyhf.background(channel) for channel in channels]
        if without == function
        else envelope.background.expected(model.functions)
    )
    return _Test(
        envelope=envelope,
        function=function,
        channels=channels,
        check=check,
        pyhf=pyhf,
        null_channels=model.functions[without],
        null=null,
        q0=q0,
        asimov_closure=asimov_closure(pyhf),
    )


def _uncertainty(test: _Test, interval: tuple[float, float | None]) -> float:
    """Return the uncertainty of mu, of all functions that compete."""
    own = test.pyhf.mu_uncertainty
    low, high = interval
    if len(test.envelope.tests) == 1 or high is None:
        return own
    mu = float(test.envelope.best.mu[0])
    if mu == 0:  # a deficit makes the interval above it short, and says nothing of mu's error
        return max(own, high)
    # Where mu >= 0 cuts the interval off, its upper half tells.
    return max(high - mu, mu - low) if low > 0 else high - mu


def _channel_result(
    test: _Test, place: int, spectrum: Spectrum, share: float, seed: int
) -> ChannelResult:
    channel, expected = test.channels[place], test.null[place]
    p_value, calibration = goodness_of_fit(test.null_channels[place], expected, seed)
    return ChannelResult(
        name=channel.name,
        edges=tuple(spectrum.edges.tolist()),
        observed=tuple(spectrum.sums.tolist()),
        background=tuple(spectrum.weights(expected).tolist()),
        signal_plus_background=tuple(spectrum.weights(test.pyhf.full(channel)).tolist()),
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


# A template of fewer simulated events fluctuates from bin to bin.
_ENOUGH_SIMULATED = 1000.0


def template_notes(signal: Signal) -> list[str]:
    """Return what the number of simulated events leaves open.

    Parameters
    ----------
    signal
        The signal.
    """
    if not isinstance(signal, TemplateShape):
        return []
    few = {
        name: template.effective_events
        for name, template in signal.templates.items()
        if template.effective_events < _ENOUGH_SIMULATED
    }
    if not few:
        return []
    each = ", ".join(f"{name} {events:.0f}" for name, events in few.items())
    return [
        f"the signal template stands for few simulated events ({each}): their number is a nuisance "
        f"parameter of the norm, fluctuations from bin to bin are neglected, which takes "
        f"{_ENOUGH_SIMULATED:.0f}"
    ]


def negative_notes(signal: Signal, data: Sequence[Spectrum]) -> list[str]:
    """Return where weights of either sign leave bins of the signal's template below zero.

    Parameters
    ----------
    signal
        The signal.
    data
        The spectra that are fitted.
    """
    if not isinstance(signal, TemplateShape):
        return []
    below = [s.name for s in data if signal.of(s.name, s.edges).template.negative]
    if not below:
        return []
    return [
        f"negative weights leave bins of the signal template below zero ({', '.join(below)}): they "
        "are set to 0, and the others scaled to the sum before"
    ]


def _model_notes(model: SpectrumModel, test: _Test) -> list[str]:
    """Return what the choice of functions leaves open."""
    notes = []
    few = [c.name for c in test.channels if c.background.parameters == MIN_PARAMETERS]
    if few:
        notes.append(
            f"{', '.join(few)}: a two-parameter function was kept because a third did not gain "
            "enough; such a choice can leave a spurious signal of a few tenths of a sigma: compare "
            "with min_parameters=3"
        )
    notes += [
        f"'{family}' repeats a published result and follows no falling spectrum: quote no "
        "significance from it"
        for family in dict.fromkeys(map(family_of, model.functions))
        if family_named(family).reproduction_only
    ]
    notes += spurious_notes(model)
    return notes


def _interval_notes(interval: tuple[float, float | None]) -> list[str]:
    if interval[1] is not None:
        return []
    return ["ln L does not fall above the fitted signal: the data give it no upper bound here"]


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
        if calibration.width is not None:
            text += (
                f"; p is from their tail, a normal distribution of width {calibration.width:.2f}, "
                "where the asymptotic formula has 1"
            )
        elif not calibration.reached:
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
