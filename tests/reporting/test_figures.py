from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tnt_coffea.errors import InputError
from tnt_coffea.reporting import (
    all_plots,
    loss_curves,
    mass_spectrum,
    mean_images,
    plane_view,
    significance_improvement,
)
from tnt_coffea.reporting.anomalous_jets import most_anomalous_share
from tnt_coffea.reporting.figures import COLOURS, stamp
from tnt_coffea.reporting.mass_figures import channel_spectra, summed_channel
from tnt_coffea.reporting.sculpting import sideband_shape
from tnt_coffea.stats import BumpHuntResult, Closure
from tnt_coffea.taggers import Ranks


@pytest.fixture(scope="module")
def plots(contents):
    return {plot.name: plot for plot in all_plots(contents)}


TRUTH = {"roc", "improvement", "jet-shapes-truth"}
NO_TRUTH = {
    "spectrum-before",
    "spectrum-after-tnt",
    "spectrum-after-tnt-channels",
    "sculpting",
    "plane-tnt",
    "scores",
    "closure-tnt",
    "closure-efficiency-tnt",
    "score-correlations",
    "mean-images",
    "anomalous-events",
    "jet-shapes",
    "losses",
}


def test_every_kind_of_plot_is_there_and_says_whether_it_needs_the_truth(plots):
    marked = {name for name, plot in plots.items() if plot.truth}
    assert marked >= TRUTH
    assert set(plots) - marked >= NO_TRUTH


def test_axes_are_labelled_with_units(plots):
    for plot in plots.values():
        labels = [
            label
            for axes in plot.figure.axes
            for label in (axes.get_xlabel(), axes.get_ylabel())
            if label
        ]
        assert len(labels) >= 2, plot.name
        for label in labels:
            assert "[1]" not in label, (plot.name, label)
            if "m_{" in label or "mass" in label or "eV" in label:
                assert label.endswith(("[GeV]", " GeV", "TeV")), (plot.name, label)


@pytest.mark.slow
def test_nothing_reaches_over_the_edge_of_a_figure(plots):
    for plot in plots.values():
        plot.figure.draw_without_rendering()
        wanted = plot.figure.get_tightbbox()
        width, height = plot.figure.get_size_inches()
        assert wanted.x0 > -0.02, plot.name
        assert wanted.y0 > -0.02, plot.name
        assert wanted.x1 < width + 0.02, plot.name
        assert wanted.y1 < height + 0.02, plot.name


def test_the_numbers_behind_the_plots_survive_json(plots, contents):
    again = {
        name: json.loads(json.dumps(plot.data, allow_nan=False)) for name, plot in plots.items()
    }

    result = contents.result
    assert BumpHuntResult.from_dict(again["spectrum-before"]) == result.before
    assert BumpHuntResult.from_dict(again["spectrum-after-tnt"]) == result.after["tnt"]
    assert Closure.from_dict(again["closure-tnt"]) == result.abcd["tnt"].closure
    views = contents.views
    light = views.images.anomalous["light"]
    np.testing.assert_array_equal(again["mean-images"]["anomalous"]["light"], light)
    assert [event["m_jj"] for event in again["anomalous-events"]] == [e.m_jj for e in views.events]
    np.testing.assert_array_equal(again["jet-shapes"]["mass"]["heavy"], views.shapes.mass["heavy"])
    (window,) = again["score-correlations"]["tnt"]["regions"][2:]
    assert window["coefficient"] == views.correlations["tnt"].regions[2].coefficient
    assert again["roc"]["sets"]["tnt"]["rocs"]["both"]["auc"] == (
        views.evaluation.sets["tnt"].rocs["both"].auc
    )


