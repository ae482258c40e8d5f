"""Bump hunt: a resonance on smooth backgrounds, one channel or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from tnt_coffea.stats.fitting.channels import channel_models, signal_shares
from tnt_coffea.stats.fitting.envelope import enveloped
from tnt_coffea.stats.fitting.orders import goodness_of_fit
from tnt_coffea.stats.fitting.poisson import Channel
from tnt_coffea.stats.fitting.signals import gaussian
from tnt_coffea.stats.fitting.spectra import Spectrum, spectra
from tnt_coffea.stats.fitting.spectrum_fit import SpectrumFit

__all__ = ["bump_hunt", "gaussian"]

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
    fit
        Range, bins, background functions and shape of the signal.
    toys
        Background-only toys for the p-value; 0 gives the asymptotic one. None takes
        that where it holds and toys elsewhere, as `calibration.calibrated` says. Toys
        keep the functions that were chosen on the data.
    seed
        Root seed of the toys.
    envelope
        Further families to profile over.
    lower_edges
        Lower edges of the fit to choose from by fit quality [GeV], none below
        2600; `fit.range` then gives the upper edge only.
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
    signal = fit.signal(mass, width)
    _check(toys, null_chains)
    tried: tuple[EdgeTrial, ...] = ()
    if lower_edges:
        fit, tried = chosen_lower_edge(channels, signal, lower_edges, fit, seed=seed)
    fit.check_inside(mass)
    data = spectra(channels, fit)
    shares = signal_shares(data, fit)
    models = {
        name: channel_models(data, signal, shares, fit.with_family(name))
        for name in dict.fromkeys((fit.family, *envelope))
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
        signal,
        fit.with_family(at_best),
        reported.scale,
        None if control is None else {s.name: s.counts for s in spectra(control, fit)},
    )
    return BumpHuntResult(
        mass=float(mass),
        width=float(width),
        fit_range=(float(fit.range[0]), float(fit.range[1])),
        channels=tuple(
            _channel_result(reported, c, s, shares[c.name], seed)
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
        shape=fit.shape,
        nuisances=tuple(zip(signal.nuisances, reported.alpha, strict=True)),
        envelope=found.families() if envelope else (),
        spurious=spurious,
        edges_tried=tried,
    )


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


def _check(toys: int | None, null_chains: Sequence[float]) -> None:
    if toys is not None and toys < 0:
        msg = f"a bump hunt needs 0 toys or more, got {toys}"
        raise FitError(msg)
    if len(null_chains) and not np.isfinite(np.asarray(null_chains, dtype=float)).all():
        msg = "null_chains holds a q0 that is not finite: leave no failed chain in it"
        raise FitError(msg)
