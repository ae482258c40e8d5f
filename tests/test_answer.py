"""The answer of a search in the challenge's form: when it claims, and what it says then."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tnt_coffea as tnt
from tnt_coffea import pipeline, stats
from tnt_coffea.config import GenerateSettings, SearchConfig, SignalModel
from tnt_coffea.errors import ConfigError, FitError, MissingExtraError
from tnt_coffea.pipeline import Estimate, answering
from tnt_coffea.products import Skim
from tnt_coffea.reporting import Characterisation, Hypothesis, Sculpted
from tnt_coffea.stats.excess import Peak
from tnt_coffea.stats.resonance_mass import _top, _where
from tnt_coffea.testing import make_sample

SETTINGS = """
search: {efficiencies: [0.2], fit_range: {low: 2600, high: 7000}}
train: {methods: {low: {kind: feature, feature: tau21, descending: true}}}
fit:
  bump: {efficiency: 0.2, bin_width: 80, toys: 0, max_parameters: 3, spurious: false}
  abcd: {efficiency: 0.2}
  limit: {enabled: false}
"""


def searched(out: Path, share: float, config: SearchConfig, events: int = 4000):
    sample = make_sample(events, signal_share=share, seed=3)
    taggers = tnt.train(sample, config, out=out)
    histograms = tnt.search(sample, taggers, config, out=out)
    return sample, taggers, histograms, tnt.fit(histograms, config), config


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory):
    """A search of dijets with 5 % of signal: 3500 GeV, jets of 500 and 100 GeV, two prongs."""
    return searched(tmp_path_factory.mktemp("found"), 0.05, SearchConfig.from_text(SETTINGS))


def two_prongs(settings: GenerateSettings) -> Skim:
    """Simulate signals that differ in their prongs alone: three prongs have a larger tau21."""
    made = make_sample(800, signal_share=1.0, seed=8, kind=settings.model.value)
    if settings.model is SignalModel.THREE_PRONG:
        shifted = {
            name: made.columns[name] + np.float32(0.25) for name in ("heavy_tau21", "light_tau21")
        }
        made = replace(made, columns={**made.columns, **shifted})
    return Skim.from_sample(made)


@pytest.fixture(scope="module")
def answered(found) -> pipeline.Answer:
    return pipeline.answer(*found, simulate=two_prongs)


def test_a_planted_signal_is_claimed_with_masses_prongs_and_number(found, answered) -> None:
    assert answered.claim
    injected = int((found[0].label == 1).sum())
    for one, true in (
        (answered.resonance_mass, 3500),
        (answered.heavy_mass, 500),
        (answered.light_mass, 100),
        (answered.events, injected),
    ):
        assert abs(one.pull(true)) < 3, (one, true)
    assert answered.prongs == 2
    assert answered.knowledge == "none"
    assert "2 prongs" in answered.notes[-1]
    assert pipeline.Answer.from_dict(json.loads(json.dumps(answered.to_dict()))) == answered


@pytest.fixture(scope="module")
def uncorrected(found) -> pipeline.Answer:
    """Answer where nothing can be simulated, with the labels of the events shuffled."""

    def missing(settings: GenerateSettings) -> Skim:
        package = "pythia8mc"
        raise MissingExtraError(package, "generate")

    sample, *rest = found
    other = replace(sample, label=np.random.default_rng(1).permutation(sample.label))
    return pipeline.answer(other, *rest, simulate=missing)


@pytest.mark.slow
def test_what_cannot_be_simulated_is_a_reason_and_no_error(uncorrected) -> None:
    assert uncorrected.claim
    assert uncorrected.events.value is None
    assert "no signal could be simulated" in uncorrected.events.reason
    assert uncorrected.heavy_mass.value is not None


@pytest.mark.slow
def test_a_spectrum_without_events_beside_the_signal_leaves_the_mass_to_the_next_test(
    found, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, histograms, result, config = found
    tests = list(answering._tests(result, histograms, config))
    best = answering._best(tests)
    known = answering._mass(best, tests, histograms, config)
    assert known[1] == []
    fitted, tried = stats.resonance_mass, []

    def sparse(spectra, **settings):
        tried.append(settings["near"])
        if len(tried) == 1:
            msg = "2 of 97 bins outside the signal hold events"
            raise FitError(msg)
        return fitted(spectra, **settings)

    monkeypatch.setattr(stats, "resonance_mass", sparse)
    mass, [note] = answering._mass(best, tests, histograms, config)
    assert abs(mass.mass - known[0].mass) < 3 * known[0].uncertainty
    assert note.startswith("the mass is that after low, 0.2, as the best test has none: 2 of 97")

    def never(*_, **__):
        msg = "nothing beside it"
        raise FitError(msg)

    monkeypatch.setattr(stats, "resonance_mass", never)
    with pytest.raises(FitError, match="nothing beside it"):
        answering._mass(best, tests, histograms, config)


def test_labels_change_no_answer(answered, uncorrected) -> None:
    for name in ("p_value", "local_z", "tagger_set"):
        assert getattr(answered, name) == getattr(uncorrected, name)
    heavy = answered.heavy_mass.value
    assert heavy == pytest.approx(uncorrected.heavy_mass.value, rel=0.02)


@pytest.mark.slow
def test_simulated_masses_correct_those_found(found, uncorrected) -> None:
    """Signal whose jets come out 10 % too light says that the excess is 10 % heavier."""

    def lighter(settings: GenerateSettings) -> Skim:
        made = two_prongs(settings).sample()
        mass = made.columns["heavy_mass"] * np.float32(0.9)
        return Skim.from_sample(replace(made, columns={**made.columns, "heavy_mass": mass}))

    one, plain = pipeline.answer(*found, simulate=lighter).heavy_mass, uncorrected.heavy_mass.value
    assert one.value == pytest.approx(plain**2 / 450, rel=0.03)
    assert one.uncertainty > abs(one.value - plain) / 2


def test_few_simulated_events_leave_a_corrected_mass_uncertain() -> None:
    """Errors are those that medians of many simulations have, and enter with all others."""
    one = answering._corrected(Estimate(3500.0, 10.0), 3500.0, (3500.0, 24.0))
    assert (one.value, one.uncertainty) == pytest.approx((3500.0, 26.0))
    two = answering._corrected(Estimate(3500.0, 10.0), 3500.0, (3500.0 / 1.02, 0.0))
    assert two.uncertainty == pytest.approx(np.hypot(10.2, 35.0))
    rng = np.random.default_rng(5)
    many = [rng.normal(3500, 60, 80) for _ in range(200)]
    for name, seen in (
        ("middle", [answering._middle(masses) for masses in many]),
        ("core", [answering._core(masses, 3480.0, 120.0) for masses in many]),
    ):
        medians, errors = np.transpose(seen)
        assert medians.std() == pytest.approx(errors.mean(), rel=0.2), name
    # One event has no spread that could be told.
    assert answering._middle(many[0][:1]) is None
    assert answering._core(many[0][:1], 3500.0, 240.0) is None


def test_a_signal_of_which_nothing_is_selected_is_not_the_excess() -> None:
    def shape(value: float) -> Peak:
        return Peak((0, 1), (9,), (1,), (3,), (0, 1), 90.0, 10.0, value, 0.01, 0.7)

    names = ("heavy_tau21", "light_tau21")
    excess = Characterisation("low", 0.2, (3300, 3700), 150, 50, 5, {n: shape(0.3) for n in names},
        {}, {})  # fmt: skip
    gone = Hypothesis(0.0, 0.01, None, None, {n: Sculpted(0.6, None) for n in names})
    two, three = (
        Hypothesis(0.1, 0.01, events, 30.0, {n: Sculpted(0.4, at) for n in names})
        for events, at in ((900.0, 0.35), (1000.0, 0.6))
    )
    assert answering._likely(excess, {2: two, 3: gone}) == (2, False, Estimate(900.0, 30.0))
    assert answering._likely(excess, {2: two, 3: three}) == (2, True, Estimate(900.0, 30.0))
    prongs, apart, events = answering._likely(excess, {2: gone, 3: gone})
    assert (prongs, apart, events.value) == (None, False, None)
    assert events.reason == "no event of the simulated signal is selected"


def test_without_a_signal_there_is_no_claim_and_no_mass(tmp_path: Path) -> None:
    given = searched(tmp_path, 0.0, SearchConfig.from_text(SETTINGS), events=1500)
    said = pipeline.answer(*given, simulate=two_prongs)
    assert not said.claim
    assert {one.reason for one in (said.resonance_mass, said.heavy_mass, said.events)} == {
        "no claim"
    }
    assert said.summary().splitlines()[0].endswith("no claim")


def test_searches_that_were_tried_raise_the_p_value(found, answered) -> None:
    again = answered.among(40)
    assert again.p_value == pytest.approx(min(1.0, 40 * answered.p_value))
    assert again.at_most
    assert "times 40 searches" in again.calibration
    assert again.events == answered.events
    # So many that the same excess is no evidence any more.
    gone = answered.among(int(1e-2 / answered.p_value) + 1)
    assert (gone.claim, gone.events.reason, gone.prongs) == (False, "no claim", None)
    with pytest.raises(ConfigError, match="tried is 0"):
        pipeline.answer(*found, tried=0)


@pytest.mark.slow
def test_the_scan_over_all_sets_alone_gives_the_same_answer(tmp_path: Path) -> None:
    """Without scans of single sets there are fewer tests of the same spectra, and no other."""
    text = SETTINGS.replace(
        "fit:", "fit:\n  scan: {masses: [3400, 3520], toys: 0, global_over: all}"
    ).replace("methods: {", "methods: {mass: {kind: feature}, ")
    config = SearchConfig.from_text(text)
    sample, taggers, histograms, result, _ = searched(tmp_path, 0.05, config)
    alone = config.fit.scan.model_copy(update={"each": False})
    changed = config.model_copy(update={"fit": config.fit.model_copy(update={"scan": alone})})
    fewer = tnt.fit(histograms, changed)
    assert (set(result.scans), set(fewer.scans)) == ({"before", "low", "mass"}, set())
    assert fewer.overall == result.overall
    given = (sample, taggers, histograms)
    first, second = pipeline.answer(*given, result, config), pipeline.answer(*given, fewer, changed)
    assert first.resonance_mass == second.resonance_mass
    assert first.claim


def test_a_blinded_search_and_a_result_without_its_trials_are_refused(found) -> None:
    *given, config = found
    with pytest.raises(ConfigError, match=r"fit\.blind hides"):
        pipeline.answer(*given, SearchConfig.from_text("fit: {blind: true}"))
    sample, taggers, histograms, result = given
    with pytest.raises(FitError, match="fit again"):
        pipeline.answer(sample, taggers, histograms, replace(result, global_p=None), config)


@pytest.mark.parametrize("events", [16, 100, 400])
@pytest.mark.parametrize("offset", [0.0, 0.06, 0.124, -0.124])
def test_the_interval_of_a_mass_is_that_of_its_parabola(offset: float, events: int) -> None:
    """q0 = n - n x^2 has fallen by one at n^-1/2, wherever the masses that are tried lie."""
    masses = np.arange(-2.5, 2.51, 0.25)
    q0 = events - events * (masses - offset) ** 2
    best = int(np.argmax(q0))
    mass, largest = _top(masses, q0, best)
    low, left = _where(masses[best::-1], q0[best::-1], mass, largest)
    high, right = _where(masses[best:], q0[best:], mass, largest)
    assert (mass, largest) == (pytest.approx(offset), pytest.approx(events))
    assert low < mass < high
    assert (left, right) == (True, True)
    assert (high - low) / 2 == pytest.approx(events**-0.5, rel=0.02)


def test_a_mass_that_no_window_has_is_refused() -> None:
    fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    spectrum = stats.toy_spectrum(5000, 300, mass=3500, width=120)
    with pytest.raises(FitError, match="no mass near 2000 GeV has sidebands"):
        stats.resonance_mass(spectrum, near=2000, width=120, fit=fit)
