"""Tag N' Train from 9 to 0.1 % of signal: arXiv:2002.12376, sections 4.1, 4.2 and appendix A.

Trees of two features of a jet are trained on all events, by cross-validation and in the paper's
split; networks of images in its split of a tenth of them. With 9 % of signal all are trained on the
tenth, for there is not as much signal. A further way of training is one line of `INPUTS` in
`tnt_blocks`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import pearsonr

from tnt_coffea import stats
from tnt_coffea.errors import FitError
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.pipeline.fit_settings import spectrum_fit
from tnt_coffea.pipeline.studies.events import Pool
from tnt_coffea.pipeline.studies.experiment import Experiment
from tnt_coffea.pipeline.studies.measurement import TrainedBlock
from tnt_coffea.pipeline.studies.tnt_blocks import (
    COUNTING,
    CUT,
    CUTS,
    HIGHEST,
    HUNTED,
    MIDDLE,
    MOST,
    PURE,
    SAME,
    SELECTIONS,
    TENTH,
    TNT,
    share_of,
    tnt_blocks,
)
from tnt_coffea.pipeline.studies.tnt_claims import tnt_claims
from tnt_coffea.pipeline.studies.tnt_page import tnt_notes, tnt_plots, tnt_tables
from tnt_coffea.products import Histograms
from tnt_coffea.reporting.evaluation import sculpting
from tnt_coffea.working_points import WorkingPoint, selection_name

__all__ = ["EXPERIMENT"]

_MORE_MASSES = 3250.0, 3750.0
"""Where footnote 3 of the paper counts [GeV]."""
_PLANE, _SHAPES = 16, 20
"""Bins a side of score planes, and of planes of mass and tau21."""


def _measure(trained: TrainedBlock) -> dict[str, Any]:
    """Return what figures 4 to 6 and tables 1 to 3 are of.

    S/B where the paper counts; Z of its cubic; with 1 % of signal how cuts shape the background's
    mass, Pearson's coefficient of the scores' quantiles on background, medians of mass and tau21 of
    either jet of the most anomalous 1 %, background estimated by counting, and score and jet planes
    of the first repetition; with 9 % the share of events whose score is the largest.
    """
    data, share = trained.data, share_of(trained.block.name)
    signal = data.label == 1
    near = (data.m_jj >= _MORE_MASSES[0]) & (data.m_jj < _MORE_MASSES[1])
    found: dict[str, Any] = {
        "events": len(data),
        "s_over_b": float((near & signal).sum() / max(1, (near & ~signal).sum())),
    }
    if trained.histograms is not None:
        found["cubic"] = _cubic(trained, trained.histograms)
    if share == MOST:
        found |= {name: {"plateau": _plateau(trained, name)} for name in (SAME, TNT)}
    if share != MIDDLE:
        return found
    first = trained.repetition == 0
    found |= {"signal": _medians(data, signal), "background": _medians(data, ~signal)}
    if first:
        found["signal"]["shapes"] = _jet_plane(data, signal)
    within = trained.config.search.fit_range
    for name in (*HUNTED, PURE):
        ranks = trained.ranks(name, data)
        scored = np.isfinite(ranks.both)
        if name in HUNTED:
            rows = scored & ~signal & within.contains(data.mass)
            found[name] = {"flat": _flat_shares(ranks.both[rows], data.mass[rows])}
        if trained.taggers.sets[name].scopes != JETS:
            continue
        jets = np.stack([ranks.heavy, ranks.light])
        own: dict[str, Any] = {"pearson": float(pearsonr(*jets[:, scored & ~signal]).statistic)}
        top = scored & (ranks.both >= np.quantile(ranks.both[scored], 0.99))
        own["top"] = _medians(data, top)
        if first and name in (TNT, PURE):
            own["plane"] = {
                kind: _counts(jets[:, scored & chosen], _PLANE, (1.0, 1.0))
                for kind, chosen in (("background", ~signal), ("signal", signal))
            }
        if first and name == TNT:
            own["top"]["shapes"] = _jet_plane(data, top)
        if trained.histograms is not None and name in COUNTING:
            of_background = data.select(~signal), ranks.select(~signal)
            for point in trained.histograms.points[name]:
                kept = _passing(*of_background, point, within)
                own[selection_name(point.selection)] = _counted(
                    trained.histograms.hists[name],
                    point,
                    kept,
                    quantile=trained.config.search.background_quantile,
                    within=within.edges,
                )
        found[name] = found.get(name, {}) | own
    return found


def _flat_shares(score: Any, mass: Any) -> dict[str, Any]:
    """Return p of a flat share kept and the share in slices of the mass, by cut."""
    cuts = {one: sculpting(one, score, mass) for one in CUTS}
    return {
        f"{one:g}": {"p": own.p_value, "edges": list(own.edges), "ratio": list(own.ratio)}
        for one, own in cuts.items()
    }


def _passing(sample: Any, ranks: Any, point: WorkingPoint, within: Any) -> int:
    passing = point.passes(ranks.fold, ranks.heavy, ranks.light) & within.contains(sample.mass)
    return int(passing.sum())


def _counted(
    histogram: Any,
    point: WorkingPoint,
    background: int,
    *,
    quantile: float,
    within: tuple[float, float],
) -> dict[str, float | None]:
    """Return the paper's estimate over the true background that passes, and equation 4.1."""
    counts = stats.abcd_counts(histogram, point, quantile, within)
    predicted = counts.paper_prediction
    error = float(np.hypot(counts.paper_uncertainty, 0.03 * predicted))  # 3 % of systematics
    expected = stats.paper_significance(counts.a, background, error, 0.0)
    return {
        "ratio": predicted / background if background else None,
        "z": stats.paper_significance(counts.a, predicted, error, 0.0),
        "expected": expected,
    }


