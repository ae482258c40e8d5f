"""The template as a direct estimate: from a trained tagger to the count in the window."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tnt_coffea as tnt
from tnt_coffea import Sample, SearchConfig, stats
from tnt_coffea.errors import FitError, TrainingError
from tnt_coffea.events.identity import outer_fold
from tnt_coffea.execution import Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.pipeline import direct
from tnt_coffea.pipeline.searching import _templates
from tnt_coffea.pipeline.template_events import template_events
from tnt_coffea.processors import SearchProcessor
from tnt_coffea.reporting.direct_figures import direct_spectrum
from tnt_coffea.training.assumptions import assumptions
from tnt_coffea.training.templates.classification import feature_sample, joint_features

TEXT = """
seed: 3
search:
  fit_range: {low: 2500, high: 4900}
  window: {low: 3300, high: 3700}
  efficiencies: [0.1, 0.03]
train:
  methods:
    template:
      kind: template_classifier
      template: {by: morphing, degree: 1}
      classifier: {network: trees, features: [mass, mass_difference, tau21, spread],
        trees: 20}
    without:
      kind: template_classifier
      template: {by: morphing, estimate: false}
      classifier: {network: trees, features: [tau21], trees: 5}
fit:
  bump: {efficiency: 0.1}
  limit: {enabled: false}
  scan: {global_over: none}
"""


def sample(n: int, signal: int = 0, seed: int = 1) -> Sample:
    """Return events of which `spread` grows with the mass, and tau21 does not."""
    rng = np.random.default_rng(seed)
    m = np.concatenate([2400 + rng.exponential(700, n), rng.normal(3500, 60, signal)])
    label = np.repeat([0, 1], [n, signal])
    jets = {
        jet: {
            "mass": rng.gamma(2.0, 60, n + signal) * np.where(label, 0.3, 1) + 200 * label,
            "tau21": np.where(label, 0.25, 0.6) + 0.12 * rng.normal(size=n + signal),
        }
        for jet in ("heavy", "light")
    }
    spread = m / 1000 + 0.3 * rng.normal(size=n + signal)
    made = Sample.from_columns(m, **jets, event={"spread": spread}, label=label)
    return made.select(np.argsort(made.event_id))


def searched(out, data, text=TEXT):
    config = SearchConfig.from_text(text)
    resources = Resources(progress=False)
    taggers = tnt.train(data, config, out=out, resources=resources)
    return config, taggers, tnt.search(data, taggers, config, out=out, resources=resources)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return searched(tmp_path_factory.mktemp("template"), sample(7000))


def events(found, data):
    """Return the ranked events of the template for other data."""
    config, taggers, _ = found
    processor = SearchProcessor(config, taggers.sets.values())
    return template_events(taggers.sets["template"], data, processor, config.seed)


def test_the_template_predicts_the_background_after_a_cut(found):
    config, _, histograms = found
    result = direct(histograms, config, "template")
    assert isinstance(result, stats.DirectEstimate)
    assert result.template
    assert result.weights == "morphing"
    assert abs(result.observed - result.predicted) < 3 * np.hypot(
        result.uncertainty, result.observed**0.5
    )
    assert [one.name for one in result.windows] == ["lower validation", "upper validation"]
    for one in result.windows:
        assert abs(one.ratio - 1) < 3 * one.uncertainty
    # Nothing else predicts it: the template lies in the window and its validation windows alone.
    low, high = result.spectrum.edges[0], result.spectrum.edges[-1]
    assert (low, high) == (2900, 4100)


@pytest.mark.slow
def test_the_result_of_the_fit_says_what_predicts_the_background_or_why_nothing_does(found):
    config, _, histograms = found
    about = {**histograms.provenance, "without_template": {"without": "no skim"}}
    result = tnt.fit(replace(histograms, provenance=about), config)
    assert result.direct["template"] == direct(histograms, config, "template")
    assert result.direct["without"] == stats.DirectRefusal("no skim")
    figure = direct_spectrum(result.direct["template"])
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "template (morphing)" in labels
    assert not any("simulation" in text for text in labels)


def test_a_signal_is_seen_above_the_template(tmp_path):
    config, _, histograms = searched(tmp_path, sample(6000, signal=150, seed=2))
    result = direct(histograms, config, "template")
    assert result.z > 5
    assert result.mu_hat == pytest.approx(150, rel=0.35)


def test_each_fold_has_a_template_of_its_own_events_alone(found):
    config, _, histograms = found
    data = sample(7000)
    made = histograms.simulation["template"].histogram
    assert events(found, data).histogram == made
    second = outer_fold(data.event_id, config.train.folds, config.seed) == 1
    moved = {
        name: np.where(second, values * 0.9, values) if name == "spread" else values
        for name, values in data.columns.items()
    }
    other = events(found, replace(data, columns=moved)).histogram
    first, both = (h[{"fold": 0}].view(flow=True) for h in (made, other))
    assert first.tobytes() == both.tobytes()
    assert other != made


def test_neither_labels_nor_events_in_the_window_have_a_part_in_it(found):
    data = sample(7000)
    made = events(found, data).histogram
    inside = (data.mass >= 3300) & (data.mass < 3700)
    assert events(found, replace(data, label=1 - data.label)).histogram == made
    assert events(found, data.select(~inside)).histogram == made


def test_features_have_the_scores_of_the_columns_that_they_are_computed_from(found):
    tagger_set = found[1].sets["template"]
    data = sample(7000, seed=2)
    own = [member.tagger for member in tagger_set.members]
    taking, features = joint_features(own, data)
    assert {"heavy_tau21", "mass_difference", "spread"} <= features.keys()
    assert len(features) == 6
    x = np.concatenate([each.values(data) for each in features.values()], axis=1)
    drawn = feature_sample(x, data.mass)
    for tagger, other in zip(own, taking, strict=True):
        expected = tagger.score(tagger.card.inputs[0].read(data))
        np.testing.assert_array_equal(other.score(other.card.inputs[0].read(drawn)), expected)
        assert len(np.unique(expected)) > 20


def test_a_score_that_follows_the_mass_is_to_be_counted_against_the_template(found):
    config, taggers, _ = found
    ranges = config.search.window, config.search.fit_range
    noted = {
        name: assumptions(taggers.sets[name], sample(7000), *ranges)
        for name in ("template", "without")
    }
    assert noted["template"].sculpting < 1e-3 < noted["without"].sculpting
    assert any("count against the template" in line for line in noted["template"].warnings)


def test_too_few_events_beside_the_window_are_refused(found):
    with pytest.raises(TrainingError, match=r"fold 0: \d+ events in the (lower|upper) sideband"):
        events(found, sample(7000).select(np.arange(300)))


def test_a_template_without_a_validation_window_is_still_one(found):
    data = sample(7000)
    # Nothing above the upper sideband's own window: the upper one cannot be tested.
    found_ = events(found, data.select(data.mass < 4100))
    assert list(found_.validation) == ["lower validation"]


def test_a_method_may_do_without(found):
    config, _, histograms = found
    assert "without" not in histograms.simulation
    with pytest.raises(FitError, match="has no weighted simulation"):
        direct(histograms, config, "without")


def test_a_search_without_a_skim_has_no_template_and_says_so(found):
    config, taggers, _ = found
    sets = taggers.sets.values()
    source = Fileset.from_paths({"data": [__file__]})
    processor = SearchProcessor(config, sets)
    found_, without = _templates(source, processor, config.seed, Path(), Resources())
    assert not found_
    assert without.keys() == {"template"}
    assert "made of a skim" in without["template"]
