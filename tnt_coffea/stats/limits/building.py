"""From numbers of events to limits with cross sections, and what a limit refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tnt_coffea.errors import FitError
from tnt_coffea.stats.fitting.signals import SignalShape
from tnt_coffea.stats.limits.results import LimitResult

__all__ = ["checked_limit", "limit_result"]


def limit_result(
    signal: SignalShape | None,
    level: float,
    observed: float,
    expected: Sequence[float],
    mu_hat: float,
    scale: tuple[float | None, float | None],
    **rest: Any,
) -> LimitResult:
    """Return a limit in events and, with efficiency and luminosity, in cross section."""
    efficiency, luminosity = scale
    produced = efficiency * luminosity if efficiency and luminosity else None
    return LimitResult(
        mass=signal.mass if signal else 0.0,
        width=signal.width if signal else 0.0,
        level=level,
        observed=float(observed),
        expected=tuple(map(float, expected)),
        mu_hat=mu_hat,
        efficiency=efficiency,
        luminosity=luminosity,
        observed_cross_section=float(observed) / produced if produced else None,
        expected_cross_section=tuple(e / produced for e in expected) if produced else None,
        **rest,
    )


def checked_limit(
    level: float,
    efficiency: float | None,
    luminosity: float | None,
    toys: int | None = None,
) -> None:
    """Refuse settings that no limit has.

    Raises
    ------
    FitError
        A setting is out of range, or half of a cross section is given.
    """
    if not 0.5 < level < 1:
        msg = f"the confidence level must lie in (0.5, 1), got {level:g}"
        raise FitError(msg)
    if (efficiency is None) != (luminosity is None):
        msg = "a cross section needs efficiency and luminosity: give both or none"
        raise FitError(msg)
    if efficiency is not None and luminosity is not None:
        good = 0 < efficiency <= 1 and np.isfinite(luminosity) and luminosity > 0
        if not good:
            msg = (
                "efficiency must lie in (0, 1] and luminosity be positive, got "
                f"{efficiency:g} and {luminosity:g}"
            )
            raise FitError(msg)
    if toys is not None and toys < 0:
        msg = f"a limit needs 0 toys or more, got {toys}"
        raise FitError(msg)
    # A p-value from N toys is never below 1 / (N + 1): with fewer no CLs falls to its level.
    if toys and toys + 1 <= 1 / (1 - level):
        msg = (
            f"{toys} toys know no p-value as low as {1 - level:.3g}: take {round(20 / (1 - level))}"
        )
        raise FitError(msg)
