"""What methods may not see, in every mode of folds, and what their settings change.

Boosted trees stand for all networks here: what reaches a training run does not depend on the
network, and they are fast.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.config import MassRange
from tnt_coffea.errors import ConfigError, LeakError, TaggerError
from tnt_coffea.events.identity import fold_of, outer_fold
from tnt_coffea.taggers import Tagger
from tnt_coffea.testing import altered, make_sample, one_by_one, tagger_set
from tnt_coffea.training import backend, cross_validate, cross_validation_plans
from tnt_coffea.training.classifiers import Dense
from tnt_coffea.training.folds import FoldPlan
from tnt_coffea.training.methods import METHODS
from tnt_coffea.training.methods.anode import Anode
from tnt_coffea.training.methods.autoencoder import Autoencoder
from tnt_coffea.training.methods.best_of import BestOf
from tnt_coffea.training.methods.cwola import Cwola, CwolaPerJet
from tnt_coffea.training.methods.factorized_topics import FactorizedTopics
from tnt_coffea.training.methods.files import Files
from tnt_coffea.training.methods.gis import Gis
from tnt_coffea.training.methods.norm import EventNorm, Norm
from tnt_coffea.training.methods.pca import Pca
from tnt_coffea.training.methods.references import (
    OptimalCwola,
    OptimalCwolaPerJet,
    PureCwola,
    Supervised,
    SupervisedBothJets,
)
from tnt_coffea.training.methods.tag_n_train import SameJet
from tnt_coffea.training.methods.template_classifier import TemplateClassifier

from .conftest import AUTOENCODER_AND_TNT, FIRST, TREES, auc, config_for, cwola, shas, tnt

LEARN_FROM_DATA = {
    "autoencoder": Autoencoder(),
    "tag_n_train": tnt("autoencoder"),
    "same_jet": SameJet(after="autoencoder", signal_rich=0.3, classifier=TREES),
    "cwola": cwola(),
    "cwola_per_jet": CwolaPerJet(classifier=TREES, sideband=1.0),
    "template_classifier": TemplateClassifier(
        template={"by": "morphing", "oversampling": 2}, classifier=TREES
    ),
    "norm": Norm(),
    "event_norm": EventNorm(),
    "best_of": BestOf(of=("event_norm", "cwola"), sideband=1.0),
    "pca": Pca(features=("mass", "tau21")),
    "gis": Gis(density={"bins": 4, "knots": 8, "members": 1}),
    "factorized_topics": FactorizedTopics(topics=2, bins=10, starts=2, steps=200),
    "anode": Anode(density={"model": "slicing", "bins": 2, "knots": 8, "members": 1}),
}
LEARN_FROM_SIMULATION = {"dctr", "salad", "sa_cwola", "salad_tag_n_train"}
REFERENCES = {
    "supervised": Supervised(classifier=TREES),
    "supervised_both_jets": SupervisedBothJets(classifier=TREES),
    "pure_cwola": PureCwola(after="first", classifier=TREES),
    "optimal_cwola": OptimalCwola(classifier=TREES),
    "optimal_cwola_per_jet": OptimalCwolaPerJet(classifier=TREES),
}
TRAINED_ELSEWHERE = {
    *("data_vs_simulation", "feature_autoencoder"),
    "best_of_per_jet",
    "deep_ensemble",
    "lstm",
    *("data_vs_simulation", "feature_autoencoder", "feature_autoencoder_per_jet"),
    *("data_vs_simulation", "feature_autoencoder", "feature_autoencoder_per_jet", "lstm"),
    *("buhulaspa", "gan_ae", "lda", "particle_graph", "particle_graph_per_jet"),
    *("regularized_likelihood", "ucluster", "vrnn", "vrnn_per_jet"),
    *("paws", "quak", "quak_loss", "quak_plane"),
}
"""Each in test_contract.py: they read simulation, lists of the jets, or need Keras."""


@pytest.fixture(scope="module")
def sample():
    return make_sample(1600, signal_share=0.15)


def test_every_kind_is_here_but_what_trains_nothing():
    trained = set(LEARN_FROM_DATA) | set(REFERENCES)
    trained |= LEARN_FROM_SIMULATION
    without_training = {"feature", "event_feature", "files", "random", "event_random"}
    assert set(METHODS) - trained - TRAINED_ELSEWHERE == without_training
    assert all(method.reads.truth for method in REFERENCES.values())
    assert not any(method.reads.truth for method in LEARN_FROM_DATA.values())


@pytest.mark.parametrize("name", REFERENCES)
def test_no_search_takes_a_reference_or_what_builds_on_one(name, sample, train):
    config = config_for({"first": FIRST, name: REFERENCES[name]})
    items = train(sample, config)[name]
    assert all(item.uses_truth for item in items)
    with pytest.raises(TaggerError, match="truth"):
        tagger_set(name, items, config)
    tagger_set(name, items, config, reference=True)


def test_what_a_reference_labels_uses_the_truth_as_well(sample, train):
    config = config_for({"best": Supervised(classifier=TREES), "tnt": tnt("best")})
    items = train(sample, config)["tnt"]
    assert all(item.uses_truth for item in items)
    assert Tagger.from_file(items[0].path).card.uses_truth


@pytest.mark.parametrize("mode", ["cross_validation", "prequential", "split", "swapped"])
def test_a_scored_fold_changes_no_tagger_that_scores_it(mode, sample, train):
    config = config_for(LEARN_FROM_DATA, mode=mode, outer=3)
    before = train(sample, config)
    scored = max(item.scored for items in before.values() for item in items)
    which = outer_fold(sample.event_id, config.train.folds, config.seed) == scored
    after = shas(train(altered(sample, which), config))
    for place, sha in shas(before).items():
        name, t, _, left_out, _ = place
        if t == scored:
            assert after[place] == sha
        elif mode == "cross_validation" and left_out != inner_fold(t, scored):
            assert after[place] != sha, name  # they were trained on that fold
    first = {"cross_validation": 0, "prequential": 1, "split": 2, "swapped": 1}[mode]
    for items in before.values():
        assert sorted({item.scored for item in items}) == list(range(first, 3))


def inner_fold(scored, fold):
    """The inner fold that an outer one is, around a scored one."""
    return [t for t in range(3) if t != scored].index(fold)


def test_a_leak_put_in_on_purpose_is_detected(sample, train, monkeypatch):
    config = config_for({"cwola": cwola()})
    scored = fold_of(sample.event_id, 2, config.seed) == 0

    def everything(plan, event_id, place, round_, *, whole=False):
        return np.ones(len(event_id), dtype=bool)

    monkeypatch.setattr(FoldPlan, "trains", everything)
    before = shas(train(sample, config))
    after = shas(train(altered(sample, scored), config))
    assert all(after[place] != sha for place, sha in before.items() if place[1] == 0)


def test_a_noise_feature_teaches_nothing_out_of_fold(sample, train):
    rng = np.random.default_rng(2)
    noise = {
        f"{jet}_{name}": rng.random(len(sample)).astype("f4")
        for jet in ("heavy", "light")
        for name in ("mass", "tau21")
    }
    noisy = replace(sample, columns=dict(sample.columns) | noise)
    config, window = config_for({"cwola": cwola()}), MassRange(low=3300, high=3700)
    assert config.search.window == window
    scores = tagger_set("cwola", train(noisy, config)["cwola"], config).score(noisy)
    region = window.contains(noisy.m_jj)
    bands = np.any([band.contains(noisy.m_jj) for band in cwola().sidebands(window)], axis=0)
    found = [
        auc(
            scores.raw["event"][region & (scores.fold == t)],
            scores.raw["event"][bands & (scores.fold == t)],
        )
        for t in (0, 1)
    ]
    # About 300 on 150 events a fold: the standard deviation of the mean is 0.02.
    assert abs(np.mean(found) - 0.5) < 0.06


def test_duplicates_cannot_sit_on_both_sides(sample, train):
    twice = sample.select(np.repeat(np.arange(len(sample)), 2))
    config = config_for({"first": FIRST, "tnt": tnt()})
    once, doubled = (train(each, config)["tnt"] for each in (sample, twice))
    for one, two in zip(once, doubled, strict=True):
        assert Tagger.from_file(two.path).card.direct == (1 - one.scored,)
        # Only the pair at the edge of the share may have two labels.
        assert abs(two.history["signal-rich"] - 2 * one.history["signal-rich"]) <= 1


@pytest.mark.slow
def test_prequential_sets_score_what_came_later_and_count_the_rest(sample, train):
    config = config_for(AUTOENCODER_AND_TNT, mode="prequential", outer=3)
    made = tagger_set("tnt", train(sample, config)["tnt"], config)
    assert made.scored_folds == (1, 2)
    made = made.calibrated(sample, MassRange(low=2600, high=7000), (0.3,))
    ranks = made.ranks(sample)
    assert ranks.unscored == (ranks.fold == 0).sum() > 0
    assert sorted(made.quantiles.points[0.3].cuts) == [1, 2]
    assert np.isfinite(ranks.both[ranks.fold > 0]).all()
    for member in made.members:
        assert max(member.tagger.card.ancestors) < member.fold


def test_split_mode_has_a_sample_for_every_round(sample, train):
    methods = AUTOENCODER_AND_TNT | {"tnt2": tnt("tnt")}
    sets = train(sample, config_for(methods, mode="split", outer=5))
    assert [(item.scored, item.scope) for item in sets["tnt2"]] == [
        (t, jet) for t in (3, 4) for jet in ("heavy", "light")
    ]
    for i, name in enumerate(methods):
        card = Tagger.from_file(sets[name][0].path).card
        assert (card.direct, card.ancestors) == ((i,), tuple(range(i + 1)))
    with pytest.raises(ConfigError, match="outer of 4 or more, got 3"):
        train(sample, config_for(methods, mode="split", outer=3))


def test_members_differ_and_are_averaged_raw(sample, train):
    dense = Dense(features=("mass", "tau21"), layers=(8,), epochs=1)
    config = config_for({"autoencoder": Autoencoder(), "hunt": cwola(classifier=dense)}, members=3)
    plans = cross_validation_plans(config.train.folds, config.seed)[:1]
    sets = train(sample, config, plans)
    assert len(sets["autoencoder"]) == 2  # a linear one has no seed to differ by
    assert len(set(shas({"hunt": sets["hunt"]}).values())) == 3
    scores = tagger_set("hunt", sets["hunt"], config).score(sample)
    rows = np.flatnonzero(scores.fold == 0)[:20]
    names = ("heavy_mass", "heavy_tau21", "light_mass", "light_tau21")
    features = np.stack([sample.columns[name][rows] for name in names], 1)
    raw = [Tagger.from_file(item.path).score(features) for item in sets["hunt"]]
    np.testing.assert_allclose(scores.raw["event"][rows], np.mean(raw, axis=0), rtol=1e-5)


@pytest.mark.slow
def test_one_network_serves_both_jets(sample, train):
    methods = {"first": FIRST, "tnt": tnt(shared=True), "tnt2": tnt("tnt", shared=True)}
    items = train(sample, config_for(methods))["tnt2"]
    by_place = {(item.scored, item.left_out, item.scope): item for item in items}
    assert len(by_place) == 8
    for t in (0, 1):
        heavy, light = (Tagger.from_file(by_place[t, 0, s].path) for s in ("heavy", "light"))
        for jet, tagger in (("heavy", heavy), ("light", light)):
            assert tagger.card.inputs[0].columns == (f"{jet}_mass", f"{jet}_tau21")
            assert tagger.card.scope == jet
            assert len(tagger.card.labelled_by) == 2


def test_taggers_from_files_label_if_they_saw_other_events(sample, train):
    first = train(sample, config_for({"first": Autoencoder()}))["first"]
    files = {item.scope: item.path for item in first}
    config = config_for({"first": Files(**files), "tnt": tnt()})
    with pytest.raises(LeakError, match=r"had a part in its training.*independent: true"):
        train(sample, config)
    config = config_for({"first": Files(**files, independent=True), "tnt": tnt()})
    sets = train(sample, config)
    images = sample.images("heavy", np.arange(50))
    copied = next(item for item in sets["first"] if item.scope == "heavy")
    np.testing.assert_array_equal(
        Tagger.from_file(copied.path).score(images), Tagger.from_file(files["heavy"]).score(images)
    )
    swapped = config_for({"first": Files(heavy=files["light"], light=files["heavy"])})
    with pytest.raises(ConfigError, match="a tagger of scope light, named for the heavy jet"):
        train(sample, swapped)


def test_a_changed_file_is_another_tagger(sample, train, tmp_path):
    by_feature = {
        name: train(sample, config_for({"first": method}))["first"]
        for name, method in {
            "low": FIRST,
            "high": FIRST.model_copy(update={"descending": False}),
        }.items()
    }
    found = []
    paths = {jet: tmp_path / f"{jet}.onnx" for jet in ("heavy", "light")}
    for items in by_feature.values():
        for item in items:
            paths[item.scope].write_bytes(Tagger.from_file(item.path).data)
        method = Files(**{jet: str(path) for jet, path in paths.items()})
        found.append(set(shas(train(sample, config_for({"first": method}))).values()))
    assert not found[0] & found[1]


def test_a_file_that_takes_one_event_at_a_time_gives_the_same_labels(sample, train, tmp_path):
    onnx = backend.onnx()
    wanted = train(sample, config_for({"first": FIRST}))["first"]
    files = {}
    for item in wanted:
        model = onnx.load(item.path)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        files[item.scope] = str(tmp_path / f"{item.scope}.onnx")
        onnx.save_model(model, files[item.scope])
    found = train(sample, config_for({"first": Files(**files)}))["first"]
    read = {item.scope: Tagger.from_file(item.path) for item in wanted}
    for item in found:
        inputs = read[item.scope].card.inputs[0].read(sample)
        copy = Tagger.from_file(item.path)
        np.testing.assert_array_equal(copy.score(inputs), read[item.scope].score(inputs))


def test_a_tagger_file_that_is_not_there_is_named(sample, train):
    missing = Files(heavy="none.onnx", light="none.onnx")
    with pytest.raises(TaggerError, match=r"none\.onnx: cannot be opened"):
        train(sample, config_for({"first": missing, "tnt": tnt()}))


def test_settings_of_the_labels_change_the_training(sample, train):
    changes = {
        "plain": {},
        "none": {"reweight": "none"},
        "pt": {"reweight": "pt"},
        "m_jj": {"reweight": "m_jj"},
        "everywhere": {"sidebands_only": False},
        "soft": {"soft_labels": True},
        "all_masses": {"mass_window": False},
        "shares": {"background_rich": 0.5},
    }
    methods = {name: tnt(**change) for name, change in changes.items()}
    config = config_for({"first": FIRST} | methods)
    plans = cross_validation_plans(config.train.folds, config.seed)[:1]
    sets = train(sample, config, plans)
    found = shas({name: sets[name] for name in methods})
    assert len(set(found.values())) == len(found) == 4 * len(changes)


@pytest.mark.slow
def test_the_best_candidate_by_signal_region_efficiency_is_kept(sample, train):
    dense = Dense(
        features=("rescaled_mass", "tau21"),
        layers=(8,),
        epochs=3,
        min_epoch=1,
        clip=3.0,
        initial_biases=(0.04, 0.01),
        optimizer={"batch": 200},
    )
    method = Cwola.olympics().model_copy(
        update={"classifier": dense, "sideband_efficiency": 0.1, "candidates": 2}
    )
    config = config_for({"cwola": method}, outer=3)
    plans = cross_validation_plans(config.train.folds, config.seed)[:1]
    items = train(sample, config, plans)["cwola"]
    assert [item.left_out for item in items] == [0, 1]
    for item in items:
        assert item.history["best_epoch"] >= 1
        assert item.history["merit"][item.history["best_epoch"]] == max(item.history["merit"][1:])
        card = Tagger.from_file(item.path).card
        # The fold left out chose the epoch, so it counts as trained on.
        assert card.direct == card.ancestors == tuple(t for t in range(3) if t != item.scored)
        assert card.inputs[0].columns == (
            "heavy_mass",
            "m_jj",
            "heavy_tau21",
            "light_mass",
            "light_tau21",
        )


@pytest.mark.slow
def test_windows_have_sets_of_their_own_and_share_the_autoencoders(sample, write_skim, tmp_path):
    config = config_for(AUTOENCODER_AND_TNT, windows="olympics")
    counted = []

    def run_tasks(tasks, function):
        counted.append(len(tasks))
        return one_by_one(tasks, function)

    # Enough events in every window of the scan.
    m_jj = np.random.default_rng(3).uniform(2600, 5500, len(sample))
    wide = replace(sample, columns=dict(sample.columns) | {"m_jj": m_jj})
    sets = cross_validate(write_skim(wide), config, run_tasks, tmp_path / "parts")
    assert list(sets) == ["autoencoder", *(f"tnt-{a}-{a + 500}" for a in (3000, 3500, 4000, 4500))]
    assert counted == [8, 32]
    assert tagger_set("w", sets["tnt-4000-4500"], config).window.name == "4000-4500"


def test_a_method_after_one_with_a_window_has_it_too(sample, write_skim, tmp_path):
    from tnt_coffea.training import Schedule

    plain = tnt("jets", mass_window=False, reweight="none")
    methods = {"jets": CwolaPerJet(classifier=TREES), "plain": plain}
    config = config_for(methods, windows="olympics")
    (_, wave) = Schedule.planned(write_skim(sample), config, tmp_path).waves
    assert [step.set_name for step in wave] == [
        f"plain-{a}-{a + 500}" for a in (3000, 3500, 4000, 4500)
    ]


@pytest.mark.parametrize("kind", sorted(METHODS))
def test_settings_are_on_the_card_and_short_ones_are_short(kind):
    needed = {
        "after": "first",
        "heavy": "a.onnx",
        "light": "b.onnx",
        "of": ("first", "second"),
    }
    fields = METHODS[kind].model_fields
    method = METHODS[kind](
        **{name: v for name, v in needed.items() if name in fields and fields[name].is_required()}
    )
    assert method.model_dump()["kind"] == kind
    assert method.orientation
    assert method.passes >= method.shortened().passes >= 1
    # Two epochs of each of at most three networks.
    assert method.shortened().passes <= 6
    assert "onnx" in method.libraries
