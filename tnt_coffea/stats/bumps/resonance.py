"""Bump hunt: a resonance on smooth backgrounds, one channel or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats.bumps.calibration import calibrated, from_null_chains
from tnt_coffea.stats.bumps.notes import calibration_notes, data_notes, fit_trouble, model_notes
from tnt_coffea.stats.bumps.reported import Reported, asimov_closure, mu_interval, pyhf_test
from tnt_coffea.stats.bumps.results import COMBINATION_NOTE, BumpHuntResult, ChannelResult
from tnt_coffea.stats.bumps.trust import EdgeTrial, chosen_lower_edge, spurious_signals
from tnt_coffea.stats.fitting import poisson
from tnt_coffea.stats.fitting.background import MAX_PARAMETERS, MIN_PARAMETERS
from tnt_coffea.stats.fitting.channels import channel_models, signal_shares
from tnt_coffea.stats.fitting.envelope import enveloped
from tnt_coffea.stats.fitting.families import family_named
from tnt_coffea.stats.fitting.orders import goodness_of_fit
from tnt_coffea.stats.fitting.poisson import Channel
from tnt_coffea.stats.fitting.signals import SignalShape, gaussian
from tnt_coffea.stats.fitting.spectra import Spectrum, spectra

__all__ = ["bump_hunt", "gaussian"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Choice:
    """How background functions are chosen."""

    family: str
    limits: tuple[int, int]
    f_test: float


def bump_hunt(
    channels: Any,
    *,
    mass: float,
    width: float,
    fit_range: tuple[float, float],
    bin_width: float | None = None,
    min_parameters: int = MIN_PARAMETERS,
    max_parameters: int = MAX_PARAMETERS,
    f_test: float = 0.05,
    shares: Mapping[str, float] | None = None,
    toys: int | None = None,
    seed: int = 1,
    family: str = "dijet",
    envelope: Sequence[str] = (),
    shape: str = "gaussian",
    tails: tuple[float, float, float, float] = (1.5, 3.0, 1.5, 10.0),
    scale_uncertainty: float = 0.0,
    width_uncertainty: float = 0.0,
    lower_edges: Sequence[float] = (),
    control: Any = None,
    null_chains: Sequence[float] = (),
    independent: bool = False,
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
    fit_range
        Lower and upper edge of the fit [GeV].
    bin_width
        Bins of the fit [GeV]; None keeps the histogram's.
    min_parameters, max_parameters
        Range of the background function's parameters, normalisation included. Starting
        from 2, the choice keeps a power law where the data cannot yet tell it from
        the truth: on spectra of 60 and 1200 events from a four-parameter truth 8 and
        9 % of background-only toys then pass a 5 % test; starting from 3, 5 and 4 %.
    f_test
        p-value of the likelihood-ratio test below which a parameter is added.
    shares
        Share of the signal in each channel; equal by default.
    toys
        Background-only toys for the p-value; 0 gives the asymptotic one. None takes
        that where it holds and toys elsewhere, as `calibration.calibrated` says. Toys
        keep the functions that were chosen on the data.
    seed
        Root seed of the toys.
    family
        Family of the background functions, a key of `families.FAMILIES`.
    envelope
        Further families to profile over.
    shape, tails, scale_uncertainty, width_uncertainty
        The signal, as in `signals.SignalShape`. With uncertainties the signal can
        move towards a fluctuation, and only toys give a valid p-value.
    lower_edges
        Lower edges of the fit to choose from by fit quality [GeV], none below
        2600; `fit_range` then gives the upper edge only.
    control
        Signal-free events after the same selection, in the form of `channels`: a
        truth for the test of spurious signal.
    null_chains
        q0 of the same test on null chains with retraining: they give the p-value.
    independent
        Whether the channels are known to be independent, as prequential folds are:
        a combined p-value then needs no null chains.
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
    """
    signal = SignalShape(mass, width, shape, tails, scale_uncertainty, width_uncertainty)
    _check(family, (min_parameters, max_parameters), f_test, toys, null_chains)
    choice = _Choice(family, (min_parameters, max_parameters), f_test)
    fit_range, tried = _range(channels, signal, choice, fit_range, bin_width, lower_edges, seed)
    data = spectra(channels, fit_range, bin_width)
    fractions = signal_shares(tuple(s.name for s in data), shares)
    models = {
        name: channel_models(data, signal, fractions, name, choice.limits, f_test)
        for name in dict.fromkeys((family, *envelope))
    }
    found = enveloped(models, [spectrum.counts[None] for spectrum in data])
    _, at_best = found.chosen()
    test = found.tests[at_best]
    check = poisson.Discovery(test.background.one(0), test.best.one(0), float(test.q0[0]))
    reported = pyhf_test(models[at_best], check)
    # A family that is better at mu = 0 lowers q0 by as much; the same numbers, to the
    # precision of the minimisers, stand on both sides.
    lowered = 2 * float(found.null.min() - found.null[list(models).index(at_best), 0])
    q0 = max(0.0, reported.test.q0 + lowered)
    closure = asimov_closure(reported)
    random = seeds.generator(seed, "stats", "bump_hunt", "toys")
    calibration = (
        from_null_chains(q0, null_chains)
        if len(null_chains)
        else calibrated(models, signal, found, q0, toys, random, progress)
    )
    trouble = fit_trouble(check, reported.test, closure)
    sigma = reported.mu_uncertainty
    coupled = len(data) > 1 and not independent and calibration.kind != "null chains"
    spurious = spurious_signals(
        models[at_best],
        data,
        at_best,
        mass,
        width,
        reported.scale,
        choice.limits,
        f_test,
        None
        if control is None
        else {s.name: s.counts for s in spectra(control, fit_range, bin_width)},
    )
    result = BumpHuntResult(
        mass=float(mass),
        width=float(width),
        fit_range=(float(fit_range[0]), float(fit_range[1])),
        channels=tuple(
            _channel_result(reported, c, s, fractions[c.name], seed)
            for c, s in zip(models[at_best], data, strict=True)
        ),
        q0=q0,
        z=calibration.z,
        p_value=calibration.p_value,
        p_uncertainty=calibration.uncertainty,
        p_asymptotic=float(ndtr(-np.sqrt(q0))),
        mu_hat=reported.mu_hat,
        mu_uncertainty=sigma,
        z_numpy=float(np.sqrt(found.q0[0])),
        asimov_closure=closure,
        converged=not trouble,
        edm=reported.test.edm,
        minimiser=reported.test.minimiser,
        calibration=calibration.kind,
        toys=calibration.experiments,
        notes=(
            *trouble,
            *data_notes(data, width),
            *model_notes(models[at_best], at_best, signal, spurious),
            *([COMBINATION_NOTE] if coupled else []),
            *calibration_notes(calibration),
        ),
        family=at_best,
        interval=mu_interval(models[at_best], check.best, sigma),
        shape=shape,
        nuisances=tuple(zip(signal.nuisances, reported.alpha, strict=True)),
        envelope=found.families() if envelope else (),
        spurious=spurious,
        edges_tried=tried,
    )
    return result


