"""The study of searches without a signal: verdicts on made-up p-values, and a tiny run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tnt_coffea import testing
from tnt_coffea.errors import (
    ConfigError,
    FitError,
    InputError,
    LeakError,
    TaggerError,
    TrainingError,
)
from tnt_coffea.events.sample import Sample
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline import studies
from tnt_coffea.pipeline.studies import Block, StudyResult, measurement
from tnt_coffea.pipeline.studies.engine import _numbers
from tnt_coffea.pipeline.studies.events import Pool, own_part
from tnt_coffea.pipeline.studies.experiments import null
from tnt_coffea.pipeline.studies.numbers import Found, together
from tnt_coffea.pipeline.studies.study import Training
from tnt_coffea.products import Skim
from tnt_coffea.stats.uniformity import uniformity
from tnt_coffea.training import steps_of
from tnt_coffea.training.methods import METHODS

QUIET = Resources(executor="iterative", progress=False)
LOCAL = tuple(f"{one:g}" for one in null.SELECTIONS)


def p_values(n: int, seed: int, power: float = 1.0, empty: float = 0.5) -> np.ndarray:
    """Uniform p-values to a power, with `empty` for those of a half and more."""
    p = np.random.default_rng(seed).uniform(0, 1, n) ** power
    return np.where(p < 0.5, p, empty)


def outcomes(n: int, seed: int, power: float = 1.0) -> list[dict[str, Any]]:
    """What a method gives in n samples: all its local p-values are alike."""
    p, rng = p_values(n, seed, power), np.random.default_rng(seed)
    return [
        {
            "injected": 0,
            "signal": 0,
            "background": 300,
            "tested": {},
            "measured": {
                "local": dict.fromkeys(LOCAL, float(f"{one:.4g}")),
                "global": float(f"{min(1.0, 2 * one):.4g}"),
                "search": float(f"{min(1.0, 3 * one):.4g}"),
                "tests": {},
                "pulls": {name: round(float(rng.normal()), 3) for name in LOCAL},
            },
        }
        for one in p
    ]


def found(blocks: dict[str, list[dict[str, Any]]]) -> Found:
    return Found({"blocks": {name: together(one) for name, one in blocks.items()}})


def verdicts(blocks: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    return {claim.id: claim.verdict.value for claim in null._claims(found(blocks))}


@pytest.mark.parametrize("empty", [0.5, 1.0])
@pytest.mark.parametrize("n", [10, 100])
def test_uniform_p_values_with_an_atom_are_uniform(n: int, empty: float) -> None:
    """Of many sets as many are below any probability: the atom's place has no part in it."""
    found = np.array([uniformity(p_values(n, seed, empty=empty)).p_value for seed in range(400)])
    for below in (0.05, 0.3, 0.6):
        share = (found <= below).mean()
        assert abs(share - below) < 4 * np.sqrt(below * (1 - below) / 400)


def test_what_is_not_uniform_is_found_on_its_own_side() -> None:
    small, large = (uniformity(p_values(200, 1, power)) for power in (1.6, 0.5))
    assert small.p_value < 0.01
    assert small.p_too_small < 0.01
    assert large.p_value < 0.01
    assert large.p_too_small > 0.5
    assert uniformity([0.5] * 40).p_value < 1e-3  # no sample has an excess: half should


def test_every_method_of_the_house_is_there_or_left_out_with_a_reason() -> None:
    there = {str(one.settings["kind"]) for one in null.METHODS.values()}
    truth = {kind for kind, own in METHODS.items() if own.__module__.endswith(".references")}
    assert len(truth) == 5
    assert there | set(null.LEFT_OUT) | truth == set(METHODS)
    assert not there & (set(null.LEFT_OUT) | truth)
    assert all(null.LEFT_OUT.values())


def test_the_settings_of_every_method_are_possible_and_read_what_they_say() -> None:
    for block in null.EXPERIMENT.blocks:
        config = null.EXPERIMENT.configured(block, seed=1)
        steps_of(config)
        roles = {pool.partition(":")[0] for pool in block.trained_on}
        for name in block.methods:
            method = config.train.methods[name]
            reads = method.reads
            for scope in method.scopes:
                method.check(Sample.empty(config.skim), scope)  # the skim has what it reads
            method.check_priors(
                [pool.partition(":")[2] for pool in block.trained_on if ":" in pool]
            )
            assert not reads.truth
            assert not reads.simulation or "simulation" in roles, name
            assert not reads.priors or reads.without_priors or "prior" in roles, name
    without = null.EXPERIMENT.of_pools(["background"])
    assert {"cwola", "autoencoder"} < {block.name for block in without.blocks}
    assert not {"salad", "paws"} & {block.name for block in without.blocks}


