"""Models of spectra: the background function that each asks for, the signal, the families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.background import MAX_PARAMETERS, Background
from tnt_coffea.stats.engine import Discoveries, Fits
from tnt_coffea.stats.envelope import (
    Envelope,
    Functions,
    asked_orders,
    competing,
    enveloped,
    family_of,
    observed_counts,
)
from tnt_coffea.stats.families import FAMILIES, Family, family_named
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.p_values import toys_p_value
from tnt_coffea.stats.signals import Signal, Template
from tnt_coffea.stats.spectrum import Spectrum, spectra
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.spurious import SpuriousFits, spurious_fits, with_spurious
from tnt_coffea.stats.validity import (
    GOODNESS_TOYS,
    LEAST_IN_BIN,
    SPURIOUS_EVIDENCE,
    background_in_reach,
    range_problems,
)

__all__ = [
    "SpectrumModel",
    "all_functions",
    "chosen_function",
    "competing_models",
    "goodness_of_fit",
    "outside_signal",
    "range_notes",
    "signal_shares",
    "spectrum_model",
    "spectrum_models",
    "spurious_notes",
]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SpectrumModel:
    """A signal on smooth backgrounds in one spectrum, or in several.

    Attributes
    ----------
    signal
        The signal.
    data
        The spectra.
    shares
        Share of the signal in every channel.
    functions
        The channels by the function of their backgrounds, of those that compete, with the
        spurious signal.
    tests
        The test of mu = 0 in the data by function, of those that do not compete as well, without
        the spurious signal.
    spurious
        Where that comes from; None where no other function could be fitted.
    """

    signal: Signal
    data: tuple[Spectrum, ...]
    shares: Mapping[str, float]
    functions: Functions
    tests: Mapping[str, Discoveries]
    spurious: SpuriousFits | None = None

    @property
    def counts(self) -> list[Array]:
        """Counts of every channel, shape (1, bins)."""
        return observed_counts(self.functions)

    @property
    def unit(self) -> float:
        """Weight of an effective event: signals are counted in it."""
        return self.data[0].unit

    @cached_property
    def test(self) -> Envelope:
        """The test of mu = 0 in the data."""
        own = {name: self.tests[name] for name in self.functions}
        if not self.spurious_events:
            return Envelope.of(self.functions, own)
        nulls = {name: test.background for name, test in own.items()}
        return enveloped(self.functions, self.counts, nulls)

    @property
    def near(self) -> float:
        """Background events within mass +- 2 widths."""
        return _near(self.functions, self.test)

    @property
    def spurious_events(self) -> float:
        """Standard deviation of the spurious signal, at mu = 1 for 1; 0: there is none."""
        return next(iter(self.functions.values()))[0].spurious

    @property
    def best_channels(self) -> tuple[Channel, ...]:
        """The channels of the function that fits best with the signal."""
        return self.functions[self.test.best.function()]

    @property
    def family(self) -> str:
        """Family of the functions; of the first where several compete."""
        return family_of(next(iter(self.functions)))


def _near(functions: Functions, test: Envelope) -> float:
    null = test.background.expected(functions)
    return background_in_reach(next(iter(functions.values())), null)


def spectrum_model(histograms: Any, signal: Signal, fit: SpectrumFit) -> SpectrumModel:
    """Return the model of a signal in histograms, with the functions that they ask for.

    Parameters
    ----------
    histograms
        As the channels of `bump_hunt`.
    signal, fit
        The signal, and how it is fitted.

    Raises
    ------
    FitError
        The signal has no whole sidebands, or the histograms or the shares do not suit the fit.
    """
    fit.check_sidebands(signal)
    return spectrum_models(spectra(histograms, fit), [signal], fit)[0]


def spectrum_models(
    data: Sequence[Spectrum], signals: Sequence[Signal], fit: SpectrumFit
) -> list[SpectrumModel]:
    """Return the models of several signals in the same spectra: the same functions for all.

    The functions are built once. Of what the F-test asks for with each of the signals the fewest
    parameters count: an order that one mass alone asks for may follow a signal beside it. Where
    other functions describe the data better, the signal that is found in them is a nuisance
    parameter of each.

    Parameters
    ----------
    data
        The spectra.
    signals
        The signals.
    fit
        Families, fewest and most parameters, p-value of the F-test.
    """
    models = competing_models(data, signals, fit)
    try:
        others = competing_models(data, signals, _other_functions(fit), models)
    except FitError:
        return models  # too few events for them: they have nothing to say
    # Of many masses only spurious signals that count are asked for.
    least = SPURIOUS_EVIDENCE if len(signals) > 1 else -np.inf
    gated = [_gated(*pair, least) for pair in zip(models, others, strict=True)]
    # What repeats a published result stays as it was published.
    enters = fit.spurious and not family_named(fit.family).reproduction_only
    return [_with_its_spurious(model) if enters else model for model in gated]


def _other_functions(fit: SpectrumFit) -> SpectrumFit:
    """Return the fit of all functions that may describe the data better."""
    known = (family.name for family in FAMILIES.values())
    family, *more = (
        name
        for name in dict.fromkeys((*known, *fit.families))
        if not family_named(name).reproduction_only
    )
    return replace(
        fit,
        family=family,
        envelope=tuple(more),
        min_parameters=min(fit.min_parameters, _FEWEST_OF_OTHERS),
        max_parameters=max(fit.max_parameters, MAX_PARAMETERS),
    )


def _gated(model: SpectrumModel, others: SpectrumModel, least: float) -> SpectrumModel:
    """Return a model and what it makes of other functions."""
    rest = [name for name in others.functions if name not in model.functions]
    if not rest:
        return model
    spurious = spurious_fits(
        model.functions,
        {name: others.functions[name] for name in rest},
        model.counts,
        model.test.best,
        others.test.best.of(rest),
        least,
    )
    return replace(model, spurious=spurious)


def _with_its_spurious(model: SpectrumModel) -> SpectrumModel:
    """Return a model with the nuisance parameter that its spurious signal asks for."""
    events = 0.0 if model.spurious is None else float(model.spurious.size[0])
    return replace(model, functions=with_spurious(model.functions, events)) if events else model


def competing_models(
    data: Sequence[Spectrum],
    signals: Sequence[Signal],
    fit: SpectrumFit,
    known: Sequence[SpectrumModel] | None = None,
) -> list[SpectrumModel]:
    """Return the models with the functions that the data ask for.

    Parameters
    ----------
    data, signals, fit
        As for `spectrum_models`; no spurious signal is looked for.
    known
        Models of the same signals in the same spectra, whose tests need no other fit.
    """
    for signal in signals:
        for spectrum in data:
            _check_occupied(spectrum, signal, fit)
    backgrounds = _backgrounds(data, fit)
    models: list[SpectrumModel] = []
    nulls: dict[str, Fits] = {}
    for i, signal in enumerate(signals):
        shares = signal_shares(data, fit, signal)
        functions = _channels(data, signal, shares, backgrounds)
        tests = dict(known[i].tests) if known else {}
        new = {name: channels for name, channels in functions.items() if name not in tests}
        counts = observed_counts(functions)
        # Signals share the fits without one.
        nulls = nulls or {
            name: engine.background_fits(channels, counts) for name, channels in new.items()
        }
        tests |= enveloped(new, counts, nulls).tests
        models.append(SpectrumModel(signal, tuple(data), shares, functions, tests))
    asked = [asked_orders(model.test.best, fit.f_test) for model in models]
    fewest = {family: min(int(orders[family][0]) for orders in asked) for family in asked[0]}
    events = sum(float(spectrum.counts.sum()) for spectrum in data)
    kept = competing(backgrounds, fewest, events, max(model.near for model in models))
    return [
        replace(model, functions={name: model.functions[name] for name in kept}) for model in models
    ]


def all_functions(data: Sequence[Spectrum], signal: Signal, fit: SpectrumFit) -> Functions:
    """Return the channels of a signal in every function that a fit allows, competing or not."""
    return _channels(data, signal, signal_shares(data, fit, signal), _backgrounds(data, fit))


def _backgrounds(data: Sequence[Spectrum], fit: SpectrumFit) -> dict[str, tuple[Background, ...]]:
    """Return every function's background in each channel, whitened around a fit to its spectrum."""
    found = {}
    for name in fit.families:
        orders = fit.orders(name)
        for order in orders:
            # A function of more parameters than bins with events has no maximum.
            if order > orders[0] and any(_occupied(s) < order for s in data):
                break
            found[f"{name} {order}"] = tuple(_fitted(name, order, s, fit.sqrt_s) for s in data)
    return found


