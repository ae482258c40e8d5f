"""Models of spectra: the background function that each asks for, the signal, the families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.background import Background
from tnt_coffea.stats.engine import Discoveries
from tnt_coffea.stats.families import Family, family_named
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.p_values import toys_p_value
from tnt_coffea.stats.results import FamilyFit
from tnt_coffea.stats.signals import SignalShape, Template
from tnt_coffea.stats.spectrum import Spectrum, SpectrumFit, spectra
from tnt_coffea.stats.validity import GOODNESS_TOYS, LEAST_IN_BIN

__all__ = [
    "Envelope",
    "SpectrumModel",
    "channel_models",
    "chosen_background",
    "chosen_function",
    "chosen_orders",
    "enveloped",
    "goodness_of_fit",
    "outside_signal",
    "signal_shares",
    "spectrum_model",
]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SpectrumModel:
    """A signal on smooth backgrounds in one spectrum, or in several."""

    signal: SignalShape
    data: tuple[Spectrum, ...]
    shares: Mapping[str, float]
    channels: tuple[Channel, ...]


def spectrum_model(histograms: Any, signal: SignalShape, fit: SpectrumFit) -> SpectrumModel:
    """Return the model of a signal in histograms, each with the function that it asks for.

    Parameters
    ----------
    histograms
        As the channels of `bump_hunt`.
    signal, fit
        The signal, and how it is fitted.

    Raises
    ------
    FitError
        The signal lies outside the range, or the histograms or the shares do not suit the fit.
    """
    fit.check_inside(signal.mass)
    data = tuple(spectra(histograms, fit))
    shares = signal_shares(data, fit)
    return SpectrumModel(signal, data, shares, tuple(channel_models(data, signal, shares, fit)))


def channel_models(
    data: Sequence[Spectrum], signal: SignalShape, shares: Mapping[str, float], fit: SpectrumFit
) -> list[Channel]:
    """Return the channels of a fit, each with the function that its spectrum asks for.

    Parameters
    ----------
    data
        The spectra.
    signal
        The signal.
    shares
        Share of the signal in every channel, of `signal_shares`.
    fit
        Family, fewest and most parameters, p-value of the F-test.
    """
    models = []
    for spectrum in data:
        share = shares[spectrum.name]
        template = (
            Template(signal, spectrum.edges, share, spectrum.scale) if signal.nuisances else None
        )
        background = chosen_background(spectrum, signal, fit)
        expected = spectrum.effective(share * signal.integrals(spectrum.edges))
        models.append(Channel(spectrum.name, spectrum.counts, expected, background, template))
    return models


def signal_shares(data: Sequence[Spectrum], fit: SpectrumFit) -> dict[str, float]:
    """Return the share of the signal in every channel, normalised to 1.

    Raises
    ------
    FitError
        The shares are not those of the channels, or negative, or all zero.
    """
    names, shares = [spectrum.name for spectrum in data], fit.shares
    if shares is None:
        return dict.fromkeys(names, 1 / len(names))
    total = sum(shares.values())
    values = np.array([*shares.values(), total], dtype=float)
    if set(shares) != set(names) or not np.isfinite(values).all() or values.min() < 0 or total <= 0:
        msg = (
            f"shares must give every channel a part of the signal: channels {sorted(names)}, "
            f"shares {dict(shares)}"
        )
        raise FitError(msg)
    return {name: shares[name] / total for name in names}


# The order of the function is chosen outside mass +- this many widths.
_BLIND_WIDTHS = 2.0


def outside_signal(edges: Array, signal: SignalShape) -> Mask:
    """Return the bins that lie wholly outside mass +- 2 widths."""
    reach = _BLIND_WIDTHS * signal.width
    return np.asarray((edges[1:] <= signal.mass - reach) | (edges[:-1] >= signal.mass + reach))


def chosen_background(spectrum: Spectrum, signal: SignalShape, fit: SpectrumFit) -> Background:
    """Return the function that a spectrum asks for, whitened.

    Only bins outside mass +- 2 widths decide, so that a signal there does not choose its
    own background.

    Raises
    ------
    FitError
        Too few bins outside the signal hold events, or the family has no such order.
    """
    built = chosen_function(spectrum, outside_signal(spectrum.edges, signal), fit)
    return engine.fitted_background(built, spectrum.counts)[0]


def chosen_function(spectrum: Spectrum, seen: Mask, fit: SpectrumFit) -> Background:
    """Return the function that the bins in `seen` ask for, as its family builds it."""
    counts, scale = spectrum.counts, spectrum.scale
    order = chosen_orders(spectrum.name, spectrum.edges, counts[None], seen, fit, scale)[0]
    family = family_named(fit.family)
    return _built(family, spectrum.edges, int(order), counts, seen, scale, fit.sqrt_s)


def _built(
    family: Family,
    edges: Array,
    order: int,
    counts: Array,
    seen: Mask,
    scale: Array | None,
    sqrt_s: float,
) -> Background:
    if scale is None:
        return family.build(edges, order, counts, seen, sqrt_s)
    # A family knows smooth spectra: it is built from the weights, and expects effective events.
    return family.build(edges, order, counts * scale, seen, sqrt_s).scaled(1 / scale)


def chosen_orders(
    name: str,
    edges: Array,
    counts: Array,
    seen: Mask,
    fit: SpectrumFit,
    scale: Array | None = None,
) -> NDArray[np.intp]:
    """Return the number of parameters that each of many spectra asks for, shape (spectra,).

    A parameter is added while twice the gain in ln L, as chi-square with one
    degree of freedom, has a p-value below `f_test`.

    Parameters
    ----------
    name
        The channel, for messages.
    edges
        Edges of the bins [GeV].
    counts
        Events per bin, shape (spectra, bins).
    seen
        The bins that decide.
    fit
        Family, fewest and most parameters, p-value of the test.
    scale
        That of a weighted spectrum, as in `Spectrum`.
    """
    family, fewest = family_named(fit.family), fit.min_parameters
    orders = [order for order in family.orders if fewest <= order <= fit.max_parameters]
    orders = orders or [order for order in family.orders if order > fit.max_parameters][:1]
    observed = counts[:, seen]
    occupied = np.count_nonzero(observed, axis=1)
    if not orders or occupied.min() < orders[0] or observed.shape[1] <= orders[0]:
        fewest = orders[0] if orders else fewest
        msg = (
            f"{name}: {occupied.min()} of {observed.shape[1]} bins outside the signal hold events, "
            f"too few for a function of {fewest} parameters: widen the fit range, use "
            "narrower bins or a looser selection"
        )
        raise FitError(msg)
    chosen = np.full(len(counts), orders[0], dtype=np.intp)
    growing = np.arange(len(counts))
    best = np.full(len(counts), np.inf)
    for order in orders:
        growing = growing[occupied[growing] >= order]
        if not growing.size or observed.shape[1] <= order:
            break
        mean = counts[growing].mean(axis=0)
        built = _built(family, edges, order, mean, seen, scale, fit.sqrt_s).restricted(seen)
        whitened, _ = engine.fitted_background(built, observed[growing].mean(axis=0))
        channel = Channel(name, observed[0], np.zeros(observed.shape[1]), whitened)
        nll = engine.background_fits([channel], [observed[growing]]).nll
        better = np.ones(len(growing), dtype=bool)
        if order > orders[0]:
            better = chdtrc(1, np.maximum(0.0, 2 * (best[growing] - nll))) < fit.f_test
        growing = growing[better]
        chosen[growing], best[growing] = order, nll[better]
    return chosen


def goodness_of_fit(channel: Channel, expected: Array, seed: int) -> tuple[float, str]:
    """Return the p-value of the background-only fit and how it was calibrated.

    The statistic is the likelihood ratio to the saturated model: chi-square where
    every bin expects 5 events or more, else compared with refitted toys.
    """
    seen = float(engine.deviance(channel.observed, expected))
    if expected.min() >= LEAST_IN_BIN:
        freedom = expected.size - channel.background.parameters
        return float(chdtrc(freedom, seen)), "asymptotic"
    random = seeds.generator(seed, "stats", "goodness", channel.name)
    observed = engine.toy_counts([expected], GOODNESS_TOYS, random)
    fits = engine.background_fits([channel], observed)
    toys = engine.deviance(observed[0], channel.background.expected(fits.phi[0]))
    return toys_p_value(int(np.sum(toys >= seen)), GOODNESS_TOYS), "toys"


@dataclass(frozen=True, eq=False)
class Envelope:
    """Tests of mu = 0 with every family, for one or many sets of counts.

    Attributes
    ----------
    tests
        The tests by family.
    penalties
        parameters / 2 by family.
    """

    tests: Mapping[str, Discoveries]
    penalties: Mapping[str, float]

    @property
    def null(self) -> Array:
        """Penalised -ln L at mu = 0, shape (families, toys)."""
        return np.array([t.background.nll + self.penalties[f] for f, t in self.tests.items()])

    @property
    def best(self) -> Array:
        """Penalised -ln L at the best mu, shape (families, toys)."""
        return np.array([t.best.nll + self.penalties[f] for f, t in self.tests.items()])

    @property
    def q0(self) -> Array:
        """Test statistic of the envelopes, shape (toys,)."""
        return np.asarray(np.maximum(0.0, 2 * (self.null.min(axis=0) - self.best.min(axis=0))))

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Whether every family's fits converged, shape (toys,)."""
        return np.asarray(np.all([test.converged for test in self.tests.values()], axis=0))

    def chosen(self, toy: int = 0) -> tuple[str, str]:
        """Return the families that are best at mu = 0 and at the best mu."""
        names = list(self.tests)
        return names[int(self.null[:, toy].argmin())], names[int(self.best[:, toy].argmin())]

    def families(self, unit: float = 1.0, toy: int = 0) -> tuple[FamilyFit, ...]:
        """Return every family's part in one of the tests, signals times a unit."""
        return tuple(
            FamilyFit(
                name,
                round(2 * self.penalties[name]),
                float(null[toy]),
                float(best[toy]),
                unit * float(test.best.mu[toy]),
                float(test.z[toy]),
            )
            for (name, test), null, best in zip(
                self.tests.items(), self.null, self.best, strict=True
            )
        )


def enveloped(models: Mapping[str, Sequence[Channel]], observed: Sequence[Array]) -> Envelope:
    """Test mu = 0 with every family.

    Each family keeps one function per channel, of the order that its F-test gave;
    at every mu the family of least -ln L + parameters / 2 counts, the same in all
    channels.

    Parameters
    ----------
    models
        Channels by family.
    observed
        Counts of every channel, shape (toys, bins).

    Source
    ------
    Dauncey, Kenzie, Wardle, Davies, arXiv:1408.6865; the penalty is their choice.
    """
    tests = {name: engine.discoveries(channels, observed) for name, channels in models.items()}
    penalties = {
        name: 0.5 * sum(channel.background.parameters for channel in channels)
        for name, channels in models.items()
    }
    return Envelope(tests, penalties)
