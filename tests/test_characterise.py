"""What an excess looks like, of a finished search with a planted signal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

import tnt_coffea as tnt
from tnt_coffea import pipeline, reporting
from tnt_coffea.accounting import Accounting
from tnt_coffea.cli import main
from tnt_coffea.config import SearchConfig
from tnt_coffea.config.systematics import NOMINAL
from tnt_coffea.errors import ConfigError, InputError, TaggerError
from tnt_coffea.events.sample import Sample, in_units
from tnt_coffea.events.skim import write_part
from tnt_coffea.pipeline import characterising
from tnt_coffea.products import Histograms, Skim, Taggers
from tnt_coffea.testing import make_sample

SETTINGS = """
search: {efficiencies: [0.2], fit_range: {low: 2600, high: 7000}}
train:
  folds: {outer: 2}
  methods:
    cwola: {kind: cwola, classifier: {network: trees, trees: 20, features: [mass, tau21]}}
fit:
  bump: {efficiency: 0.2}
  abcd: {efficiency: 0.2}
  limit: {enabled: false}
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory):
    """A search of dijets whose signal has jets of 500 and 100 GeV with two prongs."""
    config = SearchConfig.from_text(SETTINGS)
    sample, out = make_sample(4000, signal_share=0.06, seed=3), tmp_path_factory.mktemp("found")
    taggers = tnt.train(sample, config, out=out)
    return sample, taggers, tnt.search(sample, taggers, config, out=out), config, out


@pytest.fixture(scope="module")
def found(searched) -> reporting.Characterisation:
    sample, taggers, histograms, config, _ = searched
    signals = {"signal": make_sample(400, signal_share=1.0, seed=8, kind="signal")}
    return pipeline.characterise(sample, taggers, histograms, config, signals=signals)


def test_daughters_and_prongs_of_the_signal_are_found(found) -> None:
    for feature, true in (("heavy_mass", 500), ("light_mass", 100), ("heavy_tau21", 0.3)):
        one = found.features[feature]
        assert abs(one.value - true) < 3 * one.uncertainty + 0.02 * true, feature
        assert one.z > 3
    # What tells the signal apart carries the excess.
    assert set(found.importance) == {
        f"{jet}_{name}" for jet in ("heavy", "light") for name in ("mass", "tau21")
    }
    assert max(found.importance.values()) > 0.1
    assert set(found.images or {}) == {"heavy", "light"}


def test_three_prongs_are_seen_in_tau32(searched) -> None:
    sample, taggers, histograms, config, _ = searched
    rng = np.random.default_rng(5)
    middle = np.where(sample.label == 1, 0.35, 0.75)
    own = {f"{jet}_tau32": np.clip(rng.normal(middle, 0.08), 0, 1) for jet in ("heavy", "light")}
    named = {"observables": (*sample.settings.observables, "tau32")}
    with_it = replace(
        sample,
        columns={**sample.columns, **own},
        settings=sample.settings.model_copy(update=named),
    )
    shown = pipeline.characterise(with_it, taggers, histograms, config).features
    for feature in own:
        one = shown[feature]
        assert abs(one.value - 0.35) < 3 * one.uncertainty + 0.02, feature
        assert one.z > 3
        assert one.background == pytest.approx(0.75, abs=0.03)


def test_a_moved_feature_has_a_caution(found) -> None:
    signal = (found.hypotheses or {})["signal"]
    error = found.features["heavy_mass"].uncertainty
    for moved, said in ((2 * error, 1), (0.5 * error, 0), (None, 0)):
        selected = None if moved is None else 500 + moved
        own = replace(signal, features={"heavy_mass": reporting.Sculpted(500.0, selected)})
        cautions = reporting.characterisation_cautions(replace(found, hypotheses={"it": own}))
        assert len(cautions) == said
        assert all("moves heavy_mass of the signal it from 500" in one for one in cautions)
    (without,) = reporting.characterisation_cautions(replace(found, hypotheses={}))
    assert "--signal" in without


