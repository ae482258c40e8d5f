from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest

from tnt_coffea.errors import StageError
from tnt_coffea.results import SearchResult
from tnt_coffea.stats import AbcdRefusal, AbcdResult, LimitRefusal, abcd, bump_hunt
from tnt_coffea.stats.spectrum_fit import SpectrumFit


@pytest.fixture(scope="module")
def search(toy_spectrum):
    fit = SpectrumFit((2600.0, 7000.0), bin_width=80.0)
    hunt = bump_hunt(toy_spectrum(2000, 40, 3), mass=3500.0, width=120.0, fit=fit, toys=0)
    estimate = abcd(130, 1000, 1000, 10_000)
    counts = {name: 0.0 for name in ("a", "b", "c", "d", "eps1", "eps2", "total")}
    empty = AbcdRefusal.from_dict(
        {
            "reason": "region B is empty",
            "counts": counts
            | {"eps1_uncertainty": 0.0, "eps2_uncertainty": 0.0, "mass_range": [3300.0, 3700.0]},
        }
    )
    return SearchResult(
        before=hunt,
        after={"tnt": hunt},
        abcd={"tnt": estimate, "bare": empty},
        provenance={"seed": 1},
        limits={"tnt": LimitRefusal("CLs stays above 0.05")},
    )


def test_a_search_is_read_back_as_it_was_written(search, tmp_path):
    search.save(tmp_path / "result.json")
    again = SearchResult.load(tmp_path / "result.json")
    assert again == search
    assert isinstance(again.abcd["tnt"], AbcdResult)
    assert isinstance(again.abcd["bare"], AbcdRefusal)
    values = json.loads((tmp_path / "result.json").read_text())
    assert [values["abcd"][name]["kind"] for name in ("tnt", "bare")] == ["abcd", "refused"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values["before"].pop("z"), "before.z: Field required"),
        (lambda values: values["before"].update(z="high"), "before.z: must be a valid"),
        (lambda values: values["abcd"]["tnt"].update(kind="bump"), "abcd.tnt: Input tag 'bump'"),
        (lambda values: values["after"]["tnt"].update(more=1), "after.tnt.more: Unexpected"),
    ],
)
def test_values_that_are_no_result_are_refused_in_one_line(search, tmp_path, change, words):
    values = json.loads(json.dumps(search.to_dict()))
    change(values)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(values))
    with pytest.raises(StageError) as refused:
        SearchResult.load(path)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith("run `tnt-coffea fit` again")


def test_results_do_not_change(search):
    with pytest.raises(FrozenInstanceError):
        search.before.z = 9.0
