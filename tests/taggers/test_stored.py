"""Files of a tagger set that somebody changed: one clear error, whatever was changed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tnt_coffea.config import FoldSettings, MassRange
from tnt_coffea.errors import TaggerError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers import Card, Member, Tagger, TaggerSet

FOLDS = FoldSettings(outer=2)
VALUES = (None, "x", -1, 0.5, 1e300, float("nan"), 10**30, True, [], {}, [[1]], "../../x")


@pytest.fixture
def one_set(make_tagger: Callable[..., Tagger], sample: Sample) -> TaggerSet:
    weights = np.random.default_rng(1).random((6, 6)).astype(np.float32)
    members = tuple(
        Member(
            make_tagger(weights, scope=scope, direct=(1 - t,), ancestors=(1 - t,)),
            scope,
            t,
            f"{scope}-{t}",
        )
        for t in (0, 1)
        for scope in ("heavy", "light")
    )
    few = sample.select(np.arange(8))
    wide = MassRange(low=100, high=10_000)
    return TaggerSet("tnt", FOLDS, 1, members).calibrated(few, wide, [0.5])


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(content, dict | list):
        keys = content if isinstance(content, dict) else range(len(content))
        for key in keys:
            yield from places(content[key], (*path, key))


def changed(content: Any) -> Iterator[Any]:
    for path in places(content):
        for value in (*VALUES, "removed"):
            new = copy.deepcopy(content)
            inside = new
            for key in path[:-1]:
                inside = inside[key]
            if value == "removed":
                del inside[path[-1]]
            else:
                inside[path[-1]] = value
            yield new


@pytest.mark.parametrize("name", ["set.json", "quantiles.json"])
def test_a_changed_file_is_one_clear_error_or_can_be_used(
    one_set: TaggerSet, sample: Sample, tmp_path: Path, name: str
) -> None:
    one_set.save(tmp_path)
    content = json.loads((tmp_path / name).read_text())
    refusals = []
    for new in list(changed(content))[::6]:  # a sixth of them, of every kind
        (tmp_path / name).write_text(json.dumps(new))
        try:
            ranks = TaggerSet.load(tmp_path).ranks(sample)
        except TaggerError as error:
            refusals.append(str(error))
        else:
            assert ((ranks.both > 0) & (ranks.both < 1)).all()
    assert len(refusals) > 40
    assert not [text for text in refusals if "\n" in text or len(text) > 500]


def test_a_changed_card_is_one_clear_error(
    make_tagger: Callable[..., Tagger], make_card: Callable[..., Card]
) -> None:
    content = make_card().model_dump(mode="json")
    refusals = []
    for new in changed(content):
        try:
            Card.from_metadata({"tnt_coffea.card": json.dumps(new)}, "here").to_json()
        except TaggerError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all(text.startswith("here: the card is damaged: ") for text in refusals)
    assert not [text for text in refusals if "\n" in text]


@pytest.mark.parametrize("damage", [b"", b"[]", b"\xff", b"{", b"[" * 100_000, b"null"])
def test_what_is_no_json_is_one_clear_error(
    one_set: TaggerSet, tmp_path: Path, damage: bytes
) -> None:
    for name, what in (("set.json", "tagger set"), ("quantiles.json", "quantile map")):
        one_set.save(tmp_path)
        (tmp_path / name).write_bytes(damage)
        with pytest.raises(TaggerError, match=f"{name}: not a readable {what}: .*; restore or"):
            TaggerSet.load(tmp_path)


def test_a_folder_in_place_of_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "set.json").mkdir()
    with pytest.raises(TaggerError, match=r"set\.json: not a readable tagger set: .*directory"):
        TaggerSet.load(tmp_path)


@pytest.mark.parametrize("name", ["../x", "..", "/x", "a/b", "", ".hidden", "a\nb", "x" * 300])
def test_names_are_never_paths(one_set: TaggerSet, tmp_path: Path, name: str) -> None:
    with pytest.raises(TaggerError, match="cannot name a tagger set"):
        TaggerSet(name, FOLDS, 1, one_set.members)
    with pytest.raises(TaggerError, match="cannot name a tagger set"):
        TaggerSet("tnt", FOLDS, 1, (Member(*_of(one_set.members[0]), name), *one_set.members))
    assert list(tmp_path.iterdir()) == []


def _of(member: Member) -> tuple[Tagger, str, int]:
    return member.tagger, member.scope, member.fold


def test_a_quantile_map_of_other_folds_is_refused(one_set: TaggerSet) -> None:
    one_fold = tuple(member for member in one_set.members if member.fold == 0)
    with pytest.raises(TaggerError, match="its quantile map is of fold and scope"):
        TaggerSet("tnt", FOLDS, 1, one_fold, one_set.quantiles)
