"""Tagger sets: which tagger scores which fold, and the ranks that come of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError

from tnt_coffea.config import Combination, FoldSettings, JetShares, MassRange, digest
from tnt_coffea.displays import Displayed
from tnt_coffea.errors import LeakError, TaggerError
from tnt_coffea.events.identity import hashed, outer_fold
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.inputs import AnyInput, Reader, readers
from tnt_coffea.taggers.mass_dependence import MassDependence
from tnt_coffea.taggers.quantiles import QuantileMap, ReferenceScores, threshold
from tnt_coffea.taggers.stored import FileName, Scope, Stored, read_stored
from tnt_coffea.taggers.tagger import Inputs, Tagger
from tnt_coffea.typing import Float32Array, Float64Array, IntArray
from tnt_coffea.working_points import Cut, WorkingPoint, WorkingPoints

__all__ = ["Member", "Ranks", "Scores", "TaggerSet"]


_DENSE = 2048
"""Images that are expanded at once (13 MB), however large the sample."""


@dataclass(frozen=True)
class Member:
    """One tagger's place in a set.

    Attributes
    ----------
    tagger
        The tagger.
    scope
        heavy, light or event; or background or signal, the event on one of two axes.
    fold
        The outer fold whose events it scores.
    name
        What its file is called in the set's folder, without suffix.

    Examples
    --------
    >>> from tnt_coffea import taggers
    >>> member = taggers.load_set("rnd-3500/tnt").members[0]
    >>> member.name, member.scope, member.fold
    ('heavy-0-0', 'heavy', 0)
    >>> member.fold in member.tagger.card.ancestors
    False
    """

    tagger: Tagger
    scope: str
    fold: int
    name: str


@dataclass(frozen=True)
class Scores:
    """Raw scores of a sample: comparable within a fold, never across folds.

    Attributes
    ----------
    fold
        (event,) outer fold.
    raw
        (event,) float32 by scope; not a number in a fold that no tagger scores.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea import taggers, testing
    >>> scores = taggers.load_set("rnd-3500/tnt").score(testing.make_sample(20, pixels=40))
    >>> {scope: raw.shape for scope, raw in scores.raw.items()}, np.unique(scores.fold).tolist()
    ({'heavy': (20,), 'light': (20,)}, [0, 1])
    """

    fold: IntArray
    raw: Mapping[str, Float32Array]


@dataclass(frozen=True)
class Ranks:
    """Quantiles of a sample's scores within their folds.

    Attributes
    ----------
    fold
        (event,) outer fold.
    heavy, light
        (event,) quantile in (0, 1); equal to each other for a set of scope `event`, and those of
        `background` and `signal` for a set of these scopes. Not a number in a fold that no tagger
        scores: such an event passes no cut and is in no bin.

    Examples
    --------
    >>> import numpy as np
    >>> fold, heavy, light = np.array([[0, 1], [0.95, 0.4], [0.9, 0.99]])
    >>> ranks = Ranks(fold.astype(int), heavy, light)
    >>> ranks.both.tolist()
    [0.9, 0.4]
    >>> ranks.select(ranks.both > 0.8).fold.tolist()
    [0]
    """

    fold: IntArray
    heavy: Float64Array
    light: Float64Array

    @property
    def both(self) -> Float64Array:
        """(event,) min(heavy, light): 'both jets above X' is `both > X`."""
        return np.minimum(self.heavy, self.light)

    def select(self, which: npt.NDArray[Any]) -> Ranks:
        """Return the ranks of chosen events, by a mask or by row numbers."""
        return Ranks(self.fold[which], self.heavy[which], self.light[which])

    @property
    def unscored(self) -> int:
        """Number of events in folds that no tagger scores."""
        return int(np.count_nonzero(np.isnan(self.both)))


@dataclass(frozen=True)
class TaggerSet(Displayed):
    """The taggers of one method for every fold; those of a fold and scope are averaged.

    Attributes
    ----------
    name
        What the method is called in histograms and plots.
    folds, fold_seed
        The cross-validation that decides who scores an event.
    members
        The taggers and their places.
    quantiles
        The quantile map; None until the training has scored its folds.
    reference
        Taggers that were trained with the truth are let in: for a comparison, never for a
        search.
    combine
        How the scores of the taggers of one fold and scope become one.
    decorrelate
        Scores are ranked among events of the same mass.
    weighted_by
        Name of the set whose weights make simulated events the background of this one.
    trained_on
        Numbers of dijets by role in the skim that a set of weights was trained on: their ratio is
        part of the weights.

    Examples
    --------
    >>> from tnt_coffea import taggers, testing
    >>> tagger_set = taggers.load_set("rnd-3500/tnt")
    >>> sample = testing.make_sample(20, pixels=40)
    >>> ranks = tagger_set.ranks(sample)
    >>> ranks.both.shape, bool((ranks.both > 0).all()), ranks.unscored
    ((20,), True, 0)
    """

    name: str
    folds: FoldSettings
    fold_seed: int
    members: tuple[Member, ...]
    quantiles: QuantileMap | None = None
    reference: bool = False
    combine: Combination = Combination.MEAN
    weighted_by: str | None = None
    trained_on: Mapping[str, int] = field(default_factory=dict)
    decorrelate: bool = False

    def __post_init__(self) -> None:
        for name in (self.name, *(member.name for member in self.members)):
            _check_name(name)
        for member in self.members:
            card = member.tagger.card
            if member.fold in card.ancestors:
                msg = (
                    f"{member.name}: the events of fold {member.fold} had a part in its training "
                    f"(ancestors {list(card.ancestors)}); it cannot score that fold"
                )
                raise LeakError(msg)
            if (card.folds.division, card.fold_seed) != (self.folds.division, self.fold_seed):
                msg = f"{member.name}: trained with other folds than those of set '{self.name}'"
                raise LeakError(msg)
            if card.uses_truth and not self.reference:
                msg = f"{member.name}: trained with truth labels; a search never uses it"
                raise TaggerError(msg)
        places = {(m.fold, m.scope) for m in self.members}
        # A fold without any tagger is not scored; one with half of them is a mistake.
        missing = {(t, s) for t in self.scored_folds for s in self.scopes} - places
        if missing or not self.members:
            msg = f"tagger set '{self.name}': no tagger for fold and scope {sorted(missing)}"
            raise TaggerError(msg)
        if self.quantiles is not None:
            known = {(t, s) for t, scopes in self.quantiles.references.items() for s in scopes}
            flat = {(t, s) for t, scopes in self.quantiles.dependences.items() for s in scopes}
            wanted = {(t, s) for t in self.scored_folds for s in self.scopes}
            if known != wanted or flat != (wanted if self.decorrelate else set()):
                msg = (
                    f"tagger set '{self.name}': its quantile map is of fold and scope "
                    f"{sorted(known)}, its taggers of {sorted(places)}; train again"
                )
                raise TaggerError(msg)

    @property
    def scopes(self) -> tuple[str, ...]:
        """What the set scores: ('heavy', 'light'), ('background', 'signal') or ('event',)."""
        return tuple(sorted({member.scope for member in self.members}))

    @property
    def axes(self) -> tuple[str, str]:
        """What the ranks `heavy` and `light` are of, in words."""
        if self.scopes == ("background", "signal"):
            return "background loss", "likeness to a signal"
        return "heavy jet", "light jet"

    @property
    def scored_folds(self) -> tuple[int, ...]:
        """The outer folds with taggers, ascending: all in cross-validation alone."""
        return tuple(sorted({member.fold for member in self.members}))

    @cached_property
    def window(self) -> MassRange | None:
        """The window in mass that the taggers were trained for, if any."""
        return self.members[0].tagger.card.window

    @cached_property
    def knowledge(self) -> str:
        """What the taggers knew beside the data, see `Card.knowledge`."""
        known = [member.tagger.card.knowledge for member in self.members]
        return max(known, key=("none", "background simulation", "signal simulation").index)

    @property
    def gives_weights(self) -> bool:
        """Whether its scores are logarithms of weights of simulated events."""
        return self.members[0].tagger.card.purpose == "weight"

    @cached_property
    def validation_windows(self) -> dict[str, MassRange]:
        """Ranges in mass, by name, that all its weights predict from what lies beside them."""
        first, *others = (member.tagger.card.regions for member in self.members)
        return {
            name: region
            for name, region in first.items()
            if all(other.get(name) == region for other in others)
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest, which names every tagger by its own SHA-256."""
        return digest(self._manifest())

    def score(
        self,
        sample: Sample,
        fold: IntArray | None = None,
        like: tuple[Sample, Scores] | None = None,
    ) -> Scores:
        """Return the raw scores of every event by the taggers of its own fold.

        Parameters
        ----------
        sample
            The events.
        fold
            (event,) outer folds of synthetic events, which have no ids of their own.
        like
            The same events otherwise reconstructed, and their scores: where all that the taggers
            take of an event is equal, its scores are these.

        Raises
        ------
        TaggerError
            The sample's jets or images were made with other settings than a tagger's, or
            it lacks the images or features that a tagger takes.
        """
        if fold is None:
            fold = outer_fold(sample.event_id, self.folds, self.fold_seed)
        raw = {scope: np.full(len(sample), np.nan, np.float32) for scope in self.scopes}
        known = None if like is None else _Known(sample, fold, *like)
        for t in self.scored_folds:
            mine = np.flatnonzero(fold == t)
            for scope in self.scopes:
                taggers = [
                    self._checked(member, sample)
                    for member in self.members
                    if (member.fold, member.scope) == (t, scope)
                ]
                shown = _Shown(sample)
                for start in range(0, len(mine), _DENSE):
                    rows = mine[start : start + _DENSE]
                    if known is not None:
                        rows = known.taken(raw, scope, taggers, shown, rows)
                    if not len(rows):
                        continue
                    parts = [tagger.score(shown(tagger.card.inputs, rows)) for tagger in taggers]
                    raw[scope][rows] = _combined(np.stack(parts), self.combine)
        return Scores(fold, raw)

    def log_weights(self, sample: Sample) -> dict[str, Float64Array]:
        """Return the logarithms of the weights of simulated events, each of its own fold.

        Returns
        -------
        dict
            (event,) by name: `nominal`, the mean over the taggers of a fold; that of every
            window in `validation_windows`; `member 0`, `member 1`, ..., those of single taggers.
            Not a number in a fold that no tagger scores.

        Raises
        ------
        TaggerError
            The set gives no weights, or as `score`.
        """
        if not self.gives_weights:
            msg = f"tagger set '{self.name}' gives scores, not weights of simulated events"
            raise TaggerError(msg)
        fold = outer_fold(sample.event_id, self.folds, self.fold_seed)
        windows = list(self.validation_windows)
        found: dict[str, Float64Array] = {}

        def keep(name: str, rows: IntArray, values: npt.NDArray[Any]) -> None:
            found.setdefault(name, np.full(len(sample), np.nan))[rows] = values

        for t in self.scored_folds:
            mine = np.flatnonzero(fold == t)
            taggers = [self._checked(m, sample) for m in self.members if m.fold == t]
            shown = _Shown(sample)
            for start in range(0, len(mine), _DENSE):
                rows = mine[start : start + _DENSE]
                given = [shown(tagger.card.inputs, rows) for tagger in taggers]
                pairs = list(zip(taggers, given, strict=True))
                scores = np.stack([tagger.score(inputs) for tagger, inputs in pairs])
                keep("nominal", rows, _combined(scores, self.combine))
                for number, own in enumerate(scores):
                    keep(f"member {number}", rows, own)
                if windows:
                    latent = [
                        dict(zip(tagger.card.regions, tagger.latent(inputs).T, strict=True))
                        for tagger, inputs in pairs
                    ]
                    for name in windows:
                        own = np.stack([of_tagger[name] for of_tagger in latent])
                        keep(name, rows, _combined(own, self.combine))
        return found

    def ranks(
        self, sample: Sample, fold: IntArray | None = None, scores: Scores | None = None
    ) -> Ranks:
        """Return the quantiles of every event's scores in its own fold.

        Parameters
        ----------
        sample, fold
            As for `score`.
        scores
            What `score` gave for the sample; by default it is asked.

        Raises
        ------
        TaggerError
            As `score`, or the set has no quantile map.
        """
        if self.quantiles is None:
            msg = f"tagger set '{self.name}' has no quantile map; `tnt-coffea train` writes it"
            raise TaggerError(msg)
        scores = scores or self.score(sample, fold)
        q = {scope: np.full(len(sample), np.nan) for scope in self.scopes}
        for t, references in self.quantiles.references.items():
            rows = scores.fold == t
            for scope in self.scopes:
                raw = scores.raw[scope][rows]
                if self.decorrelate:
                    dependence = self.quantiles.dependences[t][scope]
                    raw = dependence.applied(raw, sample.columns[self.quantiles.variable][rows])
                ties = self._ties(sample.event_id[rows], scope)
                q[scope][rows] = references[scope].quantile(raw, ties)
        return Ranks(scores.fold, q[self.scopes[0]], q[self.scopes[-1]])

    def calibrated(
        self,
        sample: Sample,
        mass_range: MassRange,
        efficiencies: Iterable[float],
        cuts: Mapping[str, JetShares] | None = None,
        window: MassRange | None = None,
    ) -> TaggerSet:
        """Return the set with its quantile map, taken from each scored fold's own events.

        Parameters
        ----------
        sample
            The whole skim; labels are not used.
        mass_range
            Range in the sample's variable that the reference events lie in, the fit range.
        efficiencies
            Working points wanted, both jets above the same X.
        cuts
            Further ones by name, with an X for each jet.
        window
            Events in it do not show how a decorrelated score follows the mass; where the taggers
            were trained for a window, those in that one.

        Raises
        ------
        TaggerError
            As `score` and `MassDependence.of`; or a cut for each jet is wanted of a set that
            scores whole events.
        """
        if cuts and self.scopes == ("event",):
            msg = (
                f"tagger set '{self.name}' has one score an event, which search.cuts "
                f"({', '.join(cuts)}) cannot cut jet by jet: leave out the cuts or the set"
            )
            raise TaggerError(msg)
        reference = sample.select(mass_range.contains(sample.mass))
        scores, left_out = self.score(reference), self.window or window
        references: dict[int, dict[str, ReferenceScores]] = {}
        dependences: dict[int, dict[str, MassDependence]] = {}
        for t in self.scored_folds:
            own = scores.fold == t
            mass, ids = reference.mass[own], reference.event_id[own]
            beside = np.ones(len(mass), bool) if left_out is None else ~left_out.contains(mass)
            for scope in self.scopes:
                raw = scores.raw[scope][own]
                if self.decorrelate:
                    found = MassDependence.of(raw[beside], mass[beside])
                    dependences.setdefault(t, {})[scope] = found
                    raw = found.applied(raw, mass)
                made = ReferenceScores.of(raw, self._ties(ids, scope))
                references.setdefault(t, {})[scope] = made
        quantiles = QuantileMap(
            self.digest,
            reference.content_hash(),
            sample.variable,
            mass_range,
            references,
            dependences=dependences,
        )
        ranks = replace(self, quantiles=quantiles).ranks(reference, scores=scores)
        by_fold = {t: ranks.select(ranks.fold == t) for t in references}
        points = [
            WorkingPoint(share, {t: _common_cut(own, share) for t, own in by_fold.items()})
            for share in efficiencies
        ]
        points += [
            WorkingPoint(name, {t: _cut_per_jet(own, shares) for t, own in by_fold.items()})
            for name, shares in (cuts or {}).items()
        ]
        return replace(self, quantiles=replace(quantiles, points=WorkingPoints(tuple(points))))

    def save(self, folder: Path) -> None:
        """Write taggers, manifest and quantile map into a folder; the manifest comes last."""
        folder.mkdir(parents=True, exist_ok=True)
        for member in self.members:
            (folder / f"{member.name}.onnx").write_bytes(member.tagger.data)
        if self.quantiles is not None:
            self.quantiles.save(folder / "quantiles.json")
        (folder / "set.json").write_text(json.dumps(self._manifest(), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> TaggerSet:
        """Return the set in a folder.

        Raises
        ------
        TaggerError
            The manifest is missing or damaged, or a tagger's bytes are not those it names.
        LeakError
            A tagger would score events that had a part in its training.
        """
        path = folder / "set.json"
        stored = read_stored(path, _StoredSet, "tagger set")
        members = []
        for entry in stored.members:
            # The SHA-256 is compared before ONNX Runtime sees a byte.
            tagger = Tagger.from_file(folder / f"{entry.name}.onnx", sha256=entry.sha256)
            members.append(Member(tagger, entry.scope, entry.fold, entry.name))
        map_path = folder / "quantiles.json"
        quantiles = QuantileMap.load(map_path) if map_path.exists() else None
        loaded = cls(
            stored.name,
            stored.folds,
            stored.fold_seed,
            tuple(members),
            quantiles,
            stored.reference,
            stored.combine,
            stored.weighted_by,
            stored.trained_on,
            stored.decorrelate,
        )
        if quantiles is not None and quantiles.tagger_set != loaded.digest:
            msg = f"{map_path}: belongs to another tagger set; train again"
            raise TaggerError(msg)
        return loaded

    def _manifest(self) -> dict[str, object]:
        return {
            "name": self.name,
            "folds": self.folds.model_dump(),
            "fold_seed": self.fold_seed,
            "reference": self.reference,
            "combine": self.combine.value,
            **({} if self.weighted_by is None else {"weighted_by": self.weighted_by}),
            **({"trained_on": dict(self.trained_on)} if self.trained_on else {}),
            **({"decorrelate": True} if self.decorrelate else {}),
            "members": [
                {
                    "name": member.name,
                    "sha256": member.tagger.sha256,
                    "scope": member.scope,
                    "fold": member.fold,
                }
                for member in self.members
            ],
        }

    def _checked(self, member: Member, sample: Sample) -> Tagger:
        reason = member.tagger.card.misfit(sample.settings)
        if reason is not None:
            msg = f"{member.name}: {reason}"
            raise TaggerError(msg)
        return member.tagger

    def _ties(self, event_id: npt.NDArray[np.uint64], scope: str) -> npt.NDArray[np.uint64]:
        return hashed(event_id, self.fold_seed, "ties", self.digest, scope)


class _StoredMember(Stored):
    name: FileName
    sha256: str = Field(pattern=r"\A[0-9a-f]{64}\z")
    scope: Scope
    fold: int = Field(ge=0)


class _StoredSet(Stored):
    name: FileName
    folds: FoldSettings
    fold_seed: int
    reference: bool
    combine: Combination
    weighted_by: FileName | None = None
    trained_on: Mapping[str, int] = {}
    decorrelate: bool = False
    members: tuple[_StoredMember, ...] = Field(min_length=1)


_NAMES = TypeAdapter(FileName)


def _check_name(name: str) -> None:
    try:
        _NAMES.validate_python(name)
    except ValidationError as error:
        msg = (
            f"{name!r} cannot name a tagger set or a tagger, whose files are called so: use "
            "letters, digits, '_', '-', '.' and '+'"
        )
        raise TaggerError(msg) from error


class _Shown:
    """Inputs of a sample: read once for all taggers that take the same."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self._readers: dict[tuple[AnyInput, ...], dict[str, Reader]] = {}
        self._last: dict[tuple[AnyInput, ...], tuple[IntArray, Inputs]] = {}

    def __call__(self, inputs: tuple[AnyInput, ...], rows: IntArray) -> Inputs:
        if inputs not in self._readers:
            self._readers[inputs] = readers(inputs, self.sample)
        of, last = self._last.get(inputs, (None, {}))
        if of is not rows:
            last = {name: read(rows) for name, read in self._readers[inputs].items()}
            self._last[inputs] = (rows, last)
        return last


class _Known:
    """Scores of events that are in another sample as well, for those with the same inputs there."""

    def __init__(self, sample: Sample, fold: IntArray, before: Sample, scores: Scores) -> None:
        order = np.argsort(before.event_id)
        places = np.searchsorted(before.event_id, sample.event_id, sorter=order)
        self.at = order[np.minimum(places, len(order) - 1)] if len(order) else places
        self.there = np.isin(sample.event_id, before.event_id)
        if len(order):  # taggers of another fold would give another score
            self.there &= scores.fold[self.at] == fold
        self.shown, self.scores = _Shown(before), scores

    def taken(
        self,
        raw: Mapping[str, Float32Array],
        scope: str,
        taggers: Iterable[Tagger],
        shown: _Shown,
        rows: IntArray,
    ) -> IntArray:
        """Set the scores that are known, and return the rows of the others."""
        same, at = self.there[rows], self.at[rows]  # of an event that is not there, any other's
        for inputs in {tagger.card.inputs for tagger in taggers} if same.any() else ():
            theirs = self.shown(inputs, at)
            for name, values in shown(inputs, rows).items():
                same &= (values == theirs[name]).reshape(len(rows), -1).all(axis=1)
        raw[scope][rows[same]] = self.scores.raw[scope][at[same]]
        return rows[~same] if same.any() else rows


def _common_cut(ranks: Ranks, share: float) -> Cut:
    """Return the cut that a share of one fold's events pass with both jets."""
    x = threshold(ranks.both, share)
    return Cut(x, x, float((ranks.both > x).mean()))


def _cut_per_jet(ranks: Ranks, shares: JetShares) -> Cut:
    """Return the cut that a share of one fold's events pass with either jet."""
    heavy, light = threshold(ranks.heavy, shares.heavy), threshold(ranks.light, shares.light)
    return Cut(heavy, light, float(((ranks.heavy > heavy) & (ranks.light > light)).mean()))


def _combined(scores: Float32Array, how: Combination) -> Float64Array:
    """Return the (event,) mean of (tagger, event) scores, or that of the middle half."""
    values = scores.astype(np.float64)
    if how is Combination.TRIMMED_MEAN:
        cut = len(values) // 4
        values = np.sort(values, axis=0)[cut : len(values) - cut]
    out: Float64Array = values.mean(axis=0)
    return out