def test_the_number_of_events_before_the_selection_is_that_injected(searched, found) -> None:
    sample = searched[0]
    one = (found.hypotheses or {})["signal"]
    injected = int((sample.label == 1).sum())
    assert abs(one.events - injected) < 3 * one.events_uncertainty
    assert one.features["heavy_mass"].before == pytest.approx(500, rel=0.02)


def _hypothesis(searched, found, signal, text: str = "") -> reporting.Hypothesis:
    """What `characterise` says of a signal, without looking at the excess again."""
    sample, taggers, _, _, _ = searched
    config = SearchConfig.from_text(SETTINGS + text)
    produced = characterising._signal_sample("other", signal, sample)
    tagger_set, point = characterising._chosen(taggers, config, None, None)
    return characterising._hypothesis("other", produced, tagger_set, point, config, found)


def _simulated(signal: Sample, folder: Path) -> Skim:
    """A skim of a simulated signal alone, as `skim --signal NAME=PATH` makes it."""
    path = folder / "part.parquet"
    write_part(path, signal)
    name, n = "m3500", len(signal)
    generated = {name: {NOMINAL: in_units(signal.weight)}}
    roles = {name: f"signal:{name}"}
    return Skim({name: (path,)}, {}, 0, {name: Accounting(n, n)}, roles, generated=generated)


def test_the_scale_factor_of_the_taggers_is_applied_once(searched, found) -> None:
    before = (found.hypotheses or {})["signal"]
    signal = make_sample(400, signal_share=1.0, seed=8, kind="signal")
    # Templates of the search change nothing: the fit beside the window needs no signal.
    text = (
        "  signal: {names: [m3500]}\n  tagger_efficiency: {scale_factor: 0.8, uncertainty: 0.2}\n"
        "data: {luminosity: 10}\n"
    )
    after = _hypothesis(searched, found, signal, text)
    assert after.efficiency == pytest.approx(0.8 * before.efficiency)
    assert after.events == pytest.approx(before.events / 0.8)
    own, of_taggers = before.events_uncertainty / before.events, 0.2
    assert after.events_uncertainty / after.events == pytest.approx(np.hypot(own, of_taggers))


def test_a_signal_that_is_not_selected_is_not_the_excess(searched, found) -> None:
    _, taggers, _, config, _ = searched
    other = make_sample(3000, signal_share=0.0, seed=77, kind="other")
    tagger_set, point = characterising._chosen(taggers, config, None, None)
    other = other.select(~characterising._passed(tagger_set, point, other))
    one = _hypothesis(searched, found, other)
    assert (one.efficiency, one.events, one.events_uncertainty) == (0.0, None, None)
    assert one.efficiency_uncertainty == pytest.approx(1 / len(other))
    assert all(feature.selected is None for feature in one.features.values())
    with_it = replace(found, hypotheses={"other": one})
    json.dumps(with_it.to_dict(), allow_nan=False)
    console = Console(width=300)  # a cell in one line
    with console.capture() as shown:
        console.print(reporting.characterisation_tables(with_it)[-1])
    assert "none of its events is selected" in shown.get()


def test_weights_of_a_simulated_signal_are_those_of_all_that_was_generated(
    searched, found, tmp_path: Path
) -> None:
    signal = make_sample(400, signal_share=1.0, seed=8, kind="signal")
    plain = _hypothesis(searched, found, signal)
    heavy = replace(signal, weight=np.full(len(signal), 0.25))
    for one in (heavy, _simulated(heavy, tmp_path)):
        assert _hypothesis(searched, found, one) == plain
    uneven = replace(signal, weight=np.where(np.arange(len(signal)) % 2, 1.5, 0.5))
    mixed = _hypothesis(searched, found, _simulated(uneven, tmp_path))
    assert mixed.efficiency == pytest.approx(plain.efficiency, rel=0.1)
    # 1.25 is the mean of the squared weights.
    assert mixed.efficiency_uncertainty == pytest.approx(
        1.25**0.5 * plain.efficiency_uncertainty, rel=0.1
    )
    with pytest.raises(InputError, match=r"signal 'other': its events have different weights"):
        _hypothesis(searched, found, uneven)