def test_verdicts_follow_from_the_p_values() -> None:
    blocks = {"good": outcomes(100, 1), "few": outcomes(20, 2), "sculpted": outcomes(100, 3, 3.0)}
    blocks["timid"] = outcomes(200, 4, 0.4)
    said = verdicts(blocks)
    assert (said["good-local"], said["good-global"]) == ("confirmed", "confirmed")
    assert (said["few-local"], said["few-global"]) == ("undecided", "undecided")
    assert (said["sculpted-local"], said["sculpted-global"]) == ("refuted", "refuted")
    # Too large is not uniform, and harms no search.
    assert (said["timid-local"], said["timid-global"]) == ("refuted", "confirmed")
    by_id = {claim.id: claim for claim in null._claims(found(blocks))}
    assert by_id["sculpted-local"].reason.startswith("0.1: too small; the efficiency in the window")
    assert "too large" in by_id["timid-local"].reason


def test_the_reason_of_a_claim_of_one_side_names_that_side() -> None:
    """Small p-values may refute it where the large ones are further off."""
    values = (0.01,) * 30 + (1.0,) * 170
    test = null._Test("odd", "search", values, len(values))
    assert test.uniform.too_large > test.uniform.too_small
    assert test.uniform.p_too_small < 0.01
    assert null._why(test, 0.001, one_sided=True) == "search: too small"
    assert null._why(test, 0.001, one_sided=False).startswith("search: too large, 170 of 200")


