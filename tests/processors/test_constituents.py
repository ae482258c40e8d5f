"""Constituents in the skim: the same from every source, and scored on every road."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.config import OBSERVABLE_GROUPS, MassRange, SearchConfig, SkimSettings
from tnt_coffea.errors import InputError, TaggerError
from tnt_coffea.events import Sample, convert
from tnt_coffea.events.skim import read_parts
from tnt_coffea.processors import SearchProcessor, SkimProcessor
from tnt_coffea.taggers import Member, Tagger, TaggerSet
from tnt_coffea.taggers.inputs import Constituents
from tnt_coffea.training import keras_graph, networks, seal

from .conftest import FOLDS, card_of

SKIM = SkimSettings(constituents=12)


@pytest.fixture
def skimmed(ours: Callable[..., Any], tmp_path: Path) -> Callable[..., Sample]:
    def make(path: Path, settings: SkimSettings, chunk_size: int = 1000) -> Sample:
        folder = tmp_path / f"skim-{settings.digest()[:8]}-{path.name}-{chunk_size}"
        ours(path, SkimProcessor(settings, folder), chunk_size)
        return read_parts(folder.rglob("*.parquet"))

    return make


def taggers(sample: Sample) -> TaggerSet:
    """Two folds of networks as they were drawn."""
    members = []
    for fold in (0, 1):
        for scope in ("heavy", "light"):
            shown = Constituents.of(scope, sample)
            card = card_of("flow", SKIM, scope, fold, inputs=(shown,))
            flow = networks.particle_flow_classifier(shown, seed=fold)
            tagger = Tagger(seal(keras_graph(flow), card))
            members.append(Member(tagger, scope, fold, f"{scope}-{fold}"))
    everything = MassRange(low=1.0, high=100_000.0)
    return TaggerSet("flow", FOLDS, 1, tuple(members)).calibrated(sample, everything, (0.5,))


def test_they_are_the_same_from_any_file_and_leave_the_rest_alone(
    olympics: Path, tmp_path: Path, skimmed: Callable[..., Sample]
) -> None:
    sample = skimmed(olympics, SKIM)
    plain = skimmed(olympics, SkimSettings())
    assert set(sample.lists) - set(plain.lists) == {
        f"{jet}_constituents_{part}" for jet in ("heavy", "light") for part in ("pt", "eta", "phi")
    }
    for name, column in plain.lists.items():
        assert ak.array_equal(sample.lists[name], column)
    made = sample.constituents("light", np.array([3, 1])).dense(12)
    assert np.array_equal(made, sample.constituents("light").dense(12)[[3, 1]])
    assert made[:, 0, 0].min() > 0
    assert np.all(np.diff(made[..., 0]) <= 0)
    copy = convert(olympics, tmp_path / "converted.root", chunk_size=11).path
    assert skimmed(copy, SKIM, 7).content_hash() == sample.content_hash()
    assert sample.content_hash() != plain.content_hash()


@pytest.mark.slow
def test_taggers_score_events_and_their_skim_alike(
    olympics: Path,
    ours: Callable[..., Any],
    tmp_path: Path,
    skimmed: Callable[..., Sample],
) -> None:
    tagger_set = taggers(skimmed(olympics, SKIM))
    search = SearchProcessor(SearchConfig(skim=SKIM), tagger_set)
    reference = ours(olympics, search)
    assert reference["hists"]["flow"].sum(flow=True).value == 40
    for part in tmp_path.rglob("*.parquet"):
        assert ours(part, search, chunk_size=9)["hists"] == reference["hists"]
    plain = SearchProcessor(SearchConfig(), tagger_set)
    with pytest.raises(TaggerError, match=r"set skim\.constituents to 12"):
        ours(olympics, plain)


def test_jets_without_constituents_are_refused(
    real_data: Path, skimmed: Callable[..., Sample]
) -> None:
    path = real_data / "root" / "PHYSLITE_example.root"
    settings = SkimSettings(images=None, observables=("pt", "mass"), constituents=5)
    with pytest.raises(InputError, match=r"skim\.constituents: constituents needs the") as error:
        skimmed(path, settings)
    assert "set skim.images and skim.constituents to null" in str(error.value)


@pytest.mark.slow
def test_energy_flow_polynomials_are_the_same_in_chunks_of_any_size(
    olympics: Path,
    tmp_path: Path,
    skimmed: Callable[..., Sample],
    ours: Callable[..., Any],
    feature_taggers: Callable[..., Any],
) -> None:
    settings = SkimSettings(observables=("mass", "energy_flow"), images=None)
    sample, in_chunks = skimmed(olympics, settings), skimmed(olympics, settings, 7)
    names = OBSERVABLE_GROUPS["energy_flow"]
    columns = {f"{jet}_{name}" for jet in ("heavy", "light") for name in names}
    assert set(sample.columns) == {"m_jj", "heavy_mass", "light_mass", *columns}
    for name in columns:
        assert sample.columns[name].max() > 0
        assert np.array_equal(sample.columns[name], in_chunks.columns[name])
    everything = MassRange(low=1.0, high=100_000.0)
    flow = feature_taggers(settings, names[:3]).calibrated(sample, everything, (0.5,))
    search = SearchProcessor(SearchConfig(skim=settings), flow)
    (skim,) = tmp_path.rglob("*1000/**/*.parquet")
    assert ours(olympics, search, 9)["hists"] == ours(skim, search)["hists"]
