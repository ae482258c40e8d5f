from __future__ import annotations

import io
import json
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from rich.console import Console

from tnt_coffea.reporting import EventViews, results_table, write_report
from tnt_coffea.reporting.mass_figures import brazil_band, impacts, local_p_values
from tnt_coffea.reporting.plots import all_plots
from tnt_coffea.reporting.summary import summary
from tnt_coffea.reporting.wording import cautions
from tnt_coffea.results import SearchResult
from tnt_coffea.stats import (
    ImpactRefusal,
    LimitRefusal,
    LimitResult,
    NuisanceImpact,
    ScanPoint,
    ScanResult,
    abcd,
    abcd_limit,
)

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


SIGMA = "\N{GREEK SMALL LETTER SIGMA}"


def limited(mass, **change):
    events = (3.1, 3.7, 4.6, 6.2, 8.1)
    limit = LimitResult(
        mass, 120.0, 0.95, 5.4, events, 0.5, None, 0.5, 2.0, 5.4, events, "toys", 300, True,
        "dijet", (),
    )  # fmt: skip
    return replace(limit, **change)


def scan_of(p_values, toys=100):
    points = tuple(
        ScanPoint("all", 3000.0 + 100 * i, 120.0, (3,), 1.0, p, 1.0, 1.0, True)
        for i, p in enumerate(p_values)
    )
    maxima = tuple(np.linspace(0.5, 3.0, toys).tolist())
    best = int(np.argmin(p_values))
    return ScanResult(points, best, 1.0, 0.2, 0.84, toys, 0, maxima, None, True, (), ())


def test_points_with_too_little_background_are_open_and_the_caption_says_why(contents):
    scan = scan_of([0.5, 0.01, 0.3])
    points = tuple(
        replace(point, background=events)
        for point, events in zip(scan.points, (99.0, 25.0, 4.0), strict=True)
    )
    scan = replace(scan, points=points)
    (hollow,) = [
        line
        for line in local_p_values({"before": scan}).axes[0].lines
        if line.get_markerfacecolor() == "white"
    ]
    assert hollow.get_xdata().tolist() == [3200.0]
    result = replace(contents.result, scans={"before": scan})
    alone = replace(contents, result=result, hists={}, views=EventViews(), histories=())
    plots = {plot.name: plot for plot in all_plots(alone)}
    assert plots["scan"].caption.startswith("Asymptotic p-value")
    assert "Open points: fewer than 25 background events" in plots["scan"].caption


def test_goodness_of_fit_that_no_toy_reaches_is_a_bound(contents):
    hunt = contents.result.before
    channel = replace(hunt.channels[0], goodness_of_fit=1 / 301, goodness_calibration="toys")
    bound = replace(hunt, channels=(channel,))
    assert "goodness of fit p = at most 0.00332 (toys)" in bound.summary()
    shown = replace(contents.result, before=bound)
    assert any("goodness of fit p ≤ 0.0033" in text for text in cautions(shown, {}))
    plain = replace(channel, goodness_calibration="asymptotic")
    assert "at most 0.00332" not in replace(hunt, channels=(plain,)).summary()


def test_scan_shows_every_p_value_and_both_kinds_of_sigma():
    figure = local_p_values({"before": scan_of([0.5, 0.01, 0.3]), "tnt": scan_of([0.4, 2e-5, 0.5])})
    axes = figure.axes[0]
    drawn = [line.get_ydata() for line in axes.lines if len(line.get_xdata()) == 3]
    np.testing.assert_allclose(drawn, [[0.5, 0.01, 0.3], [0.4, 2e-5, 0.5]])
    texts = [text.get_text() for text in axes.texts]
    assert f"4{SIGMA} local" in texts
    # 2 of 100 toys are too few for a line at 2 sigma.
    assert [text for text in texts if "global" in text] == [f"1{SIGMA} global"]
    assert axes.get_ylim()[0] < 2e-5
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    for text in axes.texts:
        if "local" in text.get_text():
            assert text.get_window_extent().x0 >= axes.get_window_extent().x1