def _cubic(trained: TrainedBlock, histograms: Histograms) -> dict[str, float | None]:
    """Return Z of the paper's polynomial of third degree, before and after every method's cut."""
    config = trained.config
    fit = spectrum_fit(config).with_family("cubic")
    spectra: dict[str, Any] = {
        "before": stats.inclusive_spectrum(next(iter(histograms.hists.values())))
    }
    for name, histogram in histograms.hists.items():
        spectra[name] = stats.selected_spectrum(histogram, histograms.points[name][CUT])

    def z(spectrum: Any) -> float | None:
        try:
            width = config.fit.bump.width
            return stats.bump_hunt(
                spectrum, mass=config.signal_mass, width=width, fit=fit, toys=0
            ).z
        except FitError:
            return None

    return {name: z(spectrum) for name, spectrum in spectra.items()}


def _plateau(trained: TrainedBlock, method: str) -> float:
    """Return the largest share of a fold's events that have its largest score, of either jet."""
    scores = trained.taggers.sets[method].score(trained.data)
    shares = [0.0]
    for raw in scores.raw.values():
        for fold in np.unique(scores.fold[np.isfinite(raw)]):
            own = raw[scores.fold == fold]
            shares.append(float(np.mean(own == own.max())))
    return max(shares)


def _medians(sample: Any, rows: Any) -> dict[str, Any]:
    if not rows.any():
        return {}
    return {
        f"{jet}_{name}": float(np.median(sample.columns[f"{jet}_{name}"][rows]))
        for jet in JETS
        for name in ("mass", "tau21")
    }


def _jet_plane(sample: Any, rows: Any) -> dict[str, list[int]]:
    return {
        jet: _counts(
            np.stack([sample.columns[f"{jet}_{name}"][rows] for name in ("mass", "tau21")]),
            _SHAPES,
            (HIGHEST, 1.0),
        )
        for jet in JETS
    }


def _counts(points: Any, bins: int, highest: tuple[float, float]) -> list[int]:
    """Return events by bin, from 0 to the highest, the second axis the faster one."""
    ranges = [(0.0, high) for high in highest]
    first, second = points
    counts: list[int] = (
        np.histogram2d(first, second, bins=bins, range=ranges)[0].ravel().astype(int).tolist()
    )
    return counts


EXPERIMENT = Experiment(
    name="tnt",
    title="Tag N' Train from 9 to 0.1 % of signal",
    source="arXiv:2002.12376, section 4.2 and appendix A",
    pools={
        "background": Pool("rnd-background", 1_000_000),
        # A fifth trains an iteration: with fewer, 10 % of it in the window are less than ten jets.
        TENTH: Pool("rnd-background", 100_000, least=10_000),
        "signal": Pool("rnd-signal", 30_000, least=3000),
    },
    settings={
        "search": {"efficiencies": SELECTIONS},
        "fit": {"bump": {"toys": 0}},
    },
    blocks=tnt_blocks(),
    claims=tnt_claims,
    plots=tnt_plots,
    tables=tnt_tables,
    notes=tnt_notes,
    measure=_measure,
    kept=(
        *("auc", "auc_fit", "max_sic", "sic_0.01", "sic_0.001", "z"),
        *("rejection", "improvement"),
    ),
    scale=0.05,
    repetitions=3,
    refusals=True,
    partial=True,
)
