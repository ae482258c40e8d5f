"""Results of a scan over masses and selections."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isclose, sqrt
from typing import Literal

from tnt_coffea.stats.results import TOYS, Result
from tnt_coffea.stats.validity import LEAST_BACKGROUND

__all__ = ["GrossVitells", "ScanPoint", "ScanRefusal", "ScanResult"]


@dataclass(frozen=True)
class ScanPoint(Result):
    """One hypothesis of a scan.

    Attributes
    ----------
    selection
        The selection that was fitted.
    mass, width
        The signal [GeV].
    parameters
        Background parameters of every channel, of the best function.
    z, p_local
        Local significance and p-value, calibrated as `calibration` says; z is 0 where p_local is
        a half or more.
    mu_hat, mu_uncertainty
        Signal events, mu >= 0; None where the likelihood has no curvature.
    converged
        Whether both fits converged.
    background
        Background events within mass +- 2 widths: below 25 the asymptotic p-value is not reliable.
        None in results of older versions.
    q0
        Test statistic of arXiv:1007.1727, equation 12; None in results of older versions.
    toys
        Toys of the scan behind p_local, (k + 1) / (N + 1), where the asymptotic p-value is not
        reliable; 0 where it is asymptotic.
    spurious_uncertainty
        As of `BumpHuntResult`.
    experiments
        What `toys` are: 'toys', or 'null chains'.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> result = stats.scan(spectrum, masses=[3300, 3500, 3700], width=120, fit=fit, toys=20)
    >>> [(point.mass, round(point.z, 1)) for point in result.points]
    [(3300.0, 1.0), (3500.0, 3.1), (3700.0, 0.0)]
    """

    selection: str
    mass: float
    width: float
    parameters: tuple[int, ...]
    z: float
    p_local: float
    mu_hat: float
    mu_uncertainty: float | None
    converged: bool
    background: float | None = None
    q0: float | None = None
    toys: int = 0
    spurious_uncertainty: float = 0.0
    experiments: str = TOYS

    @property
    def z_asymptotic(self) -> float:
        """sqrt(q0): the significance if the asymptotic formula held."""
        return self.z if self.q0 is None else sqrt(self.q0)

    @property
    def calibration(self) -> str:
        """'asymptotic', 'toys' or 'null chains'."""
        return self.experiments if self.toys else "asymptotic"

    @property
    def p_is_bound(self) -> bool:
        """Whether no toy reached the data, so that p_local is the most that it can be."""
        return self.toys > 0 and isclose(self.p_local, 1 / (self.toys + 1))

    @property
    def sparse(self) -> bool:
        """Whether too few background events lie near the mass for an asymptotic p-value."""
        return self.background is not None and self.background < LEAST_BACKGROUND


@dataclass(frozen=True)
class GrossVitells(Result):
    """Global p-value from upcrossings of q0 at a low level.

    Attributes
    ----------
    p_global
        p_local + upcrossings x exp(-(q0 - level) / 2), at most 1.
    level
        q0 at which upcrossings were counted.
    upcrossings, uncertainty
        Their mean number in a background-only scan, and its uncertainty.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> result = stats.scan(spectrum, masses=range(3300, 3701, 100), width=120, fit=fit, toys=20)
    >>> result.gross_vitells.level, result.gross_vitells.p_global < 0.1
    (0.5, True)
    """

    p_global: float
    level: float
    upcrossings: float
    uncertainty: float


@dataclass(frozen=True)
class ScanResult(Result):
    """Local p-values over masses and selections, and the global one.

    Attributes
    ----------
    points
        Every hypothesis that was tested.
    best
        Position of the most significant one, that of the largest q0.
    z_pyhf
        Its sqrt(q0) by the pyhf model, the cross-check.
    p_global, z_global
        From toys of the whole scan, (k + 1) / (N + 1); None without toys. z_global is 0 where
        p_global is a half or more.
    toys, failed
        Background-only toys of the whole scan; how many had a fit that did not
        converge. They count as they stand.
    toy_maxima
        Largest sqrt(q0) of every toy.
    gross_vitells
        The same by upcrossings; None where it does not hold, as the notes say.
    converged
        Whether all fits to the data converged and pyhf agrees at the best point.
    skipped
        Masses without whole sidebands [GeV], by selection.
    notes
        What a reader must know.
    tried
        What was tried, in words, where several selections were.
    experiments
        What `toys` are: 'toys', or 'null chains', whole searches with taggers trained anew.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> result = stats.scan(spectrum, masses=[3300, 3500, 3700], width=120, fit=fit, toys=0)
    >>> print(result.summary().splitlines()[0])
    scan of 3 hypotheses: most significant at 3500 GeV, width 120 GeV, selection all
    """

    points: tuple[ScanPoint, ...]
    best: int
    z_pyhf: float
    p_global: float | None
    z_global: float | None
    toys: int
    failed: int
    toy_maxima: tuple[float, ...]
    gross_vitells: GrossVitells | None
    converged: bool
    skipped: tuple[tuple[str, float], ...]
    notes: tuple[str, ...]
    tried: str = ""
    experiments: str = TOYS
    kind: Literal["scan"] = field(default="scan", kw_only=True)

    @property
    def p_global_is_bound(self) -> bool:
        """Whether no toy reached the data, so that p_global is the most that it can be."""
        return self.toys > 0 and max(self.toy_maxima) < self.best_point.z_asymptotic

    @property
    def best_point(self) -> ScanPoint:
        """The most significant hypothesis."""
        return self.points[self.best]

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        best = self.best_point
        error = "" if best.mu_uncertainty is None else f" +- {best.mu_uncertainty:.1f}"
        least, most = ("at most ", " or more") if best.p_is_bound else ("", "")
        hypotheses = "1 hypothesis" if len(self.points) == 1 else f"{len(self.points)} hypotheses"
        lines = [
            f"scan of {hypotheses}{self.tried and f' ({self.tried})'}: most significant at "
            f"{best.mass:g} GeV, width {best.width:g} GeV, selection {best.selection}",
            f"  local Z = {best.z:.2f}{most}, p = {least}{best.p_local:.3g} ({best.calibration}), "
            f"signal {best.mu_hat:.1f}{error} events; sqrt of q0 {best.z_asymptotic:.2f}, by pyhf "
            f"{self.z_pyhf:.2f}",
        ]
        if self.p_global is not None and self.z_global is not None:
            least, most = ("at most ", " or more") if self.p_global_is_bound else ("", "")
            lines.append(
                f"  global p = {least}{self.p_global:.3g} "
                f"(Z = {self.z_global:.2f}{most}) from {self.toys} "
                + (
                    f"toys of the whole scan, {self.failed} of them with a failed fit"
                    if self.experiments == TOYS
                    else "whole searches of background, with taggers trained anew"
                )
            )
        if self.gross_vitells is not None:
            lines.append(
                f"  Gross-Vitells p = {self.gross_vitells.p_global:.3g}, "
                f"{self.gross_vitells.upcrossings:.2f} +- {self.gross_vitells.uncertainty:.2f} "
                f"upcrossings of q0 = {self.gross_vitells.level:g}"
            )
        lines.append(f"  {'converged' if self.converged else 'NOT CONVERGED'}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class ScanRefusal(Result):
    """Why there is no scan over the selections of a search.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> print(stats.ScanRefusal('no mass has whole sidebands').summary())
    scan: refused
      no mass has whole sidebands
    """

    reason: str
    kind: Literal["refused"] = field(default="refused", kw_only=True)

    def summary(self) -> str:
        """Return the reason as text."""
        return f"scan: refused\n  {self.reason}"
