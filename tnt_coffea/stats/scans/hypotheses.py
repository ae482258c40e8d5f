"""Masses to test in a selection, and their tests in many sets of counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.stats.fitting import poisson
from tnt_coffea.stats.fitting.channels import channel_models, signal_shares
from tnt_coffea.stats.fitting.fits import Discoveries, Fits
from tnt_coffea.stats.fitting.likelihood import Channel
from tnt_coffea.stats.fitting.signals import SignalShape
from tnt_coffea.stats.fitting.spectra import Spectrum
from tnt_coffea.stats.fitting.spectrum_fit import SpectrumFit

__all__ = ["Hypothesis", "Selection", "hypothesis_tests", "prepared_selection"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One mass in one selection, with the functions that its spectra asked for."""

    signal: SignalShape
    channels: tuple[Channel, ...]

    @property
    def orders(self) -> tuple[int, ...]:
        """Background parameters of every channel."""
        return tuple(channel.background.parameters for channel in self.channels)


@dataclass(frozen=True, eq=False)
class Selection:
    """The spectra of one selection and the hypotheses tested in it."""

    name: str
    data: tuple[Spectrum, ...]
    hypotheses: tuple[Hypothesis, ...]

    @property
    def null(self) -> list[Array]:
        """Background-only expectation of every channel, from its richest function."""
        richest = max(self.hypotheses, key=lambda hypothesis: sum(hypothesis.orders))
        fit = poisson.background_fit(richest.channels)
        pairs = zip(richest.channels, fit.phi, strict=True)
        return [channel.background.expected(phi) for channel, phi in pairs]


def prepared_selection(
    name: str,
    data: Sequence[Spectrum],
    signals: Sequence[SignalShape],
    fit: SpectrumFit,
) -> Selection:
    """Return a selection with one hypothesis for every signal.

    Parameters
    ----------
    name, data, signals
        The selection, its spectra, the signals to test.
    fit
        How they are fitted.
    """
    shares = signal_shares(data, fit)
    hypotheses = [Hypothesis(s, tuple(channel_models(data, s, shares, fit))) for s in signals]
    return Selection(name, tuple(data), tuple(hypotheses))


def hypothesis_tests(selection: Selection, counts: Sequence[Array]) -> list[Discoveries]:
    """Test every hypothesis of a selection in many sets of counts.

    Hypotheses whose functions have the same orders share their background fits.

    Parameters
    ----------
    selection
        The hypotheses.
    counts
        Events of every channel, shape (toys, bins).
    """
    shared: dict[tuple[int, ...], tuple[tuple[Channel, ...], Fits]] = {}
    tests = []
    for hypothesis in selection.hypotheses:
        orders = hypothesis.orders
        if orders not in shared:
            shared[orders] = (
                hypothesis.channels,
                poisson.background_fits(hypothesis.channels, counts),
            )
        backgrounds, null = shared[orders]
        models = [
            Channel(own.name, own.observed, own.signal, common.background, own.template)
            for own, common in zip(hypothesis.channels, backgrounds, strict=True)
        ]
        tests.append(poisson.discoveries(models, counts, null))
    return tests