# A bump hunt, a limit and a scan ask for the same functions of one spectrum, and the functions
# that may describe it better are those that compete and more: half of these fits.
@lru_cache(maxsize=512)
def _fitted(name: str, order: int, spectrum: Spectrum, sqrt_s: float) -> Background:
    everywhere = np.ones(len(spectrum.counts), dtype=bool)
    built = _built(family_named(name), order, spectrum, everywhere, sqrt_s)
    return engine.fitted_background(built, spectrum.counts)[0]


def _occupied(spectrum: Spectrum) -> int:
    return int(np.count_nonzero(spectrum.counts))


def _check_occupied(spectrum: Spectrum, signal: Signal, fit: SpectrumFit) -> None:
    """Refuse spectra with too few bins beside the signal for any function."""
    least = max(fit.orders(family)[0] for family in fit.families)
    _check_seen(spectrum, outside_signal(spectrum.edges, signal), least)


def _check_seen(spectrum: Spectrum, seen: Mask, least: int) -> None:
    occupied = np.count_nonzero(spectrum.counts[seen])
    if occupied < least or seen.sum() <= least:
        msg = (
            f"{spectrum.name}: {occupied} of {seen.sum()} bins outside the signal hold events, too "
            f"few for a function of {least} parameters: widen the fit range, use narrower bins or "
            "a looser selection"
        )
        raise FitError(msg)


