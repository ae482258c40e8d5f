"""Synthetic events of a template, ranked by taggers: the selected background without simulation.

A method that compares the data with a template has settings of one, which its cards name. A search
fits that template again, for each scored fold to the fold's own events beside the window, in the
features of the taggers, whose graphs are cut where these enter. The taggers saw neither the events
that it is made of nor those that it stands for, so none of them is a reason to be selected. A
template of a window in either sideband, made of what lies beside it without the signal region, is
what the closure is measured with.

Source: arXiv:2411.00085.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from tnt_coffea import seeds
from tnt_coffea.config import MassRange, SearchConfig
from tnt_coffea.errors import TaggerError, TrainingError
from tnt_coffea.events.identity import outer_fold
from tnt_coffea.events.sample import Sample
from tnt_coffea.stats import WeightedSimulation
from tnt_coffea.taggers import TaggerSet

if TYPE_CHECKING:
    from tnt_coffea.processors import SearchProcessor
    from tnt_coffea.training.features import FeatureSet
    from tnt_coffea.training.templates import AnyTemplate

__all__ = ["VALIDATION", "predicts", "template_events", "template_of"]

VALIDATION = ("lower validation", "upper validation")
"""Windows in the sidebands, of the window's own width, by which a template is tested."""
_DRAWN = 2
"""Synthetic events, in events that the template is made of."""


def template_of(tagger_set: TaggerSet) -> AnyTemplate | None:
    """Return the settings of the template that taggers were trained against, if any."""
    from tnt_coffea.training.templates import AnyTemplate

    given = tagger_set.members[0].tagger.card.settings.get("template")
    if not isinstance(given, dict) or "by" not in given:
        return None
    found: AnyTemplate = TypeAdapter(AnyTemplate).validate_python(given)
    return found


def predicts(tagger_set: TaggerSet) -> bool:
    """Return whether a search predicts the background of a tagger set with its template."""
    settings = tagger_set.members[0].tagger.card.settings
    given = settings.get("template")
    # Taggers that were chosen by a template did not learn from it.
    return "of" not in settings and isinstance(given, dict) and bool(given.get("estimate", False))


def template_events(
    tagger_set: TaggerSet, sample: Sample, processor: SearchProcessor, seed: int
) -> WeightedSimulation:
    """Return the events of a template, as the taggers of each fold rank them.

    Twice as many are drawn as events that it is made of. Their variance is that of the draw and of
    these events together: one synthetic event counts 1 + drawn / made of.

    Parameters
    ----------
    tagger_set
        Taggers that were trained against a template, with their quantile map.
    sample
        The data that are searched; labels are not read.
    processor
        Of the search: its settings, and the axes of the histogram.
    seed
        Root seed of the search.

    Raises
    ------
    TrainingError, TaggerError
        A fold has too few events beside the window, the taggers read more than columns, or the
        template cannot be fitted.
    """
    from tnt_coffea.training.templates.classification import joint_features

    settings, window = template_of(tagger_set), tagger_set.window
    if settings is None or window is None or tagger_set.quantiles is None:
        msg = f"tagger set '{tagger_set.name}' was trained against no template"
        raise TaggerError(msg)
    taggers, features = joint_features([each.tagger for each in tagger_set.members], sample)
    members = zip(tagger_set.members, taggers, strict=True)
    of_features = replace(
        tagger_set, members=tuple(replace(member, tagger=own) for member, own in members)
    )
    fold = outer_fold(sample.event_id, tagger_set.folds, tagger_set.fold_seed)
    regions = {"nominal": (window, settings.sidebands(window))}
    regions |= _validations(window, settings.sideband, processor.config)
    counts: dict[str, Any] = {}
    factors: dict[tuple[str, int], float] = {}
    tested = dict.fromkeys(regions)
    for t in tagger_set.scored_folds:
        own = sample.select(fold == t)
        for name, (region, bands) in regions.items():
            if name not in tested:
                continue
            place = seeds.integer(seed, "template", tagger_set.name, t, name)
            try:
                drawn, factors[name, t] = _drawn(settings, own, features, region, bands, place)
            except TrainingError as error:
                if name == "nominal":
                    msg = f"fold {t}: {error}"
                    raise TrainingError(msg) from error
                del tested[name]
                continue
            ranks = of_features.ranks(drawn, np.full(len(drawn), t))
            places = [ranks.fold, drawn.mass, ranks.heavy, ranks.light]
            for kind in (name, "events"):
                filled = processor.counts(tagger_set, kind, places)
                counts[kind] = counts[kind] + filled if kind in counts else filled
    del tested["nominal"]
    wanted = [counts[name] for name in ("nominal", "events", *tested)]
    histogram = sum(wanted[1:], start=wanted[0]).histogram("weights")
    view = histogram.view(flow=True)
    for (name, t), factor in factors.items():
        if name in tested or name == "nominal":
            view.variance[histogram.axes[0].index(name), histogram.axes[1].index(t)] *= factor
    validation = {name: regions[name][0].edges for name in tested}
    return WeightedSimulation(histogram, settings.by, window.edges, validation, template=True)


def _validations(
    window: MassRange, sideband: float, config: SearchConfig
) -> dict[str, tuple[MassRange, tuple[MassRange, MassRange]]]:
    """Return windows beside the window, and their sidebands in the fit range, without it."""
    width, fit = window.high - window.low, config.search.fit_range
    reach = sideband * width
    found = {}
    for name, low, high in (
        (VALIDATION[0], window.low - width, window.low),
        (VALIDATION[1], window.high, window.high + width),
    ):
        # The signal region takes no part: the band on its side begins behind it.
        below = window.low if low >= window.high else low
        above = window.high if high <= window.low else high
        bands = (max(fit.low, below - reach), below), (above, min(fit.high, above + reach))
        if all(first < last for first, last in bands) and fit.low <= low and high <= fit.high:
            lower, upper = (MassRange(low=first, high=last) for first, last in bands)
            found[name] = (MassRange(low=low, high=high), (lower, upper))
    return found


def _drawn(
    settings: AnyTemplate,
    own: Sample,
    features: Mapping[str, FeatureSet],
    region: MassRange,
    bands: tuple[MassRange, MassRange],
    seed: int,
) -> tuple[Sample, float]:
    """Return synthetic events of a region, of features, and the variance of each."""
    from tnt_coffea.training import backend
    from tnt_coffea.training.templates.classification import feature_sample
    from tnt_coffea.training.templates.interface import SidebandEvents

    x = np.concatenate([each.values(own) for each in features.values()], axis=1)
    events = SidebandEvents.of(x, own.mass, own.weight, region, bands, tuple(features))
    made_of = events.weight.sum() ** 2 / np.square(events.weight).sum()
    n = round(_DRAWN * made_of)
    with backend.one_thread():
        values, mass = settings.fit(events, seed).sample(n, seeds.integer(seed, "drawn"))
    return feature_sample(values, mass, own.variable), 1 + n / float(made_of)
