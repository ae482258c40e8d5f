"""Bump hunts as text cards for CMS Combine, with the histograms in a ROOT file.

The signal is a histogram in every channel; its uncertainties are lnN and shape. Every bin of a
smooth background is a process of its own, whose rate is a formula of the function's free
parameters: a sum over the nodes of the bin, exactly as it is fitted here. At r = 1 the signal has
unit strength where it is a template, else as many events as their uncertainty.

Combine interpolates shapes as is done here, and log-normal factors exactly; ours are HistFactory's
code 4, the same to 10^-9 for a log-normal factor of up to 20 %. Where a factor is not log-normal,
up being 1 / down, the two differ between -1 and 1 standard deviation. Combine itself was not run
on these cards: tests read them back, and rebuild the likelihood.

Source
------
Combine: arXiv:2404.06614, sections 2.2 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.config.parameter_names import background_parameter, plain_name
from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.background import LogLinear
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.model import SpectrumModel, spectrum_model
from tnt_coffea.stats.quantities import check_plain_names
from tnt_coffea.stats.signals import TemplateShape
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.storage import stored, written

__all__ = ["combine_card", "write_combine"]

Array = NDArray[np.float64]

# Bounds of the whitened parameters of a function, which Combine wants.
_REACH = 20.0
# A log-normal factor needs one number where up times down is 1 within this.
_SYMMETRIC = 1e-12
_LINE = "-" * 80


def write_combine(
    path: str | Path, channels: Any, *, mass: float, width: float, fit: SpectrumFit
) -> list[Path]:
    """Write the card of a bump hunt, and its histograms beside it.

    Parameters
    ----------
    path
        The card, a text file; the histograms go into the same name with the suffix .root.
    channels, mass, width, fit
        As for `bump_hunt`.

    Returns
    -------
    Both files.

    Raises
    ------
    FitError
        As `combine_card`.
    StorageError
        A file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200, max_parameters=3)
    >>> with TemporaryDirectory() as folder:
    ...     spectrum = stats.toy_spectrum(5000)
    ...     paths = write_combine(f"{folder}/card.txt", spectrum, mass=3500, width=250, fit=fit)
    ...     [path.name for path in paths]
    ['card.txt', 'card.root']
    """
    import uproot

    path = Path(path)
    root = path.with_suffix(".root")
    if root == path:
        msg = f"{path}: a card is a text file, its histograms are in the .root file beside it"
        raise FitError(msg)
    model = spectrum_model(channels, fit.signal(mass, width), fit)
    card, histograms = combine_card(model, root.name)
    with written(root) as partial, stored(root), uproot.recreate(partial) as file:
        for name, (contents, edges) in histograms.items():
            file[name] = contents, edges
    with written(path) as partial:
        partial.write_text(card)
    return [path, root]


def combine_card(model: SpectrumModel, shapes: str) -> tuple[str, dict[str, tuple[Array, Array]]]:
    """Return the card of a model, and its histograms by name as contents and edges.

    Parameters
    ----------
    model
        The model: of functions that compete, the card has the one that fits best.
    shapes
        Name of the file that will hold the histograms.

    Raises
    ------
    FitError
        A background is no exponential of its parameters, or there are a spurious signal or the
        efficiency of a trigger, which no card expresses; or two names of channels or of nuisance
        parameters become the same where letters, digits and _ alone are left.
    """
    fitted = model.best_channels
    for channel in fitted:
        _check(channel)
    scale = _scale(model)
    check_plain_names("channels", [channel.name for channel in fitted])
    check_plain_names("nuisance parameters", model.signal.nuisances)
    names = [plain_name(channel.name) for channel in fitted]
    effects = {
        name: {
            effect.name: effect
            for effect in model.signal.of(channel.name, spectrum.edges).effects(spectrum.edges)
        }
        for name, channel, spectrum in zip(names, fitted, model.data, strict=True)
    }
    histograms: dict[str, tuple[Array, Array]] = {}
    columns: list[tuple[str, str, int]] = []
    rates: list[str] = []
    for name, channel, spectrum in zip(names, fitted, model.data, strict=True):
        edges = spectrum.edges
        histograms[f"{name}/data_obs"] = channel.observed, edges
        histograms[f"{name}/signal"] = scale * channel.signal, edges
        columns.append((name, "signal", 0))
        events = scale * model.shares[channel.name]
        for effect in effects[name].values():
            for way, part in zip(("Up", "Down"), _varied(effect), strict=True):
                if part is not None:
                    varied = spectrum.effective(events * part)
                    if effect.norm is not None:
                        varied = varied * effect.norm[0 if way == "Up" else 1]
                    histograms[f"{name}/signal_{plain_name(effect.name)}{way}"] = varied, edges
        for i in range(len(channel.observed)):
            process = f"background_{i}"
            histograms[f"{name}/{process}"] = np.eye(len(channel.observed))[i], edges
            columns.append((name, process, 1 + i))
            rates.append(_rate(name, process, channel, i))
    events = scale * model.unit
    lines = [
        f"# Bump hunt at {model.signal.mass:g} GeV; r = 1 is {events:.6g} signal events",
        f"imax {len(names)}",
        "jmax *",
        "kmax *",
        _LINE,
        f"shapes * * {shapes} $CHANNEL/$PROCESS $CHANNEL/$PROCESS_$SYSTEMATIC",
        _LINE,
        " ".join(["bin", *names]),
        " ".join(["observation", *("-1" for _ in names)]),
        _LINE,
        " ".join(["bin", *(name for name, _, _ in columns)]),
        " ".join(["process", *(process for _, process, _ in columns)]),
        " ".join(["process", *(str(index) for _, _, index in columns)]),
        " ".join(["rate", *("-1" if process == "signal" else "1" for _, process, _ in columns)]),
        _LINE,
        *_uncertainties(model.signal.nuisances, effects, columns),
        *(
            f"{parameter} extArg 0 [{-_REACH:g},{_REACH:g}]"
            for name, channel in zip(names, fitted, strict=True)
            for parameter in _parameters(name, channel)
        ),
        *rates,
    ]
    return "\n".join(lines) + "\n", histograms


def _check(channel: Channel) -> None:
    background = channel.background
    if not isinstance(background, LogLinear):
        msg = (
            f"{channel.name}: the best function is no exponential of its parameters, and has no "
            "rate in a Combine card: fit another family"
        )
        raise FitError(msg)
    if channel.spurious or channel.factors is not None:
        what = "a spurious signal" if channel.spurious else "the efficiency of a trigger"
        msg = f"{channel.name}: {what} has no form in a Combine card: give the pyhf workspace"
        raise FitError(msg)


def _scale(model: SpectrumModel) -> float:
    """Return signal events at r = 1, in units of the model."""
    if isinstance(model.signal, TemplateShape):
        return model.signal.total / model.unit
    fit = engine.background_fit(model.best_channels)
    sigma = engine.signal_uncertainty(model.best_channels, 0.0, fit.phi, fit.alpha)
    engine.check_informative(sigma)
    return sigma


def _varied(effect: Any) -> tuple[Array | None, Array | None]:
    return (None, None) if effect.shape is None else effect.shape


def _parameters(name: str, channel: Channel) -> list[str]:
    return [background_parameter(name, k) for k in range(channel.background.parameters)]


def _rate(name: str, process: str, channel: Channel, place: int) -> str:
    """Return the rate of a bin of the background: the sum of exponentials at its nodes."""
    background = channel.background
    assert isinstance(background, LogLinear)
    terms = [
        "exp("
        + "".join(
            [f"{offset:.17g}", *(f"{feature:+.17g}*@{k}" for k, feature in enumerate(features))]
        )
        + ")"
        for offset, features in zip(
            background.offset[place], background.features[place], strict=True
        )
    ]
    arguments = ",".join(_parameters(name, channel))
    return f"rate_{name}_{place} rateParam {name} {process} {'+'.join(terms)} {arguments}"


def _uncertainties(
    nuisances: Sequence[str],
    effects: Mapping[str, Mapping[str, Any]],
    columns: Sequence[tuple[str, str, int]],
) -> list[str]:
    """Return the lines of the signal's uncertainties."""
    lines = []
    for name in nuisances:
        shaped = any(own[name].shape is not None for own in effects.values())
        entries = []
        for channel, process, _ in columns:
            if process != "signal":
                entries.append("-")
            elif shaped:
                entries.append("1")
            else:
                high, low = effects[channel][name].norm
                same = abs(high * low - 1) < _SYMMETRIC
                entries.append(f"{high:.17g}" if same else f"{low:.17g}/{high:.17g}")
        lines.append(" ".join([plain_name(name), "shape" if shaped else "lnN", *entries]))
    return lines
