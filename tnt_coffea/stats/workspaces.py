"""HistFactory workspaces for exchange: schema-valid JSON, one patch a mass.

The fit's own background is a modifier that only this package knows. For others it is
written in HistFactory's words: every bin of the background is a sample, and every
parameter phi a normsys that moves all bins by exp(phi J / b), its constraint of thirty
post-fit uncertainties too loose to matter. Between -1 and 1 HistFactory bends the
exponential into a polynomial, so the constraint is centred at 3, where it is exact;
samples are divided by their factor there, and mean nothing by themselves.

A spurious signal is a sample of nothing that a histosys moves by plus and minus the spurious
signal: exactly linear. The trigger's efficiency is a normsys on each bin of the background,
exponential to the seventh power of the uncertainty, and a histosys on the signal, linear beyond
one standard deviation. HistFactory adds what moves a sample: products of nuisance parameters in
the signal are left out (scale and width, either and trigger or spurious signal), which changes Z
by half a per cent where the width is uncertain by a tenth and the spurious signal is half as
large as the statistical uncertainty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.config.parameter_names import MU, SPURIOUS, background_parameter
from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.model import SpectrumModel, spectrum_model
from tnt_coffea.stats.quantities import check_plain_names
from tnt_coffea.stats.signals import Signal
from tnt_coffea.stats.spectrum import Spectrum
from tnt_coffea.stats.spectrum_fit import SpectrumFit

__all__ = ["bump_workspace", "mass_patchset", "model_workspace"]

Array = NDArray[np.float64]

_LOOSE = 30.0
_CENTRE = 3.0
# Bins whose factor at the centre would overflow expect nothing and are moved less.
_LARGEST = 60.0
_MEASUREMENT = "bump hunt"
# HistFactory wants positive expectations.
_TINY = 1e-9


def bump_workspace(channels: Any, *, mass: float, width: float, fit: SpectrumFit) -> dict[str, Any]:
    """Return a bump hunt as a pyhf workspace, JSON values.

    HistFactory has no functions that compete: the workspace holds the best one, whose
    significance alone may differ. At mu = 1 the signal is as many events as its uncertainty;
    the measurement's parameter 'mu' counts in these. Of weighted events all numbers are
    effective counts.

    Parameters
    ----------
    channels, mass, width, fit
        As for `bump_hunt`.

    Raises
    ------
    FitError
        The histograms do not suit the fit, or the mass lies outside it.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> workspace = stats.bump_workspace(stats.toy_spectrum(5000), mass=3500, width=120, fit=fit)
    >>> workspace['measurements'][0]['config']['poi']
    'mu'
    """
    return model_workspace(spectrum_model(channels, fit.signal(mass, width), fit))


def model_workspace(model: SpectrumModel) -> dict[str, Any]:
    """Return a model as a pyhf workspace, as `bump_workspace` does."""
    scale = _scale(model.best_channels)
    workspace = _background_only(model.best_channels, scale)
    samples = _signal_samples(model, model.signal, scale)
    for channel, added in zip(workspace["channels"], samples, strict=True):
        channel["samples"] += added
    return workspace


def mass_patchset(
    channels: Any,
    *,
    masses: Sequence[float],
    width: float,
    fit: SpectrumFit,
    hepdata: str = "ins0000000",
    description: str = "Resonances on a smooth dijet background",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the background-only workspace and a patch for every mass, JSON values.

    The function is the best one with the signal of the middle mass. A spurious signal has the
    events of the middle mass at every mass.

    Parameters
    ----------
    channels, width, fit
        As for `bump_hunt`.
    masses
        Masses [GeV].
    hepdata
        INSPIRE record, 'ins' and seven digits.
    description
        What the signals are.

    Raises
    ------
    FitError
        As `bump_workspace`; masses are repeated, or the record has no such name.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000)
    >>> _, patches = stats.mass_patchset(spectrum, masses=[3400, 3600], width=120, fit=fit)
    >>> [patch['metadata']['name'] for patch in patches['patches']]
    ['mass_3400', 'mass_3600']
    """
    import pyhf

    if len(masses) == 0 or len(set(masses)) != len(masses):
        msg = f"a patchset needs masses that differ, got {list(masses)}"
        raise FitError(msg)
    signals = [fit.signal(float(mass), width) for mass in masses]
    if re.fullmatch(r"ins\d{7}", hepdata) is None:
        msg = f"hepdata is 'ins' and the seven digits of an INSPIRE record, got {hepdata!r}"
        raise FitError(msg)
    fit.check_sidebands(*signals)
    middle = signals[len(signals) // 2]
    model = spectrum_model(channels, middle, fit)
    scale = _scale(model.best_channels)
    background = _background_only(model.best_channels, scale)
    patches = [
        {
            "metadata": {"name": f"mass_{signal.mass:g}", "values": [signal.mass, signal.width]},
            "patch": [
                {"op": "add", "path": f"/channels/{i}/samples/-", "value": sample}
                for i, samples in enumerate(_signal_samples(model, signal, scale))
                for sample in samples
            ],
        }
        for signal in signals
    ]
    patchset = {
        "metadata": {
            "name": "masses",
            "description": description,
            "digests": {"sha256": pyhf.utils.digest(background)},
            "labels": ["mass", "width"],
            "references": {"hepdata": hepdata},
        },
        "patches": patches,
        "version": "1.0.0",
    }
    return background, patchset


def _scale(models: Sequence[Channel]) -> float:
    fit = engine.background_fit(models)
    scale = engine.signal_uncertainty(models, 0.0, fit.phi, fit.alpha)
    engine.check_informative(scale)
    return scale


def _background_only(models: Sequence[Channel], scale: float) -> dict[str, Any]:
    check_plain_names("channels", [model.name for model in models])
    total = sum(float(model.observed.sum()) for model in models)
    return {
        "channels": [
            {"name": model.name, "samples": _background_samples(model)} for model in models
        ],
        "observations": [{"name": model.name, "data": model.observed.tolist()} for model in models],
        "measurements": [
            {
                "name": _MEASUREMENT,
                "config": {
                    "poi": MU,
                    "parameters": [
                        {"name": MU, "inits": [1.0], "bounds": [[0.0, 10 + 2 * total / scale]]},
                        *(setting for model in models for setting in _centred(model)),
                    ],
                },
            }
        ],
        "version": "1.0.0",
    }


def _centred(model: Channel) -> list[dict[str, Any]]:
    # Below 1 the factor would be another one.
    reach = _CENTRE - 1
    return [
        {
            "name": background_parameter(model.name, k),
            "inits": [_CENTRE],
            "bounds": [[_CENTRE - reach, _CENTRE + reach]],
            "auxdata": [_CENTRE],
        }
        for k in range(model.background.parameters)
    ]


def _background_samples(model: Channel) -> list[dict[str, Any]]:
    here = model.background.evaluated(np.zeros(model.background.parameters))
    nominal = np.maximum(here.expected, _TINY)
    effects = np.clip(_LOOSE * here.jacobian / nominal[:, None], -_LARGEST, _LARGEST)
    samples = []
    for i, events in enumerate(nominal):
        values = np.zeros(len(nominal))
        values[i] = events * np.exp(-_CENTRE * effects[i].sum())
        modifiers = [
            {
                "name": background_parameter(model.name, k),
                "type": "normsys",
                "data": {"hi": float(np.exp(effect)), "lo": float(np.exp(-effect))},
            }
            for k, effect in enumerate(effects[i])
        ]
        modifiers += [
            {
                "name": name,
                "type": "normsys",
                "data": {"hi": float(np.exp(factor[i])), "lo": float(np.exp(-factor[i]))},
            }
            for name, factor in _efficiencies(model)
        ]
        samples.append({"name": f"background_{i}", "data": values.tolist(), "modifiers": modifiers})
    return samples


def _efficiencies(model: Channel) -> Iterator[tuple[str, Array]]:
    """Yield the trigger's nuisance parameters and their factors, shape (bins,)."""
    if model.factors is not None:
        yield from zip(model.efficiency_nuisances, model.factors.T, strict=True)


def _signal_samples(
    model: SpectrumModel, signal: Signal, scale: float
) -> list[list[dict[str, Any]]]:
    """Return the samples that every channel has for a signal."""
    samples = []
    for channel, spectrum in zip(model.best_channels, model.data, strict=True):
        share = model.shares[spectrum.name]
        samples.append([_signal_sample(channel, signal, spectrum, scale * share)])
        if channel.spurious:
            own = signal.of(spectrum.name, spectrum.edges)
            events = channel.spurious * share * own.integrals(spectrum.edges)
            moved = _moved(SPURIOUS, spectrum.effective(events), -spectrum.effective(events))
            nothing = [0.0] * len(events)
            samples[-1].append({"name": SPURIOUS, "data": nothing, "modifiers": [moved]})
    return samples


def _signal_sample(
    channel: Channel, signal: Signal, spectrum: Spectrum, events: float
) -> dict[str, Any]:
    own = signal.of(spectrum.name, spectrum.edges)
    nominal = spectrum.effective(events * own.integrals(spectrum.edges))
    modifiers: list[dict[str, Any]] = [{"name": MU, "type": "normfactor", "data": None}]
    for effect in own.effects(spectrum.edges):
        if effect.shape is not None:
            up, down = (spectrum.effective(events * part) for part in effect.shape)
            modifiers.append(_moved(effect.name, up, down))
        if effect.norm is not None:
            high, low = effect.norm
            data = {"hi": high, "lo": low}
            modifiers.append({"name": effect.name, "type": "normsys", "data": data})
    for name, factor in _efficiencies(channel):
        modifiers.append(_moved(name, nominal * np.exp(factor), nominal * np.exp(-factor)))
    return {"name": "signal", "data": nominal.tolist(), "modifiers": modifiers}


def _moved(name: str, up: Array, down: Array) -> dict[str, Any]:
    data = {"hi_data": up.tolist(), "lo_data": down.tolist()}
    return {"name": name, "type": "histosys", "data": data}
