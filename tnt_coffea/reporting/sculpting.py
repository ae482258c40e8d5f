"""What a selection does to the mass spectrum in the sidebands; no truth is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import chi2 as chi2_law

from tnt_coffea.reporting.figures import (
    COLOURS,
    GREY,
    logarithmic,
    mass_label,
    new_figure,
    over_ranges,
    styled,
)
from tnt_coffea.reporting.wording import p_text
from tnt_coffea.stats.search_histogram import (
    inclusive_spectrum,
    mass_bins,
    score_plane,
    selected_spectrum,
)
from tnt_coffea.working_points import WorkingPoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SidebandShape", "sideband_shape", "sideband_shapes"]

Range = tuple[float, float]
_SLICES = 12
_FEWEST = 5.0


@dataclass(frozen=True)
class SidebandShape:
    """The efficiency of a selection by mass in the sidebands: constant where it does not sculpt.

    Attributes
    ----------
    edges
        Lower and upper edge of every slice in mass [GeV]; the window is left out.
    before, after
        Events of all dijets, and selected ones.
    ratio, uncertainty
        Efficiency of the slice over that of all slices, and its binomial uncertainty.
    chi2, dof, p_value
        Of a constant efficiency.
    """

    edges: tuple[Range, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    ratio: tuple[float, ...]
    uncertainty: tuple[float, ...]
    chi2: float
    dof: int
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def sideband_shape(
    histogram: Any, point: WorkingPoint, window: Range, fit_range: Range
) -> SidebandShape | None:
    """Return the efficiency of a selection in slices of mass, or None where too few are selected.

    Slices hold about equal numbers of all dijets, and on average five selected ones.

    Parameters
    ----------
    histogram
        As `SearchProcessor` fills it.
    point
        The working point.
    window, fit_range
        Ranges in mass [GeV], edges of the histogram's axis.

    Raises
    ------
    FitError
        The histogram lacks an axis or an edge.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> point = stats.WorkingPoint.at({0: 0.8, 1: 0.8})
    >>> shape = sideband_shape(stats.toy_search(20_000), point, (3300, 3700), (2600, 5000))
    >>> shape.dof, shape.p_value > 0.01
    (10, True)
    """
    plane = score_plane(histogram)
    inside = mass_bins(plane, window)
    counts = [
        spectrum.values()
        for spectrum in (
            inclusive_spectrum(histogram),
            selected_spectrum(histogram, point, per_fold=False)["all"],
        )
    ]
    fitted = range(*mass_bins(plane, fit_range).indices(len(plane.mass) - 1))
    low, high = (
        [i for i in fitted if i < inside.start],
        [i for i in fitted if i >= inside.stop],
    )
    before, after = (np.array([values[i] for i in (*low, *high)]) for values in counts)
    slices = min(_SLICES, int(after.sum() / _FEWEST))
    if slices < 3 or not before.sum():
        return None
    wanted = before.sum() / slices
    edges: list[Range] = []
    rows: list[tuple[float, float]] = []
    for side in (low, high):
        first, n = None, np.zeros(2)
        for i in side:
            first = i if first is None else first
            n += [values[i] for values in counts]
            rest = sum(counts[0][i + 1 : side[-1] + 1])
            if i == side[-1] or (n[0] >= wanted and rest >= wanted / 2):
                edges.append((float(plane.mass[first]), float(plane.mass[i + 1])))
                rows.append((float(n[0]), float(n[1])))
                first, n = None, np.zeros(2)
    filled = [i for i, (all_, _) in enumerate(rows) if all_ > 0]
    all_, selected = np.array([rows[i] for i in filled]).T
    share = float(selected.sum() / all_.sum())
    expected = share * all_
    variance = expected * (1 - share)
    chi2 = float(((selected - expected) ** 2 / np.maximum(variance, 1e-12)).sum())
    dof = max(len(filled) - 1, 1)
    return SidebandShape(
        edges=tuple(edges[i] for i in filled),
        before=tuple(all_.tolist()),
        after=tuple(selected.tolist()),
        ratio=tuple((selected / expected).tolist()),
        uncertainty=tuple((np.sqrt(np.maximum(variance, 1e-12)) / expected).tolist()),
        chi2=chi2,
        dof=dof,
        p_value=float(chi2_law.sf(chi2, dof)),
    )


@styled
def sideband_shapes(
    shapes: Mapping[str, SidebandShape], window: Range, variable: str = "m_jj"
) -> Figure:
    """Return the spectra before and after selections above, and their ratios below.

    Parameters
    ----------
    shapes
        By tagger set.
    window
        Shaded range in mass [GeV].
    variable
        Column that the mass is.
    """
    figure = new_figure(6.2, 4.8)
    main, low = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (1.4, 1)})
    for axes in (main, low):
        axes.axvspan(*window, color=GREY, alpha=0.22, lw=0)
    first = next(iter(shapes.values()))
    for name, values, edges, colour in (
        ("all dijets", first.before, first.edges, "black"),
        *(
            (name, shape.after, shape.edges, colour)
            for (name, shape), colour in zip(shapes.items(), cycle(COLOURS), strict=False)
        ),
    ):
        width = np.diff(np.array(edges), axis=1)[:, 0]
        density = np.array(values) / sum(values) / width * 1000
        error = np.sqrt(np.maximum(values, 1.0)) / sum(values) / width * 1000
        over_ranges(
            main, edges, density.tolist(), error.tolist(), fmt="none", ecolor=colour, label=name
        )
    for (name, shape), colour in zip(shapes.items(), cycle(COLOURS), strict=False):
        over_ranges(
            low, shape.edges, shape.ratio, shape.uncertainty, fmt="o", ms=3.5, color=colour,
            label=f"{name}: constant with p = {p_text(shape.p_value)}",
        )  # fmt: skip
    low.axhline(1, color="black", lw=0.9, ls=":")
    main.set_yscale("log")
    logarithmic(main.yaxis)
    main.set_ylabel("fraction of events / TeV")
    low.set_ylabel("efficiency / mean")
    top = max(max(np.add(s.ratio, s.uncertainty)) for s in shapes.values())
    low.set_ylim(0, 1.1 * max(2.0, top))
    low.set_xlabel(mass_label(variable))
    low.set_xlim(min(s.edges[0][0] for s in shapes.values()), first.edges[-1][1])
    main.legend(loc="upper right")
    figure.legend(*low.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.align_ylabels((main, low))
    return figure
