from __future__ import annotations

from dataclasses import replace

import hist
import numpy as np
import pytest

from tnt_coffea import stats
from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.model import spectrum_model
from tnt_coffea.stats.pyhf_fit import pyhf_test
from tnt_coffea.stats.trigger import TriggerEfficiency

EDGES = np.arange(2600.0, 5001.0, 50.0)
FIT = stats.SpectrumFit((2600.0, 5000.0), bin_width=100.0)
WINDOW = (3200.0, 3800.0)
AT_3500 = {"mass": 3500.0, "width": 120.0}
ONE = replace(FIT, min_parameters=3, max_parameters=3)


def spectrum(signal: float = 0.0, seed: int = 5):
    return stats.toy_spectrum(60_000, signal, edges=EDGES, seed=seed)


def weighted(histogram, weight: float = 0.5):
    changed = histogram.copy()
    shape = weight * (1 + np.arange(len(EDGES) - 1) / 100)
    changed.view().value = histogram.values() * shape
    changed.view().variance = histogram.values() * shape**2
    return changed


def filled(histogram, events: float):
    """The same histogram with other events in the window."""
    changed = histogram.copy()
    inside = (EDGES[1:] > WINDOW[0]) & (EDGES[:-1] < WINDOW[1])
    changed.view().value[inside] *= events
    changed.view().variance[inside] *= events
    return changed


# sqrt(2 ((s + b) ln(1 + s / b) - s)): arXiv:1007.1727, equation 97.
@pytest.mark.parametrize(("signal", "z"), [(10.0, 0.983992), (30.0, 2.866131)])
def test_significance_of_a_counting_experiment_with_a_known_background(signal, z):
    # A hundred events in every bin; the signal is in one of them, and 3000 others fix b.
    edges = np.arange(2000.0, 5001.0, 1.0)
    flat = hist.Hist(hist.axis.Variable(edges, name="m_jj"), storage=hist.storage.Weight())
    flat.view().value = flat.view().variance = 100.0
    fit = stats.SpectrumFit(
        (2000.0, 5000.0), family="exponential", min_parameters=2, max_parameters=2
    )
    found = stats.expected_significance(flat, mass=3500.5, width=0.01, fit=fit, signal=signal)
    assert found == pytest.approx(z, rel=1e-3)


def test_significance_is_that_of_the_asimov_data_set_in_pyhf():
    histogram = spectrum()
    model = spectrum_model(histogram, ONE.signal(**AT_3500), ONE)
    (channel,) = next(iter(model.functions.values()))
    mean = model.test.background.expected(model.functions)[0] + 300 * channel.signal
    asimov = (replace(channel, observed=mean),)
    z = np.sqrt(pyhf_test(asimov, engine.discovery(asimov)).test.q0)
    found = stats.expected_significance(histogram, fit=ONE, signal=300, **AT_3500)
    assert found == pytest.approx(z, abs=1e-3)


def test_a_search_with_four_times_the_events_is_twice_as_significant():
    few, many = (stats.toy_spectrum(n, edges=EDGES, seed=3) for n in (50_000, 200_000))
    z = [
        stats.expected_significance(h, fit=ONE, signal=s, **AT_3500)
        for h, s in ((few, 300), (many, 1200))
    ]
    assert z[1] == pytest.approx(2 * z[0], rel=0.03)


def test_expectations_of_stated_signals_reach_and_limit():
    found = stats.expectation(spectrum(), fit=FIT, signals=[0, 300], window=WINDOW, **AT_3500)
    assert found.signals[0].z == pytest.approx(0, abs=1e-3)
    z3, z5 = found.reach
    again = stats.expectation(
        spectrum(), fit=FIT, signals=[z3.events, z5.events], window=WINDOW, limit=False, **AT_3500
    )
    assert [s.z for s in again.signals] == pytest.approx([3, 5], rel=2e-3)
    assert found.functions[0].startswith("dijet")
    assert found.converged
    assert stats.Expectation.from_dict(found.to_dict()) == found


