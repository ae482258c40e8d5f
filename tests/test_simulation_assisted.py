"""The simulation-assisted study: what it injects, measures and says, on tables of features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from tnt_coffea import Sample, SearchConfig, pipeline
from tnt_coffea.cli import main
from tnt_coffea.errors import ConfigError
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline import studies
from tnt_coffea.pipeline.studies import Verdict
from tnt_coffea.pipeline.studies.gaussian_example import EFFICIENCIES
from tnt_coffea.pipeline.studies.simulation_assisted_claims import simulation_assisted_claims
from tnt_coffea.pipeline.studies.simulation_assisted_example import (
    CUTS,
    FEATURES,
    FITTED,
    SHARES,
    STRENGTHS,
    WINDOW,
    Events,
    Keep,
    _prediction,
    _Tested,
    signal_events,
)
from tnt_coffea.pipeline.studies.simulation_assisted_study import _curve
from tnt_coffea.reporting.simulation_assisted_figures import simulation_assisted_plots

COLUMNS = ("m_jj", "heavy_mass", "light_mass", "heavy_tau21", "light_tau21")


def table(n: int, seed: int, *, signal: bool = False, shift: float = 0.0) -> np.ndarray:
    """Return (event, column) features: falling in m_jj, or a resonance of low tau21."""
    rng = np.random.default_rng(seed)
    m_jj = rng.normal(3500, 90, n) if signal else 2500 + rng.exponential(700, n)
    masses = rng.normal([[500], [100]], 20, (2, n)) if signal else rng.exponential(150, (2, n))
    heavy, light = np.sort(masses + 20 + shift * 50, axis=0)[::-1]
    taus = rng.normal(0.3 if signal else 0.6 + 0.1 * shift, 0.1, (2, n))
    return np.stack([m_jj, heavy, light, *taus], axis=1)


def sample(*args: int, label: int = 0, **options: object) -> Sample:
    columns = dict(zip(COLUMNS, table(*args, **options).T, strict=True))  # type: ignore[arg-type]
    jets = (
        {name: columns[f"{jet}_{name}"] for name in ("mass", "tau21")} for jet in ("heavy", "light")
    )
    heavy, light = jets
    found = Sample.from_columns(
        columns["m_jj"], heavy=heavy, light=light, label=np.full(len(columns["m_jj"]), label)
    )
    return found.select(np.argsort(found.event_id))


@pytest.fixture(scope="module")
def events() -> Events:
    return Events(
        sample(6000, 1), sample(6000, 2, shift=1.0), sample(1500, 3, label=1, signal=True)
    )


def test_the_papers_signal_is_scaled_to_the_half_that_trains(events) -> None:
    """60,700 background events of the signal region in the half that trains: 1000 of signal."""
    papers = replace(events, background=sample(10, 1))
    papers.__dict__["in_window"] = 2 * 60_700
    assert signal_events(papers, Keep.SHARE) == pytest.approx(2000, rel=0.01)
    assert signal_events(papers, Keep.SIGNIFICANCE) == pytest.approx(2000, rel=0.01)
    half = events.in_window / 2
    assert signal_events(events, Keep.SIGNIFICANCE) == round(2 * 4.06 * np.sqrt(half))


def test_signal_is_injected_as_it_comes_and_tested_on_what_is_left(events) -> None:
    data, left = events.injected(200, seed=5)
    injected = data.label == 1
    assert (injected & WINDOW.contains(data.mass)).sum() == 200
    assert not np.intersect1d(data.event_id[injected], left.event_id).size
    assert injected.sum() + len(left) == len(events.signal)
    assert (np.diff(data.event_id.astype(object)) > 0).all()
    # Outside the signal region there is as much of it as in the pool.
    share = WINDOW.contains(events.signal.mass).mean()
    assert 200 / injected.sum() == pytest.approx(share, abs=0.06)
    other, _ = events.injected(200, seed=6)
    assert not np.array_equal(other.event_id, data.event_id)
    none, everything = events.injected(0, seed=5)
    assert (none.label == 0).all()
    assert len(everything) == len(events.signal)
    with pytest.raises(ConfigError, match="give twice as many"):
        events.injected(1200, seed=5)


@pytest.fixture(scope="module")
def tested(events, tmp_path_factory) -> tuple[_Tested, Sample]:
    """Data with signal, ranked by a tagger that needs no training."""
    data, left = events.injected(150, seed=5)
    method = {"kind": "event_feature", "feature": "0 - heavy_tau21 - light_tau21"}
    config = SearchConfig.model_validate({"train": {"methods": {"taus": method}}})
    taggers = pipeline.train(data, config, out=tmp_path_factory.mktemp("taus"))
    return _Tested(taggers.sets, data, left), left


def test_curves_are_of_signal_not_injected_and_background_of_the_signal_region(tested) -> None:
    found, left = tested
    curve = found.curve("taus")

    def scores(of: Sample) -> np.ndarray:
        return -of.columns["heavy_tau21"] - of.columns["light_tau21"]

    inside = found.data.select((found.data.label == 0) & WINDOW.contains(found.data.mass))
    signal = scores(left.select(WINDOW.contains(left.mass)))
    pairs = signal[:, None] > scores(inside)
    assert curve["auc"] == pytest.approx(pairs.mean(), abs=0.002)
    assert curve["auc_regions"] == pytest.approx(0.5, abs=0.05)
    i = EFFICIENCIES.index(0.5)
    passed = (scores(inside) > np.median(signal)).mean()
    assert curve["passed"][i] == pytest.approx(passed, abs=3 / len(inside) + 0.1 * passed)


def test_fits_find_the_signal_and_the_correction_needs_background_alone(tested) -> None:
    found, _ = tested
    tests = found.spectra("taus")
    assert [one["cut"] for one in tests] == list(CUTS)
    kept = [sum(one["spectrum"]) for one in tests]
    np.testing.assert_allclose(kept, np.array(CUTS) * kept[0], atol=2)
    tight = tests[CUTS.index(0.05)]
    assert tight["z"] > 5 > tests[0]["z"]
    assert tight["signal"] > 120
    assert tight["corrected"] == pytest.approx(np.sign(tight["pull"]) * tight["corrected"])
    assert abs(tight["background"]["pull"]) < 4 < tight["pull"]


def test_right_simulation_predicts_the_background_and_its_weights_normalise_it(tested) -> None:
    found, _ = tested
    simulation = sample(24000, 9)
    weights = np.full(len(simulation), 0.25)
    for one in _prediction(found, "taus", simulation, weights)[:5]:
        error = np.sqrt(1 / one["observed"] + 4 / one["observed"] / 16)
        assert one["weighted"] / one["observed"] == pytest.approx(1, abs=4 * error)
        assert one["unweighted"] / one["observed"] == pytest.approx(1, abs=4 * error + 0.1)
        assert one["variance"] == pytest.approx(0.25 * one["weighted"])


def numbers_of(**improvements: float) -> dict:
    """Return a study's numbers as the papers have them; improvements at eps_S = 0.5 by method."""
    papers = {
        "cwola": 0.6, "sa-cwola": 3.0, "sa-cwola-negative": 2.0, "salad": 3.2,
        "data-vs-simulation": 0.6, "optimal-cwola": 3.5, "autoencoder": 0.9, "norm": 0.9,
        "tnt": 1.0, "salad-tnt": 1.5,
    } | improvements  # fmt: skip
    rng = np.random.default_rng(1)

    def curve(improvement: float, auc: float = 0.8, regions: float = 0.5) -> dict:
        eps = np.array(EFFICIENCIES)
        wanted = np.minimum(improvement * np.sqrt(eps / 0.5), 40 * eps)
        repetitions = [
            {
                "auc": auc + 0.001 * shift,
                "auc_regions": regions + 0.001 * shift,
                "passed": np.minimum((eps / (wanted * (1 + 0.02 * shift))) ** 2, 1).tolist(),
            }
            for shift in rng.permutation([-1.0, 0.0, 1.0])
        ]
        return _curve(repetitions)

    features = {
        "only-light_mass": 0.7, "only-mass_difference": 0.85, "only-heavy_tau21": 0.84,
        "only-light_tau21": 0.8, "all": 0.95,
    } | {f"without-{name}": 0.9 for name in FEATURES}  # fmt: skip

    def spectra(signal: bool) -> dict:
        def test(name: str, cut: float) -> dict:
            grown = 2 + 4 * (cut < 1) if signal else 0.3
            bad = name == "cwola" and cut < 1
            return {
                "z": grown, "corrected": grown, "pull": -9.0 if bad else grown,
                "goodness": 1e-5 if bad else 0.5, "signal": 100, "expected": 100.0,
            }  # fmt: skip

        return {
            name: [
                {"cut": cut, "spectrum": [9] * 30, "refused": 0, "tests": [test(name, cut)] * 3}
                for cut in CUTS
            ]
            for name in FITTED
        }

    edges = np.linspace(0, 1, 4).tolist()
    heights = dict.fromkeys(("data", "simulation", "weighted simulation", "signal"), [0.2] * 3)
    prediction = [
        {"cut": cut, "observed": 100.0, "weighted": 98.0, "unweighted": 40.0} for cut in CUTS
    ]
    return {
        "efficiencies": list(EFFICIENCIES),
        "signal": 200,
        "background": 10_000,
        "curves": {name: curve(value) for name, value in papers.items()},
        "supervised": {name: curve(8.0, auc) for name, auc in features.items()},
        "strengths": {
            "values": list(STRENGTHS),
            "curves": {f"{s:g}": curve(2.5, regions=0.51 if s else 0.7) for s in STRENGTHS},
        },
        "shares": {
            "values": list(SHARES),
            "curves": [
                dict.fromkeys(("salad", "data-vs-simulation", "optimal-cwola"), curve(2.0))
                for _ in SHARES
            ],
        },
        "spectra": {"injected": spectra(True), "null": spectra(False)},
        "prediction": {
            name: [list(prediction) for _ in range(3)]
            for name in ("salad", "salad, early", "data-vs-simulation")
        },
        "closure": [{"before": 0.59 + d, "after": 0.51 + d} for d in (0, 0.001, 0.002)],
        "weights": [],
        "features": {name: {"edges": edges, **heights} for name in FEATURES}
        | {"weights": {"edges": edges, "events": [1, 20, 3]}},
    }


