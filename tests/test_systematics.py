"""Systematic uncertainties from settings to results, with signals that a search read."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import hist
import numpy as np
import pytest
from click.testing import CliRunner

import tnt_coffea as tnt
from tnt_coffea import SearchConfig, Skim, histogram_fits, pipeline, stats, testing
from tnt_coffea.cli import main
from tnt_coffea.config import SystematicsSettings
from tnt_coffea.errors import ConfigError, FitError
from tnt_coffea.fit_files import write_workspace
from tnt_coffea.histogram_counts import fit_abcd, fit_transfer
from tnt_coffea.histogram_fits import StoredHistogram
from tnt_coffea.pipeline import (
    blinding,
    count_systematics,
    norm_systematics,
    search_fit,
    spectrum_fit,
)
from tnt_coffea.stats.bias_study import _Fitted
from tnt_coffea.stats.blinding import prepared
from tnt_coffea.stats.signals import gaussian

SETTINGS = """
train: {methods: {mass: {kind: feature}}}
data: {luminosity: 100}
search: {efficiencies: [0.3]}
fit:
  bump: {efficiency: 0.3, bin_width: 200, max_parameters: 3, width: 150, spurious: false}
  signal: {names: [m3500], cross_section: 2.0}
  systematics: {luminosity: 0.016, trigger: [-0.05, 0.02]}
  tagger_efficiency: {scale_factor: 0.9, uncertainty: 0.1}
  abcd: {efficiency: 0.3}
  transfer: {enabled: true, efficiency: 0.3}
