"""Counting test in the doubly tagged region: four Poisson counts tied to each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tnt_coffea.errors import FitError
from tnt_coffea.stats.fitting.histfactory import HistFactoryTest, background_test, numpy_backend
from tnt_coffea.stats.regions.results import AbcdCounts, AbcdResult, Closure
from tnt_coffea.stats.regions.tied_counts import tied_counts_q0
from tnt_coffea.stats.regions.toys import AbcdNull, permutation_p, poisson_p

__all__ = ["abcd", "paper_significance"]

Array = NDArray[np.float64]

_LOW_BACKGROUND = 5.0
_DEFAULT_TOYS = 20_000
_Z_AGREEMENT = 1e-2
_LARGEST_EDM = 1e-4


def abcd(
    a: float,
    b: float,
    c: float,
    d: float,
    *,
    systematic: float = 0.03,
    closure_factor: float = 1.0,
    leakage: tuple[float, float, float] = (0.0, 0.0, 0.0),
    toys: int = 0,
    seed: int = 1,
    counts: AbcdCounts | None = None,
    closure: Closure | None = None,
) -> AbcdResult:
    """Test for a signal in A with the background closure_factor B C / D.

    The four expectations are mu_b, mu_b rB, mu_b rC and mu_b rB rC, so that their
    statistical uncertainties are in the likelihood; one log-normal nuisance
    parameter holds the closure uncertainty.

    Parameters
    ----------
    a, b, c, d
        Events whose jets both pass (a), of which only the heavy one passes and the
        light one is low (b), the reverse (c), and of which both are low (d).
    systematic
        Relative uncertainty of the closure; 0 leaves it out.
    closure_factor
        Factor on B C / D.
    leakage
        Signal in B, C and D per signal event in A: it raises mu_hat, and leaves q0
        alone as long as it is small.
    toys
        Toys for the p-value. With fewer than 5 events expected in A they are
        made in any case. Where `counts` has the score plane they are permutations of
        the jets' scores, which keep its marginals.
    seed
        Root seed of the toys.
    counts, closure
        Where the numbers come from; kept in the result, and the paper's estimate
        is taken from `counts`.

    Raises
    ------
    FitError
        B, C or D is empty, a count is negative, or the fit fails.

    Source
    ------
    Method: arXiv:2002.12376, section 4.1; q0: arXiv:1007.1727, equation 12.
    """
    _check((a, b, c, d), systematic, closure_factor, leakage, toys)
    expected = closure_factor * b * c / d
    model, data = _model((a, b, c, d), systematic, closure_factor, leakage)
    reported = background_test(model, data)
    observed = np.array([[a, b, c, d]], dtype=float)
    sigma = np.log1p(systematic)
    q0, fitted = tied_counts_q0(observed, closure_factor, sigma, np.zeros(1))
    first = model.config.channels.index("A")
    if expected < _LOW_BACKGROUND and not toys:
        toys = _DEFAULT_TOYS
    null = AbcdNull(observed[0], fitted[0], float(q0[0]), closure_factor, sigma)
    p_value, calibration = _calibrated(null, reported.z, counts, toys, seed)
    paper = _paper(observed[0], expected, systematic, counts)
    z_numpy = float(np.sqrt(q0[0]))
    trouble = _trouble(reported, z_numpy)
    return AbcdResult(
        a=float(a),
        b=float(b),
        c=float(c),
        d=float(d),
        expected=expected,
        background=float(model.expected_actualdata(reported.background)[first]),
        mu_hat=reported.mu_hat,
        q0=reported.q0,
        z=reported.z,
        p_value=p_value,
        expected_paper=paper[0],
        z_paper=paper[1],
        systematic=float(systematic),
        closure_factor=float(closure_factor),
        converged=not trouble,
        edm=reported.edm,
        minimiser=reported.minimiser,
        z_numpy=z_numpy,
        calibration=calibration,
        toys=toys,
        notes=(*trouble, *_notes(expected, calibration, toys, p_value, counts)),
        counts=counts,
        closure=closure,
    )


def paper_significance(
    observed: float, predicted: float, statistical: float, systematic: float = 0.03
) -> float:
    """Return the paper's significance (N_obs - N_pred) / sqrt(N_obs + sigma_b^2).

    It is no likelihood ratio: with the observed count in its variance it lies below
    one for small excesses, and above one for large excesses on few control events.

    Parameters
    ----------
    observed, predicted
        Events seen and background estimated.
    statistical
        Statistical uncertainty of the estimate [events].
    systematic
        Relative systematic uncertainty of the estimate.

    Raises
    ------
    FitError
        A number is not finite, or the count negative.

    Source
    ------
    arXiv:2002.12376, equation 4.1.
    """
    if not np.isfinite([observed, predicted, statistical, systematic]).all() or observed < 0:
        msg = (
            f"the paper's significance needs counts and their uncertainty, got {observed} "
            f"observed, {predicted} +- {statistical} predicted, systematic {systematic}"
        )
        raise FitError(msg)
    variance = observed + statistical**2 + (systematic * predicted) ** 2
    return (observed - predicted) / float(np.sqrt(variance)) if variance > 0 else 0.0


def _calibrated(
    null: AbcdNull, z: float, counts: AbcdCounts | None, toys: int, seed: int
) -> tuple[float, str]:
    """Return the p-value and its kind: permutations where the score plane is known."""
    if not toys:
        return float(ndtr(-z)), "asymptotic"
    if counts is not None and counts.whole:
        return permutation_p(null, counts.tables, toys, seed), "permutations"
    return poisson_p(null, toys, seed), "toys"


def _model(
    observed: tuple[float, float, float, float],
    systematic: float,
    closure_factor: float,
    leakage: tuple[float, float, float],
) -> tuple[Any, list[float]]:
    """Return the pyhf model and its data, every parameter of order one at the maximum."""
    import pyhf

    def channel(name: str, nominal: float, signal: float, ties: tuple[str, ...]) -> dict[str, Any]:
        modifiers: list[dict[str, Any]] = [
            {"name": tie, "type": "normfactor", "data": None} for tie in ties
        ]
        samples = [{"name": "background", "data": [nominal], "modifiers": modifiers}]
        if name == "A" and systematic:
            effect = {"hi": 1 + systematic, "lo": 1 / (1 + systematic)}
            modifiers.append({"name": "closure", "type": "normsys", "data": effect})
        if signal:
            poi = {"name": "mu", "type": "normfactor", "data": None}
            samples.append({"name": "signal", "data": [signal], "modifiers": [poi]})
        return {"name": name, "samples": samples}

    a, b, c, d = observed
    expected = closure_factor * b * c / d
    # Fitted counts lie between zero and the sum of the four.
    most = 10 * (a + b + c + d) / min(expected, b, c, d)
    free = [{"name": n, "inits": [1.0], "bounds": [[1e-9, most]]} for n in ("mu_b", "r_b", "r_c")]
    first = max(a - expected, 1.0)
    mu = {"name": "mu", "inits": [first], "bounds": [[0.0, 10 * (a + 10)]]}
    # pyhf's own bounds, five sigma, would cut off the closure of a large excess.
    wide = {"name": "closure", "bounds": [[-100.0, 100.0]]}
    spec = {
        "channels": [
            channel("A", expected, 1.0, ("mu_b",)),
            channel("B", b, leakage[0], ("mu_b", "r_b")),
            channel("C", c, leakage[1], ("mu_b", "r_c")),
            channel("D", d, leakage[2], ("mu_b", "r_b", "r_c")),
        ],
        "parameters": [*free, mu, *([wide] if systematic else [])],
    }
    with numpy_backend():
        model = pyhf.Model(spec, poi_name="mu", validate=False)
    counts = dict(zip("ABCD", (a, b, c, d), strict=True))
    data = [float(counts[name]) for name in model.config.channels]
    return model, [*data, *map(float, model.config.auxdata)]


def _paper(
    observed: Array, expected: float, systematic: float, counts: AbcdCounts | None
) -> tuple[float, float]:
    """Return the paper's estimate and significance, from what is known of the score plane."""
    if counts is None:
        statistical = expected * float(np.sqrt(np.sum(1 / observed[1:])))
    else:
        expected, statistical = counts.paper_prediction, counts.paper_uncertainty
    return expected, paper_significance(float(observed[0]), expected, statistical, systematic)


