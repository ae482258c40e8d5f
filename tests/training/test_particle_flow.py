"""A network of constituents: what it is shown, what it is written as, what it learns."""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
import numpy as np
import onnxruntime
import pytest
from pydantic import ValidationError

from tnt_coffea.config import (
    ClassifierSettings,
    OptimizerSettings,
    SearchConfig,
    SkimSettings,
    TntSettings,
    TrainSettings,
)
from tnt_coffea.errors import InputError, TaggerError
from tnt_coffea.taggers import Card, Member, Tagger, TaggerSet
from tnt_coffea.training import cross_validate, run_task, training_costs
from tnt_coffea.training.export import particle_flow_model, seal
from tnt_coffea.training.inputs import ClassifierInputs
from tnt_coffea.training.particle_flow import particle_flow_classifier
from tnt_coffea.training.reading import mapped_events

from .conftest import make_sample, one_by_one

MOST = 8
FLOW = ClassifierSettings(network="particle_flow", input="constituents")
SKIM = SkimSettings(images=None, constituents=MOST)


def with_constituents(sample):
    """Signal jets have two prongs a distance apart."""
    rng = np.random.default_rng(2)
    lists = {}
    for jet in ("heavy", "light"):
        counts = rng.integers(2, MOST + 1, len(sample))
        owner = np.repeat(np.arange(len(sample)), counts)
        share = rng.exponential(1, len(owner))
        share /= np.bincount(owner, share)[owner]
        far = (sample.label[owner] == 1) & (rng.random(len(owner)) < 0.5)
        values = {
            "pt": share,
            "eta": rng.normal(0, 0.1, len(owner)),
            "phi": rng.normal(0.5 * far, 0.1),
        }
        for name, value in values.items():
            lists[f"{jet}_constituents_{name}"] = ak.unflatten(value.astype("f4"), counts)
    return replace(sample, lists=lists, settings=SKIM)


SAMPLE = with_constituents(make_sample(1200, signal_share=0.3))


def jets_of(n=50, jets=1, particles=50, seed=0):
    rng = np.random.default_rng(seed)
    share = rng.exponential(1, (n, jets, particles)) ** 2
    share[np.arange(particles) >= rng.integers(1, particles + 1, (n, jets, 1))] = 0
    share /= share.sum(axis=-1, keepdims=True)
    place = np.where(share > 0, rng.normal(0, 0.3, (2, *share.shape)), 0)
    return np.stack([share, *place], axis=-1).astype(np.float32)


def scores(model, shown):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert [item.name for item in session.get_inputs()] == ["constituents"]
    return session.run(["score"], {"constituents": shown})[0]


@pytest.mark.parametrize("jets", [1, 2])
def test_the_exported_network_agrees_with_keras_and_is_small(jets):
    flow = particle_flow_classifier(jets=jets, particles=50, seed=3)
    shown = jets_of(jets=jets)
    expected = flow.network(shown).numpy()[:, 0]
    assert np.ptp(expected) > 1e-3
    model = particle_flow_model(flow)
    np.testing.assert_allclose(scores(model, shown), expected, atol=1e-5)
    assert flow.network.count_params() < 60_000
    assert len(model.SerializeToString()) < 200_000


def test_the_order_of_the_constituents_and_absent_ones_do_not_matter():
    shown = jets_of()
    model = particle_flow_model(particle_flow_classifier(jets=1, particles=50, seed=3))
    mixed = shown[:, :, np.random.default_rng(1).permutation(50)]
    np.testing.assert_allclose(scores(model, mixed), scores(model, shown), atol=1e-6)
    absent = np.where(shown[..., :1] > 0, shown, np.float32([0, 3, -2]))
    np.testing.assert_allclose(scores(model, absent), scores(model, shown), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"input": "image"}, "particle_flow cannot be fed with image, it takes constituents"),
        ({"network": "dense"}, "dense cannot be fed with constituents, it takes features"),
        ({"augmentation": {"rotation": 10}}, "augmentation changes images"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, reason):
    given = {"network": "particle_flow", "input": "constituents"} | changes
    with pytest.raises(ValidationError, match=reason):
        ClassifierSettings(**given)


