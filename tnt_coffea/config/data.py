"""Settings of the data themselves: what they were recorded at, and how much there is of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from tnt_coffea.config.settings import Positive, Settings

__all__ = ["DataSettings", "without_moved"]

_MOST_TEV = 1000.0
"""No collider reaches it: a centre-of-mass energy in GeV is a slip."""


class DataSettings(Settings):
    """Centre-of-mass energy and luminosity of the data: fits, tables and labels read them here.

    Examples
    --------
    >>> data = DataSettings(sqrt_s=13.6, luminosity=62)
    >>> data.energy, data.luminosity
    (13600.0, 62.0)
    """

    sqrt_s: Positive = Field(
        13.0,
        lt=_MOST_TEV,
        description="centre-of-mass energy [TeV]: of x = m_jj / sqrt(s), tables and labels",
    )
    luminosity: Positive | None = Field(
        None, description="integrated [1/fb], for cross sections and labels; null: not known"
    )

    @property
    def energy(self) -> float:
        """The centre-of-mass energy [GeV]."""
        return 1000 * self.sqrt_s


def without_moved(section: str, values: Any, names: tuple[str, ...]) -> Any:
    """Return the settings of a section without those that stand in `data` now.

    Settings that an older version wrote as null say nothing, and are left out.

    Raises
    ------
    ValueError
        One of them has a value.
    """
    if not isinstance(values, Mapping):
        return values
    for name in names:
        if values.get(name) is not None:
            msg = f"{section}.{name} is now data.{name}: write data: {{{name}: {values[name]}}}"
            raise ValueError(msg)
    return {name: value for name, value in values.items() if name not in names}
