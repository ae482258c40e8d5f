from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.reporting import all_plots
from tnt_coffea.reporting.contents import EventViews
from tnt_coffea.reporting.topic_figures import topic_columns, topic_shapes, topics_and_truth

EDGES = [0.0, 100.0, 200.0, 300.0]


def run(shift=0.0, feature="mass"):
    p = [[0.6 - shift, 0.3, 0.1 + shift], [0.1, 0.8, 0.1], [0.0, 0.2, 0.8]]
    jets = {"heavy": [0.1, 0.4, 0.5], "light": [0.7, 0.2, 0.1]}
    return {"topics": {"feature": feature, "edges": EDGES, "p": p} | jets}


RUNS = [
    ("pairs event/0", run()),
    ("pairs event/1", run(0.05)),
    ("tau event/0", run(feature="tau21")),
    ("tnt heavy/0", {"loss": [0.5, 0.4]}),
]


def test_topics_of_a_set_are_in_one_panel_beside_the_data():
    figure = topic_shapes(RUNS)
    assert [panel.get_title(loc="left") for panel in figure.axes] == [
        "pairs (2 runs)",
        "tau (1 run)",
    ]
    values = [patch.get_data().values for patch in figure.axes[0].patches]
    topics = [RUNS[i][1]["topics"] for i in (0, 1)]
    wanted = [[one["heavy"], one["light"], *one["p"]] for one in topics]
    np.testing.assert_allclose(values, np.concatenate(wanted))
    np.testing.assert_allclose(figure.axes[0].patches[0].get_data().edges, EDGES)
    assert [panel.get_xlabel() for panel in figure.axes] == ["jet mass [GeV]", "tau21"]
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert key[2:] == ["common topic", "topic 2", "topic 3"]


def test_trainings_without_topics_have_no_figure():
    assert topic_shapes(RUNS[3:]) is None
    assert topic_shapes([]) is None


def test_the_report_has_the_topics_and_their_numbers(contents):
    bare = replace(contents, hists={}, points={}, views=EventViews(), histories=RUNS)
    (topics,) = (plot for plot in all_plots(bare) if plot.name == "topics")
    assert topics.columns == topic_columns(RUNS)
    assert topics.columns["share"][:3] == pytest.approx([0.6, 0.3, 0.1])
    assert len(topics.columns["heavy"]) == 27
    assert [name for name, _ in topics.data] == ["pairs event/0", "pairs event/1", "tau event/0"]


def test_the_topics_of_a_study_are_beside_the_true_masses():
    shape = {"mean": [0.5, 0.3, 0.2], "sd": [0.1, 0.0, 0.0]}
    column = {
        "topics": {"lower": shape, "upper": shape, "common": {**shape, "mean": [0.1, 0.8, 0.1]}},
        "truth": {"light": shape, "heavy": shape, "background": shape},
    }
    figure = topics_and_truth({"10% of signal": column, "1% of signal": column}, EDGES)
    above, _, below, _ = figure.axes
    assert above.get_title(loc="left") == "10% of signal"
    np.testing.assert_allclose(below.patches[1].get_data().values, [0.1, 0.8, 0.1])
    np.testing.assert_allclose(below.patches[2].get_data().values, [0.2, 0.8, 0.1])
    assert len(figure.legends[0].get_texts()) == 6
