"""Published sensitivities on the LHC Olympics' R&D dijets, as data: who, what, and where it stands.

N counts signal events of W' (3.5 TeV) in a million of QCD; the window of 3.3-3.7 TeV holds 121,352
of these and 0.77 N. The numbers are those of the authors' public notebooks, whose events and
detector are other ones than those generated here.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "PublishedCurve", "published_curves"]


@dataclass(frozen=True)
class PublishedCurve:
    """A figure of merit against the number of signal events.

    Attributes
    ----------
    name
        Of method and inputs.
    source
        Paper, and the repository whose notebook shows the numbers.
    figure
        `max_sic` (at most 20 % of error on eps_B) or `sic_0.001` (at eps_B = 10^-3).
    signal
        `two-prong` or `three-prong`.
    points
        (N, value) in rising N.

    Examples
    --------
    >>> PUBLISHED[0].points[-1]
    (1000, 14.0)
    """

    name: str
    source: str
    figure: str
    signal: str
    points: tuple[tuple[int, float], ...]


_CATHODE = "arXiv:2109.00546 (HEPML-AnomalyDetection/CATHODE, plotting_notebook)"
_ROOTS = "arXiv:2309.13111 (mariehein/BackToTheRoots, plotting)"
_ARGOS = "arXiv:2511.14832 (mariehein/ARGOS-metric-for-anomaly-detection)"
_SIGMA = "arXiv:2410.20537 (rd804/SIGMA, compile_sic)"

PUBLISHED = (
    PublishedCurve("CATHODE, 4 features", _CATHODE, "max_sic", "two-prong", ((1000, 14.0),)),
    PublishedCurve("CWoLa, 4 features", _CATHODE, "max_sic", "two-prong", ((1000, 10.8),)),
    PublishedCurve(
        "CATHODE, trees, 4 features",
        _ARGOS,
        "max_sic",
        "two-prong",
        ((300, 2.5), (400, 9.7), (500, 14.7)),
    ),
    PublishedCurve(
        "CWoLa, trees, 4 features",
        _ARGOS,
        "max_sic",
        "two-prong",
        ((400, 2.3), (500, 4.0), (600, 13.5)),
    ),
    PublishedCurve(
        "IAD, trees, 4 features",
        _ROOTS,
        "max_sic",
        "two-prong",
        ((300, 2.5), (400, 9.5), (500, 14.8), (750, 16.0), (1000, 16.0)),
    ),
    PublishedCurve(
        "IAD, trees, 56 features",
        _ROOTS,
        "max_sic",
        "two-prong",
        ((100, 1.0), (200, 5.0), (300, 19.0), (400, 25.0), (500, 27.0), (750, 32.6), (1000, 35.0)),
    ),
    PublishedCurve(
        "IAD, trees, 56 features",
        _ROOTS,
        "max_sic",
        "three-prong",
        ((1000, 28.0),),
    ),
    PublishedCurve(
        "IAD, trees, 4 features",
        _ROOTS,
        "max_sic",
        "three-prong",
        ((1000, 5.6),),
    ),
    PublishedCurve(
        "IAD, 5 features",
        _SIGMA,
        "sic_0.001",
        "two-prong",
        ((300, 3.8), (450, 7.5), (500, 8.7), (750, 10.8), (1000, 11.7)),
    ),
    PublishedCurve(
        "CATHODE by flow matching, 5 features",
        _SIGMA,
        "sic_0.001",
        "two-prong",
        ((500, 4.5), (750, 10.1), (1000, 11.3)),
    ),
    PublishedCurve(
        "SIGMA, 5 features",
        _SIGMA,
        "sic_0.001",
        "two-prong",
        ((500, 2.2), (750, 6.9), (1000, 10.1)),
    ),
)
"""Every curve that the sensitivity study is drawn beside."""


def published_curves(figure: str, signal: str) -> tuple[PublishedCurve, ...]:
    """Return the curves of a figure of merit and a signal.

    Examples
    --------
    >>> [curve.name for curve in published_curves("max_sic", "three-prong")]
    ['IAD, trees, 56 features', 'IAD, trees, 4 features']
    """
    return tuple(one for one in PUBLISHED if (one.figure, one.signal) == (figure, signal))
