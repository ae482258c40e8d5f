"""What a bump hunt found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from tnt_coffea.stats.bumps.trust import EdgeTrial, SpuriousSignal, is_biased
from tnt_coffea.stats.fitting.envelope import FamilyFit
from tnt_coffea.stats.records import Record

__all__ = ["COMBINATION_NOTE", "BumpHuntResult", "ChannelResult"]

COMBINATION_NOTE = (
    "several channels share one signal strength: where they are cross-validation folds, each "
    "fold's taggers were trained on the others, and this combined p-value is asymptotic or from "
    "histogram toys, not calibrated by null chains with retraining"
)


@dataclass(frozen=True)
class ChannelResult(Record):
    """One spectrum of a bump hunt.

    Attributes
    ----------
    name
        The channel.
    edges
        Edges of the bins [GeV].
    observed
        Events per bin.
    background
        Expectation of the background-only fit per bin.
    signal_plus_background
        Expectation of the fit with a signal per bin.
    parameters
        Parameters of the background function, normalisation included.
    goodness_of_fit
        p-value of the saturated likelihood ratio of the background-only fit.
    goodness_calibration
        'asymptotic' (chi-square), or 'toys' where bins are sparse.
    pulls
        Signed roots of the bins' deviances, background-only fit.
    share
        Share of the signal that this channel is expected to hold.
    """

    name: str
    edges: tuple[float, ...]
    observed: tuple[float, ...]
    background: tuple[float, ...]
    signal_plus_background: tuple[float, ...]
    parameters: int
    goodness_of_fit: float
    goodness_calibration: str
    pulls: tuple[float, ...]
    share: float


@dataclass(frozen=True)
class BumpHuntResult(Record):
    """A test for a resonance at one mass.

    Attributes
    ----------
    mass, width
        Gaussian signal [GeV].
    fit_range
        Lower and upper edge of the fit [GeV].
    channels
        The spectra and their fits.
    q0
        Test statistic of arXiv:1007.1727, equation 12.
    z
        The p-value in standard deviations; 0 where it is a half or more.
    p_value
        Local p-value, calibrated as `calibration` says.
    p_asymptotic
        The same from the half chi-square distribution; 0.5 at q0 = 0.
    mu_hat, mu_uncertainty
        Signal events over all channels, mu >= 0; the uncertainty is from the
        curvature of the likelihood.
    z_numpy
        sqrt(q0) by our own minimiser, which must agree with `z_asymptotic`.
    asimov_closure
        Fitted over injected mu on the background's expectation plus a signal.
    converged
        Whether all fits converged and all cross-checks agree.
    edm
        Estimated distance to the minimum, in ln L; None where SciPy stepped in.
    minimiser
        'minuit', or 'scipy' where Minuit failed.
    calibration
        'asymptotic', 'toys' or 'null chains'.
    toys
        Toy experiments, or null chains, behind p_value; 0 where it is asymptotic.
    notes
        What a reader must know before quoting the numbers.
    family
        Family of the background functions; that of the best fit in an envelope.
    interval
        68 % interval of mu: where ln L falls by one half, within mu >= 0.
    shape
        Kind of the signal shape.
    nuisances
        Nuisance parameters of the signal at the maximum, by name.
    envelope
        Every family's part where the families were profiled over.
    spurious
        Signals that the fit finds where there is none.
    edges_tried
        Lower edges tried where it was chosen by fit quality.
    p_uncertainty
        Statistical uncertainty of p_value from the number of these.
    """

    mass: float
    width: float
    fit_range: tuple[float, float]
    channels: tuple[ChannelResult, ...]
    q0: float
    z: float
    p_value: float
    p_asymptotic: float
    mu_hat: float
    mu_uncertainty: float
    z_numpy: float
    asimov_closure: float
    converged: bool
    edm: float | None
    minimiser: str
    calibration: str
    toys: int
    notes: tuple[str, ...]
    family: str = "dijet"
    interval: tuple[float, float] | None = None
    shape: str = "gaussian"
    nuisances: tuple[tuple[str, float], ...] = ()
    envelope: tuple[FamilyFit, ...] = ()
    spurious: tuple[SpuriousSignal, ...] = ()
    edges_tried: tuple[EdgeTrial, ...] = ()
    p_uncertainty: float = 0.0

    @property
    def z_asymptotic(self) -> float:
        """sqrt(q0): the significance if the asymptotic formula held."""
        return float(self.q0**0.5)

    @property
    def unbiased(self) -> bool:
        """Whether every spurious signal is below 20 % of the uncertainty of mu.

        A control sample may exceed that by its own uncertainty.
        """
        return not any(is_biased(s) for s in self.spurious)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the result that `to_dict` wrote."""
        parts: dict[str, type[Record]] = {
            "channels": ChannelResult,
            "envelope": FamilyFit,
            "spurious": SpuriousSignal,
            "edges_tried": EdgeTrial,
        }
        records = {
            name: tuple(kind.from_dict(item) for item in values.get(name, ()))
            for name, kind in parts.items()
        }
        return super().from_dict({**values, **records})

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        error = f" +- {self.p_uncertainty:.1g}" if self.p_uncertainty else ""
        lines = [
            f"bump hunt at {self.mass:g} GeV, width {self.width:g} GeV, fit range "
            f"{self.fit_range[0]:g}-{self.fit_range[1]:g} GeV",
            f"  Z = {self.z:.2f}, p = {self.p_value:.3g}{error} ({self.calibration}), "
            f"signal {self.mu_hat:.1f} +- {self.mu_uncertainty:.1f} events",
            f"  {'converged' if self.converged else 'NOT CONVERGED'}; sqrt of q0 "
            f"{self.z_asymptotic:.2f}, by the cross-check {self.z_numpy:.2f}; Asimov closure "
            f"{self.asimov_closure:.4f}",
        ]
        lines += [
            f"  {channel.name}: {sum(channel.observed):g} events, {channel.parameters} background "
            f"parameters, goodness of fit p = {channel.goodness_of_fit:.3g} "
            f"({channel.goodness_calibration})"
            for channel in self.channels
        ]
        if self.spurious:
            worst = max(self.spurious, key=lambda s: abs(s.relative))
            lines.append(
                f"  spurious signal at most {worst.relative:+.2f} of its uncertainty "
                f"({worst.truth}): {'passes' if self.unbiased else 'FAILS'}"
            )
        if self.envelope:
            names = ", ".join(f"{f.family} {f.best:.2f}" for f in self.envelope)
            lines.append(f"  envelope, -ln L + parameters / 2: {names}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])
