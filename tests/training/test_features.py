"""Features: the same from numpy, in a Keras model and in a graph of ONNX."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from tnt_coffea.config import OBSERVABLE_GROUPS
from tnt_coffea.errors import ConfigError
from tnt_coffea.events.sample import Sample
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.testing import make_sample
from tnt_coffea.training import FeatureSet, Graph, Standardisation, backend, keras_graph
from tnt_coffea.training.features import NAMED_FEATURES
from tnt_coffea.training.networks import input_tensor

SAMPLE = make_sample(60)
ROWS = np.arange(60)
EXPRESSIONS = (
    "tau21",
    "mass / m_jj",
    "-tau21 + 2 * (pt - 1.5) / m_jj",
    "log(heavy_mass / light_mass)",
    "log10(pt) ** 2 - sqrt(pt)",
    "exp(-tau21) * abs(heavy_mass - light_mass)",
    "m_jj ** 0.5",
    *NAMED_FEATURES,
)


def computed(features, scope="light", sample=SAMPLE):
    made = FeatureSet.of(features, scope, sample)
    return made.computed(made.input.reader(sample)(ROWS))


def test_rescaled_mass_follows_the_equation():
    made = FeatureSet.of(("rescaled_mass", "tau21"), "light", SAMPLE)
    assert made.input.columns == ("light_mass", "m_jj", "light_tau21")
    found = computed(("rescaled_mass", "tau21"))
    expected = (SAMPLE.columns["light_mass"] - 30) / SAMPLE.m_jj + 0.01
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4)
    np.testing.assert_array_equal(found[:, 1], SAMPLE.columns["light_tau21"])


def test_the_logarithm_of_the_rescaled_mass_has_an_end():
    rows = np.array([[0.0, 2632.0], [3.0, 2700.0], [30.0, 3000.0], [500.0, 3500.0]], "f4")
    made = FeatureSet.of(("log_rescaled_mass",), "light", SAMPLE)
    assert made.input.columns == ("light_mass", "m_jj")
    found = made.computed(rows)[:, 0]
    rescaled = (rows[:, 0] - 30) / rows[:, 1] + 0.01
    assert rescaled[0] < 0
    np.testing.assert_allclose(found, np.log10(np.maximum(rescaled, 1e-4)), rtol=1e-4)


def test_features_of_an_event_are_those_of_both_jets_and_its_own_once():
    made = FeatureSet.of(("tau21", "mass_difference", "mass / m_jj"), "event", SAMPLE)
    assert made.names == (
        "heavy_tau21",
        "heavy_mass / m_jj",
        "light_tau21",
        "light_mass / m_jj",
        "mass_difference",
    )
    difference = SAMPLE.columns["heavy_mass"] - SAMPLE.columns["light_mass"]
    found = computed(("tau21", "mass_difference"), "event")
    np.testing.assert_allclose(found[:, 2], difference, rtol=1e-5)


def test_a_group_of_observables_is_a_feature_for_each():
    columns = [f"{jet}_{n}" for jet in JETS for n in ("mass", *OBSERVABLE_GROUPS["energy_flow"])]
    sample = replace(SAMPLE, columns=dict.fromkeys(columns, SAMPLE.columns["heavy_mass"]))
    made = FeatureSet.of(("mass", "energy_flow"), "event", sample)
    assert len(made) == 2 * 54
    assert made.names[:2] == ("heavy_mass", "heavy_efp_2_1_0")
    assert made.input.columns == made.names
    with pytest.raises(
        ConfigError, match=r"no 'subjettiness' \(27 columns, the first 'heavy_tau1'"
    ):
        FeatureSet.of(("subjettiness",), "heavy", SAMPLE)


@pytest.mark.parametrize("scope", ["heavy", pytest.param("event", marks=pytest.mark.slow)])
def test_numpy_keras_and_graph_agree(scope):
    made = FeatureSet.of(EXPRESSIONS, scope, SAMPLE)
    columns = made.input.reader(SAMPLE)(ROWS)
    expected = made.computed(columns)
    assert expected.shape == (60, len(made))
    defined = np.isfinite(expected)  # the logarithm of a mass below 30 GeV is not
    assert defined.mean() > 0.9

    graph = Graph(made.input)
    features = made.add(graph, "features")
    written = [graph.model(graph.flat(graph.slice(features, i))) for i in range(len(made))]
    keras = backend.keras()
    tensor = input_tensor(made.input)
    layer = made.tensor(tensor)
    in_keras = keras.Model([tensor], layer)
    of_keras = backend.array(in_keras([columns]))
    exported = keras_graph(keras.Model([tensor], layer[:, 0]))
    for i, model in enumerate([*written, exported]):
        session = onnxruntime.InferenceSession(model.SerializeToString())
        found = session.run(["score"], {"features": columns})[0]
        wanted = expected[:, i if i < len(made) else 0]
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-5, err_msg=made.names[i - 1])
    np.testing.assert_allclose(of_keras[defined], expected[defined], rtol=2e-5, atol=1e-5)
    np.testing.assert_array_equal(np.isfinite(of_keras), defined)


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ("mass +", "not an expression"),
        ("__import__('os')", "an expression has columns, numbers"),
        ("sin(mass)", "an expression has columns, numbers"),
        ("log(mass, 2)", "an expression has columns, numbers"),
        ("mass if pt else m_jj", "an expression has columns, numbers"),
        ("mass.real", "an expression has columns, numbers"),
        ("mass > 3", "an expression has columns, numbers"),
        ("'mass'", "an expression has columns, numbers"),
        ("True", "an expression has columns, numbers"),
        ("3 + 4", "names no column"),
        ("mass / no_such", r"holds no 'heavy_no_such', only heavy_"),
    ],
)
def test_what_is_no_feature_is_refused(feature, message):
    with pytest.raises(ConfigError, match=message):
        FeatureSet.of((feature,), "heavy", SAMPLE)


@pytest.mark.parametrize("scope", ["heavy", "event"])
def test_a_missing_column_keeps_the_name_of_its_jet(scope):
    kept = {name: each for name, each in SAMPLE.columns.items() if name != "heavy_tau21"}
    fewer = replace(SAMPLE, columns=kept)
    with pytest.raises(ConfigError, match=r"no 'heavy_tau21', only .*; add it to skim\.observ"):
        FeatureSet.of(("light_mass", "heavy_tau21 / mass"), scope, fewer)


def test_standardised_features_have_mean_zero_and_width_one():
    rng = np.random.default_rng(5)
    values, weights = rng.normal(5, 3, (400, 2)).astype("f4"), rng.random(400)
    values[:, 1] = 2.0
    scaled = Standardisation.of(values, weights).applied(values)
    assert np.average(scaled[:, 0], weights=weights) == pytest.approx(0, abs=1e-5)
    assert np.average(scaled[:, 0] ** 2, weights=weights) == pytest.approx(1, rel=1e-4)
    assert (scaled[:, 1] == 0).all()


def test_a_feature_asks_for_its_columns_alone():
    kept = {name: SAMPLE.columns[name] for name in ("m_jj", "heavy_mass", "light_mass")}
    fewer = replace(SAMPLE, columns=kept)
    np.testing.assert_array_equal(
        computed(("rescaled_mass",), sample=fewer), computed(("rescaled_mass",))
    )


def test_delta_r_goes_around_the_circle():
    jets = [{"eta": [0.0, 1.0, -1.0], "phi": [3.0, 0.5, 0.0]}]
    jets += [{"eta": [0.0, -1.0, 2.0], "phi": [-3.0, -2.5, 4.0 - np.pi]}]
    sample = Sample.from_columns([3500.0] * 3, heavy=jets[0], light=jets[1])
    features = FeatureSet.of(("delta_r",), "event", sample)
    expected = [2 * np.pi - 6, np.hypot(2, 3), np.hypot(3, 4 - np.pi)]
    np.testing.assert_allclose(features.values(sample)[:, 0], expected, rtol=1e-6)
