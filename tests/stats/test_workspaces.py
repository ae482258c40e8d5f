from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pyhf
import pytest
import yaml
from scipy.stats import norm

from tnt_coffea.errors import FitError
from tnt_coffea.stats import (
    WorkingPoint,
    abcd,
    abcd_counts,
    abcd_workspace,
    bump_hunt,
    engine,
    toy_search,
    upper_limit,
)
from tnt_coffea.stats.exchange import hepdata_limits, hepdata_spectrum, write_hepdata
from tnt_coffea.stats.model import spectrum_model
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.workspaces import bump_workspace, mass_patchset, model_workspace

# pyhf 0.7 validates with a class that jsonschema is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")

FIT = SpectrumFit((2600.0, 7000.0), bin_width=80.0, max_parameters=3)
SETTINGS = {"width": 120.0, "fit": FIT}
WINDOW = (3300.0, 3700.0)


@pytest.fixture(scope="module")
def histogram(toy_spectrum):
    return toy_spectrum(3000, 100, 51)


@pytest.fixture
def minuit():
    before = pyhf.get_backend()
    pyhf.set_backend("numpy", "minuit")
    yield
    pyhf.set_backend(*before)


def stock_z(workspace):
    model = workspace.model()
    data = workspace.data(model)
    return float(norm.isf(float(pyhf.infer.hypotest(0.0, data, model, test_stat="q0"))))


@pytest.mark.parametrize(
    ("events", "signal"),
    [
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((30_000, 250), (3000, 100))),
        (600, 40),
    ],
)
def test_workspace_has_the_same_significance_in_stock_pyhf(toy_spectrum, minuit, events, signal):
    spectrum = toy_spectrum(events, signal, 51)
    values = json.loads(json.dumps(bump_workspace(spectrum, mass=3500.0, **SETTINGS)))
    pyhf.schema.validate(values, "workspace.json")
    ours = bump_hunt(spectrum, mass=3500.0, **SETTINGS)
    # HistFactory has no functions that compete: it holds the one that fits best.
    alone = {(f.family, f.parameters): f.z for f in ours.envelope}
    z = alone.get((ours.family, ours.channels[0].parameters), ours.z)
    assert z > 2
    assert stock_z(pyhf.Workspace(values)) == pytest.approx(z, rel=5e-3)


@pytest.mark.slow
def test_workspace_has_the_same_significance_in_cabinetry(histogram, minuit):
    cabinetry = pytest.importorskip("cabinetry", reason="cabinetry is not installed")
    values = bump_workspace(histogram, mass=3500.0, **SETTINGS)
    model, data = cabinetry.model_utils.model_and_data(values)
    found = cabinetry.fit.significance(model, data)
    ours = bump_hunt(histogram, mass=3500.0, **SETTINGS)
    assert found.observed_significance == pytest.approx(ours.z, rel=5e-3)


@pytest.mark.parametrize(
    ("regions", "options"),
    [
        ((130, 1000, 1000, 10_000), {"systematic": 0.03}),
        ((30, 40, 500, 20_000), {"systematic": 0.4, "closure_factor": 1.7}),
        ((20, 100, 1000, 10_000), {"systematic": 0.0}),
        ((200, 1000, 1000, 10_000), {"systematic": 0.1, "leakage": (0.1, 0.2, 0.05)}),
    ],
)
def test_abcd_workspace_has_the_same_significance_in_stock_pyhf(minuit, regions, options):
    ours = abcd(*regions, **options)
    leakage = {"leakage": options["leakage"]} if "leakage" in options else {}
    values = json.loads(json.dumps(abcd_workspace(ours, **leakage)))
    pyhf.schema.validate(values, "workspace.json")
    workspace = pyhf.Workspace(values)
    model = workspace.model()
    assert workspace.data(model, include_auxdata=False) == [float(n) for n in regions]
    assert ours.q0**0.5 > 2
    assert stock_z(workspace) == pytest.approx(ours.q0**0.5, rel=1e-3)
    best = pyhf.infer.mle.fit(workspace.data(model), model)
    assert best[model.config.poi_index] == pytest.approx(ours.mu_hat, rel=1e-2)


