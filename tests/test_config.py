from __future__ import annotations

import itertools
import re
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from tnt_coffea import seeds
from tnt_coffea.config import (
    BumpSettings,
    FitSettings,
    MassRange,
    SearchConfig,
    SearchSettings,
    SkimSettings,
    TrainSettings,
    differences,
)
from tnt_coffea.errors import ConfigError


def test_yaml_round_trip_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(SearchConfig(seed=7).to_yaml())
    back = SearchConfig.from_yaml(path)
    assert back == SearchConfig(seed=7)
    assert back.digest() == SearchConfig(seed=7).digest()


def test_file_needs_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text("search:\n  window: {low: 3000, high: 3400}\n")
    config = SearchConfig.from_yaml(path)
    assert config.search.window.name == "3000-3400"
    assert config.skim == SearchConfig().skim
    path.write_text("")
    assert SearchConfig.from_yaml(path) == SearchConfig()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("serach: {}", "yaml:1: serach is not a setting; did you mean search"),
        ("seed: yes", "yaml:1: seed: .*integer"),
        ("fit: {bump: {width: yes}}", "yaml:1: fit.bump.width: .*number"),
        ("search: {efficiencies: [0.1, on]}", "efficiencies.1: .*number"),
        ("fit: {limit: {efficiencies: {tnt: true}}}", "efficiencies.tnt: .*number"),
        ("fit: {limit: {efficiencies: {tnt: 0.3}}}", "need the luminosity of the data: write data"),
        ("fit:\n  limit: {luminosity: 30}", "yaml:2: fit.limit.luminosity is now data.luminosity"),
        ("report: {sqrt_s: 13.6}", r"is now data.sqrt_s: write data: \{sqrt_s: 13.6\}"),
        ("data: {sqrt_s: 13000}", r"data\.sqrt_s: .* less than 1000"),
        ("fit: {bump: {lower_edges: [2400]}}", r"2400 GeV is below fit\.bump\.lowest_edge"),
        ("seed: 1\n\nskim:\n  jets:\n    radus: 1", r"yaml:5: skim\.jets\.radus is not"),
        ("seed: 1\nfit:\n  bump: {efficiency: 0.2}", r"yaml:3: fit\.bump\.efficiency is 0\.2"),
        ("seed: 1\nskim: {}\nseed: 2", "yaml:3: seed was given in line 1"),
        ("skim:\n  sequence: {radius: 0}", r"yaml:2: skim\.sequence\.radius"),
        ("skim:\n  splitings: {most: 9}", r"yaml:2: skim\.splitings is .*did you mean skim\.split"),
        ("skim: {table: olympics, event_image: {pixels: 64}}", "table of features has no images"),
        ("search:\n  efficiencies:\n    - 0.1\n    - 2", r"yaml:4: search\.efficiencies\.1"),
        ("skim: {jets: {radius: -1}}", r"skim\.jets\.radius"),
        ("skim: {jets: {algorithm: anti-kt}}", "'antikt', 'cambridge' or 'kt'"),
        ("search: {window: {low: 4000, high: 3000}}", "low must be below high"),
        ("fit: {bump: {efficiency: 0.2}}", r"fit\.bump\.efficiency is 0\.2"),
        ("fit: {bump: {bin_width: 50}}", "multiple of search.bin_width"),
        (
            "train:\n  methods:\n    tnt: {kind: tag_n_train, after: x, signal_rich: 0.7}",
            r"yaml:3: train\.methods\.tnt: signal_rich and background_rich overlap",
        ),
        (
            "train:\n  methods:\n    tnt: {kind: guess}",
            r"yaml:3: train\.methods\.tnt: no method of kind 'guess'; known are anode, autoencoder",
        ),
        ("train: {methods: {a: {kind: autoencodr}}}", "did you mean autoencoder?"),
        (
            "train:\n  methods:\n    a:\n      kind: template_classifier\n      template:\n"
            "        by: morphin",
            r"yaml:6: train\.methods\.a\.template\.by: 'morphin' is unknown; choose one of morph",
        ),
        (
            "train: {methods: {a: {kind: cwola, classifier: {layers: [3]}}}}",
            r"yaml:1: train\.methods\.a\.classifier\.network is missing; it says whose settings",
        ),
        ("train: {methods: {a: {kind: [cwola]}}}", "no method of kind"),
        ("seed: 1\nsearch:\n  window: {low: 4000}", r"yaml:3: search\.window: low must be below"),
        (
            "search:\n  window: {low: 8000, high: 9000}",
            r"yaml:2: search\.window \(8000 to 9000 GeV\) does not lie inside search\.fit_range",
        ),
        ("search: {window: {low: 7200, high: 7800}}", "does not lie inside search.fit_range"),
        ("search: {fit_range: {low: 1800}}", "does not lie inside search.histogram_range"),
        ("search: {window: {low: 3310, high: 3700}}", r"search\.window .* edges of bins"),
        ("search: {fit_range: {low: 2590}}", r"search\.fit_range .* edges of bins"),
        ("search: {fit_range: {low: 2620}}", r"no whole number of bins of 40 GeV"),
        ("search: {histogram_range: {high: 8010}}", r"search\.histogram_range .* edges of bins"),
        ("search: {bin_width: 1.0e-9}", "more than 10000 bins"),
        ("seed: 1\nfit:\n  bump: {mass: 4000}", r"yaml:3: fit\.bump\.mass is 4000 GeV, outside"),
        ("fit: {scan: {masses: [2500, 3000]}}", r"fit\.scan\.masses: 2500 GeV is outside"),
        ("fit: {bump: {lower_edges: [2600, 3400]}}", r"fit\.bump\.lower_edges: 3400 GeV is not"),
        ("train: {members: 1000000000}", r"train\.members: .* less than or equal to 1000 \(got"),
        ("search: {window: {high: .inf}}", r"search\.window\.high: .* finite number"),
        (
            "train: {methods: {tnt: {epochs: 3}}}",
            "expected settings with a kind, one of anode, a",
        ),
        ("train: {methods: {}}", "name at least one method"),
        ("train: {methods: {references: {kind: autoencoder}}}", "'references' cannot name a meth"),
        ("train: {methods: {a/b: {kind: autoencoder}}}", "'a/b' cannot name a method"),
        (
            "train:\n  methods:\n    ae: {kind: autoencoder, latnt: 3}",
            r"yaml:3: train\.methods\.ae\.latnt",
        ),
        (
            "train: {methods: {tnt: {kind: tag_n_train, after: ae}}}",
            r"methods\.tnt builds on 'ae', which is not among the methods tnt",
        ),
        (
            "train: {methods: {a: {kind: tag_n_train, after: b}, "
            "b: {kind: tag_n_train, after: a}}}",
            "in a circle: a -> b -> a",
        ),
        (
            "skim:\n  filters:\n    hlt: HLT_A",
            r"yaml:3: skim\.filters\.hlt: expected a list: write \[HLT_A\]$",
        ),
        ("search: {efficiencies: 0.1}", r"search\.efficiencies: expected a list: write \[0\.1\]$"),
        ("search: {efficiencies: {a: 1}}", r"search\.efficiencies: expected a list \(got \{'a'"),
        ("fit: {bump: {lower_edges: [a]}}", r"fit\.bump\.lower_edges\.0: .* valid number"),
        ("fit: {bump: {lower_edges: aut}}", r"fit\.bump\.lower_edges: .*'auto' \(got 'aut'\)"),
        (
            "systematics:\n  weights:\n    pdf: {members: 5, rule: hessian}",
            r"yaml:3: systematics\.weights\.pdf\.members: expected text or a list \(got 5\)$",
        ),
        (
            "systematics: {weights: {pdf: {members: [5], rule: hessian}}}",
            r"pdf\.members: .* \(got \[5\]\); .*pdf\.members\.0: .* \(got 5\)$",
        ),
        ("- 1", "expected settings by name"),
        ("a: [", "not valid YAML"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, cause: str) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=cause) as error:
        SearchConfig.from_yaml(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("section", "now"),
    [
        ("tnt: {iterations: 2}", "kind: tag_n_train, after: autoencoder"),
        ("autoencoder: {latent: 6}", "kind: autoencoder"),
        ("cwola: {sideband: 1}", "kind: cwola"),
        ("supervised: {epochs: 9}", "kind: supervised"),
        ("optimizer: {batch: 100}", "classifier"),
        ("methods: [autoencoder, tnt]", "kind: tag_n_train, after: autoencoder"),
        ("methods: tnt", "kind: tag_n_train, after: autoencoder"),
    ],
)
def test_a_section_of_before_is_answered_with_what_to_write_now(
    tmp_path: Path, section: str, now: str
) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(f"seed: 3\ntrain:\n  {section}\n")
    with pytest.raises(ConfigError) as error:
        SearchConfig.from_yaml(path)
    text = str(error.value)
    assert re.match(rf"{re.escape(str(path))}:[23]: train", text)
    assert now in text
    assert "tnt-coffea methods" in text
    assert ";" not in text.split("tnt-coffea methods")[1], "one error, not several"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            "a: &a [x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{name}: &{name} [{', '.join([f'*{one}'] * 8)}]\n"
                for one, name in itertools.pairwise("abcdefghijkl")
            ),
            "yaml:6: more than 30 levels or 50000 values",
        ),
        ("seed: " + "[" * 5000 + "]" * 5000, "more than 30 levels"),
        ("{a: " * 5000 + "1" + "}" * 5000, "more than 30 levels"),
        ("seed: 1\nfit: &a {bump: *a}", r"yaml:2: \*a is inside of what it stands for"),
        ("seed: " + "9" * 100_000, "yaml:1: a name or value of more than 10000 characters"),
        ("seed: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
        ("train:\n  members: " + "9" * 50, r"yaml:2: train\.members is an integer beyond"),
        ("seed: 1\n" + "#" * 2_000_000, "at most 1000000 characters"),
        ("seed: 2020-13-45", "not valid YAML: month must be in"),
        (
            "fit: {bump: {width: " + "x" * 9000 + "}}",
            r"a valid number \(got 'xxx.*\.\.\.",
        ),
    ],
)
def test_text_without_end_is_refused_in_a_moment(tmp_path: Path, text: str, cause: str) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(text)
    start = time.process_time()
    with pytest.raises(ConfigError, match=cause) as error:
        SearchConfig.from_yaml(path)
    assert time.process_time() - start < 2
    assert len(str(error.value)) < 500


