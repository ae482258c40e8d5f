"""The density template: known distributions in the window, and samples that are always usable."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TrainingError
from tnt_coffea.testing import method_contract
from tnt_coffea.training.classifiers import Trees
from tnt_coffea.training.densities.autoregressive import Autoregressive
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.training.methods.template_classifier import TemplateClassifier
from tnt_coffea.training.templates import AnyTemplate
from tnt_coffea.training.templates.density import Density
from tnt_coffea.training.templates.interface import SidebandEvents

WINDOW = MassRange(low=3300, high=3700)
BANDS = MassRange(low=2700, high=3300), MassRange(low=3700, high=4300)
FAST = Density(
    density=Autoregressive(
        blocks=2,
        hidden=32,
        epochs=40,
        averaged=5,
        optimizer=OptimizerSettings(
            beta1=0.9, beta2=0.999, decay=2e-3, learning_rate=1e-2, batch=512, patience=40
        ),
    )
)
RHO = 0.6


def features(mass, rng):
    """Return two Gaussian features of width 1 and 0.5, correlated, the first of mean m."""
    first = rng.normal(size=len(mass))
    second = RHO * first + np.sqrt(1 - RHO**2) * rng.normal(size=len(mass))
    shift = (mass - 3500) / 400
    return np.stack([first + shift, 0.5 * second - 0.3 * shift], axis=1).astype(np.float32)


def sidebands(n=6000, seed=1):
    rng = np.random.default_rng(seed)
    mass = rng.uniform(2700, 4300, n)
    x = features(mass, rng)
    return SidebandEvents.of(x, mass, np.ones(n), WINDOW, BANDS, ("a", "b"))


@pytest.fixture(scope="module")
def template():
    return FAST.fit(sidebands(), seed=3)


def test_samples_in_the_window_have_mean_width_and_correlation_of_the_background(template):
    x, mass = template.sample(20_000, seed=5)
    assert WINDOW.contains(mass).all()
    shift = (mass - 3500) / 400
    # Nothing was seen in the window: what the features are there is interpolated.
    residual = x - np.stack([shift, -0.3 * shift], axis=1)
    assert residual.mean(axis=0) == pytest.approx([0, 0], abs=0.06)
    assert residual.std(axis=0) == pytest.approx([1, 0.5], rel=0.06)
    assert np.corrcoef(residual.T)[0, 1] == pytest.approx(RHO, abs=0.05)
    # The mean follows the mass within the window as well.
    assert np.polyfit(shift, x[:, 0], 1)[0] == pytest.approx(1, abs=0.15)


def test_samples_are_a_function_of_the_seed_alone(template):
    (x, mass), (same, again) = (template.sample(500, seed=7) for _ in range(2))
    assert x.tobytes() == same.tobytes()
    assert mass.tobytes() == again.tobytes()
    assert not np.array_equal(x, template.sample(500, seed=8)[0])


def test_samples_stay_in_the_range_trained_on(template):
    events = sidebands()
    x, _ = template.sample(20_000, seed=9)
    assert np.isfinite(x).all()
    assert (x >= events.x.min(axis=0)).all()
    assert (x <= events.x.max(axis=0)).all()
    # Far outside of the window the flow extrapolates, and still ends inside.
    far = template.sampler(np.array([1.0, 1e6] * 50), seed=1)
    assert np.isfinite(far).all()


def test_the_template_is_one_of_the_settings():
    found = TypeAdapter(AnyTemplate).validate_python({"by": "density"})
    assert isinstance(found, Density)
    assert found.density.optimizer.one_cycle
    assert not found.estimate


@pytest.mark.slow
def test_a_classifier_against_samples_keeps_what_every_method_keeps(tmp_path):
    short = FAST.model_copy(update={"density": FAST.density.model_copy(update={"epochs": 15})})
    trees = Trees(features=("mass", "tau21"), trees=20)
    method_contract(TemplateClassifier(template=short, classifier=trees), tmp_path)


def test_a_template_morphs_where_nothing_else_is_said():
    found = TypeAdapter(AnyTemplate).validate_python({"estimate": False})
    assert (found.by, found.estimate) == ("morphing", False)


def test_what_no_density_is_learned_of_is_refused():
    events = sidebands(400)
    twice = np.repeat(events.x[:, :1], 2, axis=1)
    alike = SidebandEvents.of(twice, events.mass, events.weight, WINDOW, BANDS, ("a", "b"))
    with pytest.raises(TrainingError, match="features a, b are the same"):
        FAST.fit(alike, seed=1)
    few = np.round(events.x)
    steps = SidebandEvents.of(few, events.mass, events.weight, WINDOW, BANDS, ("a", "b"))
    with pytest.raises(TrainingError, match="a density needs a continuous feature"):
        FAST.fit(steps, seed=1)
