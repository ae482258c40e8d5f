"""Names of the likelihoods' parameters: in fits, workspaces, cards, impacts and pulls the same.

An uncertainty that settings or a caller name is a parameter of its own, so that it can have none
of these names.
"""

from __future__ import annotations

import re

__all__ = [
    "BACKGROUND",
    "CLOSURE",
    "FUNCTION",
    "MU",
    "RATE",
    "RATIO_B",
    "RATIO_C",
    "SIGNAL_SCALE",
    "SIGNAL_WIDTH",
    "SIMULATION",
    "SPURIOUS",
    "STATISTICS",
    "TAGGER",
    "TRIGGER",
    "background_parameter",
    "coefficient",
    "free_name",
    "is_parameter",
    "plain_name",
]

MU = "mu"
"""Signal strength."""
SIGNAL_SCALE = "signal_scale"
SIGNAL_WIDTH = "signal_width"
"""What moves a signal in the mass."""
SPURIOUS = "spurious_signal"
"""Nuisance parameter of the spurious signal."""
TRIGGER = "trigger_efficiency"
"""Nuisance parameters of the trigger's efficiency, with a number behind it."""
STATISTICS = "signal_statistics"
"""Nuisance parameter of the number of simulated events in a signal's templates."""
TAGGER = "tagger_efficiency"
"""Nuisance parameter of the taggers' signal efficiency."""
CLOSURE = "closure"
"""Nuisance parameter of a prediction's closure."""
BACKGROUND, RATIO_B, RATIO_C = "background", "ratio_b", "ratio_c"
"""Free background of an ABCD: D, B over D and C over D."""
SIMULATION = "simulation"
"""Statistical uncertainty of a prediction."""
RATE = "rate"
"""Free rates of the bins of a transfer factor."""
FUNCTION = "background_function"
"""Which of the functions that compete describes the background."""

_NAMES = {
    MU, SIGNAL_SCALE, SIGNAL_WIDTH, SPURIOUS, CLOSURE, BACKGROUND, RATIO_B, RATIO_C, SIMULATION,
    RATE, FUNCTION,
}  # fmt: skip
_NUMBERED = re.compile(rf"phi_.*|{TRIGGER}.*|c_\d+", re.DOTALL)
# Uncertainties of the norm that fits add themselves.
_OWN = (STATISTICS, TAGGER)


def plain_name(name: str) -> str:
    """Return a name of letters, digits and _ alone, as RooFit takes it.

    Examples
    --------
    >>> plain_name("fold-0")
    'fold_0'
    """
    return re.sub(r"\W", "_", name)


def background_parameter(channel: str, number: int) -> str:
    """Return the name of a parameter of the background function of a channel.

    Examples
    --------
    >>> background_parameter("fold-0", 2)
    'phi_fold_0_2'
    """
    return f"phi_{plain_name(channel)}_{number}"


def coefficient(number: int) -> str:
    """Return the name of a coefficient of a transfer factor's polynomial.

    Examples
    --------
    >>> coefficient(1)
    'c_1'
    """
    return f"c_{number}"


def is_parameter(name: str) -> bool:
    """Tell whether the likelihoods have a parameter of this name, which no uncertainty can share.

    Examples
    --------
    >>> is_parameter("mu"), is_parameter("c_1"), is_parameter("luminosity")
    (True, True, False)
    """
    return name in _NAMES or _NUMBERED.fullmatch(name) is not None


def free_name(name: str) -> str:
    """Return the name of an uncertainty.

    Raises
    ------
    ValueError
        It is empty, or a parameter's.

    Examples
    --------
    >>> free_name("luminosity")
    'luminosity'
    """
    if not name or name in _OWN or is_parameter(name):
        msg = f"{name!r} is the name of another parameter: call the uncertainty otherwise"
        raise ValueError(msg)
    return name