def test_an_alias_stands_for_what_it_repeats() -> None:
    config = SearchConfig.from_text("search: {window: &w {low: 3000, high: 3400}, fit_range: *w}")
    assert config.search.fit_range == config.search.window == MassRange(low=3000, high=3400)


@pytest.mark.parametrize(
    ("text", "mass"),
    [
        ("{}", 3500.0),
        ("search: {window: {low: 3800, high: 4200}}", 4000.0),
        ("search: {window: {low: 3500}}", 3600.0),
        ("fit: {bump: {mass: 3700}}", 3700.0),
    ],
)
def test_mass_of_the_signal_is_the_windows_centre_unless_given(text: str, mass: float) -> None:
    config = SearchConfig.from_text(text)
    assert config.signal_mass == config.fit_settings.bump.mass == mass
    assert config.fit_settings.bump.width == 120
    again = SearchConfig.from_text(config.to_yaml())
    assert again == config


def test_a_section_in_part_keeps_the_rest_of_its_default() -> None:
    window = SearchConfig.from_text("search: {window: {low: 3100}}").search.window
    assert window == MassRange(low=3100, high=3700)
    assert SearchSettings(fit_range={"high": 6000}).fit_range == MassRange(low=2600, high=6000)
    assert TrainSettings(folds={"outer": 3}).folds.inner == TrainSettings().folds.inner


