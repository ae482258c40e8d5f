"""Halves that search each other behind the same first taggers, arXiv:2101.08320, 4.3.1."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tnt_coffea import testing
from tnt_coffea.config import FoldSettings, SearchConfig, TrainSettings
from tnt_coffea.errors import LeakError, TrainingError
from tnt_coffea.events.identity import outer_fold
from tnt_coffea.events.skim import write_part
from tnt_coffea.taggers import Tagger
from tnt_coffea.testing import altered, tagger_set
from tnt_coffea.training import Schedule, plans_of, run_task
from tnt_coffea.training.costs import training_costs
from tnt_coffea.training.folds import WHOLE
from tnt_coffea.training.labels import OTHER_JET, Labeller

from .conftest import AUTOENCODER_AND_TNT, FIRST, shas, tnt


def two_iterations(**folds):
    folds = FoldSettings(mode="swapped", **folds)
    methods = AUTOENCODER_AND_TNT | {"tnt2": tnt("tnt", signal_rich=0.2)}
    return SearchConfig(seed=5, train=TrainSettings(folds=folds, methods=methods))


@pytest.fixture(scope="module")
def swapped(tmp_path_factory):
    """Both halves with two iterations behind the same autoencoders."""
    sample, config = testing.make_sample(3000), two_iterations()
    return sample, config, testing.train(sample, config, tmp_path_factory.mktemp("swapped"))


def test_swapped_halves_share_their_first_taggers_and_no_other(swapped):
    _, _, sets = swapped
    cards = {
        (name, item.scored, item.scope): (Tagger.from_file(item.path).card, item.sha256)
        for name, items in sets.items()
        for item in items
    }
    assert set(cards) == {
        (name, t, jet) for name in sets for t in (1, 2) for jet in ("heavy", "light")
    }
    for (name, t, jet), (card, sha) in cards.items():
        if name == "autoencoder":
            assert (card.direct, card.ancestors) == ((0,), (0,))
            assert sha == cards[name, 3 - t, jet][1]
            continue
        before = {"tnt": "autoencoder", "tnt2": "tnt"}[name]
        assert (card.direct, card.ancestors) == ((3 - t,), (0, 3 - t))
        assert card.labelled_by == (cards[before, t, OTHER_JET[jet]][1],)
        assert sha != cards[name, 3 - t, jet][1]


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_part_of_swapped_folds_changes_the_taggers_it_may_change_alone(swapped, train, part):
    sample, config, sets = swapped
    which = outer_fold(sample.event_id, config.train.folds, config.seed) == part
    after = shas(train(altered(sample, which), config))
    for place, sha in shas(sets).items():
        name, scored = place[:2]
        trained_on = {0} if name == "autoencoder" else {0, 3 - scored}
        assert (after[place] != sha) is (part in trained_on), place


def test_no_event_is_labelled_by_a_tagger_trained_on_it(swapped, train):
    # Each iteration has a part of its own: events of the second change nothing in the first.
    sample, config, sets = swapped
    plans = plans_of(config.train.folds, config.seed, rounds=3)
    second = plans[0].trains(sample.event_id, WHOLE, 2)
    after, before = shas(train(altered(sample, second), config)), shas(sets)
    changed = {place[:2] for place, sha in before.items() if after[place] != sha}
    assert changed == {("tnt2", plans[0].scored)}


def test_labels_of_a_tagger_of_the_other_half_or_of_a_later_part_are_a_leak(swapped, tmp_path):
    sample, config, sets = swapped
    write_part(tmp_path / "part.parquet", sample)
    schedule = Schedule.planned([tmp_path / "part.parquet"], config, tmp_path / "taggers")
    for wave in schedule.waves:
        schedule.finish(wave, testing.one_by_one)
    task = next(t for t in schedule.tasks(schedule.waves[1]) if t.scope == "heavy")
    assert task.plan.scored == 1

    def planted(name, scored):
        item = next(i for i in sets[name] if (i.scope, i.scored) == ("light", scored))
        given = Labeller("autoencoder", "light", 1, item.path, item.sha256)
        return replace(task, labellers=(given,), folder=str(tmp_path / name))

    with pytest.raises(LeakError, match="cannot label for a tagger that scores fold 1"):
        run_task(planted("tnt", scored=2))
    with pytest.raises(LeakError, match="which it must not label"):
        run_task(planted("tnt", scored=1))
    with pytest.raises(LeakError, match="which it must not label"):
        run_task(planted("tnt2", scored=1))


def test_a_tagger_of_a_half_cannot_be_put_where_it_scores_it(swapped):
    _, config, sets = swapped
    wrong = [replace(item, scored=3 - item.scored) for item in sets["tnt"]]
    with pytest.raises(LeakError, match=r"fold \d had a part in its training"):
        tagger_set("tnt", wrong, config)
    other = two_iterations(shares=(0.3, 0.35, 0.35))
    with pytest.raises(LeakError, match="other folds"):
        tagger_set("tnt", sets["tnt"], other)


def test_first_taggers_that_read_no_data_leave_the_halves_to_swap(train):
    sample = testing.make_sample(600)
    folds = FoldSettings(mode="swapped", shares=(0.05, 0.5, 0.45))
    methods = {"first": FIRST, "tnt": tnt()}
    config = SearchConfig(seed=5, train=TrainSettings(folds=folds, methods=methods))
    items = train(sample, config)["tnt"]
    assert {(item.scored, Tagger.from_file(item.path).card.direct) for item in items} == {
        (1, (2,)),
        (2, (1,)),
    }


def test_costs_are_those_of_the_parts(swapped, tmp_path):
    sample, config, _ = swapped
    write_part(tmp_path / "part.parquet", sample)
    steps = training_costs([tmp_path / "part.parquet"], config).steps
    assert [(step.name, step.networks) for step in steps] == [
        ("autoencoder (autoencoder)", 2),
        ("tnt (tag_n_train)", 4),
        ("tnt2 (tag_n_train)", 4),
    ]
    assert all(abs(step.events / len(sample) - 0.2) < 0.03 for step in steps)


def test_parts_of_too_few_events_are_named(train):
    with pytest.raises(TrainingError, match=r"for folds 1, 2: \d events to train on, at least 10"):
        train(testing.make_sample(20), two_iterations())
    with pytest.raises(TrainingError, match=r"^tnt2? of the \w+ jet for fold [12]: "):
        train(testing.make_sample(60), two_iterations())
