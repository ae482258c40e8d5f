"""Methods that know more than the data: what they are given, and what they have to say."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import pytest

from tnt_coffea import testing
from tnt_coffea.errors import ConfigError, LeakError, TaggerError
from tnt_coffea.events.identity import fold_of
from tnt_coffea.products import Skim
from tnt_coffea.taggers import Tagger
from tnt_coffea.testing import altered, make_sample, method_contract, tagger_set
from tnt_coffea.training import (
    Job,
    Method,
    Reads,
    Scorer,
    cross_validation_plans,
    training_costs,
)
from tnt_coffea.training.methods.files import Files
from tnt_coffea.training.methods.references import Supervised
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels

from .conftest import TREES, config_for, cwola, shas, tnt


class DataAgainstSimulation(Method):
    """Trees that tell data from simulation, with simulated signals among the data."""

    kind: Literal["data_against_simulation"] = "data_against_simulation"
    data: bool = True
    priors: bool = True

    orientation: ClassVar[str] = "probability of data"

    @property
    def reads(self) -> Reads:
        return Reads(data=self.data, simulation=True, priors=self.priors)

    @property
    def libraries(self) -> tuple[str, ...]:
        return TREES.libraries

    def check(self, sample, scope) -> None:
        TREES.inputs(scope, sample)

    def train(self, job: Job) -> Scorer:
        every = [("simulation", job.simulation, 0.0)]
        priors = job.priors.items() if self.priors else ()
        every += [(f"prior {name}", sample, 1.0) for name, sample in priors]
        every += [("data", job.data, 1.0)] if self.data else []
        labels = WeakLabels(
            tuple(
                SampleClass(name, sample, np.ones(len(sample), bool), target)
                for name, sample, target in every
            )
        )
        return TREES.train(labels, job.scope, job.seed)


@pytest.fixture(scope="module")
def samples():
    return {
        "data": make_sample(1000),
        "simulation": make_sample(1000, 0.0, kind="sim"),
        "prior:two-prong": make_sample(300, 1.0, kind="prior"),
    }


@pytest.mark.slow
def test_a_method_of_all_roles_keeps_the_contract(tmp_path):
    method_contract(DataAgainstSimulation(), tmp_path)


def test_costs_count_the_events_of_all_roles_that_are_read(samples):
    skim = Skim.from_sample(
        samples["data"],
        simulation=samples["simulation"],
        priors={"two-prong": samples["prior:two-prong"]},
    )
    methods = {
        "all": DataAgainstSimulation(),
        "simulated": DataAgainstSimulation(data=False),
        "background": DataAgainstSimulation(priors=False),
        "alone": cwola(),
    }
    costs = training_costs(skim.by_role, config_for(methods)).steps
    events = {step.name.split()[0]: step.events for step in costs}
    assert events["simulated"] == 1300
    # Of two folds one trains each tagger, and both do once.
    assert events["all"] == pytest.approx(2300 / 2, abs=1)
    assert events["background"] == pytest.approx(2000 / 2, abs=1)
    assert events["alone"] == pytest.approx(1000 / 2, abs=1)


def test_simulation_is_folded_like_the_data(samples, train):
    config = config_for({"m": DataAgainstSimulation(), "tnt": tnt("m")})
    plans = cross_validation_plans(config.train.folds, config.seed)[:1]
    before = shas(train(samples, config, plans))
    simulation = samples["simulation"]
    scored = fold_of(simulation.event_id, 2, config.seed) == 0
    same = train(samples | {"simulation": altered(simulation, scored)}, config, plans)
    assert shas(same) == before
    # Inner folds too: the tagger that leaves one out sees nothing of it.
    inner = plans[0].inner_of(simulation.event_id) == 1
    other = shas(train(samples | {"simulation": altered(simulation, inner)}, config, plans))
    of_m = {place: sha == before[place] for place, sha in other.items() if place[0] == "m"}
    assert {(place[3], is_same) for place, is_same in of_m.items()} == {(0, False), (1, True)}


def test_cards_say_what_a_method_knows(samples, train):
    for priors, knowledge in ((False, "background simulation"), (True, "signal simulation")):
        method = DataAgainstSimulation(priors=priors)
        config = config_for({"m": method})
        outcomes = train(samples, config)["m"]
        card = Tagger.from_file(outcomes[0].path).card
        assert (card.knowledge, bool(card.training_sample)) == (knowledge, True)
        assert set(card.priors) == ({"two-prong"} if priors else set())
        assert tagger_set("m", outcomes, config).knowledge == knowledge


@pytest.mark.slow
def test_what_labels_hands_on_what_it_knew(samples, train):
    methods = {"m": DataAgainstSimulation(), "tnt": tnt("m"), "tnt2": tnt("tnt")}
    config = config_for(methods | {"alone": cwola()})
    plans = cross_validation_plans(config.train.folds, config.seed)[:1]
    outcomes = train(samples, config, plans)
    known = {name: tagger_set(name, outcomes[name], config).knowledge for name in outcomes}
    assert known == dict.fromkeys(("m", "tnt", "tnt2"), "signal simulation") | {"alone": "none"}
    cards = [Tagger.from_file(outcomes[name][0].path).card for name in ("tnt", "tnt2")]
    assert all(set(card.priors) == {"two-prong"} and card.simulation for card in cards)


@pytest.mark.slow
def test_a_tagger_from_a_file_knows_what_it_knew_there(samples, train, tmp_path):
    config = config_for({"m": DataAgainstSimulation(data=False)})
    (tmp_path / "elsewhere").mkdir()
    files = {i.scope: i.path for i in testing.train(samples, config, tmp_path / "elsewhere")["m"]}
    config = config_for({"files": Files(**files), "tnt": tnt("files")})
    outcomes = train({"data": samples["data"]}, config)
    for name in ("files", "tnt"):
        assert tagger_set(name, outcomes[name], config).knowledge == "signal simulation"


def test_no_truth_comes_in_through_a_file(samples, train, tmp_path):
    config = config_for({"best": Supervised(classifier=TREES)})
    (tmp_path / "elsewhere").mkdir()
    made = testing.train(samples, config, tmp_path / "elsewhere")["best"]
    files = {item.scope: item.path for item in made}
    with pytest.raises(TaggerError, match=r"\.onnx: trained with truth labels; a search never"):
        train({"data": samples["data"]}, config_for({"files": Files(**files, independent=True)}))


def test_a_method_without_data_trains_once_on_all_simulation(samples, train):
    config = config_for({"m": DataAgainstSimulation(data=False)})
    before = train(samples, config)["m"]
    assert len(before) == 4
    assert len({item.sha256 for item in before}) == 2
    card = Tagger.from_file(before[0].path).card
    assert (card.direct, card.ancestors, card.training_sample) == ((), (), "")
    data = samples["data"]
    other = train(samples | {"data": altered(data, data.event_id > 0)}, config)["m"]
    assert [item.sha256 for item in other] == [item.sha256 for item in before]


@pytest.mark.parametrize(
    ("role", "flag"), [("simulation", "--simulation FILE"), ("prior:two-prong", "--prior NAME")]
)
def test_a_missing_role_names_its_flag(samples, train, role, flag):
    fewer = {name: sample for name, sample in samples.items() if name != role}
    message = rf"train\.methods\.m \(data_against_simulation\) reads .*{flag}"
    with pytest.raises(ConfigError, match=message):
        train(fewer, config_for({"m": DataAgainstSimulation()}))


def test_an_event_of_two_roles_is_a_leak(samples, train):
    data, simulation = samples["data"], samples["simulation"]
    ids = simulation.event_id.copy()
    ids[7] = data.event_id[3]
    shared = replace(simulation, event_id=ids)
    with pytest.raises(
        LeakError,
        match=rf"1 events are both 'data' and 'simulation', first {ids[7]}.*"
        r"data/part\.parquet.*simulation/part\.parquet",
    ):
        train(samples | {"simulation": shared}, config_for({"m": DataAgainstSimulation()}))


@pytest.mark.slow
def test_roles_that_no_method_reads_change_nothing(samples, train):
    config = config_for({"first": DataAgainstSimulation(priors=False), "tnt": tnt("first")})
    without = {role: sample for role, sample in samples.items() if not role.startswith("prior")}
    assert shas(train(without, config)) == shas(train(samples, config))
