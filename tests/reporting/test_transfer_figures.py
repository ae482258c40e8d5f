"""A transfer factor in tables and plots of a report."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tnt_coffea.reporting.plots import all_plots
from tnt_coffea.reporting.summary import summary
from tnt_coffea.reporting.wording import cautions
from tnt_coffea.results import SearchResult
from tnt_coffea.stats import SpectrumFit, TransferRefusal, transfer_in_search

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


@pytest.fixture(scope="module")
def with_transfer(contents):
    point = contents.points["tnt"][contents.config.fit.transfer_selection]
    fit = SpectrumFit(contents.config.search.fit_range.edges, bin_width=80.0)
    found = transfer_in_search(
        contents.hists["tnt"], point, mass=3500, width=120, fit=fit, order=1, toys=0, limit_toys=0
    )
    refused = TransferRefusal("3 events pass beside the signal")
    result = replace(contents.result, after={}, abcd={}, transfer={"tnt": found, "bare": refused})
    return replace(contents, result=result)


def test_the_plot_shows_what_passes_and_the_ratio(with_transfer):
    stems = []
    for plot in all_plots(with_transfer):
        stems.append(plot.name)
        if plot.name == "transfer-tnt":
            break
    assert stems == ["spectrum-before", "transfer-tnt"]
    main, low = plot.figure.axes
    assert "fail, times the polynomial" in main.get_legend_handles_labels()[1]
    assert low.get_ylabel() == "pass / fail"
    columns = plot.columns
    found = with_transfer.result.transfer["tnt"]
    assert sum(columns["pass"]) == sum(found.spectrum.passed)


def test_a_band_without_the_coefficients_at_their_bound_says_so(with_transfer):
    found = with_transfer.result.transfer["tnt"]
    for at_bound in ((), (0, 1)):
        spectrum = replace(found.spectrum, at_bound=at_bound)
        one = replace(found, p_is_bound=True, spectrum=spectrum)
        result = replace(with_transfer.result, transfer={"tnt": one})
        plots = all_plots(replace(with_transfer, result=result))
        plot = next(plot for plot in plots if plot.name == "transfer-tnt")
        legend = plot.figure.axes[0].get_legend().get_title().get_text()
        assert ("too narrow" in plot.caption) == bool(at_bound)
        assert ("band too narrow: coefficients 0, 1 at their bound" in legend) == bool(at_bound)
        assert " or more, p = at most " in legend


def test_rows_limits_and_doubts(with_transfer):
    result = with_transfer.result
    found = result.transfer["tnt"]
    table = summary(result, with_transfer.config)
    rows = {row.selection: row for row in table.rows if row.test == "transfer factor"}
    assert rows["tnt"].z == f"{found.z:.2f}"
    assert rows["bare"].calibration == "refused"
    assert any("3 events pass beside the signal" in note for note in table.notes)
    assert [row.selection for row in table.limits if "transfer" in row.selection] == [
        "tnt, transfer"
    ]
    assert "limit, transfer factor with tnt" in repr(result)
    wrong = replace(result, transfer={"tnt": replace(found, converged=False)})
    assert "The transfer factor with tnt did not pass" in " ".join(cautions(wrong, {}))
    assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
