from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.accounting import Accounting
from tnt_coffea.config import MassRange, SearchConfig, SkimSettings
from tnt_coffea.errors import InputError, TaggerError
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.reporting import (
    ReportContents,
    all_plots,
    anomalous_event_panels,
    anomalous_events,
    event_views,
    jet_shapes,
    true_shapes,
)
from tnt_coffea.reporting.jet_planes import jet_planes
from tnt_coffea.reporting.tables import cutflow, event_rows, selection_flow
from tnt_coffea.reporting.wording import main_set
from tnt_coffea.taggers import Cut, Ranks, WorkingPoint, WorkingPoints


def views_of(search, **changes):
    sample = replace(search.sample, **changes)
    return event_views(sample, search.ranks, search.points, search.config.search)


def without_images(search):
    """The same dijets in a skim that holds neither images nor jet observables but the pT."""
    settings = SkimSettings(images=None, observables=("pt",))
    return views_of(search, settings=settings, lists={})


def test_the_most_anomalous_events_come_in_order(search):
    ranks = search.ranks["tnt"]
    events = anomalous_events(search.sample, ranks, count=8)

    rows = np.argsort(-ranks.both, kind="stable")[:8]
    assert [event.event_id for event in events] == [
        f"{i:016x}" for i in search.sample.event_id[rows].tolist()
    ]
    assert [event.rank for event in events] == sorted(ranks.both, reverse=True)[:8]
    first, row = events[0], rows[0]
    assert first.m_jj == search.sample.m_jj[row]
    assert first.fold == ranks.fold[row]
    assert first.jets["light"].quantile == ranks.light[row]
    for jet in ("heavy", "light"):
        observables = first.jets[jet].observables
        assert observables["tau21"] == search.sample.columns[f"{jet}_tau21"][row]
        image = search.sample.images(jet, rows[:1])[0, 0]
        np.testing.assert_array_equal(first.jets[jet].image, image)


def test_events_that_an_experiment_numbered_can_be_looked_up(search):
    numbers = {
        name: np.arange(len(search.sample), dtype=np.uint64) + start
        for name, start in (("run", 300_000), ("luminosityBlock", 7), ("event", 2**40))
    }
    sample = replace(search.sample, numbers=numbers)

    (first,) = anomalous_events(sample, search.ranks["tnt"], count=1)

    row = np.argmax(search.ranks["tnt"].both)
    known = f"{300_000 + row}:{7 + row}:{2**40 + row}"
    assert event_rows([first])[0]["run:luminosityBlock:event"] == known
    assert json.loads(json.dumps(first.to_dict()))["numbers"]["run"] == 300_000 + row
    (unknown,) = anomalous_events(search.sample, search.ranks["tnt"], count=1)
    assert "event id" in event_rows([unknown])[0]
    assert "run:luminosityBlock:event" not in event_rows([unknown])[0]


def test_equal_ranks_go_by_event_id(search):
    n = len(search.sample)
    same = Ranks(np.zeros(n, np.int64), np.full(n, 0.5), np.full(n, 0.5))

    events = anomalous_events(search.sample, same, count=3)

    assert [event.event_id for event in events] == [
        f"{i:016x}" for i in np.sort(search.sample.event_id)[:3].tolist()
    ]


def test_no_more_events_than_there_are(search):
    rows = np.arange(3)
    ranks = Ranks(*(column[rows] for column in vars(search.ranks["tnt"]).values()))

    events = anomalous_events(search.sample.select(rows), ranks)

    assert len(events) == 3
    with pytest.raises(InputError, match="no event"):
        anomalous_events(search.sample.select(rows[:0]), ranks)
    with pytest.raises(TaggerError, match="rank the sample"):
        anomalous_events(search.sample, ranks)


def test_shapes_hold_every_jet_and_the_top_one_percent(search):
    ranks = search.ranks["tnt"]
    shapes = jet_shapes(search.sample, ranks)

    rows = np.argsort(-ranks.both, kind="stable")[: round(0.01 * len(search.sample))]
    for jet in ("heavy", "light"):
        mass = search.sample.columns[f"{jet}_mass"]
        np.testing.assert_allclose(shapes.mass[jet], mass[rows])
        inside = mass <= shapes.mass_edges[jet][-1]
        assert shapes.everything[jet].sum() == inside.sum()
        assert shapes.mass[jet].max() < shapes.mass_edges[jet][-1]
    truth = true_shapes(search.sample, ranks, shapes)
    np.testing.assert_array_equal(truth.anomalous_is_signal, search.sample.label[rows] > 0)
    for jet in ("heavy", "light"):
        np.testing.assert_allclose(
            truth.signal[jet] + truth.background[jet], shapes.everything[jet]
        )


def test_planes_hold_the_events_of_the_signal_region(search):
    assert views_of(search).planes is None  # the skim has no tau32
    rng = np.random.default_rng(2)
    columns = {f"{jet}_tau32": rng.random(len(search.sample), np.float32) for jet in JETS}
    sample = replace(search.sample, columns=search.sample.columns | columns)
    window, ranks = search.config.search.window, search.ranks["tnt"]

    planes = jet_planes(sample, ranks, window)

    inside = window.contains(sample.m_jj)
    top = np.argsort(-ranks.both, kind="stable")[: round(0.005 * len(sample))]
    assert set(planes.everything) == {"mass", "tau21", "tau32"}
    assert planes.everything["tau32"].sum() == inside.sum()
    chosen = top[inside[top]]
    assert 0 < len(chosen) < len(top)
    for column, shown in planes.anomalous.items():
        for place, jet in enumerate(JETS):
            np.testing.assert_allclose(shown[:, place], sample.columns[f"{jet}_{column}"][chosen])
    nothing = jet_planes(sample, ranks, MassRange(low=7900, high=8000))
    assert len(nothing.anomalous["mass"]) == 0
    assert json.loads(json.dumps(planes.to_dict()))["top"] == 0.005
    views = replace(views_of(search), planes=planes)
    contents = ReportContents(replace(search.result, after={}, abcd={}), search.config, views=views)
    (plot,) = (plot for plot in all_plots(contents) if plot.name == "jet-planes")
    assert [axes.get_title(loc="left") for axes in plot.figure.axes][1:] == [
        r"$\tau_{21}$",
        r"$\tau_{32}$",
    ]
    with pytest.raises(InputError, match="no tau32 of jets"):
        jet_planes(search.sample, ranks, window)


