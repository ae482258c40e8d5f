"""A transfer factor as a HistFactory workspace, in stock modifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.config.parameter_names import MU, RATE, coefficient
from tnt_coffea.stats.signals import norm_factors, norm_modifiers
from tnt_coffea.stats.transfer_likelihood import bernstein
from tnt_coffea.stats.transfer_results import TransferEstimate

__all__ = ["transfer_workspace"]

Array = NDArray[np.float64]

# Of a bin without events.
_LEAST_RATE = 1e-6


def transfer_workspace(
    result: TransferEstimate,
    systematics: Mapping[str, float | tuple[float, float]] | None = None,
) -> dict[str, Any]:
    """Return a transfer factor as a pyhf workspace, JSON values, in stock modifiers.

    The channels `pass` and `fail` share a free rate in every bin, the shapefactor `rate`; what
    passes has a sample for each coefficient of the polynomial, with a normfactor in units of the
    coefficients' mean. 'mu' counts signal events that pass. Of weighted events all numbers are
    effective counts.

    Parameters
    ----------
    result
        The test.
    systematics
        Uncertainties of the signal's norm, those of its limit.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 5000), bin_width=100)
    >>> passed, failed = stats.toy_spectrum(1000, 50), stats.toy_spectrum(20_000, seed=2)
    >>> signal = {"mass": 3500, "width": 120, "order": 0}
    >>> result = stats.transfer_factor(passed, failed, fit=fit, **signal)
    >>> workspace = stats.transfer_workspace(result)
    >>> [[sample["name"] for sample in channel["samples"]] for channel in workspace["channels"]]
    [['background'], ['background_0', 'signal']]
    """
    spectrum, of_all = result.spectrum, result.denominator == "all"
    bins = len(spectrum.signal)
    weights = np.array(spectrum.scales) if spectrum.scales else np.ones((2, bins))
    low, high = result.domain
    centres = 0.5 * (np.array(spectrum.edges[1:]) + np.array(spectrum.edges[:-1]))
    x = np.clip((centres - low) / (high - low), 0.0, 1.0)
    basis, values = bernstein(x, result.order), np.array(result.coefficients)
    signal = np.array(spectrum.signal)
    passed, failed = (
        np.array(sums) / own
        for sums, own in zip((spectrum.passed, spectrum.failed), weights, strict=True)
    )
    # Rates and coefficients are of order one at the maximum: Minuit loses its digits elsewhere.
    share = basis @ values
    rate = np.maximum(np.array(spectrum.background) / np.maximum(share, _LEAST_RATE), _LEAST_RATE)
    unit = float(values.mean()) or 1.0
    names = [coefficient(k) for k in range(result.order + 1)]
    rates = {"name": RATE, "type": "shapefactor", "data": None}
    mu = {"name": MU, "type": "normfactor", "data": None}
    norms = norm_modifiers(norm_factors(systematics or {}))

    def sample(name: str, nominal: Array, *modifiers: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "data": nominal.tolist(), "modifiers": list(modifiers)}

    def polynomial(name: str, scale: Array) -> list[dict[str, Any]]:
        return [
            sample(
                f"{name}_{k}",
                basis[:, k] * rate * unit * scale,
                {"name": c, "type": "normfactor", "data": None},
                rates,
            )
            for k, c in enumerate(names)
        ]

    passing = [
        *polynomial("background", 1 / weights[0]),
        sample("signal", signal / weights[0], mu, *norms),
    ]
    failing = [sample("background", rate / weights[1], rates)]
    failing += polynomial("passing", -1 / weights[1]) if of_all else []
    if result.signal_in_fail:
        failing.append(sample("signal", result.signal_in_fail * signal / weights[1], mu, *norms))
    most = 1 / unit if of_all else 10 * max(1.0, float(values.max()) / unit)
    parameters: list[dict[str, Any]] = [
        {"name": MU, "inits": [max(1.0, result.mu_hat)], "bounds": [[0.0, 10 * _most(result)]]},
        {"name": RATE, "inits": [1.0] * bins, "bounds": [[1e-9, 10.0]] * bins},
        *(
            {"name": c, "inits": [float(np.clip(v / unit, 1e-3, most))], "bounds": [[0.0, most]]}
            for c, v in zip(names, values, strict=True)
        ),
    ]
    return {
        "channels": [
            {"name": "fail", "samples": failing},
            {"name": "pass", "samples": passing},
        ],
        "observations": [
            {"name": "fail", "data": failed.tolist()},
            {"name": "pass", "data": passed.tolist()},
        ],
        "measurements": [{"name": "transfer", "config": {"poi": MU, "parameters": parameters}}],
        "version": "1.0.0",
    }


def _most(result: TransferEstimate) -> float:
    return result.observed + result.mu_hat + 10.0
