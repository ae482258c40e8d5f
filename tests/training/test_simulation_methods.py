"""SALAD, DCTR and SA-CWoLa: known answers, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from scipy.stats import spearmanr

from tnt_coffea import pipeline
from tnt_coffea.config import MassRange
from tnt_coffea.errors import ConfigError, TaggerError, TrainingError
from tnt_coffea.events.identity import fold_of
from tnt_coffea.events.sample import Sample
from tnt_coffea.pipeline.studies.gaussian_example import GAUSSIANS, log_densities
from tnt_coffea.products import Skim, Taggers
from tnt_coffea.testing import make_sample, tagger_set
from tnt_coffea.training import Job, backend, cross_validation_plans, objectives
from tnt_coffea.training.classifiers import Dense
from tnt_coffea.training.density_ratio import WeightSummary, auc, predicted, weights_of
from tnt_coffea.training.methods.cwola import Cwola
from tnt_coffea.training.methods.dctr import Dctr
from tnt_coffea.training.methods.sa_cwola import SaCwola
from tnt_coffea.training.methods.salad import Salad
from tnt_coffea.training.objectives import Population

from .conftest import TREES, config_for, cwola, tnt

WINDOW = MassRange(low=3300, high=3700)


def paper(*features, epochs=20, batch=200):
    network = Dense.paper(*features)
    optimizer = network.optimizer.model_copy(update={"batch": batch})
    return network.model_copy(update={"epochs": epochs, "optimizer": optimizer})


def exponential(n, shift, seed):
    """Return events of a falling mass m, x | m ~ N(0.5 (m - 3.5) + shift, 1) as the heavy mass."""
    rng = np.random.default_rng(seed)
    m = 2600 + rng.exponential(700, 2 * n)
    m = m[m < 4800][:n]
    x = rng.normal(0.5 * (m / 1000 - 3.5) + shift, 1)
    jets = {"mass": x}, {"mass": rng.normal(0, 1, n)}
    return Sample.from_columns(m, heavy=jets[0], light=jets[1])


def trained_ratio(data, simulation, **changes):
    method = Dctr(classifier=paper("heavy_mass", "m_jj"), validation=False, **changes)
    with backend.one_thread():
        scorer = method.train(Job(data, "event", 3, window=WINDOW, simulation=simulation))
    inside = simulation.select(WINDOW.contains(simulation.mass))
    return scorer, inside, predicted(scorer, inside)


@pytest.mark.slow
def test_weights_of_the_exponential_toy_are_the_known_ones():
    data, simulation = exponential(60_000, 0.0, 1), exponential(120_000, 0.2, 2)
    scorer, inside, log_w = trained_ratio(data, simulation, sideband=1.75)
    x, centre = inside.columns["heavy_mass"].astype(float), 0.5 * (inside.mass / 1000 - 3.5)
    exact = -0.2 * (x - centre) + 0.02 - np.log(2)
    middle = np.abs(x - centre - 0.2) < 1.96
    assert np.sqrt(np.mean((log_w - exact)[middle] ** 2)) < 0.06
    w, observed = np.exp(log_w), WINDOW.contains(data.mass).sum()
    assert w.sum() / np.exp(exact).sum() == pytest.approx(1, abs=0.02)
    assert w.sum() / observed == pytest.approx(1, abs=0.02)
    assert np.average(x - centre, weights=w) == pytest.approx(0, abs=0.02)
    assert WeightSummary.of(w).effective == pytest.approx(np.exp(-0.04), abs=0.02)
    assert scorer.summary["closure_auc_before"] > 0.53
    assert scorer.summary["closure_auc_after"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_simulation_like_the_data_has_weights_of_one():
    data, simulation = exponential(40_000, 0.0, 1), exponential(40_000, 0.0, 2)
    _, inside, log_w = trained_ratio(data, simulation)
    assert np.sqrt(np.mean(log_w**2)) < 0.05
    real = data.columns["heavy_mass"][WINDOW.contains(data.mass)]
    assert auc(real, inside.columns["heavy_mass"], np.exp(log_w)) == pytest.approx(0.5, abs=0.01)


def test_a_ratio_moves_simulation_towards_the_data():
    data, simulation = exponential(4000, 0.0, 1), exponential(8000, 0.5, 2)
    _, inside, log_w = trained_ratio(data, simulation)
    x, centre = inside.columns["heavy_mass"].astype(float), 0.5 * (inside.mass / 1000 - 3.5)
    assert np.mean(x - centre) == pytest.approx(0.5, abs=0.05)
    assert np.average(x - centre, weights=np.exp(log_w)) == pytest.approx(0, abs=0.15)
    assert np.exp(log_w).sum() == pytest.approx(WINDOW.contains(data.mass).sum(), rel=0.15)


@pytest.fixture(scope="module")
def samples():
    return {"data": make_sample(1500), "simulation": make_sample(1500, 0.0, kind="sim")}


SMALL = paper("mass / m_jj", "tau21", epochs=2, batch=50)
CHAIN = {
    "dctr": Dctr(classifier=paper("mass / m_jj", "m_jj", epochs=2, batch=50)),
    "salad": Salad(after="dctr", classifier=TREES),
}

CONFIG = config_for(CHAIN)


@pytest.fixture(scope="module")
def chain(samples, tmp_path_factory):
    from tnt_coffea.testing import train

    return train(samples, CONFIG, tmp_path_factory.mktemp("chain"), first_plan(CONFIG))


def first_plan(config):
    return cross_validation_plans(config.train.folds, config.seed)[:1]


def test_weights_of_a_set_are_means_of_logarithms(samples, chain, tmp_path):
    config = CONFIG
    weights = tagger_set("dctr", chain["dctr"], config)
    found = weights.log_weights(samples["simulation"])
    members = [found[name] for name in found if name.startswith("member")]
    assert len(members) == 2
    mean = np.mean(members, axis=0)
    assert found["nominal"] == pytest.approx(mean, abs=1e-6, nan_ok=True)
    assert set(weights.validation_windows) == {"lower validation", "upper validation"}
    assert weights.validation_windows["lower validation"].edges == (3000.0, 3300.0)
    scored = fold_of(samples["simulation"].event_id, 2, config.seed) == 0
    assert all((np.isfinite(values) == scored).all() for values in found.values())
    salad = tagger_set("salad", chain["salad"], config, weighted_by="dctr")
    Taggers({"salad": salad}, {}, {"dctr": weights}).save(tmp_path)
    loaded = Taggers.load(tmp_path)
    assert (loaded.sets["salad"].weighted_by, set(loaded.weights)) == ("dctr", {"dctr"})
    with pytest.raises(TaggerError, match="gives scores, not weights"):
        salad.log_weights(samples["simulation"])
    (tmp_path / "weights" / "dctr" / "set.json").unlink()
    with pytest.raises(TaggerError, match="is weighted by 'dctr', which is not in"):
        Taggers.load(tmp_path)


@pytest.mark.slow
def test_no_event_of_the_window_has_a_part_in_the_weights(samples, chain, train):
    from tnt_coffea.testing import altered

    data = samples["data"]
    changed = samples | {"data": altered(data, WINDOW.contains(data.mass))}
    graphs = [
        {place: _graph(item.path) for place, item in _placed(sets, "dctr").items()}
        for sets in (chain, train(changed, CONFIG, first_plan(CONFIG)))
    ]
    assert graphs[0] == graphs[1]


def _placed(sets, name):
    return {(item.scored, item.left_out): item for item in sets[name]}


def _graph(path):
    """Return the bytes of a tagger's graph, without its card."""
    return onnx.load(path).graph.SerializeToString()


