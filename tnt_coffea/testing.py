"""What every method has to keep, as one function that anybody's tests can call.

>>> from tnt_coffea.testing import make_sample
>>> sample = make_sample(100, constituents=5)
>>> sample.images("heavy").shape, sorted(sample.lists)[:2]
((100, 1, 12, 12), ['heavy_constituents_eta', 'heavy_constituents_phi'])

A package with a method of its own tests it with

    def test_my_method(tmp_path):
        method_contract(MyMethod(), tmp_path)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import (
    EventImageSettings,
    FoldSettings,
    ImageSettings,
    MethodSettings,
    SearchConfig,
    SequenceSettings,
    SkimSettings,
    SplittingSettings,
    TrainSettings,
)
from tnt_coffea.errors import ConfigError, InputError, TrainingError
from tnt_coffea.events.sample import Sample, list_columns, sample_of
from tnt_coffea.events.skim import write_part
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.taggers import Member, Tagger, TaggerSet

__all__ = ["altered", "make_sample", "method_contract", "one_by_one", "tagger_set", "train"]

PIXELS = 12
"""Pixels along a side of the images drawn; wider ones have an empty frame around them."""
_AUC = 0.6
"""Least area under the ROC curve of a planted signal, out of fold."""


def make_sample(
    n: int = 2400,
    signal_share: float = 0.1,
    seed: int = 0,
    *,
    normalise: bool = True,
    constituents: int | None = None,
    aligned: int | None = None,
    splittings: int | None = None,
    sequence: int | None = None,
    event_image: int | None = None,
    kind: str = "data",
    pixels: int = PIXELS,
) -> Sample:
    """Return dijets with a planted signal that every input shows.

    Parameters
    ----------
    n
        Events.
    signal_share
        Share of events with a resonance at m_jj = 3500 GeV of two heavy jets with two prongs.
    seed
        Seed of the events and of their ids.
    normalise
        Whether pixels sum to one.
    constituents
        Constituents of a jet; None for none.
    aligned
        Most aligned constituents of a jet, 3 or more; None for none.
    splittings
        Most splittings of a jet; None for none.
    sequence
        Jets of an event's sequence, 2 or more; None for none.
    event_image
        Pixels along a side of the images of events; None for none.
    kind
        Part of the events' ids, so that samples of other kinds share no event.
    pixels
        Along a side of the images, 12 and an even number more; the packaged taggers take 40.

    Returns
    -------
    Sample
        In the order of the event ids, labels known.
    """
    rng = np.random.default_rng([seed, *kind.encode()])
    signal = rng.random(n) < signal_share
    columns: dict[str, Any] = {
        "event_id": rng.integers(0, 2**64, n, dtype=np.uint64),
        "weight": np.ones(n),
        "label": signal.astype(np.int8),
        "m_jj": np.where(signal, rng.normal(3500, 100, n), 2600 + rng.exponential(800, n)),
    }
    settings = SkimSettings(
        images=ImageSettings(pixels=pixels, normalise=normalise),
        constituents=constituents,
        aligned=aligned,
        splittings=splittings and SplittingSettings(most=splittings),
        sequence=sequence and SequenceSettings(jets=sequence),
        event_image=event_image and EventImageSettings(pixels=event_image),
        observables=(*SkimSettings().observables, *(("m_multijet",) if sequence else ())),
    )
    for jet, mass in zip(JETS, (500.0, 100.0), strict=True):
        columns |= {f"{jet}_{name}": rng.random(n, np.float32) for name in settings.of_jet}
        columns[f"{jet}_mass"] = np.where(
            signal, rng.normal(mass, mass / 20, n), rng.exponential(mass, n)
        ).astype(np.float32)
        columns[f"{jet}_tau21"] = rng.normal(np.where(signal, 0.3, 0.6), 0.1).astype(np.float32)
        columns[f"{jet}_pt"] = (columns["m_jj"] / 2 + rng.normal(0, 50, n)).astype(np.float32)
        frame = [(pixels - PIXELS) // 2] * 2
        index, value = _jagged(np.pad(_images(rng, signal), ((0, 0), frame, frame)))
        columns |= {f"{jet}_image_index": index, f"{jet}_image_value": value}
        if constituents is not None:
            columns |= _constituents(rng, signal, jet, constituents)
        if aligned is not None:
            columns |= _aligned(rng, signal, jet, aligned)
        if splittings is not None:
            columns |= _splittings(rng, signal, columns[f"{jet}_mass"], jet, splittings)
    if sequence is not None:
        columns |= _sequence(rng, columns, sequence)
        # A resonance in this mass as well, with what the softer jets add to it.
        columns["m_multijet"] = (columns["m_jj"] * rng.uniform(1, 1.02, n)).astype(np.float32)
    if event_image is not None:
        columns |= _event_image(rng, signal, event_image)
    sample = sample_of(columns, settings)
    return sample.select(np.argsort(sample.event_id))


def _images(rng: np.random.Generator, signal: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return one hot spot near the centre; signal jets have a second one off it."""
    n = len(signal)
    images = np.zeros((n, PIXELS, PIXELS), np.float32)
    for _ in range(12):
        row, column = np.clip(rng.normal(5.5, 1.2, (2, n)).round().astype(int), 0, PIXELS - 1)
        images[np.arange(n), row, column] += rng.exponential(1, n)
    row, column = rng.integers(8, 11, (2, n))
    images[np.arange(n), row, column] += np.where(signal, rng.exponential(6, n), 0)
    images /= images.sum(axis=(1, 2), keepdims=True)
    return images