def test_abcd_workspace_of_on_and_off_is_that_of_li_and_ma(minuit):
    # Equation 17 of Li and Ma, ApJ 272 (1983) 317: n_on = 140, n_off = 100 with alpha = 1.
    # With C = D so large that their ratio is known, A and B are on and off.
    workspace = pyhf.Workspace(abcd_workspace(abcd(140, 100, 1e7, 1e7, systematic=0.0)))
    on, off = 140, 100
    known = 2 * (on * math.log(2 * on / (on + off)) + off * math.log(2 * off / (on + off)))
    assert stock_z(workspace) == pytest.approx(known**0.5, rel=1e-3)


def test_abcd_workspace_of_weighted_events_holds_effective_counts(minuit):
    regions = abcd_counts(toy_search(60_000, 100), WorkingPoint.at({0: 0.9, 1: 0.9}), 0.4, WINDOW)
    weighted = replace(regions, weighted=True, scales=(2.0, 1.0, 0.5, 3.0))
    ours = abcd(weighted.a, weighted.b, weighted.c, weighted.d, counts=weighted)
    workspace = pyhf.Workspace(abcd_workspace(ours))
    seen = workspace.data(workspace.model(), include_auxdata=False)
    assert seen == list(weighted.effective)
    assert stock_z(workspace) == pytest.approx(ours.q0**0.5, rel=1e-3)


@pytest.mark.parametrize("leakage", [None, (0.1,), "abc", (0.1, 0.1, -1), (0, 0, float("nan"))])
def test_what_cannot_leak_is_refused(leakage):
    with pytest.raises(FitError, match="leakage is the signal in B, C and D"):
        abcd_workspace(abcd(130, 1000, 1000, 10_000), leakage)


@pytest.mark.slow
def test_patchset_has_one_mass_a_patch(histogram, minuit):
    background, patches = mass_patchset(histogram, masses=[3200.0, 3500.0, 4000.0], **SETTINGS)
    patchset = pyhf.PatchSet(json.loads(json.dumps(patches)))
    only = pyhf.Workspace(json.loads(json.dumps(background)))
    patchset.verify(only)
    assert [patch.values for patch in patchset] == [
        (3200.0, 120.0),
        (3500.0, 120.0),
        (4000.0, 120.0),
    ]
    patched = pyhf.Workspace(patchset.apply(only, "mass_3500"))
    ours = bump_hunt(histogram, mass=3500.0, **SETTINGS)
    assert stock_z(patched) == pytest.approx(ours.z, rel=5e-3)


def test_signal_uncertainties_are_in_the_workspace(histogram):
    values = bump_workspace(
        histogram, mass=3500.0, width=120.0, fit=replace(FIT, width_uncertainty=0.1)
    )
    pyhf.schema.validate(values, "workspace.json")
    signal = values["channels"][0]["samples"][-1]
    kinds = {modifier["name"]: modifier["type"] for modifier in signal["modifiers"]}
    assert kinds == {"mu": "normfactor", "signal_width": "histosys"}


