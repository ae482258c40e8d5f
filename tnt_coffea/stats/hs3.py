"""HistFactory workspaces as HS3, the HEP Statistics Serialization Standard.

Counts become `histfactory_dist`, with the interpolation codes that pyhf has. A bump hunt's function
is no such thing: its workspace has auxiliary measurements that are not 0, which HS3's modifiers
cannot express. Statistical uncertainties of bins are a `staterror` with a Poisson constraint, whose
size is the absolute error of the sample's contents in every reader; numbers of a `shapesys` are
taken as absolute ones by pyhs3, and as relative ones by ROOT.

Source
------
HS3, version 0.2, https://github.com/hep-statistics-serialization-standard.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tnt_coffea.errors import FitError

__all__ = ["hs3_document"]

_VERSION = "0.2"
_LIKELIHOOD = "likelihood"
_DOMAIN = "default_domain"
# Bounds of parameters that a workspace gives none, as in pyhf.
_FREE, _CONSTRAINED, _FACTOR = (0.0, 10.0), (-5.0, 5.0), (1e-10, 10.0)


def hs3_document(workspace: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pyhf workspace as an HS3 document, JSON values.

    Parameters
    ----------
    workspace
        Of stock HistFactory: that of an ABCD, a direct or a transfer-factor estimate.

    Raises
    ------
    FitError
        A modifier, or an auxiliary measurement, has no form in HS3; or two samples of a channel
        have statistical uncertainties, which HS3 would tie to each other.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> workspace = stats.abcd_workspace(stats.abcd(130, 1000, 1000, 10_000))
    >>> document = stats.hs3_document(workspace)
    >>> [one["name"] for one in document["distributions"]]
    ['model_A', 'model_B', 'model_C', 'model_D']
    """
    config = workspace["measurements"][0]["config"]
    settings = {one["name"]: one for one in config["parameters"]}
    moved = [name for name, one in settings.items() if any(one.get("auxdata", ()))]
    if moved:
        msg = (
            f"HS3 has no auxiliary measurement of '{moved[0]}' that is not 0: a smooth background "
            "of a bump hunt has no form there, give the pyhf workspace or the Combine card"
        )
        raise FitError(msg)
    observed = {one["name"]: one["data"] for one in workspace["observations"]}
    parameters: dict[str, tuple[float, tuple[float, float]]] = {}
    distributions, data = [], []
    for channel in workspace["channels"]:
        name = channel["name"]
        bins = len(observed[name])
        _check_statistics(channel)
        axes = [{"name": f"bin_{name}", "min": 0.0, "max": float(bins), "nbins": bins}]
        samples = [
            _sample(name, sample, bins, settings, parameters) for sample in channel["samples"]
        ]
        one = {"name": f"model_{name}", "type": "histfactory_dist", "axes": axes}
        if any(own["type"] == "staterror" for sample in samples for own in sample["modifiers"]):
            one["barlow_beeston_method"] = "full"
        distributions.append(one | {"samples": samples})
        data.append(
            {"name": f"data_{name}", "type": "binned", "axes": axes, "contents": observed[name]}
        )
    poi = config["poi"]
    return {
        "metadata": {"hs3_version": _VERSION},
        "distributions": distributions,
        "data": data,
        "likelihoods": [
            {
                "name": _LIKELIHOOD,
                "distributions": [one["name"] for one in distributions],
                "data": [one["name"] for one in data],
            }
        ],
        "domains": [
            {
                "name": _DOMAIN,
                "type": "product_domain",
                "axes": [
                    {"name": name, "min": low, "max": high}
                    for name, (_, (low, high)) in parameters.items()
                ],
            }
        ],
        "parameter_points": [
            {
                "name": "default_values",
                "parameters": [
                    {"name": name, "value": value} for name, (value, _) in parameters.items()
                ],
            }
        ],
        "analyses": [
            {
                "name": workspace["measurements"][0]["name"],
                "likelihood": _LIKELIHOOD,
                "domains": [_DOMAIN],
                "parameters_of_interest": [poi],
            }
        ],
    }


def _check_statistics(channel: Mapping[str, Any]) -> None:
    named = [
        sample["name"]
        for sample in channel["samples"]
        for modifier in sample["modifiers"]
        if modifier["type"] == "shapesys"
    ]
    if len(named) > 1:
        msg = (
            f"channel '{channel['name']}': {' and '.join(named)} have statistical uncertainties of "
            "their own, and HS3 has one of all samples of a channel"
        )
        raise FitError(msg)


def _sample(
    channel: str,
    sample: Mapping[str, Any],
    bins: int,
    settings: Mapping[str, Any],
    parameters: dict[str, tuple[float, tuple[float, float]]],
) -> dict[str, Any]:
    """Return a sample, and note its parameters with start value and bounds."""

    def known(name: str, size: int, start: float, bounds: tuple[float, float]) -> list[str]:
        own = settings.get(name, {})
        names = [name] if size == 1 else [f"{name}_{k}" for k in range(size)]
        inits, all_bounds = own.get("inits", [start] * size), own.get("bounds", [bounds] * size)
        for each, value, (low, high) in zip(names, inits, all_bounds, strict=True):
            parameters[each] = float(value), (float(low), float(high))
        return names

    modifiers, errors = [], [0.0] * bins
    for modifier in sample["modifiers"]:
        name, kind, values = modifier["name"], modifier["type"], modifier["data"]
        own: dict[str, Any] = {"name": name, "type": kind}
        if kind == "normfactor":
            own["parameter"] = known(name, 1, 1.0, _FREE)[0]
        elif kind == "normsys":
            own["parameter"] = known(name, 1, 0.0, _CONSTRAINED)[0]
            own["constraint"] = "Gauss"
            own["data"] = {"hi": values["hi"], "lo": values["lo"], "interpolation": "code4"}
        elif kind == "histosys":
            own["parameter"] = known(name, 1, 0.0, _CONSTRAINED)[0]
            own["constraint"] = "Gauss"
            own["data"] = {
                "hi": {"contents": values["hi_data"]},
                "lo": {"contents": values["lo_data"]},
                "interpolation": "code4p",
            }
        elif kind == "shapefactor":
            own["parameters"] = known(name, bins, 1.0, _FREE)
        elif kind == "shapesys":
            own["type"] = "staterror"
            own["parameters"] = known(name, bins, 1.0, _FACTOR)
            own["constraint"] = "Poisson"
            # Readers of the standard take the errors of the contents, pyhs3 their copy here.
            errors = [float(error) for error in values]
            own["data"] = {"uncertainties": errors}
        else:
            msg = f"channel '{channel}': a {kind} has no form in HS3 here"
            raise FitError(msg)
        modifiers.append(own)
    return {
        "name": sample["name"],
        "data": {"contents": sample["data"], "errors": errors},
        "modifiers": modifiers,
    }