def _jagged(images: npt.NDArray[np.float32]) -> tuple[ak.Array, ak.Array]:
    flat = images.reshape(len(images), -1)
    filled = flat > 0
    index = np.broadcast_to(np.arange(flat.shape[1], dtype=np.uint16), flat.shape)[filled]
    counts = filled.sum(axis=1)
    return ak.unflatten(index, counts), ak.unflatten(flat[filled], counts)


def _constituents(
    rng: np.random.Generator, signal: npt.NDArray[np.bool_], jet: str, most: int
) -> dict[str, ak.Array]:
    """Return jets of one prong, of signal of two; every tenth jet has one constituent alone."""
    n = len(signal)
    counts = rng.integers(1, most + 1, n)
    counts[::10] = 1
    total = int(counts.sum())
    share = rng.exponential(1, total).astype(np.float32)
    owner = np.repeat(np.arange(n), counts)
    share /= np.bincount(owner, share, n)[owner]
    away = (signal[owner] & (rng.random(total) < 0.5)) * 0.4
    place = rng.normal(0, 0.05, (2, total)).astype(np.float32)
    place[0] += away.astype(np.float32)
    values = zip(("pt", "eta", "phi"), (share, *place), strict=True)
    return {
        f"{jet}_constituents_{name}": ak.unflatten(value.astype(np.float32), counts)
        for name, value in values
    }