def test_band_holds_limits_in_the_order_of_their_masses():
    limit = limited(3000.0)
    limits = [replace(limit, mass=mass) for mass in (4000.0, 3000.0, 3500.0)]
    axes = brazil_band(limits).axes[0]
    median, observed = axes.lines
    assert list(observed.get_xdata()) == [3000.0, 3500.0, 4000.0]
    assert observed.get_ydata()[0] == limit.observed_cross_section
    assert median.get_ydata()[0] == limit.expected_cross_section[2]
    assert "cross section" in axes.get_ylabel()
    events = brazil_band([replace(limits[0], observed_cross_section=None)]).axes[0]
    assert "events" in events.get_ylabel()


def test_largest_impact_stands_on_top():
    rows = [
        NuisanceImpact("small", 0.1, 1.0, 0.5, -0.5),
        NuisanceImpact("large", -3.0, 0.4, -8.0, 8.0, -9.0, 7.5),
    ]
    axes = impacts(rows).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["small", "large"]
    assert axes.get_xlim()[0] < -3.4


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("jet_energy_scale", "jet energy scale"),
        ("tagger_efficiency", "signal efficiency of the taggers"),
        ("signal_statistics", "simulated signal events"),
        ("trigger_efficiency_1", "trigger efficiency, direction 2"),
        ("phi_all_0", "background parameter 1"),
        ("phi_fold-1_2", "background parameter 3, fold 1"),
        ("lumi_13TeV", "lumi_13TeV"),
    ],
)
def test_impacts_are_named_in_words(name, words):
    axes = impacts([NuisanceImpact(name, 0.1, 1.0, 0.5, -0.5)]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [words]


def test_report_shows_a_scan_where_there_is_one(contents, tmp_path):
    scans = {"before": scan_of([0.5, 0.01, 0.3]), "tnt": scan_of([0.4, 2e-5, 0.5])}
    with_scan = replace(contents, result=replace(contents.result, scans=scans), hists={})
    plots = {plot.name: plot for plot in all_plots(replace(with_scan, views=EventViews()))}
    assert "tnt at 3100 GeV" in plots["scan"].alt
    assert json.loads(plots["scan"].save(tmp_path)[2].read_text())["tnt"]["best"] == 1
    without = all_plots(replace(contents, hists={}, views=EventViews()))
    assert "scan" not in {plot.name for plot in without}


def test_report_shows_limits_over_the_masses_of_a_scan(contents, tmp_path):
    band = tuple(limited(mass) for mass in (3000.0, 3100.0))
    result = replace(
        contents.result,
        scans={"tnt": scan_of([0.4, 2e-5, 0.5])},
        limit_bands={"tnt": band, "before": band[:1]},
    )
    shown = replace(contents, result=result, hists={}, views=EventViews())
    plots = {plot.name: plot for plot in all_plots(shown)}
    assert "limits-before" not in plots  # one mass is no band
    assert "3000 to 3100 GeV" in plots["limits-tnt"].alt
    assert "1 masses of the scan" in plots["limits-tnt"].caption
    saved = json.loads(plots["limits-tnt"].save(tmp_path)[2].read_text())
    assert [limit["observed"] for limit in saved] == [limit.observed for limit in band]


def test_report_shows_impacts_where_the_signal_is_uncertain(contents):
    rows = (
        NuisanceImpact("signal_width", 0.1, 0.9, 5.0, -4.0, 6.0, -5.0),
        NuisanceImpact("phi_all_0", 0.2, 1.0, -1.0, 1.0),
    )
    result = replace(contents.result, impacts={"tnt": rows})
    shown = replace(contents, result=result, hists={}, views=EventViews())
    plots = {plot.name: plot for plot in all_plots(shown)}
    assert "the mass resolution of the signal, +5.0 and -4.0 events" in plots["impacts-tnt"].alt
    assert json.loads(json.dumps(plots["impacts-tnt"].data))[0]["name"] == "signal_width"
    assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


@pytest.mark.slow
def test_refused_impacts_are_a_note_in_the_terminal_and_on_the_page(contents, tmp_path):
    refusals = {"before": ImpactRefusal("no minimum"), "tnt": ImpactRefusal("too few events")}
    result = replace(contents.result, impacts=refusals)
    shown = replace(contents, result=result, hists={}, views=EventViews(), histories=())
    page = unescape(write_report(tmp_path / "report.html", shown)[0].read_text())
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(results_table(result))
    text = console.export_text()
    for note in (
        "no impacts on the signal, none: no minimum",
        f"no impacts on the signal, {'tnt'}: too few events",
    ):
        assert note in text
        assert note in page
    found = summary(result)
    rows = {row.selection: row for row in found.rows if row.test == "bump hunt"}
    for selection, reason in (("none", "no minimum"), ("tnt", "too few events")):
        own = [found.notes[number - 1] for number in rows[selection].notes]
        assert [note for note in own if "impacts" in note] == [
            f"no impacts on the signal, {selection}: {reason}"
        ]
    assert not [plot for plot in all_plots(shown) if plot.name.startswith("impacts")]


def test_numbers_that_did_not_converge_say_so_in_the_terminal_and_on_the_page(contents, tmp_path):
    limit = limited(3500.0, converged=False, observed=7.3)
    hunt = replace(contents.result.before, z=1.23, converged=False)
    result = replace(contents.result, before=hunt, after={}, abcd={}, limits={"before": limit})
    assert repr(result).count("not converged") == 2
    page = write_report(
        tmp_path / "report.html",
        replace(contents, result=result, hists={}, views=EventViews(), histories=()),
    )[0].read_text()
    assert "7.3, not converged" in page
    assert "1.23, not converged" in page
    assert "The upper limit on all dijets is not converged" in page
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(results_table(result))
    text = console.export_text()
    assert text.count("converged") == 3  # the limit in events and in fb, and the bump hunt
    assert "…" not in text
    console.print(results_table(replace(contents.result, limits={"before": limited(3500.0)})))
    assert "converged" not in console.export_text()


def test_limits_are_in_the_terminal_and_on_the_page(contents, tmp_path):
    limits = {
        "before": limited(3500.0, observed_cross_section=None, notes=("a note",)),
        "tnt": limited(3500.0),
        "autoencoder": LimitRefusal("CLs stays above 0.05"),
    }
    result = replace(contents.result, after={}, abcd={}, limits=limits)
    page = write_report(
        tmp_path / "report.html",
        replace(contents, result=result, hists={}, views=EventViews(), histories=()),
    )[0].read_text()
    tnt = limits["tnt"]
    for width in (80, 120):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(results_table(result))
        text = console.export_text()
        for words in (f"{tnt.observed:.3g}", f"{tnt.observed_cross_section:.3g}", "refused", "fb"):
            assert words in text
            assert words in page
        for note in ("limit, none: a note", "limit, autoencoder: CLs stays above 0.05"):
            assert note in text
            assert note in page
        assert "…" not in text
    assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_limits_of_abcd_stand_in_the_table_and_are_doubted_where_they_did_not_converge(contents):
    limit = abcd_limit(6, 100, 100, 10_000, toys=100)
    estimate = replace(abcd(6, 100, 100, 10_000), limit=replace(limit, converged=False))
    result = replace(contents.result, abcd={"tnt": estimate, "bare": abcd(6, 100, 100, 10_000)})
    rows = [row for row in summary(result).limits if "ABCD" in row.selection]
    assert [(row.selection, row.unit, row.calibration) for row in rows] == [
        ("tnt, ABCD", "events", "100 toys")
    ]
    assert rows[0].observed == f"{limit.observed:.3g}, not converged"
    assert f"{limit.observed:.4g} events" in repr(result)
    assert "The upper limit of ABCD with tnt is not converged" in " ".join(cautions(result, {}))
    assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))).abcd == result.abcd