def test_batches_from_the_mapped_skim_are_those_of_the_sample(write_skim, tmp_path):
    found = mapped_events(write_skim(SAMPLE, parts=3), tmp_path / "flat")
    assert found.content_hash() == SAMPLE.content_hash()
    n, rows = len(SAMPLE), np.array([7, 3, 3, 0])
    heavy, light = (SAMPLE.constituents(jet).dense(MOST)[rows] for jet in ("heavy", "light"))
    event = ClassifierInputs(found, ("event",), FLOW)
    np.testing.assert_array_equal(event.constituents(rows), np.stack([heavy, light], axis=1))
    # A network that is shared sees the light jets behind the heavy ones.
    shared = ClassifierInputs(found, ("heavy", "light"), FLOW)
    expected = np.concatenate([heavy, light])[:, None]
    np.testing.assert_array_equal(shared.constituents(np.concatenate([rows, n + rows])), expected)


def config(**changes):
    return SearchConfig(
        seed=5,
        train=TrainSettings(
            **{
                "methods": ("supervised",),
                "folds": {"inner": 2},
                "optimizer": OptimizerSettings(batch=64),
                "supervised": {"classifier": FLOW, "epochs": 6},
            }
            | changes
        ),
    )


def test_a_search_trains_it_in_folds_to_the_same_bytes(write_skim, tmp_path):
    paths, tasks = write_skim(SAMPLE), []
    chosen = config(methods=("supervised_both_jets",))

    def run_tasks(stage, function):
        tasks.extend(stage)
        return one_by_one(stage, function)

    (made,) = cross_validate(paths, chosen, run_tasks, tmp_path / "parts").values()
    again = run_task(replace(tasks[0], folder=str(tmp_path / "again")))
    assert again.sha256 in {item.sha256 for item in made}
    members = tuple(
        Member(Tagger.from_file(item.path), item.scope, item.scored, str(i))
        for i, item in enumerate(made)
    )
    assert {member.tagger.card.input for member in members} == {"constituents"}
    taggers = TaggerSet("flow", chosen.train.folds, chosen.seed, members, reference=True)
    found = taggers.score(SAMPLE)
    for t in (0, 1):
        raw, signal = found.raw["event"][found.fold == t], SAMPLE.label[found.fold == t] == 1
        assert (raw[signal][:, None] > raw[~signal]).mean() > 0.8
    with pytest.raises(TaggerError, match=r"set skim\.constituents to 8 and make the skim again"):
        taggers.score(replace(SAMPLE, settings=SkimSettings()))


def test_a_skim_without_constituents_is_refused_before_training(write_skim, tmp_path):
    paths = write_skim(make_sample(300))
    with pytest.raises(InputError, match=r"skim\.constituents is null.*set skim\.constituents"):
        cross_validate(paths, config(), one_by_one, tmp_path / "parts")


def test_what_a_later_round_reads_is_missed_before_the_first_one(write_skim, tmp_path):
    paths, tasks = write_skim(make_sample(300)), []
    later = config(methods=("autoencoder", "tnt"), tnt=TntSettings(classifier=FLOW))

    def run_tasks(stage, function):
        tasks.extend(stage)
        return []

    with pytest.raises(InputError, match=r"skim\.constituents is null"):
        cross_validate(paths, later, run_tasks, tmp_path / "parts")
    assert not tasks


def test_a_dry_run_measures_it(write_skim):
    costs = training_costs(write_skim(SAMPLE), config())
    (one,) = costs.rounds
    assert (one.networks, one.epochs) == (8, 6)
    assert 0 < one.epoch < one.expected < one.most


def test_its_card_asks_for_the_number_and_the_frame():
    card = Card(
        method="test",
        scope="heavy",
        input="constituents",
        skim=SKIM,
        training_sample="0" * 64,
        folds={"outer": 2},
        fold_seed=1,
        direct=(1,),
        ancestors=(1,),
        seed=1,
    )
    flow = particle_flow_classifier(jets=1, particles=MOST, seed=1)
    assert Tagger(seal(particle_flow_model(flow), card)).card == card
    assert card.misfit(SkimSettings(constituents=MOST)) is None
    assert card.misfit(SkimSettings(constituents=MOST, images={"pixels": 20})) is None
    assert "made with 8, but these are made with 9" in card.misfit(SkimSettings(constituents=9))
    assert "rotate" in card.misfit(SkimSettings(constituents=MOST, images={"rotate": False}))
