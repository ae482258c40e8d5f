from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TaggerError
from tnt_coffea.reporting import correlation_by_mass, score_correlations
from tnt_coffea.taggers import Ranks

FIT, WINDOW = MassRange(low=2600, high=7000), MassRange(low=3300, high=3700)


def test_regions_and_slices_hold_their_events(search):
    found = score_correlations(search.sample, search.ranks["tnt"], WINDOW, FIT)
    m_jj, ranks = search.sample.m_jj, search.ranks["tnt"]
    inside = (m_jj >= 3300) & (m_jj < 3700)

    whole, outside, window = found.regions
    assert whole.events == pytest.approx(((m_jj >= 2600) & (m_jj < 7000)).sum())
    assert outside.events + window.events == pytest.approx(whole.events)
    assert window.coefficient == pytest.approx(
        stats.spearmanr(ranks.heavy[inside], ranks.light[inside]).statistic, abs=1e-12
    )
    assert sum(s.events for s in found.slices) == pytest.approx(whole.events)
    assert (3300, 3700) in [s.mass_range for s in found.slices]
    edges = [s.mass_range for s in found.slices]
    assert [high for _, high in edges[:-1]] == [low for low, _ in edges[1:]]
    # Independent scores, and a signal that is high in both.
    assert abs(outside.coefficient) < 4 * outside.uncertainty
    assert window.coefficient > 3 * window.uncertainty


def test_labels_are_not_used(search):
    sample = replace(search.sample, label=np.full(len(search.sample), -1, np.int8))
    ranks = search.ranks["tnt"]

    blind = score_correlations(sample, ranks, WINDOW, FIT)
    assert blind == score_correlations(search.sample, ranks, WINDOW, FIT)


def test_ranks_of_another_sample_are_refused(search):
    short = Ranks(*(column[:5] for column in vars(search.ranks["tnt"]).values()))

    with pytest.raises(TaggerError, match="ranks of 5 events"):
        score_correlations(search.sample, short, WINDOW, FIT)


def test_a_region_without_events_has_no_coefficient(search):
    few = search.sample.select(search.sample.m_jj < 3000)
    ranks = search.ranks["tnt"]
    which = search.sample.m_jj < 3000
    found = score_correlations(
        few, Ranks(ranks.fold[which], ranks.heavy[which], ranks.light[which]), WINDOW, FIT
    )

    assert found.regions[2].coefficient is None
    figure = correlation_by_mass({"tnt": found}, (3300, 3700))
    figure.draw_without_rendering()
    assert figure.axes[0].get_ylabel() == "Spearman's rank correlation"