def test_a_users_style_is_neither_used_nor_changed(search):
    with mpl.rc_context({"font.size": 31.0, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        figure = mass_spectrum(search.result.before, (3300, 3700))
        assert dict(mpl.rcParams) == before

    assert isinstance(figure, Figure)
    assert figure.axes[0].get_facecolor()[:3] == (1.0, 1.0, 1.0)
    picture = io.BytesIO()
    figure.savefig(picture)
    assert picture.getvalue().startswith(b"\x89PNG")


@pytest.mark.slow
def test_importing_the_package_imports_no_plotting():
    code = (
        "import sys, tnt_coffea.reporting; "
        "print([m for m in ('matplotlib', 'jinja2', 'rich') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stdout.strip() == "[]"


def test_channels_are_summed_for_the_eye(search):
    channels = search.result.after["tnt"].channels
    total = summed_channel(channels)

    for name in ("observed", "background", "signal_plus_background"):
        parts = np.sum([getattr(channel, name) for channel in channels], axis=0)
        np.testing.assert_allclose(getattr(total, name), parts)
    excess = np.sign(np.array(total.observed) - total.background)
    np.testing.assert_array_equal(np.sign(total.pulls), excess)
    assert summed_channel(channels[:1]) is channels[0]


def test_the_points_have_garwoods_intervals(search):
    # Central 68.27 % intervals as tabulated by the PDG: 1 -> [0.17, 3.30], 10 -> [6.89, 14.27].
    channel = search.result.before.channels[0]
    n = len(channel.observed)
    channel = replace(channel, observed=(0.0, 1.0, 10.0, *(0.0 for _ in range(n - 3))))
    figure = mass_spectrum(replace(search.result.before, channels=(channel,)), (3300, 3700))

    (points,) = figure.axes[0].containers
    (bars,) = points.lines[2]
    drawn = [segment[:, 1] for segment in bars.get_segments() if len(segment) == 2]
    np.testing.assert_allclose(drawn, [[0.173, 3.300], [6.891, 14.267]], atol=2e-3)


def test_the_style_is_mplheps_with_its_colours(search):
    from mplhep import style

    figure = mass_spectrum(search.result.before, (3300, 3700))

    assert list(COLOURS) == style.ROOT["axes.prop_cycle"].by_key()["color"]
    axes = figure.axes[0]
    assert axes.yaxis.get_tick_params()["right"]
    assert axes.yaxis.get_major_ticks()[0].get_tickdir() == "in"
    assert not any(word in text.get_text() for text in axes.texts for word in ("CMS", "ATLAS"))


def test_no_figure_belongs_to_pyplot(plots):
    import matplotlib.pyplot as plt

    assert plots
    assert plt.get_fignums() == []


def test_the_plane_holds_every_event_of_the_fit_range(search):
    fit, window = search.fit_range, search.window
    view = plane_view(
        search.hists["tnt"],
        search.points["tnt"],
        0.4,
        (window.low, window.high),
        (fit.low, fit.high),
    )
    m_jj = search.sample.m_jj
    inside = (m_jj >= window.low) & (m_jj < window.high)

    assert np.sum(view.inside) == inside.sum()
    assert np.sum(view.outside) == ((m_jj >= fit.low) & (m_jj < fit.high) & ~inside).sum()
    assert 0.4 in view.heavy
    assert np.min(np.diff(view.heavy)) > 0.01
    low = view.heavy.index(0.4)
    ranks = search.ranks["tnt"]
    both_low = inside & (ranks.heavy < 0.4) & (ranks.light < 0.4)
    assert np.sum(np.array(view.inside)[:low, :low]) == both_low.sum()
    assert [point[0] for point in view.working_points] == [0.3, 0.1, 0.03]


def test_mean_images_are_the_means_of_dense_images(search):
    images = mean_images(search.sample, search.ranks["tnt"], top=0.05)

    ranks = search.ranks["tnt"].both
    top = most_anomalous_share(search.sample, search.ranks["tnt"], 0.05)
    assert len(top) == round(0.05 * len(ranks))
    assert ranks[top].min() >= np.sort(ranks)[-len(top)]  # which of equal ones does not matter
    for jet in ("heavy", "light"):
        dense = search.sample.images(jet)[:, 0].astype(np.float64)
        np.testing.assert_allclose(images.everything[jet], dense.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(images.anomalous[jet], dense[top].mean(axis=0), rtol=1e-6)
        assert images.everything[jet].sum() == pytest.approx(1)
    assert images.anomalous_events == len(top)


def test_no_event_has_no_mean_image(search):
    none = search.sample.select(np.arange(0))

    with pytest.raises(InputError, match="no event"):
        mean_images(none, Ranks(np.arange(0), np.zeros(0), np.zeros(0)))


def test_trainings_without_epochs_have_no_curve():
    assert loss_curves([("linear/fold 0", {"loss": 0.1})]) is None
    assert loss_curves([]) is None


def test_a_training_of_one_epoch_is_drawn():
    figure = loss_curves([("tnt heavy/fold 0", {"loss": [0.7]})])

    assert figure.axes[0].lines[0].get_marker() == "."


def test_every_network_of_a_training_is_drawn():
    networks = {"networks": [{"loss": [0.7, 0.6]}, {"loss": [0.8, 0.5]}]}
    figure = loss_curves([("autoencoder heavy/fold 0", networks)])

    assert [list(line.get_ydata()) for line in figure.axes[0].lines[:2]] == [[0.7, 0.6], [0.8, 0.5]]


def test_labels_of_one_working_point_in_two_sets_do_not_overlap(contents):
    evaluation = contents.views.evaluation
    one = evaluation.sets["tnt"]
    figure = significance_improvement(replace(evaluation, sets={"a": one, "b": one}))

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    points = len(boxes) // 2
    assert points == len([p for p in one.working_points if p.improvement is not None])
    for first, second in zip(boxes[:points], boxes[points:], strict=True):
        assert not first.overlaps(second)


def test_training_runs_have_the_colour_of_the_fold_that_they_score():
    runs = [(f"tnt heavy/{fold}-{i}", {"loss": [0.7, 0.5]}) for fold in (0, 1) for i in (0, 1)]
    figure = loss_curves(runs)
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert key[:2] == ["scores fold 0", "scores fold 1"]
    colours = [line.get_color() for line in figure.axes[0].lines[:4]]
    assert colours[0] == colours[1] != colours[2] == colours[3]


def test_a_spectrum_ends_behind_its_last_event_and_has_no_pull_of_nothing(search):
    channel = search.result.before.channels[0]
    edges = np.array(channel.edges)
    cut = tuple(float(n) for n in np.where(edges[:-1] < 4200, channel.observed, 0.0))
    result = replace(search.result.before, channels=(replace(channel, observed=cut),))
    figure = mass_spectrum(result, (3300, 3700))
    assert 4200 < figure.axes[0].get_xlim()[1] < 4600
    (bars,) = (patch for patch in figure.axes[1].patches if hasattr(patch, "get_data"))
    nothing = (np.array(cut) == 0) & (np.array(channel.background) < 1)
    assert nothing.any()
    assert not bars.get_data().values[nothing].any()
    assert mass_spectrum(search.result.before, (3300, 3700)).axes[0].get_xlim()[1] > 4600


def test_panels_that_share_an_axis_share_its_scale(search):
    few, many = (replace(search.result.before.channels[0], name=name) for name in ("few", "many"))
    few = replace(few, observed=tuple(n / 100 for n in few.observed))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        figure = channel_spectra(replace(search.result.before, channels=(many, few)), (3300, 3700))
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}


def test_an_experiments_label_is_written_over_every_kind_of_figure(search):
    for draw in (mass_spectrum, channel_spectra):
        figure = draw(search.result.before, (3300, 3700), "A title")
        stamp(figure, "CMS, 138 fb⁻¹ (13 TeV)")
        assert "138 fb⁻¹" in figure.get_suptitle()
        assert draw is mass_spectrum or "A title" in figure.get_suptitle()
    bare = mass_spectrum(search.result.before, (3300, 3700))
    stamp(bare, "")
    assert bare.get_suptitle() == ""


def test_sculpting_is_seen_without_truth_and_only_where_it_is(search):
    rng = np.random.default_rng(1)
    sample, points = search.sample, search.points["tnt"]
    flat = search.hists["tnt"]
    shape = sideband_shape(flat, points[0.1], (3300, 3700), (2600, 7000))
    assert all(high <= 3300 or low >= 3700 for low, high in shape.edges)
    assert shape.p_value > 1e-3
    outside = ~search.window.contains(sample.mass) & search.fit_range.contains(sample.mass)
    assert sum(shape.before) == outside.sum()
    ranks = search.ranks["tnt"]
    kept = points[0.1].passes(ranks.fold, ranks.heavy, ranks.light)
    assert sum(shape.after) == (outside & kept).sum()
    slope = np.argsort(np.argsort(sample.mass + rng.normal(0, 300, len(sample)))) / len(sample)
    sculpted = flat.copy().reset()
    sculpted.fill("data", ranks.fold, sample.m_jj, slope, slope)
    assert sideband_shape(sculpted, points[0.1], (3300, 3700), (2600, 7000)).p_value < 1e-10
    assert sideband_shape(flat.copy().reset(), points[0.1], (3300, 3700), (2600, 7000)) is None


def test_empty_spectrum_is_drawn(search):
    channel = search.result.before.channels[0]
    empty = replace(channel, observed=tuple(0.0 for _ in channel.observed))
    figure = mass_spectrum(replace(search.result.before, channels=(empty,)), (3300, 3700))

    figure.savefig(io.BytesIO())
    assert len(figure.axes) == 2