def _channels(
    data: Sequence[Spectrum],
    signal: Signal,
    shares: Mapping[str, float],
    backgrounds: Mapping[str, tuple[Background, ...]],
) -> Functions:
    """Return the channels of a signal in every function."""
    parts = []
    for spectrum in data:
        share = shares[spectrum.name]
        own = signal.of(spectrum.name, spectrum.edges)
        template = (
            Template(own, spectrum.edges, share, spectrum.before_trigger)
            if signal.nuisances
            else None
        )
        parts.append((spectrum.effective(share * own.integrals(spectrum.edges)), template))
    return {
        name: tuple(
            Channel(s.name, s.counts, expected, background, template, factors=s.variations)
            for s, (expected, template), background in zip(data, parts, each, strict=True)
        )
        for name, each in backgrounds.items()
    }


def signal_shares(data: Sequence[Spectrum], fit: SpectrumFit, signal: Signal) -> dict[str, float]:
    """Return the share of the signal in every channel, normalised to 1.

    That of its template; by default that of its events: channels are taken for parts of one sample.

    Raises
    ------
    FitError
        The shares are not those of the channels, or negative, or all zero.
    """
    names, shares = [spectrum.name for spectrum in data], fit.shares
    if shares is None:
        shares = signal.shares()
    if shares is None:
        shares = {spectrum.name: float(spectrum.sums.sum()) for spectrum in data}
    total = sum(shares.values())
    values = np.array([*shares.values(), total], dtype=float)
    if set(shares) != set(names) or not np.isfinite(values).all() or values.min() < 0 or total <= 0:
        msg = (
            f"shares must give every channel a part of the signal: channels {sorted(names)}, "
            f"shares {dict(shares)}"
        )
        raise FitError(msg)
    return {name: shares[name] / total for name in names}


# Other functions than the model's begin with so many parameters.
_FEWEST_OF_OTHERS = 3
# The order of the function is chosen outside mass +- this many widths.
_BLIND_WIDTHS = 2.0


def outside_signal(edges: Array, signal: Signal) -> Mask:
    """Return the bins that lie wholly outside mass +- 2 widths."""
    reach = _BLIND_WIDTHS * signal.width
    return np.asarray((edges[1:] <= signal.mass - reach) | (edges[:-1] >= signal.mass + reach))


