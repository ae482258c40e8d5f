"""What an excess looks like: features of the selected events in the window less those beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tnt_coffea import seeds, stats
from tnt_coffea.config import MassRange, SearchConfig
from tnt_coffea.config.systematics import NOMINAL
from tnt_coffea.errors import FitError, InputError, TaggerError
from tnt_coffea.events.roles import DATA
from tnt_coffea.events.sample import UNIT, Sample
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.fit_settings import check_made_with, refuse_blinded, spectrum_fit
from tnt_coffea.products import Histograms, Skim, Taggers, as_skim
from tnt_coffea.stats.excess import median, peak
from tnt_coffea.taggers import TaggerSet
from tnt_coffea.taggers.inputs import Columns
from tnt_coffea.typing import BoolArray, Float64Array
from tnt_coffea.working_points import Selection, WorkingPoint

if TYPE_CHECKING:
    from tnt_coffea.reporting import Characterisation, Hypothesis

__all__ = ["characterise"]

FEATURES = ("mass", "tau21", "tau32")
"""Of either jet, where the skim has them: masses of the daughters, and their prongs."""
_FEW = 20
"""Simulated events in the window that make a median."""


def characterise(
    source: Skim | Sample,
    taggers: Taggers,
    histograms: Histograms,
    config: SearchConfig,
    *,
    name: str | None = None,
    selection: Selection | None = None,
    signals: Mapping[str, Skim | Sample] | None = None,
    window: MassRange | None = None,
) -> Characterisation:
    """Return what the selected events of the window have in common, beyond the background.

    Every event is scored out of fold. The background of a feature is that of selected events
    beside the window, scaled to what a fit to them expects inside. No label is read.

    A tagger that selects by a feature moves it: an excess of background looks like what was
    selected, and a signal's own tail is cut. `signals` show by how much.

    Parameters
    ----------
    source
        The dijets that were searched.
    taggers, histograms
        Of the search.
    config
        Its settings; `fit.bump` says how spectra are fitted.
    name
        Tagger set; the first one without it.
    selection
        Share of events or named cuts; that of `fit.bump` without it.
    signals
        Skims of simulated signals by name, as data or in the role `signal:NAME`; all events of a
        skim's files count as produced. None of them may be among those that were searched.
    window
        Where the excess is [GeV], on edges of the histogram; `search.window` without it.

    Raises
    ------
    TaggerError
        There is no such set.
    FitError
        The spectrum cannot be fitted beside the window.
    InputError
        A signal has fewer than 20 dijets in the window, or events that were searched; or its
        events have different weights, and what they added up to before cuts is not known.
    ConfigError
        There is no such selection, the search is blinded, or the histograms are of another one.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import tnt_coffea as tnt
    >>> from tnt_coffea import testing
    >>> tau21 = "{kind: feature, feature: tau21, descending: true}"
    >>> text = f"{{fit: {{bump: {{efficiency: 0.1}}}}, train: {{methods: {{low: {tau21}}}}}}}"
    >>> config = SearchConfig.from_text(text)
    >>> sample = testing.make_sample(4000, signal_share=0.05)
    >>> with TemporaryDirectory() as out:
    ...     taggers = tnt.train(sample, config, out=out)
    ...     histograms = tnt.search(sample, taggers, config, out=out)
    >>> found = characterise(sample, taggers, histograms, config)
    >>> abs(found.features["heavy_mass"].value - 500) < 10, found.features["light_mass"].z > 3
    (True, True)
    """
    from tnt_coffea.reporting import Characterisation

    check_types(
        source=(source, Skim, Sample),
        taggers=(taggers, Taggers),
        histograms=(histograms, Histograms),
        config=(config, SearchConfig),
    )
    refuse_blinded(config, "a characterisation")
    check_made_with(histograms, config)
    tagger_set, point = _chosen(taggers, config, name, selection)
    window = window or config.search.window
    sample = as_skim(source).sample()
    simulated = {
        label: _signal_sample(label, one, sample) for label, one in (signals or {}).items()
    }
    counted = stats.masked_window_test(
        stats.selected_spectrum(histograms.hists[tagger_set.name], point, per_fold=False)["all"],
        window=window.edges,
        fit=spectrum_fit(config, with_signal=False),
        seed=seeds.integer(config.seed, "characterise"),
    )
    sample = sample.with_variable(config.search.variable)
    sample = sample.select(config.search.fit_range.contains(sample.mass))
    inside = window.contains(sample.mass)
    passed = _passed(tagger_set, point, sample)
    beside = float(sample.weight[passed & ~inside].sum())
    if not beside > 0:
        msg = f"no selected event of '{tagger_set.name}' beside the window: nothing to compare with"
        raise FitError(msg)
    scale = counted.expected / beside
    features, left_out = {}, {}
    for feature in _features(sample):
        values = np.asarray(sample.columns[feature], dtype=np.float64)
        try:
            features[feature] = peak(
                values[passed & inside],
                values[passed & ~inside],
                counted.expected,
                uncertainty=counted.uncertainty,
                weights=(sample.weight[passed & inside], sample.weight[passed & ~inside]),
                seed=seeds.integer(config.seed, "characterise", feature),
            )
        except FitError as reason:
            left_out[feature] = str(reason)
    excess = float(sample.weight[passed & inside].sum()) - scale * beside
    found = Characterisation(
        tagger_set.name,
        point.selection,
        window.edges,
        counted.observed,
        counted.expected,
        counted.uncertainty,
        features,
        left_out,
        _importance(tagger_set, point, sample, inside, scale, excess, config.seed),
        observed_uncertainty=float(np.sqrt(np.square(sample.weight[passed & inside]).sum())),
    )
    if sample.settings.images is not None:
        images = {jet: _excess_image(sample, jet, passed, inside, scale) for jet in JETS}
        found = replace(found, images=images, half_width=sample.image_settings.half_width)
    hypotheses = {
        label: _hypothesis(label, signal, tagger_set, point, config, found)
        for label, signal in simulated.items()
    }
    return replace(found, hypotheses=hypotheses)


def _chosen(
    taggers: Taggers, config: SearchConfig, name: str | None, selection: Selection | None
) -> tuple[TaggerSet, WorkingPoint]:
    known = {key: one for key, one in taggers.sets.items() if one.quantiles is not None}
    if not known:
        msg = "no tagger set has a quantile map: train and search first"
        raise TaggerError(msg)
    name = next(iter(known)) if name is None else name
    if name not in known:
        msg = f"no tagger set is called '{name}', only {', '.join(sorted(known))}"
        raise TaggerError(msg)
    quantiles = known[name].quantiles
    assert quantiles is not None
    return known[name], quantiles.points[
        config.fit.bump.selection if selection is None else selection
    ]


def _passed(tagger_set: TaggerSet, point: WorkingPoint, sample: Sample) -> BoolArray:
    ranks = tagger_set.ranks(sample)
    return point.passes(ranks.fold, ranks.heavy, ranks.light)


def _features(sample: Sample) -> list[str]:
    wanted = (f"{jet}_{feature}" for feature in FEATURES for jet in JETS)
    return [name for name in wanted if name in sample.columns]


def _importance(
    tagger_set: TaggerSet,
    point: WorkingPoint,
    sample: Sample,
    inside: BoolArray,
    scale: float,
    excess: float,
    seed: int,
) -> dict[str, float]:
    """Return the share of the excess that each input carries (permutation importance)."""
    if excess <= 0:
        return {}
    order = np.random.default_rng(seeds.integer(seed, "importance")).permutation(len(sample))
    found = {}
    for name, shuffled in _shuffled(tagger_set, sample, order):
        passed = _passed(tagger_set, point, shuffled)
        kept = np.where(passed, sample.weight, 0.0)
        left = float(kept[inside].sum()) - scale * float(kept[~inside].sum())
        found[name] = 1 - left / excess
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _shuffled(
    tagger_set: TaggerSet, sample: Sample, order: npt.NDArray[np.intp]
) -> list[tuple[str, Sample]]:
    """Return the sample with one input after the other shuffled among the events."""
    inputs = [one for member in tagger_set.members for one in member.tagger.card.inputs]
    columns = {name for one in inputs if isinstance(one, Columns) for name in one.columns}
    kinds = {one.name for one in inputs if not isinstance(one, Columns)}
    # The lists of an image, of constituents, ... of one jet go together: 'heavy_image_index'.
    groups = {
        name.rpartition("_")[0] for name in sample.lists if any(f"{k}_" in name for k in kinds)
    }
    made = [
        (name, replace(sample, columns={**sample.columns, name: sample.columns[name][order]}))
        for name in sorted(columns)
    ]
    for group in sorted(groups):
        own = {k: v[order] for k, v in sample.lists.items() if k.rpartition("_")[0] == group}
        made.append((group, replace(sample, lists={**sample.lists, **own})))
    return made


def _excess_image(
    sample: Sample, jet: str, passed: BoolArray, inside: BoolArray, scale: float
) -> Float64Array:
    """Return the mean image of the excess: the sum in the window less the scaled one beside it."""
    total, events = np.zeros(sample.image_settings.shape[1:]), 0.0
    for rows, factor in ((passed & inside, 1.0), (passed & ~inside, -scale)):
        images, weights = sample.images(jet, np.flatnonzero(rows))[:, 0], sample.weight[rows]
        total += factor * np.einsum("e,exy->xy", weights, images, dtype=np.float64)
        events += factor * float(weights.sum())
    return total / events if events > 0 else np.zeros_like(total)


@dataclass(frozen=True, eq=False)
class _Produced:
    """The dijets of a simulated signal, and the sum of weights of all events produced."""

    sample: Sample
    weights: float


def _signal_sample(label: str, signal: Skim | Sample, searched: Sample) -> _Produced:
    """Return the dijets of a signal, and how many events were produced."""
    skim = as_skim(signal)
    role = next((role for role, parts in skim.by_role.items() if parts), None)
    if role is None:
        msg = f"signal '{label}': its skim has no dijets"
        raise InputError(msg)
    sample = skim.sample(role)
    if shared := int(np.isin(sample.event_id, searched.event_id).sum()):
        msg = (
            f"signal '{label}': {shared} of its {len(sample)} dijets are among those that were "
            "searched; give simulated events that are not part of the data"
        )
        raise InputError(msg)
    return _Produced(sample, _produced(label, skim, role, sample))


def _produced(label: str, skim: Skim, role: str, sample: Sample) -> float:
    """Return the sum of weights of all events of a signal, before any cut."""
    own = [name for name in skim.parts if skim.roles.get(name, DATA) == role]
    if all(name in skim.generated for name in own):
        return UNIT * sum(skim.generated[name][NOMINAL] for name in own)
    if len(sample) and np.ptp(sample.weight) > 0:
        msg = (
            f"signal '{label}': its events have different weights, and what they added up to "
            "before cuts is known of simulated signals alone: skim it as one (--signal NAME=PATH)"
        )
        raise InputError(msg)
    accounts = [skim.accounts[name] for name in own]
    events = sum(account.events - account.n_lost for account in accounts)
    return events * float(sample.weight[0] if len(sample) else 1.0)


def _hypothesis(
    label: str,
    signal: _Produced,
    tagger_set: TaggerSet,
    point: WorkingPoint,
    config: SearchConfig,
    found: Characterisation,
) -> Hypothesis:
    from tnt_coffea.reporting import Hypothesis, Sculpted

    sample = signal.sample.with_variable(config.search.variable)
    inside = MassRange(low=found.window[0], high=found.window[1]).contains(sample.mass)
    if int(inside.sum()) < _FEW:
        msg = (
            f"signal '{label}' has {int(inside.sum())} dijets in the window "
            f"{found.window[0]:g}-{found.window[1]:g} GeV, at least {_FEW} are needed"
        )
        raise InputError(msg)
    passed = _passed(tagger_set, point, sample) & inside
    weight = sample.weight
    share = float(weight[passed].sum()) / signal.weights
    # Events of one weight that would be known as well.
    produced = signal.weights * float(weight[inside].sum() / np.square(weight[inside]).sum())
    error = float(np.sqrt(max(share, 1 / produced) * (1 - share) / produced))
    taggers = config.fit.tagger_efficiency
    efficiency = share * taggers.scale_factor
    of_taggers = float(np.max(np.abs(taggers.uncertainty)))
    uncertainty = taggers.scale_factor * float(np.hypot(error, share * of_taggers))
    events, of_events = None, None
    if share > 0:
        events = found.events / efficiency
        of_events = float(np.hypot(found.events_uncertainty, events * uncertainty) / efficiency)
    features = {}
    for feature in found.features:
        if feature in sample.columns:
            values = np.asarray(sample.columns[feature], dtype=np.float64)
            features[feature] = Sculpted(
                median(values[inside], weight[inside]),
                median(values[passed], weight[passed]) if passed.any() else None,
            )
    return Hypothesis(efficiency, uncertainty, events, of_events, features)