def test_claims_hold_where_the_numbers_are_the_papers() -> None:
    claims = {one.id: one for one in simulation_assisted_claims(numbers_of())}
    refuted = [name for name, one in claims.items() if one.verdict is not Verdict.CONFIRMED]
    assert refuted == ["sa-cwola-spread"]  # every method has the same spread here


@pytest.mark.parametrize(
    ("changed", "refuted"),
    [
        ({"sa-cwola": 0.5}, {"sa-cwola-gains", "sa-cwola-recovers", "salad-as-sa-cwola"}),
        ({"salad": 0.5}, {"salad-gains", "weights-help", "salad-as-sa-cwola"}),
        ({"salad": 4.5}, {"optimal-bound", "salad-as-sa-cwola"}),
        ({"data-vs-simulation": 1.0}, {"data-against-simulation"}),
        ({"autoencoder": 2.0}, {"autoencoder"}),
        ({"cwola": 5.0}, {"cwola-fails", "sa-cwola-gains", "negative-form"}),
        ({"optimal-cwola": 6.0}, {"supervised-best", "sa-cwola-recovers"}),
    ],
)
def test_claims_fall_with_the_numbers_that_they_are_about(changed, refuted) -> None:
    claims = simulation_assisted_claims(numbers_of(**changed))
    found = {one.id for one in claims if one.verdict is Verdict.REFUTED}
    assert found - {"sa-cwola-spread"} == refuted


