"""Corrections of jets from files of correctionlib: factors on energies and masses, up and down."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tnt_coffea.config import (
    CorrectionSettings,
    JetVariationKind,
    JetVariationSettings,
    SystematicsSettings,
)
from tnt_coffea.errors import ConfigError, reason
from tnt_coffea.jets.kinematics import invariant_mass, transverse_momentum
from tnt_coffea.typing import Float64Array

__all__ = ["JetCorrections"]

_DIRECTIONS = {"up": 1.0, "down": -1.0}
_SHORT = {"m": "mass", "e": "energy"}
_QUANTITIES = ("pt", "eta", "phi", "mass", "energy")
_MOST_BYTES = 1 << 30
"""Of a file, unpacked."""


@dataclass(frozen=True)
class JetCorrections:
    """All variations of jets, with the text of their files: workers need to see none of these.

    Attributes
    ----------
    settings
        Which there are.
    texts
        Content of the files by their names in the settings.

    Examples
    --------
    >>> JetCorrections.read(SystematicsSettings()).variations
    ()
    """

    settings: SystematicsSettings
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, settings: SystematicsSettings) -> JetCorrections:
        """Return the corrections that settings name.

        Raises
        ------
        ConfigError
            A file cannot be read, lacks the correction, or nothing says what an input is.
        """
        every: list[CorrectionSettings] = [*settings.jets.values()]
        every += [own.resolution for own in settings.jets.values() if own.resolution is not None]
        made = cls(settings, {own.file: _text(own.file) for own in every})
        for own in settings.jets.values():
            values = [one or {} for one in (own.up, own.down, own.nominal)]
            for chosen in values if own.has_values else [{}]:
                if chosen or not own.has_values:
                    made._arguments(own, chosen)
            if own.resolution is not None:
                made._arguments(own.resolution, {})
        return made

    @property
    def variations(self) -> tuple[str, ...]:
        """What is reconstructed again: `jet_energy_scale_up` and the like."""
        return self.settings.jet_variations

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of the files by their names in the settings."""
        return {
            name: hashlib.sha256(text.encode()).hexdigest()
            for name, text in sorted(self.texts.items())
        }

    def factors(
        self, variation: str | None, p4: Float64Array, normal: Mapping[str, Float64Array]
    ) -> tuple[Float64Array, Float64Array]:
        """Return the factors on four-momenta and, beyond these, on masses.

        Parameters
        ----------
        variation
            Of `variations`; None for the nominal corrections alone.
        p4
            (4, jet) px, py, pz, E [GeV].
        normal
            (jet,) standard normal numbers for every resolution, by its name.

        Returns
        -------
        energy, mass
            (jet,); corrections follow each other in the order of the settings, and each looks at
            jets that those before it have changed.

        Raises
        ------
        ConfigError
            A correction gives no finite number, or one that makes a jet's energy or mass
            negative.
        """
        energy, mass = np.ones(p4.shape[1]), np.ones(p4.shape[1])
        for name, own in self.settings.jets.items():
            direction = _direction(variation, name)
            if direction is None and own.nominal is None:
                continue
            kind = self.settings.kind(name)
            jets = _quantities(p4, energy, mass)
            factor = self._factor(own, kind, direction, jets, normal.get(name))
            if not (factor > 0).all():
                row = int(np.flatnonzero(~(factor > 0))[0])
                msg = (
                    f"{_named(own)}: a factor of {factor[row]:g} on a jet with "
                    f"{_of_jet(jets, row)}, expected one above 0"
                )
                raise ConfigError(msg)
            if kind.of_mass:
                mass *= factor
            else:
                energy *= factor
        return energy, mass

    def _factor(
        self,
        own: JetVariationSettings,
        kind: JetVariationKind,
        direction: str | None,
        jets: Mapping[str, Float64Array],
        normal: Float64Array | None,
    ) -> Float64Array:
        values = {"up": own.up, "down": own.down, None: own.nominal}[direction]
        given = self._evaluated(own, values or {}, jets)
        if not kind.is_resolution:
            sign = _DIRECTIONS[direction] if direction is not None else 0.0
            return given if own.has_values else 1.0 + sign * given
        if own.resolution is not None:
            resolution = self._evaluated(own.resolution, {}, jets)
            given = resolution * np.sqrt(np.maximum(given**2 - 1.0, 0.0))
        assert normal is not None
        return 1.0 + given * normal

    def _evaluated(
        self,
        own: CorrectionSettings,
        values: Mapping[str, str | float],
        jets: Mapping[str, Float64Array],
    ) -> Float64Array:
        n = len(jets["pt"])
        arguments = [
            jets[value].astype(np.int64 if whole else np.float64)
            if value in _QUANTITIES and not fixed
            else value
            for value, whole, fixed in self._arguments(own, values)
        ]
        try:
            found = _opened(self.texts[own.file], own.file)[own.correction].evaluate(*arguments)
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            ranges = ", ".join(
                f"{name} from {jets[name].min():g} to {jets[name].max():g}"
                for name in ("pt", "eta", "mass")
                if n
            )
            msg = (
                f"{_named(own)}: cannot be evaluated for jets with {ranges}: {reason(error)[:300]}"
            )
            raise ConfigError(msg) from error
        result = np.broadcast_to(np.asarray(found, dtype=np.float64), (n,))
        if not np.isfinite(result).all():
            row = int(np.flatnonzero(~np.isfinite(result))[0])
            msg = f"{_named(own)}: gives {result[row]} for a jet with {_of_jet(jets, row)}"
            raise ConfigError(msg)
        return result

    def _arguments(
        self, own: CorrectionSettings, values: Mapping[str, str | float]
    ) -> list[tuple[Any, bool, bool]]:
        """Return what every input is, whether it is a whole number, and whether it is fixed."""
        corrections = _opened(self.texts[own.file], own.file)
        if own.correction not in corrections:
            there = ", ".join(sorted(corrections)[:12])
            msg = f"{_named(own)}: not in the file, which has {there or 'none'}"
            raise ConfigError(msg)
        inputs = corrections[own.correction].inputs
        names = [variable.name for variable in inputs]
        if unknown := sorted(({*own.inputs, *values}) - set(names)):
            msg = f"{_named(own)}: has no input {', '.join(unknown)}; it has {', '.join(names)}"
            raise ConfigError(msg)
        found: list[tuple[Any, bool, bool]] = []
        for variable in inputs:
            name, kind = variable.name, variable.type
            known = {**own.inputs, **values}.get(name)
            value = _meant(name) if known is None else known
            fixed = known is not None and (name in values or known not in _QUANTITIES)
            quantity = value in _QUANTITIES and not fixed
            of_kind = isinstance(value, str) if kind == "string" else not isinstance(value, str)
            if value is None or (kind == "string" if quantity else not of_kind):
                what = "nothing says what it is" if value is None else f"{value!r} is none"
                msg = (
                    f"{_named(own)}: input {name} ({kind}): {what}; give {', '.join(_QUANTITIES)} "
                    "or a fixed value of its kind in inputs, up, down or nominal"
                )
                raise ConfigError(msg)
            if kind == "int" and fixed:
                value = int(value)
            found.append((value, kind == "int", fixed))
        return found


