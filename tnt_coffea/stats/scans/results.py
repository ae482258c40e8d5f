"""What a scan over hypotheses found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from tnt_coffea.stats.records import Record

__all__ = ["GrossVitells", "ScanPoint", "ScanResult"]


@dataclass(frozen=True)
class ScanPoint(Record):
    """One hypothesis of a scan.

    Attributes
    ----------
    selection
        The selection that was fitted.
    mass, width
        The signal [GeV].
    parameters
        Background parameters of every channel.
    z, p_local
        Local significance sqrt(q0), and its asymptotic p-value.
    mu_hat, mu_uncertainty
        Signal events, mu >= 0; None where the likelihood has no curvature.
    converged
        Whether both fits converged.
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


@dataclass(frozen=True)
class GrossVitells(Record):
    """Global p-value from upcrossings of q0 at a low level.

    Attributes
    ----------
    p_global
        p_local + upcrossings x exp(-(q0 - level) / 2), at most 1.
    level
        q0 at which upcrossings were counted.
    upcrossings, uncertainty
        Their mean number in a background-only scan, and its uncertainty.
    """

    p_global: float
    level: float
    upcrossings: float
    uncertainty: float


@dataclass(frozen=True)
class ScanResult(Record):
    """Local p-values over masses and selections, and the global one.

    Attributes
    ----------
    points
        Every hypothesis that was tested.
    best
        Position of the most significant one.
    z_pyhf
        Its significance by the pyhf model, the cross-check.
    p_global, z_global
        From toys of the whole scan, (k + 1) / (N + 1); None without toys.
    toys, failed
        Background-only toys of the whole scan; how many had a fit that did not
        converge. They count as they stand.
    toy_maxima
        Largest local significance of every toy.
    gross_vitells
        The same by upcrossings; None where it does not hold, as the notes say.
    converged
        Whether all fits to the data converged and pyhf agrees at the best point.
    skipped
        Masses without whole sidebands [GeV], by selection.
    notes
        What a reader must know.
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

    @property
    def best_point(self) -> ScanPoint:
        """The most significant hypothesis."""
        return self.points[self.best]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the result that `to_dict` wrote."""
        crossed = values["gross_vitells"]
        return super().from_dict(
            {
                **values,
                "points": tuple(ScanPoint.from_dict(point) for point in values["points"]),
                "gross_vitells": None if crossed is None else GrossVitells.from_dict(crossed),
            }
        )

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        best = self.best_point
        error = "" if best.mu_uncertainty is None else f" +- {best.mu_uncertainty:.1f}"
        lines = [
            f"scan of {len(self.points)} hypotheses: most significant at {best.mass:g} GeV, "
            f"width {best.width:g} GeV, selection {best.selection}",
            f"  local Z = {best.z:.2f} (p = {best.p_local:.3g}), pyhf {self.z_pyhf:.2f}, signal "
            f"{best.mu_hat:.1f}{error} events",
        ]
        if self.p_global is not None and self.z_global is not None:
            lines.append(
                f"  global p = {self.p_global:.3g} (Z = {self.z_global:.2f}) from {self.toys} toys "
                f"of the whole scan, {self.failed} of them with a failed fit"
            )
        if self.gross_vitells is not None:
            lines.append(
                f"  Gross-Vitells p = {self.gross_vitells.p_global:.3g}, "
                f"{self.gross_vitells.upcrossings:.2f} +- {self.gross_vitells.uncertainty:.2f} "
                f"upcrossings of q0 = {self.gross_vitells.level:g}"
            )
        lines.append(f"  {'converged' if self.converged else 'NOT CONVERGED'}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])
