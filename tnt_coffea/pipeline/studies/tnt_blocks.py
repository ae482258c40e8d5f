"""What study `tnt` trains, after arXiv:2002.12376: ways of training, shares of signal, methods.

A further way of training is one line of `INPUTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tnt_coffea.pipeline.studies.experiment import Block, Injection, Within

__all__ = [
    "COUNTING",
    "CUT",
    "CUTS",
    "FEW",
    "FIRST",
    "HIGHEST",
    "HUNTED",
    "INPUTS",
    "LEAST",
    "MIDDLE",
    "MJJ",
    "MOST",
    "PURE",
    "SAME",
    "SELECTIONS",
    "SHARES",
    "SHOWN",
    "TENTH",
    "TNT",
    "Inputs",
    "block_name",
    "share_of",
    "tnt_blocks",
    "tnt_methods",
]

SHARES = (0.09, 0.01, 0.003, 0.001)
"""Signal among all events."""
MOST, MIDDLE, FEW, LEAST = SHARES
"""Each of them, the largest first."""
TENTH = "background:tenth"
"""The pool of networks of images, and of 9 % of signal: a million events would need 99,000."""


@dataclass(frozen=True)
class Inputs:
    """What taggers read, and how events are parted among those that train and those searched.

    Attributes
    ----------
    title
        In figures and tables.
    pool
        What is searched with less than 9 % of signal.
    folds
        As in `train.folds`.
    images
        Whether classifiers are convolutional networks; else trees.
    curves
        Whether figures of all events are drawn.
    """

    title: str
    pool: str
    folds: Mapping[str, Any]
    images: bool = False
    curves: bool = True


# Four fifths train, 200,000 each of a million: autoencoders and three iterations; one is searched.
_SPLIT = {"mode": "split", "outer": 5}
INPUTS: Mapping[str, Inputs] = {
    "trees": Inputs("trees, cross-validation", "background", {"outer": 2, "inner": 2}),
    "split": Inputs("trees, split", "background", _SPLIT, curves=False),
    "images": Inputs("images, split", TENTH, _SPLIT, images=True),
}
"""Ways of training, each with all shares."""
SELECTIONS = (0.1, 0.05, 0.03, 0.01, 0.005, 0.001)
"""Shares of events kept."""
CUT = 0.03
"""Share kept by the paper's bump hunts (tables 2 and 3)."""
_TREES: Mapping[str, Any] = {"network": "trees", "features": ("rescaled_mass", "tau21")}
FIRST = "autoencoder"
"""Method that tags for the first iterations of the others."""
TNT, MJJ, SAME, PURE = "tnt-3", "tnt-mjj-3", "same-3", "pure-cwola"
"""Third iterations, without and with the window in mass and of a jet alone; and pure CWoLa."""
_ITERATIONS = 3
_EPOCHS = 6
"""Most of a network of images: for a tenth of a million events two cores have three hours."""
CUTS = (0.1, 0.05, 0.03, 0.01)
"""Shares of background whose mass figure 3 is of."""
HIGHEST = 800.0
"""Mass at which planes of mass and tau21 end [GeV]."""


def _chain(name: str, first: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return three iterations: from the second on a tenth is signal-rich (section 4.1)."""
    found: dict[str, dict[str, Any]] = {name: dict(first)}
    for i in range(2, _ITERATIONS + 1):
        found[f"{name}-{i}"] = {**first, "after": list(found)[-1], "signal_rich": 0.1}
    return found


def tnt_methods(inputs: str, share: float) -> dict[str, dict[str, Any]]:
    """Return the methods of a share, references where the paper quotes them and signal suffices."""
    if INPUTS[inputs].images:
        own = {"classifier": {"network": "convolutional", "epochs": _EPOCHS}}
        first = {"kind": "autoencoder", "latent": 16}
    else:
        own = {"classifier": dict(_TREES)}
        # Of two features one is left: two would copy them, and the error be that of rounding.
        first = {
            "kind": "feature_autoencoder_per_jet",
            "features": _TREES["features"],
            "latent": 1,
            "most_events": 5000,  # of two features, and each has eight trainings
        }
    tagged = {"kind": "tag_n_train", "after": FIRST, **own}
    alone = {**tagged, "mass_window": False}
    found = {
        FIRST: first,
        **_chain("tnt", alone),
        **_chain("tnt-mjj", tagged),
        "cwola": {"kind": "cwola", "classifier": dict(_TREES)},
    }
    if share == MOST:
        found |= _chain("same", {**alone, "kind": "same_jet"})
        found["supervised"] = {"kind": "supervised", **own}
        found["supervised-both"] = {"kind": "supervised_both_jets", **own}
    if share == MIDDLE:
        found[PURE] = {
            "kind": "pure_cwola", "after": "tnt-2", "signal_rich": 0.1, "mass_window": False, **own
        }  # fmt: skip
        if not INPUTS[inputs].images:
            found |= {f"tnt-{one}": {**alone, "reweight": one} for one in ("none", "pt")}
    return found


SHOWN = (FIRST, TNT, MJJ, "cwola", PURE, SAME, "supervised", "supervised-both")
"""Methods of figures; the others are iterations before them, or variants."""
HUNTED = (FIRST, TNT, MJJ, "cwola")
"""Methods that are searched."""
COUNTING = (FIRST, TNT)
"""Methods whose background is estimated by counting."""


def block_name(inputs: str, share: float) -> str:
    """Return the name of a block, with the share of signal in thousandths.

    Examples
    --------
    >>> block_name("trees", 0.09)
    'trees-90'
    """
    return f"{inputs}-{1000 * share:g}"


def share_of(block: str) -> float:
    """Return the share of signal that a block is named after.

    Examples
    --------
    >>> share_of("trees-90")
    0.09
    """
    return float(block.rpartition("-")[2]) / 1000


def _injected(share: float) -> Injection | None:
    """Return the injection that makes such a share of all events signal."""
    return Injection(share=share / (1 - share), within=Within.ALL) if share else None


def tnt_blocks() -> tuple[Block, ...]:
    """Return the blocks of the study: each way of training with each share, and none."""
    found = []
    for inputs, own in INPUTS.items():
        for share in (*SHARES, 0.0):
            methods = tnt_methods(inputs, share)
            shown = tuple(name for name in SHOWN if name in methods)
            found.append(
                Block(
                    block_name(inputs, share),
                    methods,
                    _injected(share),
                    background=TENTH if share == MOST else own.pool,
                    settings={"train": {"folds": dict(own.folds)}},
                    hunted=share != MOST,
                    labelling=tuple(name for name in methods if name not in HUNTED),
                    curves=shown if own.curves and share else False,
                )
            )
    return tuple(found)