def _trouble(reported: HistFactoryTest, z_numpy: float) -> list[str]:
    trouble = []
    if reported.edm is None:
        trouble.append("Minuit failed and SciPy gave the result, without a distance to the minimum")
    elif reported.edm > _LARGEST_EDM:
        trouble.append(f"Minuit stopped {reported.edm:.2g} in ln L from its minimum")
    if abs(reported.z - z_numpy) > _Z_AGREEMENT:
        trouble.append(f"two minimisers disagree: Z = {reported.z:.3f} and {z_numpy:.3f}")
    return trouble


def _notes(
    expected: float, calibration: str, toys: int, p_value: float, counts: AbcdCounts | None
) -> list[str]:
    notes = []
    if counts is not None and counts.weighted:
        notes.append("events are weighted: the likelihood takes the sums of weights as counts")
    if expected < _LOW_BACKGROUND:
        kind = (
            "permutations of the scores, which keep how many events pass for each jet"
            if calibration == "permutations"
            else "toys, which vary the counts and the closure; quantiles taken from these very "
            "events would fix the marginals, which the toys leave free"
        )
        notes.append(f"{expected:.2f} events expected in A: the p-value is from {toys} {kind}")
    if toys and p_value <= 1 / (toys + 1):
        notes.append("no toy reached the data: the p-value is an upper limit; ask for more toys")
    return notes


def _check(
    counts: tuple[float, float, float, float],
    systematic: float,
    closure_factor: float,
    leakage: tuple[float, float, float],
    toys: int,
) -> None:
    named = {name: float(n) for name, n in zip("ABCD", counts, strict=True)}
    if not all(np.isfinite(n) and n >= 0 for n in counts):
        msg = f"the four regions must hold counts, 0 or more, got {named}"
        raise FitError(msg)
    empty = [name for name in "BCD" if named[name] == 0]
    if empty:
        msg = (
            f"region {', '.join(empty)} is empty ({named}): B C / D says nothing then; use a "
            "looser selection, a wider window, or merge folds"
        )
        raise FitError(msg)
    if (
        not np.isfinite([systematic, closure_factor, *leakage]).all()
        or systematic < 0
        or closure_factor <= 0
        or min(leakage) < 0
        or toys < 0
    ):
        msg = (
            "systematic, leakage and toys must be 0 or more, closure_factor positive, all finite, "
            f"got {systematic}, {leakage}, {toys} and {closure_factor}"
        )
        raise FitError(msg)
