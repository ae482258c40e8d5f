from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from tnt_coffea.accounting import Accounting
from tnt_coffea.config import DataSettings, ReportSettings, SearchConfig
from tnt_coffea.errors import ExecutionError
from tnt_coffea.reporting import (
    EventViews,
    SearchedFiles,
    event_views,
    headline,
    results_table,
    write_report,
)
from tnt_coffea.reporting.tables import fitted_rows
from tnt_coffea.reporting.wording import (
    cautions,
    coverage,
    duration,
    gain,
    odds,
    p_text,
    plot_label,
    title,
)
from tnt_coffea.stats import AbcdRefusal


class Page(HTMLParser):
    """Collects text, attributes that load something, and open elements."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.words, self.open = [], [], []
        self.images, self.headings, self.ids, self.root = [], [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.loaded += [v for k, v in attrs if k in ("src", "href", "srcset", "data")]
        self.ids += [v for k, v in attrs if k == "id"]
        if tag == "img":
            self.images.append(dict(attrs))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "html":
            self.root = dict(attrs)
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def report(contents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return write_report(folder / "report.html", contents)


def plot_names(report):
    return {path.stem for path in report[1:]}


@pytest.fixture(scope="module")
def bare(contents):
    """The same search without anything that is drawn slowly."""
    return replace(
        contents,
        result=replace(contents.result, after={}, abcd={}),
        hists={},
        views=EventViews(),
        histories=(),
    )


def test_the_page_is_whole_and_loads_nothing(report):
    text = report[0].read_text()
    page = Page(text)

    assert page.open == []
    beside = {f"plots/{path.name}" for path in report[1:]}
    assert {value for value in page.loaded if not value.startswith(("data:", "#"))} == beside
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert "@import" not in text
    assert "url(" not in text
    assert "<script" not in text


def test_the_page_says_what_the_taggers_used(report, contents):
    text = report[0].read_text()
    cells = re.findall(r'data-label="simulation used">([^<]*)<', text)
    # All dijets, the tests of the set; in the evaluation both sets.
    assert cells == ["-", "signal simulation", "signal simulation", "none", "signal simulation"]
    assert text.count("tnt (signal simulation)") >= 2
    assert "Simulated signals trained tnt" in text
    assert "model-independent" not in text
    best = contents.views.evaluation.sets["tnt"].max_sic
    assert f"{best.value:.2f} ± {best.uncertainty:.2f}" in text


def test_the_page_can_be_read_aloud_and_followed(report):
    page = Page(report[0].read_text())

    assert page.root["lang"] == "en"
    assert len(page.images) == len(plot_names(report))
    for image in page.images:
        assert len(image["alt"]) > 40
        assert int(image["width"]) > 0
        assert int(image["height"]) > 0
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert max(np.diff(page.headings)) == 1
    assert len(page.ids) == len(set(page.ids))
    targets = {value[1:] for value in page.loaded if value.startswith("#")}
    assert targets <= set(page.ids)


def contrast(first, second):
    """The contrast of two colours as WCAG 2.2 defines it."""

    def luminance(colour):
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_text_stands_out_from_its_background(report):
    text = report[0].read_text()
    found = re.findall(r"--(\w+): (#[0-9a-f]{6})", text)
    light, dark = dict(found[:8]), dict(found[8:])
    assert set(light) == set(dark)
    assert "(prefers-color-scheme: dark)" in text

    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for colours in (light, dark):
        for name in ("ink", "soft", "accent", "warn"):
            for background in ("page", "band", "alarm"):
                assert contrast(colours[name], colours[background]) >= 4.5, (name, background)


def test_phones_and_printers_have_rules_of_their_own(report):
    text = report[0].read_text()

    assert 'name="viewport" content="width=device-width' in text
    assert "@media (max-width" in text
    assert "@media print" in text
    assert re.search(r"figure img \{[^}]*max-width: 100%", text)


def test_the_events_of_the_picture_are_in_the_table(report, contents):
    words = Page(report[0].read_text()).words

    ids = [word for word in words if re.fullmatch("[0-9a-f]{16}", word)]
    assert ids == [event.event_id for event in contents.views.events]
    first = contents.views.events[0]
    assert f"{first.m_jj:.0f}" in words
    masses = [jet.observables["mass"] for jet in first.jets.values()]
    assert f"{masses[0]:.0f} / {masses[1]:.0f}" in words


def test_the_page_says_what_the_p_values_leave_out(report, search):
    words = " ".join(Page(report[0].read_text()).words)

    notes = coverage(search.result, search.config)
    assert len(notes) == 5
    assert odds(search.result.before.p_value) in notes[0]
    for word in ("not the chance that there is no signal", "Look-elsewhere", "train anew"):
        assert word in words
    toys = replace(search.result.before, calibration="toys")
    calibrated = coverage(replace(search.result, before=toys, after={}), search.config)
    assert len(calibrated) == 3
    assert not any("Asymptotic" in note for note in calibrated)


@pytest.mark.parametrize(
    ("p_value", "words"),
    [
        (0.5, "about 5 in 10"),
        (0.0123, "about 1 in 81"),
        (1.8e-7, "about 1 in 5.6 million"),
        (2.9e-10, "about 1 in 3.4 billion"),
        (1e-300, "less than 1 in a trillion"),
        (0.0, "less than 1 in a trillion"),
    ],
)
def test_odds_in_words(p_value, words):
    assert odds(p_value) == words


def test_every_plot_is_beside_the_page_in_three_forms(report, contents):
    names = plot_names(report)

    assert names >= {"spectrum-before", "spectrum-after-tnt", "losses", "roc"}
    for name in names:
        folder = report[0].parent / "plots"
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert json.loads((folder / f"{name}.json").read_text())
    with (folder / "spectrum-before.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    channel = contents.result.before.channels[0]
    assert [float(row["observed"]) for row in rows] == list(channel.observed)
    assert [float(row["high [GeV]"]) for row in rows] == list(channel.edges[1:])


def test_every_p_value_and_every_note_is_on_the_page(report, contents):
    words = " ".join(Page(report[0].read_text()).words)

    result = contents.result
    for test in (result.before, *result.after.values(), *result.abcd.values()):
        if isinstance(test, AbcdRefusal):
            assert test.reason in words
            continue
        assert p_text(test.p_value) in words
        assert f"{test.z:.2f}" in words
        for note in test.notes:
            assert note in words


def test_truth_is_marked_and_left_out_where_there_is_none(report, bare, tmp_path):
    with_truth = " ".join(Page(report[0].read_text()).words)
    (path, *_) = write_report(tmp_path / "report.html", bare)
    without = " ".join(Page(path.read_text()).words)

    assert "uses the truth" in with_truth
    assert "uses the truth" not in without
    assert "the events carry no truth" in without


@pytest.mark.slow
def test_permuted_labels_change_the_evaluation_and_nothing_else(search, contents, tmp_path, report):
    label = np.random.default_rng(0).permutation(search.sample.label)
    shuffled = event_views(
        replace(search.sample, label=label),
        search.ranks,
        search.points,
        search.config.search,
    )
    (path, *plots) = write_report(tmp_path / "report.html", replace(contents, views=shuffled))

    assert shuffled.evaluation.sets["tnt"].rocs["both"].auc == pytest.approx(0.5, abs=0.08)
    changed = {
        plot.name
        for plot in plots
        if plot.read_bytes() != (report[0].parent / "plots" / plot.name).read_bytes()
    }
    section = re.compile(r'<section class="truth" id="evaluation">.*?</section>', re.DOTALL)
    page = report[0].read_text()
    stems = re.findall(r'<figure id="([\w-]+)">', section.search(page)[0])
    assert {"roc", "improvement", "jet-shapes-truth"} <= set(stems)
    assert changed == {f"{name}.{kind}" for name in stems for kind in ("png", "pdf", "json")}
    assert section.sub("", path.read_text()) == section.sub("", page)


def test_accounts_names_and_settings_are_on_the_page_escaped(report, contents):
    text = report[0].read_text()

    assert "data: &lt;bad&gt;.h5, entries 0-50" in text
    assert "truncated &amp; unreadable" in text
    assert "<bad>" not in text
    words = " ".join(Page(text).words)
    assert contents.config.to_yaml().splitlines()[0] in words
    assert "50 of 6,300 events were lost" in words
    assert "3 dijets have the id of an earlier one" in words
    assert "3 min 20 s" in words
    assert "ab" * 32 in words


def test_an_account_that_does_not_balance_is_refused(bare, tmp_path):
    wrong = {"skim": {"events": 10, "selected": 5, "rejected": {}, "lost": {}}}

    with pytest.raises(ExecutionError, match="unaccounted"):
        write_report(tmp_path / "report.html", replace(bare, accounting=wrong))


def test_the_headline_says_what_came_out_and_how_far_to_trust_it(search):
    first, second, third = headline(search.result, search.config)

    assert p_text(search.result.before.p_value) in first
    for test in search.result.after.values():
        assert p_text(test.p_value) in second
    assert "has not been calibrated with background-only searches" in third
    single = {"tnt": search.result.before}
    (_, _, third) = headline(replace(search.result, after=single), search.config)
    assert "background-only searches" not in third


@pytest.mark.parametrize(
    ("p_value", "words"),
    [
        (0.5, "background alone explains the data"),
        (0.01, "a mild excess"),
        (1e-4, "beyond three"),
        (1e-8, "beyond five"),
    ],
)
def test_the_verdict_goes_by_the_p_value(search, p_value, words):
    before = replace(search.result.before, p_value=p_value)
    (first, *_) = headline(replace(search.result, before=before), search.config)

    assert words in first


def test_an_excess_that_the_selection_lost_is_said(search):
    lost = {"tnt": replace(search.result.before, p_value=0.03, z=1.9)}
    before = replace(search.result.before, p_value=9e-6, z=4.28)
    (_, second, _) = headline(replace(search.result, before=before, after=lost), search.config)
    assert "a mild excess" not in second
    assert "All dijets show the larger excess (Z = 4.28)" in second
    found = {"tnt": before}
    enriched = replace(search.result, before=replace(before, p_value=0.01), after=found)
    assert "larger excess" not in headline(enriched, search.config)[1]


def test_the_head_says_what_was_searched(bare, tmp_path):
    report_settings = ReportSettings(experiment="CMS", label="Preliminary")
    run_3 = DataSettings(sqrt_s=13.6, luminosity=138)
    files = [
        SearchedFiles("data", "data", ("<box>.h5",), 12_345_678, "ab" * 32),
        SearchedFiles("mc", "simulation", tuple(f"{i}.h5" for i in range(9)), None, "cd" * 32),
    ]
    config = bare.config.model_copy(update={"report": report_settings, "data": run_3})
    shown = replace(bare, config=config, files=files, date="2026-01-01 10:00 UTC", generated=True)
    (path, *_) = write_report(tmp_path / "report.html", shown)
    text = path.read_text()
    for words in (
        "<h1>Dijet search</h1>",
        "&lt;box&gt;.h5 (12.3 MB, SHA-256 abababababab",
        "simulation, for training only",
        "5.h5 and 3 more (size unknown, 9 files, SHA-256 cdcdcdcdcdcd",
        "6,200 dijets of 6,300 events read",
        "CMS Preliminary",
        "13.6 TeV",
        "138 fb⁻¹",
        "signal region 3300-3700 GeV, fit range 2600-7000 GeV",
        "2026-01-01 10:00 UTC",
    ):
        assert words in text, words
    assert plot_label(config, generated=True) == "CMS Preliminary, 138 fb⁻¹ (13.6 TeV)"
    assert plot_label(SearchConfig(), generated=True) == "Simulation (13 TeV)"
    assert plot_label(SearchConfig(), generated=False) == "(13 TeV)"
    assert title(SearchConfig(), ["tnt"]) == "Dijet search with tnt"
    named = SearchConfig.model_validate({"report": {"title": "A title"}})
    assert title(named, ["tnt"]) == "A title"


def test_the_fitted_signal_stands_beside_the_true_one(contents):
    evaluation = contents.views.evaluation
    rows = fitted_rows(contents.result, evaluation, 0.03)
    assert [row["spectrum"] for row in rows] == ["all dijets", "selected by tnt"]
    assert rows[0]["true signal"] == "120"
    (point,) = (p for p in evaluation.sets["tnt"].working_points if p.selection == 0.03)
    assert rows[1]["true signal"] == f"{point.signal_in_fit_range:.0f}"
    assert point.signal_after <= point.signal_in_fit_range <= 120
    before = replace(contents.result.before, mu_hat=20.0, mu_uncertainty=10.0)
    differs = gain(replace(contents.result, before=before), evaluation)
    assert "finds 20 ± 10 of 120 true signal events. These differ" in differs
    before = replace(before, mu_hat=115.0)
    assert "These differ" not in gain(replace(contents.result, before=before), evaluation)
    assert fitted_rows(contents.result, None, 0.03) == []


def test_cautions_name_bad_fits_and_lost_events(search):
    before = search.result.before
    channel = replace(before.channels[0], goodness_of_fit=1e-4)
    bad = replace(
        search.result, before=replace(before, converged=False, channels=(channel,)), after={}
    )
    lost = Accounting(10, 5, {}, {"data: x.h5, entries 0-5": (5, "broken")})

    found = " ".join(cautions(bad, {"skim": lost}))

    assert "did not pass its own checks" in found
    assert "p = 0.0001" in found
    assert "5 of 10 events were lost" in found
    good = replace(before, channels=(replace(channel, goodness_of_fit=0.4),))
    assert cautions(replace(search.result, before=good, after={}), {}) == []


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_the_terminal_and_hold_every_number(search, contents, width):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(
        results_table(
            search.result, contents.views.evaluation, contents.stage_seconds, search.config
        )
    )
    text = console.export_text()

    result = search.result
    for test in (result.before, *result.after.values(), *result.abcd.values()):
        if not isinstance(test, AbcdRefusal):
            assert p_text(test.p_value) in text
    for found in contents.views.evaluation.sets.values():
        for roc in (found.rocs[jet] for jet in ("heavy", "light", "both")):
            assert f"{roc.auc:.3f} ± {roc.auc_uncertainty:.3f}" in text
        for point in found.working_points:
            assert f"{point.improvement:.2f} ± {point.improvement_uncertainty:.2f}" in text
    assert "…" not in text
    assert "3 min 20 s" in text


def test_numbers_in_words():
    assert p_text(0.5) == "0.5"
    assert p_text(0.0001234) == "0.00012"
    assert p_text(2.13e-11) == "2.1 \N{MULTIPLICATION SIGN} 10⁻¹¹"
    assert [duration(s) for s in (4.21, 200, 3900)] == ["4.2 s", "3 min 20 s", "1 h 05 min"]