def test_differences_have_the_defaults_of_the_kind_that_is_set() -> None:
    chosen = SearchConfig.from_text(
        "{fit: {limit: {enabled: false}}, skim: {images: {pixels: 30}}, train: {methods: "
        "{ae: {kind: autoencoder, latent: 8}, tnt: {kind: tag_n_train, after: ae, "
        "classifier: {network: dense, epochs: 3}}}}}"
    )
    known = {"autoencoder": "autoencoder", "tnt": "tag_n_train"}
    assert {name: pair for name, *pair in differences(SearchConfig(), chosen)} == {
        "skim.images.pixels": [40, 30],
        "train.methods": [known, {"ae": "autoencoder", "tnt": "tag_n_train"}],
        "train.methods.ae.latent": [6, 8],
        "train.methods.tnt.after": ["autoencoder", "ae"],
        "train.methods.tnt.classifier": ["convolutional", "dense"],
        "train.methods.tnt.classifier.epochs": [40, 3],
        "fit.limit.enabled": [True, False],
    }
    assert not list(differences(SearchConfig(), SearchConfig()))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        SearchConfig.from_yaml(tmp_path / "absent.yaml")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        SearchConfig().seed = 3


def test_digest_sees_only_its_own_section() -> None:
    other = SearchConfig(fit=FitSettings(bump=BumpSettings(mass=3600.0)))
    assert other.digest() != SearchConfig().digest()
    assert other.train.digest() == SearchConfig().train.digest()


def test_named_seeds_are_stable_and_distinct() -> None:
    first = seeds.generator(1, "train", "heavy", 0).integers(0, 2**63, 4)
    assert first.tolist() == seeds.generator(1, "train", "heavy", 0).integers(0, 2**63, 4).tolist()
    others = [(2, "train", "heavy", 0), (1, "train", "heavy", 1), (1, "train", "light", 0)]
    for root, *names in others:
        assert first.tolist() != seeds.generator(root, *names).integers(0, 2**63, 4).tolist()
    found = {seeds.integer(1, "x", i) for i in range(1000)}
    assert len(found) == 1000
    assert min(found) >= 1
    assert max(found) < 2**31


def test_every_setting_says_what_it_means() -> None:
    before = ""
    for line in SearchConfig().to_yaml().splitlines():
        assert not line or "# " in line or before.lstrip().startswith("# "), line
        before = line


def test_what_a_skim_keeps_on_request_comes_back_from_every_form() -> None:
    seen = {SkimSettings().digest()}
    for name in ("aligned", "sequence", "splittings", "event_image"):
        asked = SkimSettings(**{name: 20 if name == "aligned" else {}})
        assert SkimSettings.model_validate_json(asked.model_dump_json()) == asked
        seen.add(asked.digest())
        assert f"{name}: null" in SearchConfig().to_yaml()
        written = SearchConfig(skim=asked)
        assert SearchConfig.from_text(written.to_yaml()) == written
    assert len(seen) == 5
    # Skims and taggers from before there was `aligned` keep their digest.
    assert SkimSettings().digest().startswith("1753dc5bbabb4a98537b1b31f4dc7c45")