@pytest.mark.parametrize(
    "classifier", [TREES, pytest.param(SMALL, marks=pytest.mark.slow)], ids=["trees", "dense"]
)
@pytest.mark.parametrize("form", ["swapped", "negative"])
def test_strength_zero_is_cwola(samples, train, classifier, form):
    if (form, classifier) == ("negative", TREES):
        pytest.skip("trees have no negative form")
    settings = {"classifier": classifier, "sideband": 0.75}
    both = [
        train(samples, config_for({"m": method}), first_plan(CONFIG))["m"]
        for method in (Cwola(**settings), SaCwola(strength=0, form=form, **settings))
    ]
    graphs = [[_graph(item.path) for item in outcomes] for outcomes in both]
    assert graphs[0] == graphs[1]


@pytest.mark.slow
def test_perfect_simulation_leaves_nothing_to_learn():
    data, simulation = exponential(20_000, 0.0, 1), exponential(20_000, 0.0, 2)
    held = exponential(20_000, 0.0, 3)
    method = SaCwola(classifier=paper("heavy_mass"))
    with backend.one_thread():
        scorer = method.train(Job(data, "event", 1, window=WINDOW, simulation=simulation))
    p = predicted(scorer, held)
    assert np.abs(np.log(p / (1 - p))).mean() < 0.1
    lower, upper = method.sidebands(WINDOW)
    beside = lower.contains(held.mass) | upper.contains(held.mass)
    assert auc(p[WINDOW.contains(held.mass)], p[beside]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "negative", "strength": 1.0}, "no minimum from strength 1 on"),
        ({"form": "negative", "strength": 0.5, "classifier": TREES}, "needs a network"),
        ({"choose_by_efficiency": True}, "leave it out"),
    ],
)
def test_what_has_no_minimum_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SaCwola(**settings)


