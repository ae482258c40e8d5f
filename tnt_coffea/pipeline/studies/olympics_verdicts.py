"""Verdicts on answers: the only place of the study that sees a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scipy.stats import beta

from tnt_coffea import generator
from tnt_coffea.config import SignalModel
from tnt_coffea.pipeline.answers import Answer
from tnt_coffea.pipeline.studies.claims import Value

__all__ = [
    "FALSE",
    "FOUND",
    "NOTHING",
    "PULLED",
    "REFUSED",
    "UNKNOWN",
    "false_claims",
    "judged",
    "pulls_of",
]

FOUND, FALSE, NOTHING = "found", "false", "nothing"
UNKNOWN, REFUSED = "unknown", "refused"
WITHIN = 200.0
"""GeV: what arXiv:2101.08320, section 6.1, counts as the correct mass."""
_DEVIATIONS = 3.0
PULLED = {
    "resonance_mass": "resonance_mass",
    "heavy_mass": "heavy_mass",
    "light_mass": "light_mass",
    "events": "signal",
}
"""Numbers of an answer, and the name of each in the truth of a box."""


def judged(
    answers: Mapping[str, Mapping[str, Mapping[str, Any]]],
    keys: Mapping[str, generator.Key | None],
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the verdict on every answer with its pulls, and the truth of every box with a key.

    Parameters
    ----------
    answers
        By box and method, as JSON values.
    keys
        By box; None where there is none: its verdicts are unknown.

    Examples
    --------
    >>> judged({"box": {"pca": {"refused": "too few events"}}}, {"box": None})
    ({'box': {'pca': {'verdict': 'refused', 'pulls': {}}}}, {})
    """
    truths = {box: _truth(key) for box, key in keys.items() if key is not None}
    return {
        box: {name: _verdict(values, truths.get(box)) for name, values in own.items()}
        for box, own in answers.items()
    }, truths


def _truth(key: generator.Key) -> dict[str, Any]:
    made = key.settings
    if not made.signal:
        return {"signal": 0, "events": key.events}
    values: dict[str, Any] = {
        "signal": made.signal,
        "events": key.events,
        "model": made.model.value,
        "resonance_mass": made.resonance_mass,
    }
    if made.model is not SignalModel.GRAVITON:  # whose jets are gluons and R
        values |= {"heavy_mass": max(made.heavy_mass, made.light_mass)}
        values |= {"light_mass": min(made.heavy_mass, made.light_mass)}
        values |= {"prongs": 3 if made.model is SignalModel.THREE_PRONG else 2}
    return values


def _verdict(values: Mapping[str, Any], truth: Mapping[str, Any] | None) -> dict[str, Any]:
    if "refused" in values:
        return {"verdict": REFUSED, "pulls": {}}
    answer = Answer.from_dict(dict(values))
    if not answer.claim:
        return {"verdict": NOTHING, "pulls": {}}
    if truth is None:
        return {"verdict": UNKNOWN, "pulls": {}}
    mass = answer.resonance_mass
    if not truth["signal"] or mass.value is None or mass.uncertainty is None:
        return {"verdict": FALSE, "pulls": {}}
    off = abs(mass.value - truth["resonance_mass"])
    if off > max(WITHIN, _DEVIATIONS * mass.uncertainty):
        return {"verdict": FALSE, "pulls": {}}
    pulls = {
        name: getattr(answer, name).pull(truth[true])
        for name, true in PULLED.items()
        if true in truth
    }
    return {
        "verdict": FOUND,
        "pulls": {name: pull for name, pull in pulls.items() if pull is not None},
    }


def false_claims(verdicts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return how many boxes without signal have a claim, of those answered, by method.

    `at_most` is the upper limit on the rate (95 %, Clopper and Pearson).

    Examples
    --------
    >>> boxes = {f"null-{i}": {"cwola": {"verdict": "nothing"}} for i in range(20)}
    >>> false_claims(boxes)
    {'cwola': {'boxes': 20, 'false': 0, 'at_most': 0.139}}
    """
    by_method: dict[str, list[str]] = {}
    for own in verdicts.values():
        for name, one in own.items():
            by_method.setdefault(name, []).append(one["verdict"])
    found = {}
    for name, words in by_method.items():
        n, wrong = sum(word != REFUSED for word in words), words.count(FALSE)
        most = float(beta.ppf(0.95, wrong + 1, n - wrong)) if wrong < n else 1.0
        found[name] = {"boxes": n, "false": wrong, "at_most": round(most, 3)}
    return found


def pulls_of(verdicts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return mean and deviation of the pulls of boxes of known truth, and how many were found.

    Examples
    --------
    >>> boxes = {f"injected-{i}": {"cwola": {"verdict": "found", "pulls": {"events": p}}}
    ...     for i, p in enumerate((-1.0, 1.0))}
    >>> pulls_of(boxes)["pulls"]["events"]["mean"], pulls_of(boxes)["found"]
    (0.0, 2)
    """
    every = [one for own in verdicts.values() for one in own.values()]
    if not every:
        return {}
    found = [one for one in every if one["verdict"] == FOUND]
    values = {
        name: Value.of([one["pulls"][name] for one in found if name in one["pulls"]])
        for name in PULLED
    }
    return {
        "boxes": len(every),
        "found": len(found),
        "false": sum(one["verdict"] == FALSE for one in every),
        "pulls": {
            name: {"mean": one.mean, "sd": one.sd, "n": one.n, "values": list(one.values)}
            for name, one in values.items()
            if one.n
        },
    }
