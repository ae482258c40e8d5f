"""Claims of arXiv:2101.08320, section 5.4, on a classifier of labelled simulation.

A study that trains `lstm` measures `identified` of its blocks, and states `lstm_claims`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tnt_coffea.pipeline.studies.claims import Claim, compared, worst
from tnt_coffea.pipeline.studies.measurement import TrainedBlock
from tnt_coffea.pipeline.studies.numbers import Found

__all__ = ["identified", "lstm_claims"]

_OLYMPICS = "arXiv:2101.08320, section 5.4"
_IDENTIFIED = 0.95
_NEAR = 0.02
"""How near a share has to be, in either direction."""


def identified(trained: TrainedBlock, method: str = "lstm") -> dict[str, Any]:
    """Return what a method whose score is the logarithm of the odds takes for signal.

    Parameters
    ----------
    trained
        A block in which it is trained.
    method
        Its name there.

    Returns
    -------
    dict
        `background`, share of the background of the data with odds above 1, and `signals`, that of
        every pool tested on; `number`, events of the data with such odds over the signal events
        injected, and `mass`, their mean mass less that of the injected signal [GeV], None without
        any.
    """
    tagger_set = trained.taggers.sets[method]

    def odds(sample: Any) -> Any:
        return tagger_set.score(sample).raw["event"]

    data = trained.data
    taken, signal = odds(data) > 0, data.label == 1
    some = bool(signal.any() and taken.any())
    return {
        "background": float(taken[~signal].mean()),
        "signals": {
            pool: float((odds(sample) > 0).mean()) for pool, sample in trained.left.items()
        },
        "number": float(taken.sum() / signal.sum()) if some else None,
        "mass": float(data.mass[taken].mean() - data.mass[signal].mean()) if some else None,
    }


def lstm_claims(
    found: Found,
    *,
    learned: str,
    injected: str,
    other: str = "signal:box-1",
    unlike: str | None = "signal:box-3",
    method: str = "lstm",
    path: str = "lstm",
) -> list[Claim]:
    """Return the claims of section 5.4 with their verdicts.

    Parameters
    ----------
    found
        Of the study.
    learned
        Block with the signal that is learned, its first pool, in which `other` and `unlike` are
        tested as well (`tested_on`).
    injected
        Block whose data have the signal of another mass in them.
    other, unlike
        Pools of a signal of the same kind with another mass, and of another kind.
    method
        Name of the method.
    path
        Where `identified` is in what the blocks measure.
    """
    kind = next(iter(found.block(learned)["tested"]))
    same = found.measured(learned, f"{path}/signals/{kind}")
    false = found.measured(learned, f"{path}/background")
    elsewhere = found.measured(learned, f"{path}/signals/{other}")
    areas = [found.value(learned, method, "auc_fit", pool) for pool in (kind, other)]
    number = found.measured(injected, f"{path}/number")
    mass = found.measured(injected, f"{path}/mass")
    claims = [
        Claim(
            "lstm-identifies",
            _OLYMPICS,
            "95 % of the signals of the kind learned are identified",
            f"share of them with odds above 1 within {_NEAR:g} of {_IDENTIFIED:g}, or above it",
            f"{same}, and {false} of the background",
            same.above(_IDENTIFIED - _NEAR),
            "the paper does not give the background's share",
        ),
        Claim(
            "lstm-other-mass",
            _OLYMPICS,
            "lower confidence on the signal of black box 1",
            "share with odds above 1 and AUC in the fit range below those of the kind learned",
            f"{elsewhere}, AUC {areas[1]} against {areas[0]}",
            worst([same.above(elsewhere), areas[0].above(areas[1])]),
        ),
        Claim(
            "lstm-too-many",
            _OLYMPICS,
            "more events identified as signal than there are, of a higher average mass",
            "in data with that signal: events with odds above 1 over signal events above 1, and "
            "their mean mass above that of the signal",
            f"{number}, {mass} GeV",
            worst([number.above(1.0), mass.above(0.0)]),
        ),
    ]
    if unlike is not None:
        box = found.measured(learned, f"{path}/signals/{unlike}")
        apart = float(np.hypot(box.error, false.error))
        alike = compared(_NEAR - abs(box.mean - false.mean), apart, means=(box, false))
        claims.append(
            Claim(
                "lstm-another-signal",
                _OLYMPICS,
                "black box 3 looks as pure background does",
                f"share of its signal with odds above 1 within {_NEAR:g} of the background's",
                f"{box} against {false}",
                alike,
            )
        )
    return claims