def _range(
    channels: Any,
    signal: SignalShape,
    choice: _Choice,
    fit_range: tuple[float, float],
    bin_width: float | None,
    lower_edges: Sequence[float],
    seed: int,
) -> tuple[tuple[float, float], tuple[EdgeTrial, ...]]:
    """Return the fit range, its lower edge chosen by fit quality if edges are given."""
    tried: tuple[EdgeTrial, ...] = ()
    if lower_edges:
        edge, tried = chosen_lower_edge(
            channels,
            mass=signal.mass,
            width=signal.width,
            candidates=lower_edges,
            upper=fit_range[1],
            bin_width=bin_width,
            family=choice.family,
            limits=choice.limits,
            f_test=choice.f_test,
            seed=seed,
        )
        fit_range = (edge, fit_range[1])
    if not fit_range[0] < signal.mass < fit_range[1]:
        msg = (
            f"mass {signal.mass:g} GeV lies outside the fit range {fit_range[0]:g}-"
            f"{fit_range[1]:g} GeV: the background under the signal would be extrapolated"
        )
        raise FitError(msg)
    return fit_range, tried


def _channel_result(
    reported: Reported, channel: Channel, spectrum: Spectrum, share: float, seed: int
) -> ChannelResult:
    expected = reported.background(channel)
    p_value, calibration = goodness_of_fit(channel, expected, seed)
    return ChannelResult(
        name=channel.name,
        edges=tuple(spectrum.edges.tolist()),
        observed=tuple(channel.observed.tolist()),
        background=tuple(expected.tolist()),
        signal_plus_background=tuple(reported.full(channel).tolist()),
        parameters=channel.background.parameters,
        goodness_of_fit=p_value,
        goodness_calibration=calibration,
        pulls=tuple(poisson.pulls(channel.observed, expected).tolist()),
        share=share,
    )


def _check(
    family: str,
    limits: tuple[int, int],
    f_test: float,
    toys: int | None,
    null_chains: Sequence[float],
) -> None:
    most = max(MAX_PARAMETERS, family_named(family).orders[-1])
    if not MIN_PARAMETERS <= limits[0] <= limits[1] <= most:
        msg = (
            f"parameters must satisfy {MIN_PARAMETERS} <= min <= max <= {most}, got "
            f"{limits[0]} and {limits[1]}"
        )
        raise FitError(msg)
    if not 0 < f_test < 1 or (toys is not None and toys < 0):
        msg = f"f_test must lie in (0, 1) and toys be 0 or more, got {f_test} and {toys}"
        raise FitError(msg)
    if len(null_chains) and not np.isfinite(np.asarray(null_chains, dtype=float)).all():
        msg = "null_chains holds a q0 that is not finite: leave no failed chain in it"
        raise FitError(msg)
