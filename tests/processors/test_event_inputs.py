"""Lists of jets, and of events: the same from every source, scored on every road."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.config import MassRange, SearchConfig, SkimSettings
from tnt_coffea.errors import InputError, TaggerError
from tnt_coffea.events import JetsFrom, Sample, SourceSettings, convert
from tnt_coffea.events.skim import read_parts
from tnt_coffea.processors import SearchProcessor, SkimProcessor
from tnt_coffea.taggers import Member, Tagger, TaggerSet
from tnt_coffea.taggers.inputs import (
    Aligned,
    EventImage,
    Input,
    Sequence,
    Splittings,
    readers,
)
from tnt_coffea.training import Graph, backend, keras_graph, seal
from tnt_coffea.training.mapped import mapped_events
from tnt_coffea.training.networks import input_tensor

from .conftest import FOLDS, card_of

SKIM = SkimSettings(
    images=None,
    aligned=9,
    splittings={"most": 6, "mass_min": 5.0},
    sequence={"radius": 0.4, "jets": 5},
    event_image={"pixels": 16, "eta_max": 3.0},
)
PLAIN = SkimSettings(images=None)
LISTS = {
    *(
        f"{jet}_splittings_{part}"
        for jet in ("heavy", "light")
        for part in ("angle", "kt", "mass", "drop")
    ),
    *(f"{jet}_aligned_{part}" for jet in ("heavy", "light") for part in ("pt", "eta", "phi")),
    *(f"sequence_{part}" for part in ("pt", "eta", "phi", "mass")),
    *("event_image_index", "event_image_value"),
}


@pytest.fixture
def skimmed(ours: Callable[..., Any], tmp_path: Path) -> Callable[..., Sample]:
    def make(path: Path, settings: SkimSettings, chunk_size: int = 1000) -> Sample:
        folder = tmp_path / f"skim-{settings.digest()[:8]}-{path.name}-{chunk_size}"
        ours(path, SkimProcessor(settings, folder), chunk_size)
        return read_parts(folder.rglob("*.parquet"))

    return make


def network(inputs: tuple[Input, ...], seed: int) -> Any:
    """A small network of any inputs, as it was drawn."""
    keras = backend.keras()
    tensors = [input_tensor(each) for each in inputs]
    flat = [keras.layers.Flatten()(0.01 * tensor) for tensor in tensors]
    joined = flat[0] if len(flat) == 1 else keras.layers.Concatenate()(flat)
    keras.utils.set_random_seed(seed)
    score = keras.layers.Dense(1)(keras.layers.Dense(8, activation="tanh")(joined))
    return keras_graph(keras.Model(tensors, score[:, 0]))


def total(inputs: tuple[Input, ...], seed: int) -> Any:
    """A graph without a network: the sum of all numbers of its one input."""
    graph = Graph(*inputs)
    weights = graph.constant(np.full((int(np.prod(inputs[0].shape)), 1), 1.0 + seed))
    return graph.model(
        graph.flat(graph.add("MatMul", graph.add("Flatten", inputs[0].name), weights))
    )


INPUTS: dict[str, Callable[[str, Sample], tuple[Input, ...]]] = {
    "splittings": lambda scope, sample: (Splittings.of(scope, sample),),
    "sequence": lambda _, sample: (Sequence.of(sample),),
    "event_image": lambda _, sample: (EventImage.of(sample),),
    "all": lambda scope, sample: (
        Aligned.of(scope, sample),
        Splittings.of(scope, sample),
        Sequence.of(sample),
        EventImage.of(sample),
    ),
}


def taggers(
    sample: Sample, shown: Callable[[str, Sample], tuple[Input, ...]], model: Any, scopes: Any
) -> TaggerSet:
    members = []
    for fold in (0, 1):
        for scope in scopes:
            inputs = shown(scope, sample)
            card = card_of("tiny", SKIM, scope, fold, inputs=inputs)
            tagger = Tagger(seal(model(inputs, fold), card))
            members.append(Member(tagger, scope, fold, f"{scope}-{fold}"))
    everything = MassRange(low=1.0, high=100_000.0)
    return TaggerSet("tiny", FOLDS, 1, tuple(members)).calibrated(sample, everything, (0.5,))


def test_they_are_the_same_from_any_file_and_leave_the_rest_alone(
    olympics: Path, tmp_path: Path, skimmed: Callable[..., Sample]
) -> None:
    sample, plain = skimmed(olympics, SKIM), skimmed(olympics, PLAIN)
    assert set(sample.lists) - set(plain.lists) == LISTS
    for name, column in plain.columns.items():
        assert np.array_equal(sample.columns[name], column), name
    assert sample.content_hash() != plain.content_hash()
    copy = convert(olympics, tmp_path / "converted.root", chunk_size=11).path
    assert skimmed(copy, SKIM, 7).content_hash() == sample.content_hash()


def test_they_survive_the_disk(
    olympics: Path, tmp_path: Path, skimmed: Callable[..., Sample]
) -> None:
    sample = skimmed(olympics, SKIM)
    assert sample.settings == SKIM
    shown = INPUTS["all"]("event", sample)
    values = {name: read(np.arange(40)) for name, read in readers(shown, sample).items()}
    assert {name: value.shape for name, value in values.items()} == {
        "aligned": (40, 2, 9, 3),
        "splittings": (40, 2, 6, 5),
        "sequence": (40, 5, 4),
        "event_image": (40, 1, 16, 16),
    }
    assert all(np.ptp(value.reshape(40, -1), axis=0).any() for value in values.values())
    mapped = mapped_events(sorted(tmp_path.rglob("*.parquet")), tmp_path / "mapped")
    for name, read in readers(shown, mapped).items():
        assert np.array_equal(read(np.array([3, 1])), values[name][[3, 1]])
    assert mapped.content_hash() == sample.content_hash()


def test_they_belong_to_their_event(olympics: Path, skimmed: Callable[..., Sample]) -> None:
    sample = skimmed(olympics, SKIM)
    sequence = Sequence.of(sample).read(sample)
    hardest = np.maximum(sample.columns["heavy_pt"], sample.columns["light_pt"])
    # A narrower jet is a part of the wide one.
    assert np.all(sequence[:, 0, 0] < 1.05 * hardest)
    assert np.all(sequence[:, 0, 0] > 0.2 * hardest)
    for jet in ("heavy", "light"):
        first = Splittings.of(jet, sample).read(sample)[:, 0, 0]
        there = first[:, 0] > 0
        assert there.any()
        np.testing.assert_allclose(first[there, 3], sample.columns[f"{jet}_mass"][there], rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        *((name, total) for name in INPUTS if name != "all"),
        *(pytest.param(name, network, marks=pytest.mark.slow) for name in INPUTS),
    ],
)
def test_taggers_score_events_and_their_skim_alike(
    name: str,
    model: Any,
    olympics: Path,
    ours: Callable[..., Any],
    tmp_path: Path,
    skimmed: Callable[..., Sample],
) -> None:
    sample = skimmed(olympics, SKIM)
    scopes = ("event",) if name in ("sequence", "event_image") else ("heavy", "light")
    tagger_set = taggers(sample, INPUTS[name], model, scopes)
    (scope, *_) = scopes
    scores = tagger_set.score(sample).raw[scope]
    assert len(np.unique(scores)) > 30
    search = SearchProcessor(SearchConfig(skim=SKIM), tagger_set)
    reference = ours(olympics, search)
    assert reference["hists"]["tiny"].sum(flow=True).value == 40
    parts = list(tmp_path.rglob("*.parquet"))
    assert parts
    for part in parts:
        assert ours(part, search, chunk_size=9)["hists"] == reference["hists"]
    with pytest.raises(TaggerError, match=r"set skim\.\w+ to .* and make the skim again"):
        ours(olympics, SearchProcessor(SearchConfig(skim=PLAIN), tagger_set))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"aligned": 20}, r"skim\.aligned: aligned needs the jets' constituents"),
        ({"splittings": {}}, r"skim\.splittings: splittings needs the jets' constituents"),
        ({"sequence": {}}, r"skim\.sequence: .*; set skim\.sequence to null, or cluster"),
        ({"event_image": {}}, r"skim\.event_image: .*; set skim\.event_image to null"),
        (
            {"sequence": {}, "event_image": {}},
            r"set skim\.sequence and skim\.event_image to null",
        ),
    ],
)
def test_a_source_without_particles_is_refused(
    asked: dict[str, Any], message: str, real_data: Path, skimmed: Callable[..., Sample]
) -> None:
    path = real_data / "root" / "PHYSLITE_example.root"
    with pytest.raises(InputError, match=message):
        skimmed(path, SkimSettings(images=None, observables=("pt", "mass"), **asked))


def test_stored_jets_with_constituents_have_splittings_alone(
    real_data: Path, skimmed: Callable[..., Sample]
) -> None:
    own = {"source": SourceSettings(jets=JetsFrom.FILE), "jets": {"radius": 0.8}, "images": None}
    path = real_data / "root" / "pfnano.root"
    sample = skimmed(path, SkimSettings(**own, splittings={}))
    assert ak.count(sample.lists["heavy_splittings_mass"]) > 0
    with pytest.raises(InputError, match=r"set skim\.sequence to null, or cluster particles"):
        skimmed(path, SkimSettings(**own, sequence={}))
