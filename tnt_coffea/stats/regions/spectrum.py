"""ABCD in every bin of m_jj with one signal strength."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tnt_coffea.errors import FitError
from tnt_coffea.stats.fitting.histfactory import background_test, numpy_backend
from tnt_coffea.stats.records import Record
from tnt_coffea.stats.regions.selection import abcd_counts

__all__ = ["AbcdSpectrumResult", "abcd_by_mass", "abcd_regions_by_mass"]

Array = NDArray[np.float64]

_LOW_BACKGROUND = 5.0


@dataclass(frozen=True)
class AbcdSpectrumResult(Record):
    """A test for a signal over bins of m_jj, the background of each from its own B C / D.

    Attributes
    ----------
    a, expected
        Events and predicted background in A, per bin.
    mu_hat
        Signal events over all bins, mu >= 0.
    q0, z, p_value
        Test statistic, its root, asymptotic p-value.
    systematic, closure_factor
        Of B C / D, common to all bins.
    converged, edm, minimiser
        As in `BumpHuntResult`.
    notes
        What a reader must know.
    """

    a: tuple[float, ...]
    expected: tuple[float, ...]
    mu_hat: float
    q0: float
    z: float
    p_value: float
    systematic: float
    closure_factor: float
    converged: bool
    edm: float | None
    minimiser: str
    notes: tuple[str, ...]

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        lines = [
            f"ABCD in {len(self.a)} bins of m_jj: {sum(self.a):g} events in A, "
            f"{sum(self.expected):.2f} expected",
            f"  Z = {self.z:.2f} (sqrt of q0), p = {self.p_value:.3g} (asymptotic), signal "
            f"{self.mu_hat:.1f} events; {'converged' if self.converged else 'NOT CONVERGED'}",
        ]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def abcd_by_mass(
    a: Sequence[float],
    b: Sequence[float],
    c: Sequence[float],
    d: Sequence[float],
    signal: Sequence[float],
    *,
    systematic: float = 0.03,
    closure_factor: float = 1.0,
) -> AbcdSpectrumResult:
    """Test for a signal with a shape in A, the background of each bin closure_factor B C / D.

    All of the background's m_jj shape is free: the expectations mu_i, mu_i rB_i, mu_i rC_i
    and mu_i rB_i rC_i are shapefactors of HistFactory, tied between four channels.

    Parameters
    ----------
    a, b, c, d
        Events of the regions by bin of m_jj.
    signal
        Share of the signal in every bin of A.
    systematic, closure_factor
        As for `abcd`; one nuisance parameter for all bins.

    Raises
    ------
    FitError
        The bins do not match, or B, C or D is empty in one of them.
    """
    regions = [np.asarray(values, dtype=float) for values in (a, b, c, d)]
    shape = np.asarray(signal, dtype=float)
    if len({v.shape for v in (*regions, shape)}) != 1 or shape.ndim != 1 or not shape.size:
        msg = "A, B, C, D and signal must have the same bins, one or more"
        raise FitError(msg)
    if not np.isfinite([*regions, shape]).all() or min(v.min() for v in (*regions, shape)) < 0:
        msg = "counts and signal must be finite and not negative"
        raise FitError(msg)
    if not (shape.sum() > 0 and 0 <= systematic < np.inf and 0 < closure_factor < np.inf):
        msg = "the signal must be somewhere, systematic be 0 or more, closure_factor positive"
        raise FitError(msg)
    empty = [name for name, values in zip("BCD", regions[1:], strict=True) if values.min() == 0]
    if empty:
        msg = f"region {', '.join(empty)} is empty in a bin of m_jj: use wider bins"
        raise FitError(msg)
    expected = closure_factor * regions[1] * regions[2] / regions[3]
    excess = max(float((regions[0] - expected) @ shape / shape.max()), 1.0)
    model, data = _model(regions, expected, shape, systematic, excess)
    test = background_test(model, data)
    notes = []
    if expected.min() < _LOW_BACKGROUND:
        notes.append(
            f"a bin of A expects {expected.min():.2f} events: the asymptotic p-value is rough, "
            "use wider bins or the counting test with toys"
        )
    trouble = [] if test.edm is not None else ["Minuit failed and SciPy gave the result"]
    return AbcdSpectrumResult(
        a=tuple(regions[0].tolist()),
        expected=tuple(expected.tolist()),
        mu_hat=test.mu_hat * excess,
        q0=test.q0,
        z=test.z,
        p_value=float(ndtr(-test.z)),
        systematic=float(systematic),
        closure_factor=float(closure_factor),
        converged=not trouble,
        edm=test.edm,
        minimiser=test.minimiser,
        notes=(*trouble, *notes),
    )


def abcd_regions_by_mass(
    histogram: Any,
    thresholds: Mapping[int, float],
    background_quantile: float,
    edges: Sequence[float],
) -> tuple[Array, Array, Array, Array]:
    """Return A, B, C, D of a search histogram in bins of m_jj.

    Parameters
    ----------
    histogram, thresholds, background_quantile
        As for `abcd_counts`.
    edges
        Edges of the bins [GeV].
    """
    counts = [
        abcd_counts(histogram, thresholds, background_quantile, (low, high))
        for low, high in itertools.pairwise(edges)
    ]
    a, b, c, d = (np.array([getattr(part, name) for part in counts]) for name in "abcd")
    return a, b, c, d


def _model(
    regions: Sequence[Array], expected: Array, shape: Array, systematic: float, excess: float
) -> tuple[Any, list[float]]:
    import pyhf

    def channel(name: str, nominal: Array, ties: tuple[str, ...]) -> dict[str, Any]:
        modifiers: list[dict[str, Any]] = [
            {"name": tie, "type": "shapefactor", "data": None} for tie in ties
        ]
        samples = [{"name": "background", "data": nominal.tolist(), "modifiers": modifiers}]
        if name == "A":
            if systematic:
                effect = {"hi": 1 + systematic, "lo": 1 / (1 + systematic)}
                modifiers.append({"name": "closure", "type": "normsys", "data": effect})
            mu = {"name": "mu", "type": "normfactor", "data": None}
            events = (excess * shape / shape.sum()).tolist()
            samples.append({"name": "signal", "data": events, "modifiers": [mu]})
        return {"name": name, "samples": samples}

    a, b, c, d = regions
    bins = len(a)
    most = 10 * float(np.max((a + b + c + d) / np.minimum.reduce([expected, b, c, d])))
    free = [
        {"name": name, "inits": [1.0] * bins, "bounds": [[1e-9, most]] * bins}
        for name in ("mu_b", "r_b", "r_c")
    ]
    settings: list[dict[str, Any]] = [
        *free,
        {"name": "mu", "inits": [1.0], "bounds": [[0.0, 10 + 10 * float(a.sum()) / excess]]},
    ]
    if systematic:
        settings.append({"name": "closure", "bounds": [[-100.0, 100.0]]})
    spec = {
        "channels": [
            channel("A", expected, ("mu_b",)),
            channel("B", b, ("mu_b", "r_b")),
            channel("C", c, ("mu_b", "r_c")),
            channel("D", d, ("mu_b", "r_b", "r_c")),
        ],
        "parameters": settings,
    }
    with numpy_backend():
        model = pyhf.Model(spec, poi_name="mu", validate=False)
    named = dict(zip("ABCD", regions, strict=True))
    data = [float(n) for name in model.config.channels for n in named[name]]
    return model, [*data, *map(float, model.config.auxdata)]