"""


def test_settings_left_out_are_not_part_of_a_digest():
    plain = SearchConfig()
    assert not {"systematics", "signal", "tagger_efficiency"} & set(
        plain.model_dump(mode="json")["fit"]
    )
    assert "signal" not in plain.to_yaml().partition("\nfit:")[2].partition("bump:")[0]
    config = SearchConfig.from_text(SETTINGS)
    assert SearchConfig.from_text(json.dumps(config.model_dump(mode="json"))) == config
    assert norm_systematics(config) == {
        "luminosity": 0.016,
        "trigger": (-0.05, 0.02),
        "tagger_efficiency": 0.1,
    }
    # Taggers did not select all dijets.
    assert "tagger_efficiency" not in norm_systematics(config, selected=False)
    assert spectrum_fit(plain).systematics is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fit: {systematics: {luminosity: -0.1}}", "greater than or equal to 0"),
        ("fit: {systematics: {luminosity: [-1.0, 0.1]}}", "greater than -1"),
        ("fit: {signal: {names: [a], file: b.json}}", "either names of signals or a file"),
        ("fit: {signal: {}}", "either names of signals or a file"),
        ("fit:\n  signal: {names: [a, b, a]}", r"settings:2: fit\.signal: names has a twice"),
        ("seed: 1\nfit:\n  signal: {names: [a]}", "settings:3: fit.signal.names are scaled to"),
        ("fit:\n  systematics: {mu: 0.1}", "settings:2: .*'mu' is the name of another parameter"),
        ("fit: {systematics: {signal_statistics: 0.1}}", "the name of another parameter"),
        ("fit: {systematics: {tagger_efficiency: 0.1}}", "the name of another parameter"),
        ("fit: {systematics: {closure: 0.1}}", "the name of another parameter"),
        ("systematics: {weights: {mu: {up: a}}}", "'mu' is the name of another parameter"),
        (
            "data: {luminosity: 1}\nsystematics: {weights: {pdf: {up: a}}}\n"
            "fit:\n  signal: {names: [a]}\n  systematics: {pdf: 0.1}",
            "settings:5: fit.systematics has pdf, which is a variation",
        ),
        (
            "fit:\n  systematics:\n    trigger: [0.02, 0.01]",
            r"settings:3: fit\.systematics\.trigger: \[down, up\] are changes of opposite signs",
        ),
        (
            "fit:\n  systematics:\n    trigger: [1, 2, 3]",
            r"settings:3: fit\.systematics\.trigger: expected a number or \[down, up\], got",
        ),
        ("fit: {systematics: {trigger: -0.1}}", r"fit\.systematics\.trigger: must be gr"),
        (
            "fit:\n  tagger_efficiency: {uncertainty: 8}",
            r"settings:2: fit\.tagger_efficiency\.uncertainty: 8 is more than 1: it is relative",
        ),
        (
            "systematics:\n  weights:\n    pdf: {members: w, which: 5-1, rule: hessian}",
            r"settings:3: systematics\.weights\.pdf\.which: '5-1' is a range in reverse: write 1-5",
        ),
        ("fit: {tagger_efficiency: {scale_factor: 0}}", "greater than 0"),
        (
            "data: {luminosity: 1}\nfit:\n  signal: {names: [m3500, zprime-3500]}",
            r"settings:3: fit\.signal\.names has m3500 and zprime-3500, both of 3500 GeV",
        ),
        (
            "data: {luminosity: 1}\nsystematics: {signals: {a: {mass: 3500}}}\n"
            "fit:\n  signal: {names: [m3500, a]}",
            r"settings:4: fit\.signal\.names has m3500 and a, both of 3500 GeV",
        ),
        (
            "data: {luminosity: 1}\nfit:\n  signal: {names: [m3000, m3500]}\n"
            "  scan: {masses: [3200, 3600]}",
            r"settings:3: fit\.signal\.names have masses of 3000 to 3500 GeV, and 3600 GeV is tes",
        ),
        (
            "data: {luminosity: 1}\nfit:\n  signal: {names: [m4000]}",
            r"settings:3: fit\.signal\.names have masses of 4000 GeV, and 3500 GeV is tested",
        ),
        ("fit: {systematics: {c_1: 0.1}}", "the name of another parameter"),
    ],
)
def test_settings_that_say_nothing_sensible_are_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        SearchConfig.from_text(text)


def test_changes_in_one_direction_or_both_are_uncertainties():
    text = "fit: {systematics: {a: [0, 0.02], b: [0.02, -0.01], c: [-0.5, 2]}}"
    known = {"a": (0.0, 0.02), "b": (0.02, -0.01), "c": (-0.5, 2.0)}
    assert norm_systematics(SearchConfig.from_text(text)) == known


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fit: {signal: {file: absent.json}}", "fit.signal.file: absent.json: no signal templates"),
        ("fit: {signal: {file: FILE}}", "fit.signal.file: .*: no signal templates: Invalid JSON"),
        ("fit: {bump: {trigger: {file: absent.csv}}}", "absent.csv"),
    ],
)
def test_files_of_the_fits_are_read_by_config_check(tmp_path: Path, text: str, words: str):
    path = tmp_path / "search.yaml"
    path.write_text(text.replace("FILE", str(path)))
    done = CliRunner().invoke(main, ["config", "check", str(path)])
    assert done.exit_code != 0
    assert re.search(words, done.output)
    assert "Errno" not in done.output


@pytest.mark.parametrize(
    ("text", "signals", "words"),
    [
        ("fit: {signal: {names: [w3500]}}", ["m3500"], "has w3500, and the files have m3500"),
        ("fit: {signal: {names: [w3500]}}", [], "has w3500, and the files have no signal"),
        ("systematics: {signals: {b: {mass: 1}}}", ["m3500"], "names b, and the signals are m3500"),
        ("{}", ["higgs"], r"set systematics\.signals\.higgs\.mass"),
    ],
)
def test_signals_are_compared_with_the_settings_before_anything_runs(
    tmp_path: Path, text: str, signals: list[str], words: str
):
    config = SearchConfig.from_text(f"data: {{luminosity: 1}}\n{text}" if text != "{}" else text)
    table = tmp_path / "data.csv"
    table.write_text("m_jj,heavy_mass,light_mass\n3500,500,100\n")
    files = {name: tmp_path / f"{name}.csv" for name in signals}
    for number, own in enumerate(files.values()):
        own.write_text(f"m_jj,heavy_mass,light_mass\n{3400 + number},500,100\n")
    fileset = tnt.Fileset.from_paths(
        {"data": [table], **{name: [path] for name, path in files.items()}},
        roles={name: f"signal:{name}" for name in signals},
    )
    with pytest.raises(ConfigError, match=words):
        tnt.run(fileset, config, out=tmp_path / "out")
    if "fit" not in text:
        with pytest.raises(ConfigError, match=words):
            tnt.skim(fileset, config, out=tmp_path / "out")
    assert not (tmp_path / "out" / "skim").exists()


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    config, out = SearchConfig.from_text(SETTINGS), tmp_path_factory.mktemp("search")
    signal = testing.make_sample(400, signal_share=1.0, seed=4, kind="signal")
    skim = Skim.from_sample(testing.make_sample(4000, signal_share=0.02), signals={"m3500": signal})
    taggers = tnt.train(skim, config, out=out)
    return tnt.search(skim, taggers, config, out=out), config, out


def test_templates_of_a_search_are_scaled_to_the_luminosity(searched):
    histograms, config, _ = searched
    inclusive = search_fit(histograms, config, "mass", None)
    selected = search_fit(histograms, config, "mass", 0.3)
    assert inclusive.templates.channels == ("all",)
    assert selected.templates.channels == ("fold-0", "fold-1")
    # 2 fb, 100 / fb, and all simulated events are dijets of the search.
    assert sum(t.total for t in inclusive.templates.at(3500.0).values()) == pytest.approx(200)
    signal = selected.signal(3500.0, 150.0)
    point = histograms.points["mass"][0.3]
    own = histograms.signals["mass"].templates("m3500", point)
    share = sum(float(t.nominal.sum()) for t in own.values())
    assert signal.total == pytest.approx(0.9 * 200 * share)
    assert dict((n, h) for n, h, _ in signal.norms) == pytest.approx(
        {"luminosity": 1.016, "trigger": 1.02, "tagger_efficiency": 1.1}
    )
    for changes, words in (
        ("{names: [w3500]}", "w3500, and the search read m3500"),
        ("{file: signal.json}", "for a histogram of one's own"),
    ):
        other = SearchConfig.from_text(
            SETTINGS.replace("{names: [m3500], cross_section: 2.0}", changes)
        )
        with pytest.raises(ConfigError, match=words):
            search_fit(histograms, other, "mass", 0.3)
    unknown = config.model_copy(update={"data": SearchConfig().data})
    with pytest.raises(ConfigError, match=r"data\.luminosity"):
        search_fit(histograms, unknown, "mass", 0.3)


def test_two_signals_of_one_mass_are_refused(searched):
    histograms, config, _ = searched
    read = histograms.signals["mass"]
    # Searched when the settings said another mass of one of them.
    masses = {"m3500": 3500.0, "a": 3500.0}
    twice = stats.SignalHistogram(read.histogram, masses, read.generated, read.weights)
    settings = config.fit.signal.model_copy(update={"names": ("m3500", "a")})
    other = config.model_copy(update={"fit": config.fit.model_copy(update={"signal": settings})})
    with pytest.raises(ConfigError, match="several signals of 3500 GeV, a among them"):
        search_fit(replace(histograms, signals={"mass": twice}), other, "mass", 0.3)


@pytest.mark.slow
def test_estimates_without_a_limit_read_nothing_of_the_signal(searched):
    histograms, config, _ = searched
    alone = replace(histograms, signals={})
    limited = config.fit.model_copy(
        update={"limit": config.fit.limit.model_copy(update={"enabled": False})}
    )
    without = config.model_copy(update={"fit": limited})

    def stored(own):
        return StoredHistogram(own.hists["mass"], own.points["mass"], own, ("mass",), "mass")

    with pytest.raises(ConfigError, match=r"fit\.signal\.names has m3500, and the search read"):
        fit_abcd(stored(alone), config)
    found = fit_abcd(stored(alone), without).result
    assert isinstance(found, stats.AbcdResult)
    assert found.limit is None
    assert replace(fit_abcd(stored(histograms), config).result, limit=None) == found


@pytest.mark.slow
def test_workspace_of_a_transfer_factor_has_the_variations_of_its_limit(tmp_path: Path):
    edges = np.arange(2600.0, 5001.0, 200.0)
    events = 50 * gaussian(edges, 3500.0, 250.0)
    template = stats.SignalTemplate(
        edges, events, 0.01 * events, {"jet_energy_scale": (1.1 * events, 0.95 * events)}
    )
    stats.MassTemplates({3500.0: {"all": template}}).save(tmp_path / "signal.json")
    config = SearchConfig.from_text(
        "search: {fit_range: {low: 2600, high: 5000}, histogram_range: {low: 2600, high: 5000}}\n"
        f"fit:\n  signal: {{file: {tmp_path / 'signal.json'}}}\n"
        "  bump: {width: 250, bin_width: 200}\n"
        "  systematics: {luminosity: 0.05}\n  transfer: {order: 1}\n  limit: {toys: 0}"
    )
    passed, failed = (
        StoredHistogram(stats.toy_spectrum(background, signal, seed=seed))
        for background, signal, seed in ((1000, 50, 1), (20_000, 0, 2))
    )
    result = fit_transfer(passed, config, failed)
    [path, *_] = write_workspace(tmp_path / "workspace.json", passed, config, result)
    channel = json.loads(path.read_text())["channels"][1]
    norms = {
        one["name"]: (one["data"]["hi"], one["data"]["lo"])
        for one in channel["samples"][-1]["modifiers"]
        if one["type"] == "normsys"
    }
    assert set(norms) == {"luminosity", "jet_energy_scale", "signal_statistics"}
    # The norm of a variation counts once.
    assert norms["jet_energy_scale"] == pytest.approx((1.1, 0.95))


def test_members_of_a_search_are_combined_in_what_is_fitted_or_counted(searched):
    histograms, config, _ = searched
    read, point = histograms.signals["mass"], histograms.points["mass"][0.3]
    signals, _, *rest = read.histogram.axes
    names = ["nominal", *(f"pdf_{k}" for k in range(100))]
    varied = hist.axis.StrCategory(names, name="variation")
    filled = hist.Hist(signals, varied, *rest, storage=hist.storage.Weight())
    nominal = read.histogram[{"variation": "nominal"}].view(flow=True)
    # 100 independent members: each moves every hundredth bin of the mass by 20 %.
    bins = np.arange(nominal.shape[2]) - 1
    for i in range(len(names)):
        moved = 0.2 * (bins % 100 == i - 1)[:, None, None]
        filled.view(flow=True)[:, i] = nominal
        filled.view(flow=True).value[:, i] *= 1 + moved
    weights = {"pdf": {"members": "LHEPdfWeight", "which": "0-99", "rule": "hessian"}}
    made = stats.SignalHistogram(
        filled, read.masses, read.generated, SystematicsSettings(weights=weights).weights
    )
    own = replace(histograms, signals={"mass": made})
    folds = read.templates("m3500", point)
    edges = folds[0].edges

    def by_hand(templates, low, high):
        inside = np.flatnonzero((edges[:-1] >= low) & (edges[1:] <= high))
        counts = sum(template.nominal for template in templates)[inside]
        return 0.2 * np.sqrt((np.bincount(inside % 100, counts) ** 2).sum()) / counts.sum()

    window = config.search.window.edges
    counted = count_systematics(own, config, "mass", 0.3, window)["pdf"]
    size = by_hand(folds.values(), *window)
    assert counted == pytest.approx((-size, size))
    assert size < 0.1
    signal = search_fit(own, config, "mass", 0.3).signal(3500.0, 150.0)
    fitted = np.arange(3300.0, 3901.0, 200.0)
    for fold, template in folds.items():
        found = signal.of(f"fold-{fold}", fitted).template
        expected = [by_hand([template], *one) for one in pairwise(fitted)]
        assert found.variations["pdf"][0] / found.nominal - 1 == pytest.approx(expected)


@pytest.mark.slow
def test_signals_injected_into_toys_are_the_templates(searched):
    """A bias study of a search whose signal is simulated, and its scan, which has all dijets."""
    _, config, out = searched
    stored = histogram_fits.stored_histogram(out / "search", "mass")
    plain = config.model_copy(update={"fit": config.fit.model_copy(update={"systematics": {}})})
    study = histogram_fits.fit_bias(stored, plain, truths=["dijet 3"], strengths=[0, 4], toys=60)
    (truth,) = study.truths
    assert truth.slope == pytest.approx(1, abs=4 * truth.slope_error)
    # What is added to the background of the toys is the template of each fold.
    spectra, fit = stored.spectra(0.3), stored.fit(plain)
    signal = fit.signal(3500.0, 150.0)
    beside = prepared(spectra, [signal], fit, (3200.0, 3800.0))
    for channel in _Fitted(beside, rechoose=False).channels:
        own = signal.templates[channel.name].rebinned(beside.data[0].edges)
        np.testing.assert_allclose(channel.signal, own.nominal / signal.total)
    # And the uncertainty of a small signal, the unit of the strengths, is that of the templates.
    expected = histogram_fits.fit_expected(
        stored, plain.model_copy(update={"fit": plain.fit.model_copy(update={"blind": True})})
    )
    assert study.uncertainty == pytest.approx(expected.uncertainty)


def test_a_scan_with_templates_has_all_dijets(searched):
    histograms, config, _ = searched
    own = {"masses": [3500.0], "toys": 0, "cross_check": False}
    found = pipeline.scan(histograms, config, {"mass": ("mass", 0.3)}, before=True, **own)
    assert [point.selection for point in found.points] == ["before", "mass"]
    assert not [note for note in found.notes if "is not searched" in note]
    # As the bump hunt has it: taggers did not select them, so that their efficiency is no part.
    alone = stats.scan(
        stats.inclusive_spectrum(histograms.hists["mass"]),
        width=150.0,
        fit=search_fit(histograms, config, "mass", None),
        **own,
    )
    assert found.points[0].mu_uncertainty == pytest.approx(alone.points[0].mu_uncertainty)
    assert found.points[0].q0 == pytest.approx(alone.points[0].q0)


def _with(config: SearchConfig, text: str) -> SearchConfig:
    """The same search with other settings of the fit."""
    own = SearchConfig.from_text(SETTINGS + text)
    return config.model_copy(update={"fit": own.fit})


@pytest.mark.parametrize("masses", ["[3400, 3600]", "[3500, 5000]"])
def test_masses_outside_the_templates_are_refused_before_anything_is_fitted(
    searched, monkeypatch, masses: str
):
    histograms, config, out = searched
    scanned = f"  scan: {{masses: {masses}}}\n"
    outside = "3400, 3600" if "3400" in masses else "5000"
    with pytest.raises(ConfigError, match=rf"masses of 3500 GeV, and {outside[:4]} GeV is tested"):
        _with(config, scanned)
    # Of a signal whose name says no mass the search alone knows it.
    scan = config.fit.scan.model_copy(update={"masses": tuple(json.loads(masses))})
    config = config.model_copy(update={"fit": config.fit.model_copy(update={"scan": scan})})
    monkeypatch.setattr(stats, "bump_hunt", lambda *_, **__: pytest.fail("a fit was made"))
    words = rf"no signal template at {outside} GeV: .* are at 3500 GeV"
    with pytest.raises(ConfigError, match=words):
        tnt.fit(histograms, config)
    with pytest.raises(ConfigError, match=words):
        pipeline.check_fit(config, {"m3500": 3500.0})
    stored = histogram_fits.stored_histogram(out / "search", "mass")
    with pytest.raises(ConfigError, match=words):
        histogram_fits.fit_scan(stored, config)
    blind = config.model_copy(update={"fit": config.fit.model_copy(update={"blind": True})})
    with pytest.raises(ConfigError, match=words):
        pipeline.blind_fit(histograms, blind)


def test_a_scan_without_masses_takes_those_of_the_templates(searched):
    _, config, out = searched
    stored = histogram_fits.stored_histogram(out / "search", "mass")
    assert histogram_fits._default_masses(stored, config) == (3500.0,)
    plain = config.model_copy(update={"fit": config.fit.model_copy(update={"signal": None})})
    assert len(histogram_fits._default_masses(stored, plain)) > 10


def test_an_efficiency_is_multiplied_by_the_scale_factor_once(searched, monkeypatch):
    _, config, out = searched
    text = "  limit: {efficiencies: {mass: 0.2, before: 0.4}}\n"
    given = []

    def noted(*_, efficiency, **__):
        given.append(efficiency)
        msg = "noted"
        raise FitError(msg)

    monkeypatch.setattr(stats, "upper_limit", noted)
    monkeypatch.setattr(stats, "expectation", noted)
    stored = histogram_fits.stored_histogram(out / "search", "mass")
    for function in (histogram_fits.fit_limit, histogram_fits.fit_expected):
        with pytest.raises(FitError, match="noted"):
            function(stored, config, efficiency=0.2)
    assert given == pytest.approx([0.9 * 0.2] * 2)
    own = _with(config, text)
    assert blinding.expectation_settings(own, "mass")["efficiency"] == pytest.approx(0.18)
    assert blinding.expectation_settings(own, "before")["efficiency"] == 0.4
    more = SearchConfig.from_text(SETTINGS.replace("scale_factor: 0.9", "scale_factor: 1.2"))
    with pytest.raises(ConfigError, match=r"0\.9 times .*scale_factor, 1\.2, is more than all"):
        histogram_fits.fit_limit(stored, more, efficiency=0.9)


@pytest.mark.slow
def test_fit_of_a_search_has_limits_on_the_cross_section_with_all_uncertainties(searched):
    histograms, config, out = searched
    result = tnt.fit(histograms, config, out=out)
    limit = result.limits["mass"]
    assert limit.converged
    assert limit.events_at_unit_strength == pytest.approx(
        search_fit(histograms, config, "mass", 0.3).signal(3500.0, 150.0).total
    )
    assert limit.observed_cross_section == pytest.approx(2.0 * limit.observed_strength)
    assert {"luminosity", "trigger", "tagger_efficiency", "signal_statistics"} <= {
        row.name for row in result.impacts["mass"]
    }
    assert "impacts, mass\nimpacts on the signal at 3500 GeV" in result.summary()
    assert "tagger_efficiency" not in {row.name for row in result.impacts["before"]}
    plain = SearchConfig.from_text(
        SETTINGS.replace("uncertainty: 0.1", "uncertainty: 0").replace(
            "{luminosity: 0.016, trigger: [-0.05, 0.02]}", "{}"
        )
    )
    without = tnt.fit(histograms, plain)
    assert limit.observed > without.limits["mass"].observed
    assert result.after["mass"].p_value == pytest.approx(without.after["mass"].p_value, rel=1e-3)
    assert result.abcd["mass"].limit.observed > without.abcd["mass"].limit.observed
    assert list(result.transfer) == ["mass"]
    assert tnt.SearchResult.load(out / "fit" / "result.json").limits["mass"] == limit


def test_bump_hunt_at_the_prompt_writes_impacts_and_a_card(tmp_path: Path):
    edges = np.arange(2600.0, 5001.0, 200.0)
    counts = stats.toy_spectrum(3000, 60, edges=edges).values()
    np.savetxt(
        tmp_path / "mjj.csv", np.stack([edges[:-1], edges[1:], counts], axis=1), delimiter=","
    )
    nominal = 60 * gaussian(edges, 3500.0, 250.0)
    template = stats.SignalTemplate(edges, nominal, 0.001 * nominal)
    stats.MassTemplates({3500.0: {"all": template}}, 5.0).save(tmp_path / "signal.json")
    (tmp_path / "search.yaml").write_text(
        "search: {fit_range: {low: 2600, high: 5000}}\n"
        "fit:\n"
        "  bump: {mass: 3500, width: 250, bin_width: 200, max_parameters: 3, spurious: false}\n"
        f"  signal: {{file: {tmp_path / 'signal.json'}}}\n"
        "  systematics: {luminosity: 0.016}\n"
    )
    written = {name: tmp_path / name for name in ("impacts.json", "card.txt")}
    done = CliRunner().invoke(
        main,
        [
            "fit", "bump", str(tmp_path / "mjj.csv"), "--config", str(tmp_path / "search.yaml"),
            "--impacts", str(written["impacts.json"]), "--combine", str(written["card.txt"]),
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "luminosity" in done.output
    assert "up, down [events]" in done.output
    rows = json.loads(written["impacts.json"].read_text())["impacts"]
    assert {"luminosity", "signal_statistics"} <= {row["name"] for row in rows}
    assert "luminosity lnN 1.016" in written["card.txt"].read_text()
    assert (tmp_path / "card.root").stat().st_size > 0


# pyhf 0.7 validates with a class that jsonschema is about to drop.
@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
def test_abcd_at_the_prompt_writes_hs3_with_the_uncertainties_of_the_settings(
    searched, tmp_path: Path
):
    shutil.copytree(searched[2], tmp_path / "box1")
    (tmp_path / "search.yaml").write_text(SETTINGS + "  limit: {toys: 0}\n")
    written = {name: tmp_path / f"{name}.json" for name in ("workspace", "hs3")}
    done = CliRunner().invoke(
        main,
        [
            "fit", "abcd", str(tmp_path / "box1" / "search"), "--name", "mass",
            "--config", str(tmp_path / "search.yaml"),
            "--workspace", str(written["workspace"]), "--hs3", str(written["hs3"]),
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    workspace, document = (json.loads(path.read_text()) for path in written.values())
    assert document == stats.hs3_document(workspace)
    [point] = document["parameter_points"]
    names = {one["name"] for one in point["parameters"]}
    assert {"luminosity", "trigger", "tagger_efficiency", "signal_statistics"} <= names


def test_settings_of_the_how_to_are_settings():
    page = Path(__file__).parents[1] / "docs" / "how-to" / "systematics.md"
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    assert any("tagger_efficiency" in block for block in blocks)
    for block in blocks:
        SearchConfig.from_text(block)
