"""Counts in windows in tables and plots of a report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.reporting.plots import all_plots
from tnt_coffea.reporting.search_comparison import ComparedSearch, search_comparison
from tnt_coffea.reporting.summary import summary
from tnt_coffea.reporting.window_figures import window_p_values
from tnt_coffea.reporting.wording import cautions
from tnt_coffea.stats import (
    FitRefusal,
    SpectrumFit,
    WindowTest,
    WindowTests,
    inclusive_spectrum,
    masked_window_test,
    selected_spectrum,
)

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


@pytest.fixture(scope="module")
def with_windows(contents):
    fit = SpectrumFit(contents.config.search.fit_range.edges, bin_width=80.0)
    histogram, points = contents.hists["tnt"], contents.points["tnt"]

    def test(window, selection):
        spectrum = inclusive_spectrum(histogram)
        if selection is not None:
            spectrum = selected_spectrum(histogram, points[selection], per_fold=False)["all"]
        found = masked_window_test(spectrum, window=window, fit=fit)
        return WindowTest(f"tnt-{window[0]:g}", selection, found)

    windows = ((3080.0, 3400.0), (3240.0, 3800.0))
    tests = WindowTests(tuple(test(w, s) for w in windows for s in (None, 0.3, 0.03)))
    refused = FitRefusal("window test", "tnt-3080 0.01", "too few bins hold events")
    result = replace(contents.result, after={}, abcd={}, window={"tnt": tests}, refusals=(refused,))
    return replace(contents, result=result)


def plots_of(contents):
    return {plot.name: plot for plot, _ in zip(all_plots(contents), range(3), strict=False)}


def test_plots_show_p_values_by_window_and_spectra_by_selection(with_windows):
    plots = plots_of(with_windows)
    assert list(plots) == ["spectrum-before", "window-p-values-tnt", "window-spectra-tnt"]
    tests = with_windows.result.window["tnt"]
    p_values = plots["window-p-values-tnt"]
    assert "6 tests of overlapping windows" in p_values.caption
    lines = {line.get_label(): line for line in p_values.figure.axes[0].lines}
    assert lines["3 %"].get_xdata().tolist() == [3240.0, 3520.0]
    assert lines["3 %"].get_ydata().tolist() == [t.result.p_poisson for t in tests.of(0.03)]
    assert lines["all dijets"].get_linestyle() == "--"
    assert len(p_values.columns["expected"]) == 6
    spectra = plots["window-spectra-tnt"]
    # Those of the window with the smallest p-value of all.
    assert set(spectra.columns["taggers"]) == {"tnt-3240"}
    labels = spectra.figure.axes[0].get_legend_handles_labels()[1]
    assert [label.split(":")[0] for label in labels] == ["all dijets", "30 %", "3 %"]
    assert spectra.figure.axes[0].get_ylabel() == "events / 80 GeV"


def test_one_window_has_no_plot_over_the_mass(with_windows):
    tests = with_windows.result.window["tnt"]
    one = replace(tests, tests=tests.tests[:3])
    result = replace(with_windows.result, window={"tnt": one})
    plots = plots_of(replace(with_windows, result=result))
    assert "window-spectra-tnt" in plots
    assert "window-p-values-tnt" not in plots


def test_a_window_without_a_test_is_a_gap(with_windows):
    tests = with_windows.result.window["tnt"]
    fewer = replace(tests, tests=tests.tests[:-1])
    lines = {line.get_label(): line for line in window_p_values(fewer).axes[0].lines}
    assert np.isnan(lines["3 %"].get_ydata()).tolist() == [False, True]
    assert lines["30 %"].get_xdata().tolist() == [3240.0, 3520.0]


def test_rows_and_doubts(with_windows):
    result = with_windows.result
    table = summary(result, with_windows.config)
    rows = [row for row in table.rows if row.test == "window test"]
    assert [(row.selection, row.kept) for row in rows[:3]] == [
        ("none", "100 %"),
        ("tnt-3240", "30 %"),
        ("tnt-3240", "3 %"),
    ]
    best = result.window["tnt"].best(0.03)
    assert rows[2].z == f"{best.z:.2f}"
    note = table.notes[rows[2].notes[0] - 1]
    assert "the p-value is local, the smallest of 2 windows'" in note
    assert rows[3].calibration == "refused"
    text = " ".join(cautions(result, {}))
    assert "The window test with tnt-3080 0.01 was refused: too few bins hold events." in text
    tests = result.window["tnt"].tests
    wrong = replace(tests[0], result=replace(tests[0].result, converged=False))
    doubtful = replace(result, window={"tnt": WindowTests((wrong, *tests[1:]))})
    assert "A fit beside the windows of tnt did not converge" in " ".join(cautions(doubtful, {}))


def test_a_comparison_has_a_row_for_every_selection(with_windows):
    one = ComparedSearch("one", with_windows.config, with_windows.result, None, {})
    pairs = search_comparison(one, one).tests
    shown = {(p.test, p.taggers): p.first["Z"] for p in pairs if p.first["p"] != "-"}
    tests = with_windows.result.window["tnt"]
    assert shown["window test, 30 %", "tnt-3240"] == f"{tests.best(0.3).z:.2f}"
    assert shown["window test, 3 %", "tnt-3240"] == f"{tests.best(0.03).z:.2f}"