def test_views_are_of_the_fit_range(search):
    views = views_of(search)
    fit = search.fit_range
    m_jj = search.sample.m_jj

    inside = (m_jj >= fit.low) & (m_jj < fit.high)
    assert views.shown == next(iter(search.ranks))
    assert views.images.events == inside.sum()
    assert all(fit.low <= event.m_jj < fit.high for event in views.events)
    assert set(views.correlations) == {"autoencoder", "tnt"}
    truth = dict(zip(search.sample.event_id.tolist(), search.sample.label > 0, strict=True))
    assert list(views.events_are_signal) == [truth[int(e.event_id, 16)] for e in views.events]


def test_of_sets_for_windows_that_of_the_search_is_shown():
    config = SearchConfig.preset("olympics-cwola")
    sets = ["cwola-2917.6-3405", "cwola-3234.1-3774.4", "cwola-3405-3973.9"]
    assert main_set(sets, config) == sets[1]
    assert main_set(sets[::2], config) == sets[0]


def test_unknown_labels_leave_out_the_truth_and_nothing_else(search):
    known = views_of(search)
    views = views_of(search, label=np.full(len(search.sample), -1, np.int8))

    assert views.evaluation is None
    assert views.true_shapes is None
    assert views.events_are_signal == ()
    assert views.events == known.events
    assert views.correlations == known.correlations


def test_one_score_an_event_has_no_correlation(search):
    ranks = search.ranks["tnt"]
    both = {"tnt": Ranks(ranks.fold, ranks.heavy, ranks.heavy)}

    views = event_views(search.sample, both, search.points, search.config.search)

    assert views.correlations == {}


def test_a_skim_without_images_or_masses_has_fewer_plots(search):
    views = without_images(search)

    assert views.images is None
    assert views.shapes is None
    assert views.events[0].jets["heavy"].image is None
    assert set(views.events[0].jets["heavy"].observables) == {"pt"}
    with pytest.raises(InputError, match="skim with images"):
        anomalous_event_panels(views.events, views_of(search).images)
    contents = ReportContents(replace(search.result, after={}, abcd={}), search.config, views=views)
    names = {plot.name for plot in all_plots(contents)}
    assert names == {"spectrum-before", "score-correlations", "roc", "improvement"}


def test_missing_columns_are_named(search):
    sample = replace(search.sample, columns={"m_jj": search.sample.m_jj})

    with pytest.raises(InputError, match="no mass and no tau21"):
        jet_shapes(sample, search.ranks["tnt"])


def test_the_cutflow_ends_at_the_selected_events():
    account = Accounting(1000, 600, {"two_jets": 100, "trigger": 250}, {"a": (50, "broken")})
    steps = cutflow(account)

    assert [(step.cut, step.events) for step in steps] == [
        ("events read", 1000),
        ("could be read", 950),
        ("at least two jets", 850),
        ("leading jet above the trigger's pT", 600),
        ("selected", 600),
    ]
    assert steps[2].of_previous == pytest.approx(850 / 950)
    assert steps[3].of_all == pytest.approx(0.6)
    assert steps[0].of_previous is None
    assert [step.of_all for step in cutflow(Accounting(0, 0))] == [None, None]


def test_selections_are_counted_as_on_the_events(search):
    fit, window = search.fit_range, search.window
    flows = selection_flow(
        search.hists["tnt"],
        search.points["tnt"],
        (fit.low, fit.high),
        (window.low, window.high),
    )

    ranks, m_jj = search.ranks["tnt"], search.sample.m_jj
    for steps, mass_range in zip(flows, (fit, window), strict=True):
        inside = (m_jj >= mass_range.low) & (m_jj < mass_range.high)
        expected = [inside.sum()]
        for point in search.points["tnt"]:
            x = np.array([point.cut(fold).heavy for fold in ranks.fold])
            expected.append((inside & (ranks.both > x)).sum())
        assert [step.events for step in steps] == expected


def test_pairs_of_cuts_stand_beside_the_nested_selections(search):
    fit, window = search.fit_range, search.window
    first = search.points["tnt"][0.3]
    heavy = {t: cut.heavy for t, cut in search.points["tnt"][0.03].cuts.items()}
    pair = WorkingPoint("pair", {t: Cut(heavy[t], cut.light) for t, cut in first.cuts.items()})
    both, pairs = (
        selection_flow(search.hists["tnt"], points, fit.edges, window.edges)[0]
        for points in (WorkingPoints((first, pair)), WorkingPoints((pair,)))
    )

    assert [step.cut for step in both] == ["no selection", "30 % selection", "pair selection"]
    assert both[2] == pairs[1]
    ranks, m_jj = search.ranks["tnt"], search.sample.m_jj
    kept = pair.passes(ranks.fold, ranks.heavy, ranks.light) & fit.contains(m_jj)
    assert 0 < both[2].events == kept.sum() < both[1].events
    assert both[2].of_previous == both[2].of_all