def test_other_scores_are_no_weights(samples, train):
    config = config_for({"cwola": cwola(), "salad": Salad(after="cwola", classifier=TREES)})
    with pytest.raises(ConfigError, match="needs weights of simulated events of 'cwola'"):
        train(samples, config)
    config = config_for({"dctr": CHAIN["dctr"], "tnt": tnt("dctr")})
    with pytest.raises(ConfigError, match="dctr gives weights of simulated events"):
        train(samples, config)


def test_weights_alone_and_weights_that_do_not_see_the_mass_are_refused(samples, train, tmp_path):
    skim = Skim.from_sample(samples["data"], simulation=samples["simulation"])
    with pytest.raises(ConfigError, match=r"dctr in train.methods give weights .* add one"):
        pipeline.train(skim, config_for({"dctr": CHAIN["dctr"]}), out=tmp_path / "out")
    blind = Dctr(classifier=paper("mass", "tau21"))
    with pytest.raises(ConfigError, match=r"interpolated in m_jj, which their network does not"):
        train(samples, config_for(CHAIN | {"dctr": blind}))


def test_a_column_that_simulation_lacks_is_named(train):
    jets = {"mass": np.arange(100.0), "tau21": np.arange(100.0)}
    m_jj = np.linspace(2700, 4500, 100)
    data = Sample.from_columns(m_jj, heavy=jets, light=jets)
    fewer = {"mass": jets["mass"]}
    simulation = Sample.from_columns(m_jj + 1, heavy=fewer, light=fewer)
    with pytest.raises(ConfigError, match=r"events of role simulation: .*tau21"):
        train({"data": data, "simulation": simulation}, config_for(CHAIN))


def test_a_sideband_without_simulation_is_named(samples, train):
    simulation = samples["simulation"]
    low = simulation.select(simulation.m_jj < 3700)
    with pytest.raises(TrainingError, match="upper sideband of simulation"):
        train(samples | {"simulation": low}, config_for(CHAIN))


def test_weights_that_a_handful_of_events_has_are_refused():
    simulation = make_sample(200, 0.0)
    log_w = np.zeros(200)
    log_w[0] = 6.0
    with pytest.raises(TrainingError, match=r"200 simulated events are worth .* too unlike"):
        weights_of(log_w, simulation)
    own = replace(simulation, weight=np.where(np.arange(200), 1e-9, 1.0))
    with pytest.raises(TrainingError, match=r"come with weights that are worth 0.5%"):
        weights_of(np.zeros(200), own)
    assert weights_of(np.zeros(200), replace(simulation, weight=np.full(200, 2.0))).sum() == 400


def gaussian(population, n, seed, m_jj):
    """Return events of the Gaussian example: its two features as the masses of the jets."""
    (mean, variance), rng = GAUSSIANS[population], np.random.default_rng(seed)
    x = rng.normal(mean, np.sqrt(variance), (n, 2))
    return np.full(n, m_jj) + rng.uniform(-100, 100, n), x


def joined(parts):
    m_jj, x = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Sample.from_columns(m_jj, heavy={"mass": x[:, 0]}, light={"mass": x[:, 1]})


@pytest.mark.slow
@pytest.mark.parametrize("strength", [0.5, 1.0, 1.25])
def test_the_methods_rank_gaussians_as_their_closed_form(strength):
    n, low, high = 40_000, 3150, 3850
    data = joined(
        [
            gaussian(Population.BACKGROUND_SR, n, 1, 3500),
            gaussian(Population.SIGNAL, n // 100, 2, 3500),
            gaussian(Population.DATA_SB, n // 2, 3, low),
            gaussian(Population.DATA_SB, n // 2, 4, high),
        ]
    )
    simulation = joined(
        [
            gaussian(Population.SIMULATION_SR, n, 5, 3500),
            gaussian(Population.SIMULATION_SB, n // 2, 6, low),
            gaussian(Population.SIMULATION_SB, n // 2, 7, high),
        ]
    )
    method = SaCwola(strength=strength, classifier=paper("heavy_mass", "light_mass"))
    with backend.one_thread():
        scorer = method.train(Job(data, "event", 1, window=WINDOW, simulation=simulation))
    tested = joined([gaussian(Population.BACKGROUND_SR, n, 8, 3500)])
    p = predicted(scorer, tested)
    x = np.stack([tested.columns["heavy_mass"], tested.columns["light_mass"]], axis=1)
    exact = objectives.sa_cwola(strength).optimum(
        log_densities(x.astype(float), signal_share=1 / 101)
    )
    assert spearmanr(p, exact).statistic > 0.9