def test_claims_on_fits_and_weights_fall_with_them() -> None:
    numbers = numbers_of()
    for one in numbers["closure"]:
        one.update(before=0.7, after=0.6)
    for found in (*numbers["prediction"]["salad"], *numbers["prediction"]["data-vs-simulation"]):
        found[-1] = found[-1] | {"weighted": 150.0, "unweighted": 90.0}
    for cut in numbers["spectra"]["null"]["sa-cwola"]:
        cut["tests"] = [{"refused": "too empty"}, *cut["tests"][1:2], {"refused": "too empty"}]
    numbers["strengths"]["curves"]["0.4"] = numbers["curves"]["cwola"]
    found = {c.id for c in simulation_assisted_claims(numbers) if c.verdict is Verdict.REFUTED}
    assert found >= {
        "simulation-distance", "weights-close", "prediction-weighted", "prediction-unweighted",
        "cwola-shapes", "strength-stable",
    }  # fmt: skip


def test_every_figure_is_drawn() -> None:
    plots = simulation_assisted_plots(numbers_of())
    assert [plot.name for plot in plots][:3] == ["features", "curves", "further-curves"]
    assert all(plot.figure.axes and plot.alt for plot in plots)


def test_events_of_all_roles_are_asked_for(tmp_path) -> None:
    found = CliRunner().invoke(
        main, ["study", "simulation-assisted", "--out", str(tmp_path), "--background", "b.csv"]
    )
    assert found.exit_code != 0
    assert "the study needs files of simulation, signal" in found.output


@pytest.mark.slow
def test_a_whole_study_of_tables_goes_on_and_is_read_again(tmp_path) -> None:
    roles = {
        "background": table(10_000, 1),
        "simulation": table(10_000, 2, shift=1.0),
        "signal": table(3000, 3, signal=True),
        "more-background": table(5000, 4),
    }
    files = {}
    for name, values in roles.items():
        files[name] = [tmp_path / f"{name}.csv"]
        header = ",".join(COLUMNS)
        np.savetxt(files[name][0], values, delimiter=",", header=header, comments="")
    options = {
        "out": tmp_path,
        "repetitions": 2,
        "epochs": 1,
        "resources": Resources(progress=False),
    }
    first = studies.simulation_assisted(files, **options)
    folder = tmp_path / "simulation-assisted"
    assert first.numbers["signal"] > 50
    assert first.numbers["curves"]["salad"]["repetitions"] == 2
    written = (folder / "study.json").read_bytes()
    assert len(list((folder / "trainings").glob("*.json"))) == 2 * 5 + 2 * len(SHARES)
    assert studies.simulation_assisted(files, **options) == (studies.StudyResult.load(folder))
    assert (folder / "study.json").read_bytes() == written
    # Without the last step it is written again, and nothing is trained.
    kept = {path: path.read_bytes() for path in (folder / "trainings").iterdir()}
    (folder / "manifest.json").unlink()
    again = studies.simulation_assisted(files, **options)
    assert again.numbers == first.numbers
    assert kept == {path: path.read_bytes() for path in (folder / "trainings").iterdir()}
