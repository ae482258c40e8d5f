"""Working points, cuts for each jet, a resonance in another variable: from events to p-values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tnt_coffea import pipeline
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, TaggerError
from tnt_coffea.events import Sample
from tnt_coffea.products import Histograms, Taggers, as_skim
from tnt_coffea.taggers import Cut, WorkingPoint, WorkingPoints
from tnt_coffea.working_points import index_of

EVENTS, SIGNAL = 9000, 250
CUT = {"heavy": 0.8, "light": 0.1}
TREES = {"network": "trees", "trees": 10, "features": ["mass", "tau21"]}
SETTINGS: dict[str, Any] = {
    "seed": 5,
    "train": {
        "methods": {
            "prongs": {"kind": "feature", "feature": "tau21", "descending": True},
            "tnt": {"kind": "tag_n_train", "after": "prongs", "classifier": TREES},
        },
        "folds": {"inner": 2},
    },
    "search": {"efficiencies": [0.3, 0.1], "cuts": {"loose-heavy": CUT}},
    "fit": {
        "bump": {"cut": "loose-heavy", "bin_width": 100},
        "abcd": {"efficiency": 0.1},
        "limit": {"enabled": False},
        "scan": {"masses": [3400, 3500, 3600], "toys": 10},
    },
}


def config_of(**sections: dict[str, Any]) -> SearchConfig:
    merged = {name: {**SETTINGS.get(name, {}), **values} for name, values in sections.items()}
    return SearchConfig.model_validate({**SETTINGS, **merged})


JJJ = config_of(search={"variable": "m_jjj"})


@pytest.fixture(scope="module")
def sample() -> Sample:
    """A resonance at 3500 GeV in m_jjj; m_jj is anything below it."""
    rng = np.random.default_rng(3)
    n = EVENTS + SIGNAL
    signal = np.arange(n) >= EVENTS
    m_jjj = np.where(signal, rng.normal(3500, 80, n), 2600 + rng.exponential(700, n))
    jets = {
        jet: {
            "mass": np.where(signal, rng.normal(mass, 20, n), rng.exponential(mass, n)),
            "tau21": np.clip(rng.normal(np.where(signal, 0.3, 0.6), 0.1), 0.01, 0.99),
        }
        for jet, mass in (("heavy", 500.0), ("light", 100.0))
    }
    m_jj = m_jjj * rng.uniform(0.4, 1, n)
    event = {"m_jjj": m_jjj, "delta_eta": rng.normal(0, 1, n)}
    return Sample.from_columns(m_jj, **jets, event=event, label=signal)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("three-jets")


@pytest.fixture(scope="module")
def taggers(sample: Sample, out: Path) -> Taggers:
    return pipeline.train(sample, JJJ, out=out)


@pytest.fixture(scope="module")
def searched(sample: Sample, taggers: Taggers, out: Path) -> Histograms:
    return pipeline.search(sample, taggers, JJJ, out=out)


def test_working_points_are_found_by_share_and_by_name() -> None:
    points = WorkingPoints(
        (
            WorkingPoint("pair", {0: Cut(0.2, 0.975, 0.02)}),
            WorkingPoint.at({0: 0.9}, 0.01),
            WorkingPoint.at({0: 0.8}, 0.04),
        )
    )
    assert points.selections == (0.04, 0.01, "pair")
    assert points["pair"].cut(0).light == 0.975
    assert points.edges("heavy") == {0.2, 0.8, 0.9}
    assert WorkingPoints.from_list(json.loads(json.dumps(points.to_list()))) == points
    with pytest.raises(ConfigError, match=r"no selection 0\.02, only 0\.04, 0\.01, pair"):
        points[0.02]
    with pytest.raises(ConfigError, match="no selection other, only none"):
        index_of("other", ())
    with pytest.raises(TaggerError, match=r"no threshold for fold 1, only for \[0\]"):
        points["pair"].cut(1)
    assert not points["pair"].passes([0], [np.nan], [0.99]).any()


def test_each_jet_passes_the_share_of_its_own_cut(sample: Sample, taggers: Taggers) -> None:
    inside = sample.with_variable("m_jjj").mass
    fit_range = JJJ.search.fit_range
    for tagger_set in taggers.sets.values():
        assert tagger_set.quantiles is not None
        assert tagger_set.quantiles.variable == "m_jjj"
        ranks = tagger_set.ranks(sample)
        point = tagger_set.quantiles.points["loose-heavy"]
        for fold, cut in point.cuts.items():
            own = (ranks.fold == fold) & fit_range.contains(inside)
            # Half an event is rounded, the rank itself is without ties.
            for quantile, x, share in (
                (ranks.heavy, cut.heavy, CUT["heavy"]),
                (ranks.light, cut.light, CUT["light"]),
            ):
                assert abs((quantile[own] > x).sum() - share * own.sum()) <= 0.5
            both = (ranks.heavy > cut.heavy) & (ranks.light > cut.light)
            assert cut.achieved == pytest.approx(both[own].mean())
            assert cut.heavy < 0.3 < 0.8 < cut.light


def test_histogram_is_in_the_variable_and_holds_every_cut_as_an_edge(
    sample: Sample, taggers: Taggers, searched: Histograms, out: Path
) -> None:
    assert searched.points == taggers.working_points()
    assert Histograms.load(out / "search").points == searched.points
    m_jjj = sample.with_variable("m_jjj").mass
    for name, histogram in searched.hists.items():
        assert histogram.axes.name == ("dataset", "fold", "m_jjj", "q_heavy", "q_light")
        assert histogram.axes["m_jjj"].label == "m_jjj [GeV]"
        counts = histogram.project("m_jjj").values()
        expected, _ = np.histogram(m_jjj, histogram.axes["m_jjj"].edges)
        np.testing.assert_array_equal(counts, expected)
        for jet in ("heavy", "light"):
            own = searched.points[name].edges(jet)
            assert own <= set(histogram.axes[f"q_{jet}"].edges)
        assert len(histogram.axes["q_heavy"]) == len(histogram.axes["q_light"])
        assert not np.array_equal(histogram.axes["q_heavy"].edges, histogram.axes["q_light"].edges)


@pytest.mark.slow
def test_fits_take_the_cuts_and_find_the_resonance_in_the_variable(
    sample: Sample, taggers: Taggers, searched: Histograms, out: Path
) -> None:
    result = pipeline.fit(searched, JJJ, out=out)
    ranks = taggers.sets["tnt"].ranks(sample)
    mass = sample.with_variable("m_jjj").mass
    passed = searched.points["tnt"]["loose-heavy"].passes(ranks.fold, ranks.heavy, ranks.light)
    observed = sum(sum(channel.observed) for channel in result.after["tnt"].channels)
    assert observed == (passed & JJJ.search.fit_range.contains(mass)).sum()
    assert result.after["tnt"].z > result.before.z + 1 > 2
    # The same events in m_jj have no resonance to be found.
    assert result.scans["tnt"].best_point.mass == 3500.0

    skim = as_skim(sample)
    found = pipeline.report(result, out / "report.html", JJJ, searched, skim=skim, taggers=taggers)
    assert found is not None
    points = found.sets["tnt"].working_points
    assert [point.selection for point in points] == [0.3, 0.1, "loose-heavy"]
    window = JJJ.search.window.contains(mass)
    assert points[-1].signal_before == (window & (sample.label > 0)).sum()
    assert points[-1].signal_after == (window & passed & (sample.label > 0)).sum()
    page = (out / "report.html").read_text().replace("\u00a0", " ")
    assert "bump hunt at m_jjj = 3500 GeV" in page
    assert "the taggers&#39; cuts &#39;loose-heavy&#39;" in page
    assert "Three-jet mass: events that pass the cuts" in page
    assert "loose-heavy selection" in page


def test_a_search_in_m_jj_of_the_same_events_is_another(sample: Sample, tmp_path: Path) -> None:
    config = config_of(train={"methods": {"prongs": SETTINGS["train"]["methods"]["prongs"]}})
    taggers = pipeline.train(sample, config, out=tmp_path)
    (prongs,) = taggers.sets.values()
    assert prongs.quantiles is not None
    assert prongs.quantiles.variable == "m_jj"
    histograms = pipeline.search(sample, taggers, config, out=tmp_path)
    assert histograms.hists["prongs"].axes.name[2] == "m_jj"
    with pytest.raises(TaggerError, match=r"quantiles from a range in m_jj, .* is m_jjj"):
        pipeline.search(sample, taggers, JJJ, out=tmp_path / "other")


def test_the_variable_stands_on_the_card_unless_it_is_m_jj(taggers: Taggers) -> None:
    (card,) = {m.tagger.card.variable for m in taggers.sets["tnt"].members}
    assert card == "m_jjj"
    written = json.loads(taggers.sets["tnt"].members[0].tagger.card.to_json())
    assert written["variable"] == "m_jjj"
    plain = taggers.sets["tnt"].members[0].tagger.card.model_copy(update={"variable": "m_jj"})
    assert "variable" not in json.loads(plain.to_json())


def test_signal_rich_events_lie_in_the_window_of_the_variable(taggers: Taggers) -> None:
    # By m_jj nearly none of them would: the window of 400 GeV holds 3 % of the events there.
    shares = [
        history["signal-rich"] / history["background-rich"]
        for name, history in taggers.histories.items()
        if name.startswith("tnt")
    ]
    assert len(shares) == 8
    assert all(0.05 < share < 0.5 for share in shares)


def test_a_column_that_is_not_there_is_said_before_anything_is_trained(
    sample: Sample, tmp_path: Path
) -> None:
    config = config_of(search={"variable": "m_jjjj"})
    with pytest.raises(ConfigError, match=r"search.variable is m_jjjj, .* m_jj, m_jjj, delta_eta"):
        pipeline.train(sample, config, out=tmp_path)
    assert not list(tmp_path.rglob("*.onnx"))


def test_scores_of_the_whole_event_cannot_be_cut_jet_by_jet(sample: Sample, tmp_path: Path) -> None:
    methods = {"cut": {"kind": "event_feature", "feature": "heavy_tau21 + light_tau21"}}
    config = config_of(train={"methods": methods})
    with pytest.raises(ConfigError, match=r"cut \(event_feature\) gives one score an event"):
        pipeline.train(sample, config, out=tmp_path)
    uncut = config_of(
        train={"methods": methods}, search={"cuts": {}}, fit={"bump": {"efficiency": 0.1}}
    )
    (tagger_set,) = pipeline.train(sample, uncut, out=tmp_path).sets.values()
    search = JJJ.search
    with pytest.raises(TaggerError, match="one score an event, which"):
        tagger_set.calibrated(sample, search.fit_range, (0.1,), search.cuts)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("fit", {"bump": {"cut": "tight"}}, r"fit.bump.cut is 'tight', .* \['loose-heavy'\]"),
        ("fit", {"abcd": {"cut": "loose-heavy"}}, "cannot pass and be low"),
        ("search", {"cuts": {}}, "there are none"),
        ("search", {"cuts": {"a b": CUT}}, "cannot name a cut"),
        ("search", {"cuts": {"a": {"heavy": 1.2, "light": 0.1}}}, "less than or equal to 1"),
        ("search", {"m_jj": {"low": 2000, "high": 8000}}, "now search.histogram_range"),
        ("search", {"cuts": {f"c{i}": CUT for i in range(29)}}, "at most 30"),
    ],
)
def test_wrong_settings_are_one_error(section: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        config_of(**{section: values})
    assert error.value.error_count() == 1  # type: ignore[attr-defined]
