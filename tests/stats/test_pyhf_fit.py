from __future__ import annotations

import pyhf
import pytest

from tnt_coffea.stats.pyhf_fit import background_test, numpy_backend


def channel(name, signal, background, *modifiers):
    mu = {"name": "mu", "type": "normfactor", "data": None}
    return {
        "name": name,
        "samples": [
            {"name": "signal", "data": signal, "modifiers": [mu]},
            {"name": "background", "data": background, "modifiers": list(modifiers)},
        ],
    }


def model(*channels, most=10.0):
    mu = {"name": "mu", "inits": [1.0], "bounds": [[0.0, most]]}
    return pyhf.Model(
        {"channels": list(channels), "parameters": [mu]}, poi_name="mu", validate=False
    )


@pytest.mark.parametrize(("signal", "expected"), [(10.0, 0.983992), (30.0, 2.866131)])
def test_counting_experiment(signal, expected):
    test = background_test(model(channel("one", [signal], [100.0])), [100.0 + signal])
    assert test.z == pytest.approx(expected, abs=1e-4)
    assert test.mu_hat == pytest.approx(1.0, rel=1e-3)


def test_background_with_an_auxiliary_measurement():
    uncertain = {"name": "control", "type": "shapesys", "data": [10.0]}
    one = model(channel("one", [50.0], [100.0], uncertain))
    test = background_test(one, [150.0, *one.config.auxdata])
    assert test.z == pytest.approx(3.172973, abs=1e-4)


def test_additive_gaussian_uncertainty():
    theta = {"name": "theta", "type": "histosys", "data": {"hi_data": [105.0], "lo_data": [95.0]}}
    one = model(channel("one", [1.0], [100.0], theta), most=200.0)
    test = background_test(one, [130.0, *one.config.auxdata])
    assert test.z == pytest.approx(2.549748, abs=1e-4)
    assert test.minimiser == "minuit"


def test_three_regions():
    one = model(channel("one", [10.0, 5.0, 20.0], [100.0, 20.0, 400.0]))
    test = background_test(one, [110.0, 25.0, 420.0])
    assert test.z == pytest.approx(1.763280, abs=1e-4)


def test_deficit_gives_zero_without_a_second_fit():
    test = background_test(model(channel("one", [10.0], [100.0])), [90.0])
    assert (test.q0, test.mu_hat) == (0.0, 0.0)


def test_state_of_pyhf_is_given_back():
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(maxiter=77))
    before = pyhf.get_backend()
    try:
        background_test(model(channel("one", [10.0], [100.0])), [110.0])
        assert pyhf.get_backend() == before
        with pytest.raises(RuntimeError), numpy_backend():
            raise RuntimeError
        assert pyhf.get_backend() == before
    finally:
        pyhf.set_backend("numpy", "scipy")


def test_on_and_off_region_give_li_and_ma():
    b = {"name": "b", "type": "normfactor", "data": None}
    off = {"name": "off", "samples": [{"name": "background", "data": [1.0], "modifiers": [b]}]}
    one = pyhf.Model(
        {
            "channels": [off, channel("on", [1.0], [1.0], b)],
            "parameters": [
                {"name": "mu", "inits": [1.0], "bounds": [[0.0, 500.0]]},
                {"name": "b", "inits": [100.0], "bounds": [[0.0, 1000.0]]},
            ],
        },
        poi_name="mu",
        validate=False,
    )
    counts = {"off": 100.0, "on": 140.0}
    test = background_test(one, [counts[name] for name in one.config.channels])
    assert test.z == pytest.approx(2.588026, abs=1e-4)