def _aligned(
    rng: np.random.Generator, signal: npt.NDArray[np.bool_], jet: str, most: int
) -> dict[str, ak.Array]:
    """Return jets of particles all over the cone, of signal of two narrow prongs; a few empty."""
    n = len(signal)
    counts = rng.integers(3, most + 1, n)
    counts[::10] = 0
    owner = np.repeat(np.arange(n), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = rng.exponential(1, len(owner))
    share /= np.bincount(owner, share, n)[owner]
    # The chain of largest pT Delta R goes from one side of the jet to the other.
    width = np.where(signal[owner], 0.02, 0.4)
    side = np.where(signal[owner], 0.2, 0.0) * np.where(place % 2, -1, 1)
    values = {
        "pt": share,
        "eta": rng.normal(0, 1, len(owner)) * width * (place > 0),
        "phi": side + rng.normal(0, 1, len(owner)) * width,
    }
    return {
        f"{jet}_aligned_{name}": ak.unflatten(value.astype(np.float32), counts)
        for name, value in values.items()
    }


def _splittings(
    rng: np.random.Generator,
    signal: npt.NDArray[np.bool_],
    mass: npt.NDArray[np.float32],
    jet: str,
    most: int,
) -> dict[str, ak.Array]:
    """Return splittings that each lose some mass, those of signal most of it."""
    counts = rng.integers(0, most + 1, len(signal))
    counts[signal] = np.maximum(counts[signal], 1)
    owner = np.repeat(np.arange(len(signal)), counts)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    drop = rng.uniform(0.6, 0.95, len(owner))
    drop[signal[owner]] *= 0.3
    values = {
        "angle": 0.5 * step + rng.exponential(1, len(owner)),
        "kt": rng.normal(2 - 0.3 * step, 1) + 2 * (signal[owner] & (step == 0)),
        "mass": mass[owner] * 0.8**step,
        "drop": drop,
    }
    return {
        f"{jet}_splittings_{name}": ak.unflatten(value.astype(np.float32), counts)
        for name, value in values.items()
    }


def _sequence(rng: np.random.Generator, columns: dict[str, Any], most: int) -> dict[str, ak.Array]:
    """Return the two jets, the harder one first, and up to as many softer ones as there is room.

    The two jets of signal are central.
    """
    n = len(columns["m_jj"])
    counts = rng.integers(2, most + 1, n)
    jets = np.zeros((n, most, 4), np.float32)
    jets[..., 0] = 100 * 0.8 ** np.arange(most)
    jets[..., 1:3] = rng.uniform(-2, 2, (n, most, 2))
    jets[columns["label"] == 1, :2, 1] *= 0.2
    jets[..., 3] = 0.1 * jets[..., 0]
    two = np.array([[columns[f"{jet}_{name}"] for jet in JETS] for name in ("pt", "mass")])
    order = np.argsort(-two[0], axis=0)
    jets[:, :2, 0], jets[:, :2, 3] = (np.take_along_axis(each, order, axis=0).T for each in two)
    there = np.arange(most) < counts[:, None]
    return {
        f"sequence_{name}": ak.unflatten(jets[..., k][there], counts)
        for k, name in enumerate(("pt", "eta", "phi", "mass"))
    }


def _event_image(
    rng: np.random.Generator, signal: npt.NDArray[np.bool_], pixels: int
) -> dict[str, ak.Array]:
    """Return two filled pixels back to back in phi; signal has their neighbours as well."""
    n = len(signal)
    images = np.zeros((n, pixels, pixels), np.float32)
    row = rng.integers(0, pixels, n)
    for turned in (row, (row + pixels // 2) % pixels):
        column = rng.integers(0, pixels - 1, n)
        images[np.arange(n), turned, column] = rng.uniform(1, 2, n)
        images[np.arange(n), turned, column + 1] = np.where(signal, rng.uniform(0.5, 1, n), 0)
    index, value = _jagged(images)
    return {"event_image_index": index, "event_image_value": value}


def altered(sample: Sample, which: npt.NDArray[np.bool_]) -> Sample:
    """Return the same events with other jets where `which` is true: neighbours swap theirs."""
    rows = np.arange(len(sample))
    chosen = np.flatnonzero(which)
    rows[chosen] = np.roll(chosen, 1)
    return replace(
        sample,
        columns={name: column[rows] for name, column in sample.columns.items()},
        lists={name: column[rows] for name, column in sample.lists.items()},
    )


def one_by_one(tasks: Sequence[Any], function: Callable[[Any], Any]) -> list[Any]:
    """Run the tasks of a wave in this process."""
    return [function(task) for task in tasks]


def train(
    samples: Sample | Mapping[str, Sample],
    config: SearchConfig,
    folder: Path,
    plans: Sequence[Any] | None = None,
) -> dict[str, list[Any]]:
    """Train the methods of a search on samples in memory.

    Parameters
    ----------
    samples
        The data, or samples by role (`data`, `simulation`, `prior:NAME`).
    config
        Settings of the search.
    folder
        Empty folder for parts of the skim, taggers and histories.
    plans
        Folds to train and score; by default all.

    Returns
    -------
    dict
        Outcomes of the training runs by tagger set.
    """
    from tnt_coffea.training import cross_validate

    by_role = samples if isinstance(samples, Mapping) else {"data": samples}
    parts = {}
    for role, sample in by_role.items():
        path = folder / role.replace(":", "-") / "part.parquet"
        path.parent.mkdir(parents=True)
        write_part(path, sample)
        parts[role] = [path]
    return cross_validate(parts, config, one_by_one, folder / "taggers", plans)


def tagger_set(
    name: str, outcomes: Sequence[Any], config: SearchConfig, **options: Any
) -> TaggerSet:
    """Return the tagger set of training runs; options as `TaggerSet` has them."""
    members = tuple(
        Member(Tagger.from_file(item.path), item.scope, item.scored, str(i))
        for i, item in enumerate(outcomes)
    )
    return TaggerSet(name, config.train.folds, config.seed, members, **options)


def method_contract(
    method: MethodSettings,
    folder: Path,
    *,
    beside: Mapping[str, MethodSettings] | None = None,
    learns: bool = True,
    events: int = 2400,
    signal_share: float = 0.1,
    constituents: int | None = 8,
    **lists: int,
) -> None:
    """Check that a method keeps what every method has to keep.

    It learns a planted signal out of fold (area under the ROC curve above 0.6), with higher
    scores for signal; the same events give the same bytes, whatever their labels and whatever
    the events of the scored fold are; other training events give others; `check` refuses a skim
    that lacks what it reads, and twelve events are a `TrainingError`; every score is finite, on
    empty jets too. That the ONNX graph agrees with the model, and that no score depends on the
    place of an event among others, is checked of every tagger before it is written.

    Parameters
    ----------
    method
        The method with settings that train in seconds.
    folder
        An empty folder.
    beside
        Methods that it builds on, by name; an observable of the jets for those not named.
    learns
        Whether it has to tell the planted signal; one that gives weights never has to.
    events, signal_share, constituents
        Size of the planted sample, and its share of signal.
    **lists
        Its `aligned`, `splittings`, `sequence`, `event_image`, as `make_sample` takes them.

    Raises
    ------
    AssertionError
        What the method does not keep.
    """
    from tnt_coffea.training import Method, cross_validation_plans

    assert isinstance(method, Method), f"{type(method).__name__} is no Method"
    assert method.orientation, "it does not say why a higher score is more anomalous"
    assert type(method).model_validate(method.model_dump(mode="json")) == method
    config = _config(method, beside or {})
    plan = cross_validation_plans(config.train.folds, config.seed)[:1]
    samples = _samples(method, events, signal_share, {"constituents": constituents, **lists})
    data = samples["data"]
    outer = plan[0].inner_of(data.event_id) < 0  # the scored fold
    runs = _Runs(method, config, plan, folder)

    outcomes = runs.train("first", samples)
    shas = [item.sha256 for item in outcomes]
    reads = method.reads
    relabelled = {
        role: replace(sample, label=np.random.default_rng(1).permutation(sample.label))
        for role, sample in samples.items()
    }
    shuffled = relabelled["data"]
    if reads.truth:
        others = runs.train("shuffled", samples | {"data": shuffled})
        assert shas != [item.sha256 for item in others], "other labels train the same taggers"
        again = runs.train("again", samples | {"data": altered(data, outer)})
    else:
        again = runs.train("again", relabelled | {"data": altered(shuffled, outer)})
    if shas != [item.sha256 for item in again]:
        raise AssertionError(_cause(runs, samples, shas, shuffled, outer))
    if reads.data:
        changed = runs.train("changed", samples | {"data": altered(data, ~outer)})
        assert shas != [item.sha256 for item in changed], "other events train the same taggers"

    tested = tagger_set("contract", outcomes, config, reference=True)
    scores = tested.score(data)
    for scope in method.scopes:
        raw = scores.raw[scope][outer]
        assert np.isfinite(raw).all(), "scores are not finite"
        if learns and method.purpose == "score":
            area = _auc(raw, data.label[outer] == 1)
            assert area > _AUC, f"AUC of the planted signal is {area:.2f} out of fold, {scope}"
    empty = tested.score(_emptied(data)).raw.values()
    assert all(np.isfinite(raw[outer]).all() for raw in empty), "empty jets have no finite score"
    _refuses(method, runs, samples, tested)


def _cause(
    runs: _Runs,
    samples: Mapping[str, Sample],
    shas: list[str],
    shuffled: Sample,
    outer: npt.NDArray[np.bool_],
) -> str:
    """Return what the taggers depend on that they must not."""
    data = samples["data"]
    changes = {
        "chance, or what ran before": data,
        "the events of the fold that they score": altered(data, outer),
        "labels": shuffled,
    }
    for number, (cause, changed) in enumerate(changes.items()):
        outcomes = runs.train(f"cause-{number}", {**samples, "data": changed})
        if shas != [item.sha256 for item in outcomes]:
            return f"the taggers depend on {cause}"
    return "the taggers depend on labels and the events that they score together"


class _Runs:
    """Trainings of a method in folders of their own."""

    def __init__(
        self, method: MethodSettings, config: SearchConfig, plans: Sequence[Any], folder: Path
    ) -> None:
        self.method, self.config, self.plans, self.folder = method, config, plans, folder

    def adoptable(self, scope: Any) -> list[Any]:
        """Return the methods whose taggers may be those of the method."""
        method: Any = self.method
        needs = [need for need in method.needs(scope) if need.adopted]
        return [self.config.train.methods[need.method] for need in needs]

    def train(self, name: str, samples: Mapping[str, Sample]) -> list[Any]:
        outcomes = train(samples, self.config, self.folder / name, self.plans)
        return next(found for key, found in outcomes.items() if key.startswith("contract"))


def _config(method: Any, beside: Mapping[str, MethodSettings]) -> SearchConfig:
    from tnt_coffea.training.methods.feature import Feature

    first = Feature(feature="tau21", descending=True)
    further = {name: beside.get(name, first) for name in method.builds_on()} | dict(beside)
    return SearchConfig(
        seed=5,
        train=TrainSettings(folds=FoldSettings(inner=2), methods={**further, "contract": method}),
    )


def _samples(method: Any, events: int, share: float, lists: Mapping[str, Any]) -> dict[str, Sample]:
    samples = {"data": make_sample(events, share, **lists)}
    if method.reads.simulation:
        samples["simulation"] = _with_drawn_labels(make_sample(events, 0.0, kind="sim", **lists))
    if method.reads.priors:
        prior = make_sample(events // 4, 1.0, kind="prior", **lists)
        samples["prior:two-prong"] = _with_drawn_labels(prior)
    return samples


def _with_drawn_labels(sample: Sample) -> Sample:
    """Return events with labels of both kinds, so that a method which reads them is found out."""
    label = np.random.default_rng(2).integers(0, 2, len(sample)).astype(np.int8)
    return replace(sample, label=label)


def _emptied(sample: Sample) -> Sample:
    """Return the same events with empty images and jets without constituents."""
    lists = {name: column[:, :0] for name, column in sample.lists.items()}
    return replace(sample, lists=lists)


def _auc(scores: npt.NDArray[np.float32], signal: npt.NDArray[np.bool_]) -> float:
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    n, m = int(signal.sum()), int((~signal).sum())
    return float((ranks[signal].sum() - n * (n + 1) / 2) / (n * m))


def _refuses(method: Any, runs: _Runs, samples: Mapping[str, Sample], trained: TaggerSet) -> None:
    for each in trained.members[0].tagger.card.inputs:
        lacking = _without(samples["data"], each.kind).select(np.arange(0))
        for scope in method.scopes:
            try:
                for reader in (method, *runs.adoptable(scope)):
                    reader.check(lacking, scope)
            except (ConfigError, InputError):
                continue
            message = f"`check` does not refuse a skim without {each.kind}"
            raise AssertionError(message)
    for role in samples:
        if role == "data" or (role.startswith("prior:") and method.reads.without_priors):
            continue
        try:
            others = {key: samples[key] for key in samples if key != role}
            runs.train(f"without-{role.replace(':', '-')}", others)
        except ConfigError:
            continue
        message = f"a skim without {role} is not refused"
        raise AssertionError(message)
    if method.reads.data:
        few = {role: sample.select(np.arange(12)) for role, sample in samples.items()}
        try:
            runs.train("few", few)
        except TrainingError:
            return
        message = "twelve events are not refused with a TrainingError"
        raise AssertionError(message)


def _without(sample: Sample, kind: str) -> Sample:
    columns_alone = kind == "columns"
    dropped = {"observables": ("n_constituents",)} if columns_alone else {kind: None}
    poorer = sample.settings.model_copy(update=dropped)
    columns = {name: sample.columns[name] for name in ("m_jj",)}
    columns |= {
        f"{jet}_{name}": sample.columns[f"{jet}_{name}"] for jet in JETS for name in poorer.of_jet
    }
    lists = {name: sample.lists[name] for name in list_columns(poorer)}
    return replace(sample, columns=columns, lists=lists, settings=poorer)