def chosen_function(spectrum: Spectrum, seen: Mask, fit: SpectrumFit) -> Background:
    """Return the function that some bins of a spectrum ask for, as its family builds it.

    A parameter is added while twice the gain in ln L, as chi-square with one degree of freedom,
    has a p-value below `f_test`.

    Parameters
    ----------
    spectrum
        The spectrum.
    seen
        The bins that decide.
    fit
        Family, fewest and most parameters, p-value of the test.

    Raises
    ------
    FitError
        Too few of these bins hold events for any function.
    """
    family, (fewest, *more) = family_named(fit.family), fit.orders(fit.family)
    counts = spectrum.counts
    _check_seen(spectrum, seen, fewest)

    def fitted(order: int) -> tuple[Background, float]:
        built = _built(family, order, spectrum, seen, fit.sqrt_s)
        return built, engine.fitted_background(built, counts, seen)[1].nll

    chosen, nll = fitted(fewest)
    # A function of more parameters than bins with events has no maximum.
    most = min(np.count_nonzero(counts[seen]), np.count_nonzero(seen) - 1)
    for order in more:
        if order > most:
            break
        richer, least = fitted(order)
        if chdtrc(1, max(0.0, 2 * (nll - least))) >= fit.f_test:
            break
        chosen, nll = richer, least
    return chosen


def _built(family: Family, order: int, spectrum: Spectrum, seen: Mask, sqrt_s: float) -> Background:
    scale = spectrum.before_trigger
    if scale is None:
        return family.build(spectrum.edges, order, spectrum.counts, seen, sqrt_s)
    # A family knows smooth spectra: it is built from weights before the trigger, and expects
    # effective events.
    weights = spectrum.counts * scale
    return family.build(spectrum.edges, order, weights, seen, sqrt_s).scaled(1 / scale)


def range_notes(model: SpectrumModel, seed: int) -> list[str]:
    """Return that no function describes the spectra, neither alone nor with the signal.

    Parameters
    ----------
    model
        The model.
    seed
        Root seed of the toys for sparse bins.
    """
    for profile in (model.test.background, model.test.best):
        name = profile.function()
        channels, fits = model.functions[name], profile.fits[name]
        alone = engine.expectations(channels, replace(fits, mu=np.zeros(1)))
        full = engine.expectations(channels, fits)
        problems = range_problems(
            {
                channel.name: goodness_of_fit(channel, background[0], seed, mean[0])[0]
                for channel, background, mean in zip(channels, alone, full, strict=True)
            }
        )
        if not problems:
            break
    return problems


def spurious_notes(model: SpectrumModel) -> list[str]:
    """Return which function describes the spectra better than those of the model, and what of it.

    Parameters
    ----------
    model
        The model.
    """
    found = () if model.spurious is None else model.spurious.signals(model.unit)
    biased = sorted((s for s in found if s.is_biased), key=lambda s: -abs(s.relative))
    if not biased:
        return []
    first, *more = biased
    listed = f" (and so does {', '.join(s.truth for s in more)})" if more else ""
    entered = model.unit * model.spurious_events
    what = (
        f"{entered:.4g} events of spurious signal are a nuisance parameter"
        if entered
        else "no uncertainty is added for it"
    )
    return [
        f"{first.truth} describes the spectrum better than the functions that compete, by "
        f"{first.gain:.1f} in ln L - parameters / 2{listed}, and they find a signal of "
        f"{first.relative:+.2f} of its uncertainty in it: {what}; let it compete, by its family in "
        "`envelope` or more parameters"
    ]


def goodness_of_fit(
    channel: Channel, expected: Array, seed: int, full: Array | None = None
) -> tuple[float, str]:
    """Return the p-value of a fit and how it was calibrated.

    The statistic is the likelihood ratio to the saturated model: chi-square where
    every bin expects 5 events or more, else compared with refitted toys.

    Parameters
    ----------
    channel
        The channel.
    expected
        Its background in the fit, shape (bins,).
    seed
        Root seed of the toys.
    full
        All that is expected, where a signal was fitted as well.
    """
    seen = float(engine.deviance(channel.observed, expected if full is None else full))
    if expected.min() >= LEAST_IN_BIN:
        freedom = expected.size - channel.background.parameters
        return float(chdtrc(freedom, seen)), "asymptotic"
    random = seeds.generator(seed, "stats", "goodness", channel.name)
    observed = engine.toy_counts([expected], GOODNESS_TOYS, random)
    fits = engine.background_fits([channel], observed)
    toys = engine.deviance(observed[0], engine.expectations([channel], fits)[0])
    return toys_p_value(int(np.sum(toys >= seen)), GOODNESS_TOYS), "toys"