VARIANTS = {
    "counts": (spectrum(), FIT),
    "folds": ({"a": spectrum(seed=1), "b": spectrum(seed=2)}, FIT),
    "weights": (weighted(spectrum()), FIT),
    "trigger": (
        spectrum(),
        replace(ONE, trigger=TriggerEfficiency.of_function(2450, 150, errors=(10, 5))),
    ),
    "shape": (spectrum(), replace(ONE, scale_uncertainty=0.02)),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name != "weights")) for name in VARIANTS],
)
def test_no_number_depends_on_the_events_in_the_window(name):
    channels, fit = VARIANTS[name]

    def found(events, window=WINDOW):
        several = isinstance(channels, dict)
        changed = (
            {n: filled(h, events) for n, h in channels.items()}
            if several
            else filled(channels, events)
        )
        limit = name == "counts" and window is not None
        return stats.expectation(
            changed, fit=fit, signals=[200], window=window, limit=limit,
            lower_edges=(2600.0, 2700.0) if name == "folds" else (), **AT_3500,
        )  # fmt: skip

    seen = found(1.0)
    for events in (0.0, 3.0) if name == "counts" else (3.0,):
        assert found(events).to_dict() == seen.to_dict()
    if name == "counts":  # with a window that is not hidden they tell
        assert found(3.0, None).signals != found(1.0, None).signals
    hidden = [n is None for n in seen.channels[0].observed]
    assert sum(hidden) == 6
    assert [p is None for p in seen.channels[0].pulls] == hidden


def test_the_background_beside_the_window_is_the_fit_of_the_sidebands():
    found = stats.expectation(spectrum(), fit=ONE, window=WINDOW, limit=False, **AT_3500)
    masked = stats.masked_window_test(spectrum(), window=WINDOW, fit=ONE)
    channel = found.channels[0]
    inside = [b for n, b in zip(channel.observed, channel.background, strict=True) if n is None]
    assert sum(inside) == pytest.approx(masked.expected, rel=1e-6)
    assert channel.goodness_of_fit == pytest.approx(masked.goodness_of_fit, rel=1e-6)


def test_the_limit_that_background_alone_gives():
    many = stats.toy_spectrum(6e6, edges=EDGES)
    found = stats.expectation(many, fit=ONE, window=WINDOW, **AT_3500)
    # sigma (Phi^-1(1 - 0.05 Phi(N)) + N): arXiv:1007.1727, equation 89, with CLs for 1 - alpha.
    bands = [1.052, 1.412, 1.960, 2.727, 3.656]
    assert np.array(found.limit.events) / found.uncertainty == pytest.approx(bands, rel=0.01)


@pytest.mark.parametrize(
    ("efficiency", "luminosity", "words"),
    [(0.1, 20.0, "an efficiency of 0.1 and 20 / fb"), (None, None, "the signal's templates")],
)
def test_the_expected_cross_section_says_what_it_is_for(efficiency, luminosity, words):
    fb = (1.0, 2.0, 3.0, 4.0, 5.0)
    limit = stats.ExpectedLimit(
        0.95, (2.0, 4.0, 6.0, 8.0, 10.0), efficiency, luminosity, fb, "asymptotic", 0, True
    )
    assert f"cross section 3 fb, for {words}" in limit.summary()


def test_a_scan_has_the_same_functions_at_all_masses():
    found = stats.expectation_scan(
        spectrum(), masses=[3300, 3500, 3700], width=120, fit=FIT, window="signal", limit=False
    )
    assert found.points[0].window == (3060.0, 3940.0)
    assert len({point.functions for point in found.points}) == 1
    assert "3060-3940 GeV hidden" in found.summary()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signal": -1}, "signal is -1, expected a number of 0 or more"),
        ({"signal": True}, "signal is True"),
        ({"signal": np.nan}, "signal is nan"),
        ({"signal": "100"}, "signal is '100'"),
        ({"window": (3700, 3300)}, "expected a lower and an upper edge"),
        ({"window": "all"}, "window is 'all'"),
        ({"window": (2600, 3700)}, "needs a sideband on either side"),
        ({"window": (5100, 5200)}, "needs a sideband on either side"),
        ({"mass": 9000.0}, "outside the fit range"),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    arguments = AT_3500 | {"fit": FIT, "signal": 10} | changes
    with pytest.raises(FitError, match=message):
        stats.expected_significance(spectrum(), **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signals": 5}, "signals is 5, expected numbers"),
        ({"signals": [100, "x"]}, "one of signals is 'x'"),
        ({"toys": -1}, "toys"),
        ({"mass": None}, "mass"),
        ({"window": (2800, 4400)}, r"is \d+% of the fit range .* at most half"),
    ],
)
def test_wrong_arguments_of_an_expectation_are_named(changes, message):
    arguments = AT_3500 | {"fit": FIT, "signals": [10]} | changes
    with pytest.raises(FitError, match=message):
        stats.expectation(spectrum(), **arguments)