def _meant(name: str) -> str | None:
    short = name.lower().removeprefix("jet").strip("_")
    short = _SHORT.get(short, short)
    return short if short in _QUANTITIES else None


def _direction(variation: str | None, name: str) -> str | None:
    return next((d for d in _DIRECTIONS if variation == f"{name}_{d}"), None)


def _quantities(
    p4: Float64Array, energy: Float64Array, mass: Float64Array
) -> dict[str, Float64Array]:
    pt = transverse_momentum(p4)
    return {
        "pt": pt * energy,
        "eta": np.arcsinh(np.divide(p4[2], pt, out=np.zeros_like(pt), where=pt > 0)),
        "phi": np.arctan2(p4[1], p4[0]),
        "mass": invariant_mass(p4) * energy * mass,
        "energy": p4[3] * energy,
    }


def _of_jet(jets: Mapping[str, Float64Array], row: int) -> str:
    return ", ".join(f"{name} = {jets[name][row]:g}" for name in ("pt", "eta", "mass"))


def _named(own: CorrectionSettings) -> str:
    return f"{own.file}: correction '{own.correction}'"


def _text(name: str) -> str:
    try:
        content = Path(name).read_bytes()
        if content[:2] == b"\x1f\x8b":
            unpacked = zlib.decompressobj(zlib.MAX_WBITS | 16)
            content = unpacked.decompress(content, _MOST_BYTES)
            if not unpacked.eof:
                msg = "cut short, or larger than 1 GiB"
                raise gzip.BadGzipFile(msg)
        return content.decode()
    except (OSError, UnicodeDecodeError, zlib.error) as error:
        msg = f"{name}: cannot be read as a file of correctionlib: {reason(error)}"
        raise ConfigError(msg) from error


@lru_cache(maxsize=64)  # more files than one search has
def _opened(text: str, name: str) -> dict[str, Any]:
    # correctionlib takes 0.5 s to import: searches without corrections do not pay for it.
    import correctionlib

    try:
        found = correctionlib.CorrectionSet.from_string(text)
        return {**dict(found.items()), **dict(found.compound.items())}
    except (RuntimeError, ValueError, LookupError, TypeError) as error:
        msg = f"{name}: cannot be read as a file of correctionlib: {reason(error)[:300]}"
        raise ConfigError(msg) from error