def test_an_excess_of_weighted_events_is_that_of_their_weights(searched, found) -> None:
    sample, taggers, _, config, _ = searched
    heavy = replace(sample, weight=np.full(len(sample), 2.0))
    histograms = tnt.search(heavy, taggers, config)
    own = pipeline.characterise(heavy, taggers, histograms, config)
    assert own.events == pytest.approx(2 * found.events)
    assert own.events_uncertainty == pytest.approx(2 * found.events_uncertainty)
    assert own.importance == pytest.approx(found.importance)
    for name, one in own.features.items():
        assert one.events == pytest.approx(2 * found.features[name].events)
        assert one.z == pytest.approx(found.features[name].z)
    for jet, image in (own.images or {}).items():
        np.testing.assert_allclose(image, (found.images or {})[jet], atol=1e-6)


def test_labels_change_nothing(searched, found) -> None:
    sample, taggers, histograms, config, _ = searched
    shuffled = replace(sample, label=np.random.default_rng(1).permutation(sample.label))
    again = pipeline.characterise(shuffled, taggers, histograms, config)
    assert again.to_dict() == found.to_dict() | {"hypotheses": {}}


def test_what_cannot_be_characterised_is_refused(searched) -> None:
    sample, taggers, histograms, config, _ = searched
    given = (sample, taggers, histograms, config)
    with pytest.raises(TaggerError, match="no tagger set is called 'tnt', only cwola"):
        pipeline.characterise(*given, name="tnt")
    with pytest.raises(ConfigError, match=r"no selection 0\.03, only 0\.2"):
        pipeline.characterise(*given, selection=0.03)
    few = make_sample(10, signal_share=1.0, kind="few")
    with pytest.raises(InputError, match=r"signal 'few' has \d+ dijets in the window"):
        pipeline.characterise(*given, signals={"few": few})
    simulated = make_sample(40, signal_share=1.0, seed=8, kind="signal")
    ids = np.concatenate([sample.event_id[:3], simulated.event_id[3:]])
    mixed = replace(simulated, event_id=ids)
    for one, n in ((sample, len(sample)), (mixed, 3)):
        with pytest.raises(InputError, match=rf"signal 'own': {n} of its .* that were searched"):
            pipeline.characterise(*given, signals={"own": one})
    blind = SearchConfig.from_text("fit: {blind: true}")
    with pytest.raises(ConfigError, match=r"fit\.blind hides"):
        pipeline.characterise(sample, taggers, histograms, blind)


def test_the_command_writes_tables_figures_and_numbers(workspace: Path, tmp_path: Path) -> None:
    import shutil

    out = tmp_path / "search"
    shutil.copytree(workspace, out)
    done = CliRunner().invoke(main, ["characterise", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "caution: the selection moves what it shows" in done.output
    values = json.loads((out / "characterise" / "characterisation.json").read_text())
    config = SearchConfig.from_yaml(out / "config.yaml")
    found = pipeline.characterise(
        Skim.load(out / "skim"),
        Taggers.load(out / "train"),
        Histograms.load(out / "search"),
        config,
    )
    assert values == json.loads(json.dumps(found.to_dict()))
    assert found.tagger_set in done.output
    assert found.features
    for name in found.features:
        assert name in done.output
    (tmp_path / "file").touch()
    done = CliRunner().invoke(main, ["characterise", "--out", str(tmp_path / "file")])
    assert done.exit_code == 4
    assert f"{tmp_path / 'file'}: is a file, expected a folder" in done.output
    done = CliRunner().invoke(main, ["characterise", "--out", str(tmp_path / "nothing")])
    assert done.exit_code != 0
    assert "Traceback" not in done.output