# HistFactory lets the width not move the spurious signal.
@pytest.mark.slow
@pytest.mark.parametrize(("width", "rel"), [(0.0, 1e-3), (0.1, 1e-2)])
def test_spurious_signal_and_trigger_are_in_the_workspace(histogram, minuit, width, rel):
    fit = replace(FIT, width_uncertainty=width)
    model = spectrum_model(histogram, fit.signal(3500.0, 120.0), fit)
    (plain,) = model.best_channels
    turn_on = 0.1 * np.exp(-(model.data[0].edges[:-1] - 2600) / 300)
    factors = np.stack([turn_on, np.full(turn_on.size, 0.02)], axis=1)
    uncertain = replace(plain, spurious=15.0, factors=factors)
    values = json.loads(
        json.dumps(model_workspace(replace(model, functions={"dijet 3": (uncertain,)})))
    )
    pyhf.schema.validate(values, "workspace.json")
    *_, signal, spurious = values["channels"][0]["samples"]
    assert [modifier["name"] for modifier in signal["modifiers"]] == [
        "mu",
        *plain.shape_nuisances,
        "trigger_efficiency_0",
        "trigger_efficiency_1",
    ]
    assert spurious["data"] == [0.0] * len(turn_on)
    z = engine.discovery([uncertain]).z
    assert stock_z(pyhf.Workspace(values)) == pytest.approx(z, rel=rel)
    assert z < 0.9 * engine.discovery([plain]).z
    # Linear without a bend: a half is half of one, and three are three times it.
    stock = pyhf.Workspace(values).model()
    start = np.array(stock.config.suggested_init())
    start[stock.config.poi_index] = 0.0
    place = stock.config.par_slice("spurious_signal").start

    def expected(theta):
        start[place] = theta
        return np.array(stock.expected_actualdata(start))

    for theta in (-3.0, -0.5, 0.5, 3.0):
        change = expected(theta) - expected(0.0)
        np.testing.assert_allclose(change, theta * 15.0 * plain.signal, atol=1e-9)


def test_masses_of_a_patchset_must_differ(histogram):
    with pytest.raises(FitError, match="differ"):
        mass_patchset(histogram, masses=[3500.0, 3500.0], **SETTINGS)


def test_hepdata_tables_hold_spectrum_and_limits(tmp_path, histogram):
    result = bump_hunt(histogram, mass=3500.0, **SETTINGS)
    limits = [
        upper_limit(histogram, mass=3500.0, toys=0, efficiency=0.5, luminosity=10.0, **SETTINGS)
    ]
    tables = {**hepdata_spectrum(result), "limits": hepdata_limits(limits)}
    paths = write_hepdata(tmp_path / "hepdata", tables)
    entries = list(yaml.safe_load_all(paths[0].read_text()))
    assert [entry["name"] for entry in entries] == ["all", "limits"]
    spectrum = yaml.safe_load((tmp_path / "hepdata" / entries[0]["data_file"]).read_text())
    bins = spectrum["independent_variables"][0]["values"]
    counts = [row["value"] for row in spectrum["dependent_variables"][0]["values"]]
    assert (bins[0]["low"], bins[-1]["high"]) == (2600.0, 7000.0)
    assert counts == list(result.channels[0].observed)
    expected = yaml.safe_load((tmp_path / "hepdata" / "limits.yaml").read_text())
    run_2 = {"name": "SQRT(S)", "units": "GeV", "value": 13000}
    for table in (spectrum, expected):
        assert all(run_2 in column["qualifiers"] for column in table["dependent_variables"])
    run_3 = {"all": hepdata_spectrum(result, 13_600.0)["all"], "limits": tables["limits"]}
    submission, *_ = write_hepdata(tmp_path / "hepdata", run_3)
    energies = [entry["keywords"][0] for entry in yaml.safe_load_all(submission.read_text())]
    assert energies == [{"name": "cmenergies", "values": [own]} for own in (13600, 13000)]
    for wrong in (0, None, float("nan")):
        with pytest.raises(FitError, match="sqrt_s is the centre-of-mass energy in GeV"):
            hepdata_limits(limits, wrong)
    row = expected["dependent_variables"][1]["values"][0]
    assert row["value"] == pytest.approx(limits[0].expected_cross_section[2])
    assert row["errors"][0]["asymerror"]["minus"] <= 0 <= row["errors"][0]["asymerror"]["plus"]
    with pytest.raises(FitError, match="one a mass"):
        hepdata_limits([*limits, *limits])
    for names in (("fold-0", "fold_0"), ("submission",)):
        with pytest.raises(FitError, match="same files"):
            write_hepdata(tmp_path, dict.fromkeys(names, tables["limits"]))