def test_what_a_sample_cannot_do_is_kept_and_what_is_wrong_ends_the_study(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = (Skim.from_sample(testing.make_sample(10)), Path(), Training("norm-1", {}))
    drawn_again = replace(null.EXPERIMENT, own_events=0)  # another seed may do
    for error, kept in (
        *((one, True) for one in (TrainingError, FitError, TaggerError, InputError)),
        *((one, False) for one in (ConfigError, LeakError)),
    ):

        def refuse(*_: Any, error: type[Exception] = error) -> Any:
            msg = "too few\n jets"
            raise error(msg)

        monkeypatch.setattr(measurement, "_measured", refuse)
        if kept:
            assert measurement.measured(null.EXPERIMENT, *given) == {"refused": "too few jets"}
        with pytest.raises(error):
            measurement.measured(drawn_again if kept else null.EXPERIMENT, *given)


def test_a_useless_method_is_judged_by_the_difference_it_makes() -> None:
    for shift, verdict in ((0.05, "confirmed"), (-0.05, "refuted"), (0.0, "undecided")):
        blocks = {null.USELESS: outcomes(20, 1)}
        for i, one in enumerate(blocks[null.USELESS]):
            one["measured"]["alone"] = one["measured"]["global"] - shift - 0.01 * (-1) ** i
        assert verdicts(blocks)["useless-method"] == verdict


@pytest.mark.slow
def test_samples_that_were_refused_are_counted_and_page_and_file_are_small() -> None:
    refused = {"refused": "tag_n_train: 12 signal-rich jets"}
    every = {block.name: outcomes(100, i) for i, block in enumerate(null.EXPERIMENT.blocks)}
    for one in every[null.USELESS]:
        one["measured"]["alone"] = one["measured"]["global"]
        one["measured"]["local"]["before"] = one["measured"]["search"]
    every["tag-n-train"][3] = refused
    every["lda"] = [refused] * 100
    trainings = [
        Training(f"{name}-{i}", {"block": name}) for name in every for i in range(len(every[name]))
    ]
    by_name = {one.name: every[one.settings["block"]][i % 100] for i, one in enumerate(trainings)}
    numbers = Found(_numbers(null.EXPERIMENT, trainings, by_name))
    claims = null._claims(numbers)
    assert not [claim for claim in claims if claim.id.startswith("lda")]
    tables = {table.title: table for table in null._tables(numbers)}
    assert tables["Samples that were refused"].rows == (
        ("tag-n-train", "1", refused["refused"]),
        ("lda", "100", refused["refused"]),
    )
    rows = {row[:2]: row for row in tables["p-values where there is nothing"].rows}
    assert rows["tag-n-train", "0.1"][2] == "99 of 100"
    assert {len(row) for row in rows.values()} == {
        len(tables["p-values where there is nothing"].columns)
    }
    assert [plot.name for plot in null._plots(numbers)] == ["cumulative", "small"]
    result = StudyResult("", "", {}, {}, numbers.numbers, tuple(claims), (), 0.0)
    assert len(json.dumps(result.to_dict())) < 300_000


def test_parts_of_a_pool_are_disjoint_and_follow_from_ids_and_seed() -> None:
    pool = testing.make_sample(600)
    parts = [own_part(pool, i, 200, seed=3) for i in range(3)]
    assert [len(part) for part in parts] == [200] * 3
    assert len(np.unique(np.concatenate([part.event_id for part in parts]))) == 600
    assert all((np.diff(part.event_id.astype(float)) > 0).all() for part in parts)
    other = own_part(pool, 0, 200, seed=4)
    assert set(other.event_id) != set(parts[0].event_id)


# A method that likes events in the window, whatever they are.
PLANTED = {
    "kind": "event_feature",
    "feature": "heavy_tau21 + 0.2 * exp(0 - ((m_jj - 3500) / 100) ** 2)",
}
TINY = replace(
    null.EXPERIMENT,
    pools={"background": Pool("rnd-background", 1700)},
    settings={
        "skim": {"images": None, "observables": ("mass", "tau21")},
        "search": {"efficiencies": null.SELECTIONS},
        "fit": {
            "bump": {"null_chains": None, "toys": 0, "max_parameters": 3, "spurious": False},
            "limit": {"enabled": False},
        },
    },
    blocks=tuple(
        Block(name, {name: settings}, hunted=False, searched=True)
        for name, settings in (("norm", {"kind": "norm"}), ("planted", PLANTED))
    ),
    own_events=800,
)


def files(folder: Path, *, label: int | None = None, n: int = 1700) -> dict[str, list[Path]]:
    """Return background in a file; labels, which nothing reads, by a coin."""
    sample = testing.make_sample(n, signal_share=0.0, seed=3)
    names = ("m_jj", "heavy_mass", "light_mass", "heavy_tau21", "light_tau21")
    labels = np.random.default_rng(label).integers(0, 2, n)
    values = np.column_stack([*(sample.columns[name] for name in names), labels])
    path = folder / "background.csv"
    np.savetxt(path, values, delimiter=",", header=",".join((*names, "label")), comments="")
    return {"background": [path]}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Few toys, and the names of what is searched."""
    monkeypatch.setattr(null, "TOYS", 20)
    searched: list[str] = []
    fit = null.fit

    def noted(histograms: Any, config: Any) -> Any:
        searched.extend(histograms.hists)
        return fit(histograms, config)

    monkeypatch.setattr(null, "fit", noted)
    return searched


@pytest.mark.slow
def test_a_planted_method_is_refuted_and_nothing_is_searched_twice(
    tmp_path: Path, counted: list[str]
) -> None:
    given, options = files(tmp_path, label=1), {"out": tmp_path, "resources": QUIET, "seed": 2}
    one = replace(TINY, blocks=TINY.blocks[1:])
    with pytest.raises(ConfigError, match=r"3 repetitions of 800 dijets, .* pool background has 1"):
        studies.run(one, given, repetitions=3, **options)
    assert counted == []
    result = studies.run(one, given, **options)
    assert counted == ["planted"] * 2  # as many as there are
    assert result.settings["repetitions"] == 2
    folder = tmp_path / "null"
    for lost in (folder / "manifest.json", folder / "trainings" / "planted-1.json"):
        lost.unlink()
    assert studies.run(one, given, **options).numbers == result.numbers
    assert counted == ["planted"] * 3
    said = {claim.id: claim for claim in result.claims}
    assert said["planted-local"].verdict.value == "refuted"
    assert "too small; the efficiency in the window is +" in said["planted-local"].reason
    page = (folder / "study.md").read_text()
    assert "Every repetition has 800 dijets of its own: no two share one." in page


@pytest.mark.slow
def test_other_labels_give_the_same_p_values(tmp_path: Path, counted: list[str]) -> None:
    one, found = replace(TINY, blocks=TINY.blocks[:1]), []
    for label in (1, 2):
        out = tmp_path / str(label)
        out.mkdir()
        given = files(out, label=label)
        found.append(studies.run(one, given, out=out, resources=QUIET))
    first, second = (json.dumps(result.to_dict()["numbers"]) for result in found)
    assert first == second
    assert (
        files(tmp_path, label=1)["background"][0].read_bytes()
        != given["background"][0].read_bytes()
    )


@pytest.mark.slow
def test_a_useless_method_raises_the_global_p_value_of_a_chain(
    tmp_path: Path, counted: list[str]
) -> None:
    pair = {"planted": PLANTED, "noise": {"kind": "event_random"}}
    block = Block(null.USELESS, pair, hunted=False, searched=True)
    one = replace(TINY, blocks=(block,))
    result = studies.run(one, files(tmp_path, label=1), out=tmp_path, resources=QUIET)
    values = result.numbers["blocks"][null.USELESS]["measured"]
    assert len(values["local"]) == 3  # all dijets, and both selections of the first
    for both, alone in zip(values["global"]["values"], values["alone"]["values"], strict=True):
        assert both >= alone
    assert [claim.id for claim in result.claims][-1] == "useless-method"


def test_a_sample_that_cannot_be_fitted_is_kept_as_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(histograms: Any, config: Any) -> Any:
        msg = "no function describes the spectrum"
        raise FitError(msg)

    monkeypatch.setattr(null, "fit", refuse)
    one = replace(TINY, blocks=TINY.blocks[:1])
    result = studies.run(one, files(tmp_path), out=tmp_path, repetitions=2, resources=QUIET)
    assert result.numbers["blocks"]["norm"]["refused"] == ["no function describes the spectrum"] * 2
    assert result.claims == ()
    assert "Samples that were refused" in (tmp_path / "null" / "study.md").read_text()
