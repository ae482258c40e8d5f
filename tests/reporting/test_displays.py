"""What objects show at a prompt and in a notebook."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import hist
import pytest

import tnt_coffea as tnt
from tnt_coffea import taggers
from tnt_coffea.accounting import Accounting
from tnt_coffea.chain import Outcome
from tnt_coffea.config import MassRange
from tnt_coffea.displays import brief, html_table
from tnt_coffea.errors import ArgumentError, ConfigError
from tnt_coffea.products import Histograms, Skim, Taggers
from tnt_coffea.reporting import wide_console
from tnt_coffea.reporting.terminal import plain_table


class Cells(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.words = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def shown(search, contents):
    config = tnt.SearchConfig.from_text("{seed: 3, search: {cuts: {a: {heavy: 1, light: 0.1}}}}")
    lost = Accounting(10, 4, {"two_jets": 1}, {"x.h5": (5, "broken")})
    return {
        "config": config,
        "skim": Skim({}, {}, 0, {"a<b>": lost}),
        "taggers": Taggers.load(taggers.packaged_taggers()["rnd-3500"]),
        "histograms": Histograms(search.hists, search.points, Accounting(10, 10), {}),
        "result": search.result,
        "hunt": search.result.before,
        "channel": search.result.before.channels[0],
        "abcd": search.result.abcd["tnt"],
        "evaluation": contents.views.evaluation,
        "outcome": Outcome(search.result, contents.views.evaluation, Path("x/report.html"), {}),
    }


def test_everything_shows_itself_in_a_few_lines_and_a_small_table(shown, search):
    for name, thing in shown.items():
        assert len(repr(thing)) < 1500, name
        assert len(repr(thing).splitlines()) < 25, name
        visible = thing._repr_html_().partition("<details>")[0]
        assert len(visible) < 8000, name
        assert type(thing).__name__ in Cells(thing._repr_html_()).words
    result = repr(shown["result"])
    for test in (search.result.before, *search.result.after.values()):
        assert f"Z = {test.z:.2f}" in result
    assert "5 lost to bad files" in repr(shown["skim"])
    assert "a&lt;b&gt;" in shown["skim"]._repr_html_()
    assert len(shown["skim"]) == 4
    assert "tnt: 16 taggers for 2 folds" in repr(shown["taggers"])


def test_settings_show_what_differs_from_the_defaults(shown):
    config = shown["config"]
    assert config.changed() == {
        "seed": 3,
        "search.cuts.a.heavy": 1.0,
        "search.cuts.a.light": 0.1,
    }
    assert repr(tnt.SearchConfig()) == "SearchConfig()"
    assert repr(MassRange(low=3300, high=3700)) == "MassRange(low=3300.0, high=3700.0)"
    table, _, every = config._repr_html_().partition("<details>")
    assert "search.cuts.a.light" in table
    assert "bin_width" not in table
    assert "bin_width" in every


def test_text_in_a_table_is_escaped():
    assert "<script>" not in html_table("<script>", {"<script>": "<script>"}, "<script>")
    assert len(brief("x" * 500)) < 70
    assert brief(list(range(7))) == "7 values"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: tnt.fit(hist.Hist.new.Reg(3, 0, 1).Weight(), c), "tnt_coffea.stats.bump_hunt"),
        (lambda c: tnt.skim("box1.h5", c), "Fileset.from_paths"),
        (lambda c: tnt.train("box1.h5", c), "Skim.load"),
        (lambda c: tnt.score("box1.h5", tnt.Taggers({}, {}), c), "Fileset.from_paths"),
        (lambda c: tnt.efficiency("box1.h5", tnt.Taggers({}, {}), c), "Fileset.from_paths"),
        (lambda c: tnt.search("box1.h5", Taggers({}, {}), c), "expected a Skim or a Sample or"),
        (lambda c: tnt.generate({"seed": 1}), "a dict, expected a SearchConfig"),
        (lambda c: tnt.generate(c, resources=4), "resources is a int, expected a Resources"),
        (lambda c: tnt.report(1, "x.html", c, 2), "result is a int, expected a SearchResult"),
    ],
)
def test_a_wrong_argument_is_named_with_what_was_expected(tmp_path, monkeypatch, call, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="expected") as caught:
        call(tnt.SearchConfig())
    assert words in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ConfigError)
    assert list(tmp_path.iterdir()) == []


def test_text_is_whole_in_a_pipe_and_as_wide_as_a_terminal(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    path = "a/long/path/" * 30
    table = plain_table("Files", ("file",))
    table.add_row(path)
    wide_console().print(table)
    assert path in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "60")
    wide_console().print(table)
    assert path not in capsys.readouterr().out
