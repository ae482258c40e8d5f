"""Simulated signals in the search pass: out of fold, varied, normalised, apart from the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import correctionlib.schemav2 as schema
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tnt_coffea as tnt
from tnt_coffea.config import SearchConfig, SkimSettings, SystematicsSettings
from tnt_coffea.errors import ConfigError, InputError, LeakError, StageError
from tnt_coffea.events import source_of
from tnt_coffea.events.identity import outer_fold
from tnt_coffea.events.sample import Sample, flat_columns, list_columns
from tnt_coffea.execution import Resources
from tnt_coffea.jets.corrections import JetCorrections
from tnt_coffea.pipeline.folders import train_stage
from tnt_coffea.processors.signals import varied_events
from tnt_coffea.processors.skim import reconstructed
from tnt_coffea.products import Histograms, Skim, Taggers
from tnt_coffea.stats.signal_sums import varied_by_members
from tnt_coffea.taggers import Tagger, TaggerSet, load_set
from tnt_coffea.taggers.card import METADATA_KEY

EDGES = [500.0, 1500.0, 2500.0, 4500.0]
WEIGHTS = {
    "pileup": {"up": "pu_up", "down": "pu_down", "nominal": "pu"},
    "isr": {"up": "1 + 0.5 * tau"},
    "pdf": {"members": "pdf_weights", "which": "1-4", "rule": "hessian"},
    "replica": {"members": "pdf_weights", "rule": "replicas", "acceptance": True},
    "scale": {"members": ["pu_up", "pu_down", "tau"], "rule": "envelope"},
}


def binned(name: str, content: list[float], edges: list[float], by: str = "JetPt") -> Any:
    """A correction in bins of one of its inputs, JetPt and JetEta."""
    variables = [schema.Variable(name=one, type="real") for one in ("JetPt", "JetEta")]
    data = schema.Binning(nodetype="binning", input=by, edges=edges, content=content, flow="clamp")
    output = schema.Variable(name="value", type="real")
    return schema.Correction(name=name, version=1, inputs=variables, output=output, data=data)


def by_direction(name: str, **values: float) -> Any:
    """A correction with a value for each direction."""
    items = [schema.CategoryItem(key=key, value=value) for key, value in values.items()]
    data = schema.Category(nodetype="category", input="syst", content=items)
    variables = [schema.Variable(name="syst", type="string")]
    output = schema.Variable(name="value", type="real")
    return schema.Correction(name=name, version=1, inputs=variables, output=output, data=data)


@pytest.fixture(scope="session")
def corrections_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    formula = schema.Formula(
        nodetype="formula", expression="log(-x)", parser="TFormula", variables=["JetPt"]
    )
    not_a_number = schema.Correction(
        name="not-a-number",
        version=1,
        inputs=[schema.Variable(name="JetPt", type="real")],
        output=schema.Variable(name="value", type="real"),
        data=formula,
    )
    corrections = [
        binned("none", [0.0, 0.0], [0, 100, 1e6]),
        binned("two", [0.02, 0.02], [0, 100, 1e6]),
        binned("tenth", [0.1, 0.1], [0, 100, 1e6]),
        binned("forward", [0.5, 0.0], [-10, 0, 10], by="JetEta"),
        binned("minus", [-3.0, -3.0], [0, 100, 1e6]),
        by_direction("factors", up=1.02, down=0.97, nom=1.01),
        by_direction("scale-factor", up=1.3, down=0.9, nom=1.1),
        not_a_number,
    ]
    path = tmp_path_factory.mktemp("corrections") / "jets.json"
    made = schema.CorrectionSet(schema_version=2, corrections=corrections)
    path.write_text(made.model_dump_json(exclude_unset=True))
    return str(path)


SETTINGS = SkimSettings(
    observables=("pt", "eta", "mass", "tau21", "soft_drop_mass", "n_constituents", "delta_eta"),
    sequence={"radius": 0.7, "jets": 4},
    event_image={"pixels": 16},
    constituents=5,
)


def of_jets(file: str, **jets: Any) -> JetCorrections:
    own = {name: {"file": file, **settings} for name, settings in jets.items()}
    return JetCorrections.read(SystematicsSettings(jets=own))


def chunk(
    path: Path, start: int = 0, stop: int | None = None, columns: tuple[str, ...] = ()
) -> Any:
    source = source_of(path)
    metadata = {"dataset": "signal", "filename": str(path), "entrystart": start}
    metadata["columns"] = columns
    return source.load(path, start, source.entries(path) if stop is None else stop, metadata)


def assert_same(one: Sample, other: Sample) -> None:
    assert one.event_id.tobytes() == other.event_id.tobytes()
    assert one.weight.tobytes() == other.weight.tobytes()
    for name in flat_columns(one.settings):
        assert one.columns[name].tobytes() == other.columns[name].tobytes(), name
    for name in list_columns(one.settings):
        assert one.lists[name].to_list() == other.lists[name].to_list(), name


# Jets


def test_a_correction_by_nothing_gives_the_nominal_dijets(
    olympics: Path, corrections_file: str
) -> None:
    kinds = ("energy_scale", "energy_resolution", "mass_scale", "mass_resolution")
    corrections = of_jets(
        corrections_file, **{f"jet_{kind}": {"correction": "none"} for kind in kinds}
    )
    expected, cutflow = reconstructed(chunk(olympics, 0, 8), SETTINGS)
    found = varied_events(chunk(olympics, 0, 8), SETTINGS, corrections)
    assert len(expected) == 8
    assert found.cutflow == cutflow
    assert list(found.samples) == [
        "nominal", "jet_energy_scale_up", "jet_energy_scale_down", "jet_energy_resolution_up",
        "jet_mass_scale_up", "jet_mass_scale_down", "jet_mass_resolution_up",
    ]  # fmt: skip
    for sample in found.samples.values():
        assert_same(sample, expected)


def test_energies_scale_momenta_masses_and_constituents_and_leave_the_shape(
    olympics: Path, corrections_file: str
) -> None:
    corrections = of_jets(corrections_file, jet_energy_scale={"correction": "two"})
    found = varied_events(chunk(olympics, 0, 12), SETTINGS, corrections).samples
    nominal = found["nominal"]
    for direction, factor in (("up", 1.02), ("down", 0.98)):
        varied = found[f"jet_energy_scale_{direction}"]
        assert varied.m_jj == pytest.approx(factor * nominal.m_jj, rel=1e-12)
        for name in ("heavy_pt", "light_mass", "heavy_soft_drop_mass"):
            assert varied.columns[name] == pytest.approx(factor * nominal.columns[name], rel=1e-5)
        for name in ("heavy_eta", "heavy_tau21", "light_n_constituents", "delta_eta"):
            assert varied.columns[name] == pytest.approx(nominal.columns[name], abs=1e-5)
        assert np.allclose(varied.images("heavy"), nominal.images("heavy"), atol=1e-6)
        shares, before = (each.constituents("light").pt for each in (varied, nominal))
        assert shares == pytest.approx(before, rel=1e-5)
        jets, before = (each.sequence().pt for each in (varied, nominal))
        # All particles are in a jet; soft jets of the sequence may come and go at its lowest pT.
        hard = np.sort(before)[-20:]
        assert np.sort(jets)[-20:] == pytest.approx(factor * hard, rel=1e-5)


def test_order_and_mass_are_those_of_the_varied_jets(olympics: Path, corrections_file: str) -> None:
    settings = SkimSettings(images=None, observables=("pt", "eta", "phi", "mass"))
    corrections = of_jets(
        corrections_file,
        jet_mass_scale={"correction": "forward"},
        energy={"correction": "forward", "kind": "energy_scale"},
    )
    found = varied_events(chunk(olympics), settings, corrections).samples
    nominal = found["nominal"]
    jets = {
        name: np.stack(
            [nominal.columns[f"{jet}_{name}"].astype(float) for jet in ("heavy", "light")]
        )
        for name in ("pt", "eta", "phi", "mass")
    }
    for variation, also_pt in (("jet_mass_scale_up", False), ("energy_up", True)):
        varied = found[variation]
        assert len(varied) == len(nominal)
        factor = np.where(jets["eta"] < 0, 1.5, 1.0)
        mass, pt = jets["mass"] * factor, jets["pt"] * (factor if also_pt else 1.0)
        order = np.argsort(-mass, axis=0)
        for i, jet in enumerate(("heavy", "light")):
            for name, values in (("mass", mass), ("pt", pt), ("eta", jets["eta"])):
                expected = np.take_along_axis(values, order, axis=0)[i]
                assert varied.columns[f"{jet}_{name}"] == pytest.approx(expected, rel=1e-4)
        px, py, pz = pt * np.cos(jets["phi"]), pt * np.sin(jets["phi"]), pt * np.sinh(jets["eta"])
        energy = np.sqrt(px**2 + py**2 + pz**2 + mass**2)
        total = [part.sum(axis=0) for part in (px, py, pz, energy)]
        m_jj = np.sqrt(total[3] ** 2 - total[0] ** 2 - total[1] ** 2 - total[2] ** 2)
        assert varied.m_jj == pytest.approx(m_jj, rel=1e-4)
    swapped = (jets["mass"] * np.where(jets["eta"] < 0, 1.5, 1.0)).argmax(axis=0) == 1
    assert 0 < swapped.sum() < len(nominal)


def test_masses_alone_leave_what_constituents_say_and_exchange_jets(
    olympics: Path, corrections_file: str
) -> None:
    settings = SETTINGS.model_copy(
        update={"observables": tuple(n for n in SETTINGS.observables if n != "soft_drop_mass")}
    )
    corrections = of_jets(corrections_file, jet_mass_scale={"correction": "forward"})
    # With soft drop everything is made again.
    whole = varied_events(chunk(olympics, 0, 12), SETTINGS, corrections).samples
    found = varied_events(chunk(olympics, 0, 12), settings, corrections).samples
    swapped = 0
    for name, sample in found.items():
        wanted = replace(
            whole[name],
            settings=settings,
            columns={one: whole[name].columns[one] for one in flat_columns(settings)},
        )
        assert_same(sample, wanted)
        swapped += (sample.columns["heavy_pt"] != found["nominal"].columns["heavy_pt"]).sum()
    assert swapped > 0


def test_a_variation_decides_again_which_events_pass(olympics: Path, corrections_file: str) -> None:
    base = SkimSettings(images=None, observables=("pt",))
    leading = reconstructed(chunk(olympics), base)[0]
    highest = np.maximum(leading.columns["heavy_pt"], leading.columns["light_pt"])
    trigger = float(np.median(highest))
    settings = SkimSettings(images=None, observables=("pt",), jets={"trigger_pt": trigger})
    corrections = of_jets(corrections_file, jet_energy_scale={"correction": "tenth"})
    found = varied_events(chunk(olympics), settings, corrections)
    sizes = {name: len(sample) for name, sample in found.samples.items()}
    assert sizes == {
        "nominal": (highest > trigger).sum(),
        "jet_energy_scale_up": (highest * 1.1 > trigger).sum(),
        "jet_energy_scale_down": (highest * 0.9 > trigger).sum(),
    }
    assert sizes["jet_energy_scale_down"] < sizes["nominal"] < sizes["jet_energy_scale_up"]
    assert found.cutflow["rejected"]["trigger"] == 40 - sizes["nominal"]
    assert found.generated["nominal"] == 40 * 2**32


def test_smearing_is_of_the_event_alone_and_as_wide_as_said(
    olympics: Path, corrections_file: str
) -> None:
    settings = SkimSettings(images=None, observables=("pt", "eta"), jets={"order": "pt"})
    corrections = of_jets(corrections_file, jet_energy_resolution={"correction": "tenth"})
    whole = varied_events(chunk(olympics), settings, corrections).samples
    parts = [varied_events(chunk(olympics, i, i + 8), settings, corrections).samples
             for i in range(0, 40, 8)]  # fmt: skip
    varied = whole["jet_energy_resolution_up"]
    for name in ("m_jj", "heavy_pt", "light_eta"):
        joined = [one["jet_energy_resolution_up"].columns[name] for one in parts]
        assert np.concatenate(joined).tobytes() == varied.columns[name].tobytes()
    # The eta of a jet tells it apart where the order by pT has changed.
    pt, eta = ({n: np.concatenate([s.columns[f"{j}_{name}"] for j in ("heavy", "light")])
                for n, s in whole.items()} for name in ("pt", "eta"))  # fmt: skip
    before = dict(zip(eta["nominal"].tolist(), pt["nominal"].tolist(), strict=True))
    moved = np.array([value / before[at] - 1 for at, value in
                      zip(eta["jet_energy_resolution_up"].tolist(),
                          pt["jet_energy_resolution_up"].tolist(), strict=True)])  # fmt: skip
    assert len(moved) == 80
    assert moved.std() == pytest.approx(0.1, rel=0.3)  # 80 numbers: 8 % of a standard deviation
    assert abs(moved.mean()) < 0.04


def test_factors_of_resolution_and_scale_follow_their_inputs(corrections_file: str) -> None:
    corrections = of_jets(
        corrections_file,
        jet_energy_scale={
            "correction": "factors",
            "up": {"syst": "up"},
            "down": {"syst": "down"},
            "nominal": {"syst": "nom"},
        },
        jet_energy_resolution={
            "correction": "scale-factor",
            "up": {"syst": "up"},
            "down": {"syst": "down"},
            "nominal": {"syst": "nom"},
            "resolution": {"file": corrections_file, "correction": "tenth"},
        },
    )
    p4 = np.array([[300.0], [400.0], [0.0], [510.0]])
    normal = {"jet_energy_resolution": np.array([2.0])}
    expected = {
        None: 1.01 * (1 + 2 * 0.1 * np.sqrt(1.1**2 - 1)),
        "jet_energy_scale_up": 1.02 * (1 + 2 * 0.1 * np.sqrt(1.1**2 - 1)),
        "jet_energy_resolution_up": 1.01 * (1 + 2 * 0.1 * np.sqrt(1.3**2 - 1)),
        "jet_energy_resolution_down": 1.01,  # below one there is nothing to add
    }
    for variation, factor in expected.items():
        energy, mass = corrections.factors(variation, p4, normal)
        assert energy == pytest.approx([factor], rel=1e-12), variation
        assert mass == [1.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"file": "nowhere.json", "correction": "two"}, "nowhere.json: cannot be read"),
        ({"correction": "twoo"}, "correction 'twoo': not in the file, which has factors"),
        ({"correction": "two", "inputs": {"pT": "pt"}}, "correction 'two': has no input pT; it"),
        ({"correction": "factors"}, r"'factors': input syst \(string\): nothing says what it is"),
        ({"correction": "factors", "inputs": {"syst": "pt"}}, r"'factors': input syst \(string\)"),
        ({"correction": "two", "inputs": {"JetEta": "rapidity"}}, "'rapidity' is none"),
    ],
)
def test_corrections_that_do_not_fit_are_refused_before_an_event_is_read(
    corrections_file: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        of_jets(settings.pop("file", corrections_file), jet_energy_scale=settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"correction": "not-a-number"}, "correction 'not-a-number': gives nan for a jet with pt"),
        ({"correction": "minus"}, "correction 'minus': a factor of -2 on a jet with pt = "),
        (
            {"correction": "factors", "up": {"syst": "upp"}},
            "correction 'factors': cannot be evaluated for jets with pt from",
        ),
    ],
)
def test_what_a_correction_gives_is_checked(
    olympics: Path, corrections_file: str, settings: dict[str, Any], message: str
) -> None:
    corrections = of_jets(corrections_file, jet_energy_scale=settings)
    with pytest.raises(ConfigError, match=message):
        varied_events(chunk(olympics), SkimSettings(images=None, observables=()), corrections)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 1}'])
def test_files_that_are_none_of_correctionlib_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.json: cannot be read as a file of correctionlib"):
        of_jets(str(tmp_path / "bad.json"), jet_energy_scale={"correction": "two"})


# The search


def events_of(path: Path, seed: int, n: int = 60) -> Path:
    """Write dijets as particles to Parquet, with columns of weights."""
    rng = np.random.default_rng(seed)
    counts = np.full(n, 12)
    phi = rng.uniform(-np.pi, np.pi, n)
    around = np.repeat(phi, 12) + np.tile(np.repeat([0, np.pi], 6), n) + rng.normal(0, 0.2, 12 * n)
    columns = {
        "PFCands_pt": rng.exponential(120, 12 * n) + 30,
        "PFCands_eta": rng.normal(0, 0.2, 12 * n) + np.tile(np.repeat([0.4, -0.4], 6), n),
        "PFCands_phi": np.remainder(around + np.pi, 2 * np.pi) - np.pi,
        "PFCands_mass": np.zeros(12 * n),
    }
    lists = {
        name: pa.ListArray.from_arrays(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int32), values.astype(np.float32)
        )
        for name, values in columns.items()
    }
    members = 1 + 0.1 * rng.normal(size=(n, 5))
    flat = {
        "weight": rng.uniform(0.5, 1.5, n),
        "pu": rng.uniform(0.9, 1.1, n),
        "pu_up": rng.uniform(0.9, 1.3, n),
        "pu_down": rng.uniform(0.7, 1.1, n),
        "tau": rng.uniform(0.1, 0.9, n),
        "pdf_weights": pa.FixedSizeListArray.from_arrays(members.ravel(), 5),
    }
    pq.write_table(pa.table({**lists, **flat}), path)
    return path


@pytest.fixture(scope="module")
def config(corrections_file: str) -> SearchConfig:
    base = SearchConfig.from_text(
        "{search: {efficiencies: [0.5, 0.3], window: {low: 1000, high: 2000}, fit_range: {low: "
        "500, high: 4500}, histogram_range: {low: 500, high: 4500}, bin_width: 20}, "
        "fit: {bump: {efficiency: 0.3}, abcd: {efficiency: 0.3}, direct: {efficiency: 0.3}}}"
    )
    skim = SkimSettings(images=None, observables=("mass", "pt"))
    jets = {
        "jet_energy_scale": {"file": corrections_file, "correction": "two"},
        "jet_mass_resolution": {"file": corrections_file, "correction": "tenth"},
    }
    systematics = SystematicsSettings(jets=jets, weights=WEIGHTS)
    return base.model_copy(update={"skim": skim, "systematics": systematics})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tnt.Fileset:
    folder = tmp_path_factory.mktemp("events")
    paths = {
        name: [events_of(folder / f"{name}.parquet", seed)]
        for seed, name in enumerate(("data", "first", "second"))
    }
    roles = {"first": "signal:m1500", "second": "signal:m1500"}
    return tnt.Fileset.from_paths(paths, roles=roles)


@pytest.fixture(scope="module")
def skimmed(
    files: tnt.Fileset, config: SearchConfig, tmp_path_factory: pytest.TempPathFactory
) -> Skim:
    return tnt.skim(files, config, out=tmp_path_factory.mktemp("skim"))


@pytest.fixture(scope="module")
def taggers(
    skimmed: Skim, config: SearchConfig, feature_taggers: Callable[..., TaggerSet]
) -> Taggers:
    search = config.search
    made = feature_taggers(config.skim, name="sum").calibrated(
        skimmed.sample(), search.fit_range, search.efficiencies, {}, search.window
    )
    return Taggers({"sum": made}, {})


@pytest.fixture(scope="module")
def searched(
    skimmed: Skim,
    taggers: Taggers,
    config: SearchConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Histograms, Path]:
    out = tmp_path_factory.mktemp("searched")
    return tnt.search(skimmed, taggers, config, out=out), out / "search"


def by_hand(
    files: tnt.Fileset, config: SearchConfig, taggers: Taggers
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Particles of both files in one chunk each: samples by variation, and columns of weights."""
    corrections = JetCorrections.read(SystematicsSettings(jets=config.systematics.jets))
    found = [
        varied_events(chunk(files.files[name][0]), config.skim, corrections).samples
        for name in ("first", "second")
    ]
    tables = [pq.read_table(files.files[name][0]) for name in ("first", "second")]
    columns = {
        name: np.concatenate([np.stack(t.column(name).to_numpy()) for t in tables])
        for name in ("weight", "pu", "pu_up", "pu_down", "tau", "pdf_weights")
    }
    return {name: [each[name] for each in found] for name in found[0]}, columns


def test_signals_are_scored_and_weighted_out_of_fold(
    files: tnt.Fileset, config: SearchConfig, taggers: Taggers, searched: tuple[Histograms, Path]
) -> None:
    signals, made = searched[0].signals["sum"], taggers.sets["sum"]
    samples, columns = by_hand(files, config, taggers)
    own = columns["weight"]
    total = (own * columns["pu"]).sum()
    factors = {
        "pileup": (columns["pu_up"], columns["pu_down"]),
        "isr": (columns["pu"] * (1 + 0.5 * columns["tau"]), None),
    }
    point = searched[0].points["sum"][0.3]
    templates = signals.templates("m1500", point, EDGES)
    every = signals.templates("m1500", None, EDGES)
    assert signals.masses == {"m1500": 1500.0}
    assert signals.generated["m1500"]["nominal"] == pytest.approx(total, rel=1e-9)
    assert set(templates[0].variations) == {
        "jet_energy_scale", "jet_mass_resolution", "pileup", "isr", "pdf", "replica", "scale",
    }  # fmt: skip

    def spectrum(variation: str, weight: Any, fold: int, cut: bool = True) -> Any:
        joined = 0
        for sample, part in zip(samples[variation], np.split(weight, 2), strict=True):
            ranks = made.ranks(sample)
            assert (ranks.fold == outer_fold(sample.event_id, made.folds, made.fold_seed)).all()
            x = point.cut(fold)
            passes = (ranks.heavy >= x.heavy) & (ranks.light >= x.light) if cut else True
            kept = (ranks.fold == fold) & passes
            joined = joined + np.histogram(sample.m_jj[kept], EDGES, weights=part[kept])[0]
        return joined

    seen = 0.0
    for fold, template in templates.items():
        nominal = spectrum("nominal", own * columns["pu"], fold)
        assert template.nominal == pytest.approx(nominal / total, rel=1e-6)
        assert template.variance == pytest.approx(
            spectrum("nominal", (own * columns["pu"]) ** 2, fold) / total**2, rel=1e-6
        )
        assert every[fold].nominal == pytest.approx(
            spectrum("nominal", own * columns["pu"], fold, cut=False) / total, rel=1e-6
        )
        for name, pair in factors.items():
            for i, factor in enumerate(pair):
                if factor is None:  # the mirror image of the other one
                    expected = 2 * nominal - spectrum("nominal", own * pair[0], fold)
                    expected = np.maximum(expected, 0)
                else:
                    expected = spectrum("nominal", own * factor, fold)
                assert template.variations[name][i] == pytest.approx(expected / total, rel=1e-6)
        members = np.stack([
            spectrum("nominal", own * columns["pu"] * columns["pdf_weights"][:, k], fold)
            for k in range(5)
        ])  # fmt: skip
        size = np.sqrt(((members[1:] - nominal) ** 2).sum(axis=0))
        assert template.variations["pdf"][0] == pytest.approx((nominal + size) / total, rel=1e-6)
        sums = np.array([(own * columns["pu"] * one).sum() for one in columns["pdf_weights"].T])
        spread = (members / sums[:, None]).std(axis=0, ddof=1)
        assert template.variations["replica"][0] == pytest.approx(
            nominal / total + spread, rel=1e-6
        )
        scales = [nominal] + [
            spectrum("nominal", own * columns["pu"] * columns[name], fold)
            for name in ("pu_up", "pu_down", "tau")
        ]
        for i, choose in enumerate((np.max, np.min)):
            assert template.variations["scale"][i] == pytest.approx(
                choose(scales, axis=0) / total, rel=1e-6
            )
        up, down = (
            spectrum(f"jet_energy_scale_{d}", own * columns["pu"], fold) for d in ("up", "down")
        )
        assert template.variations["jet_energy_scale"][0] == pytest.approx(up / total, rel=1e-6)
        assert template.variations["jet_energy_scale"][1] == pytest.approx(down / total, rel=1e-6)
        assert not np.array_equal(up, down)
        seen += template.total
    assert 0 < seen < 1


def test_skim_and_particles_in_any_chunks_give_the_same_bytes(
    files: tnt.Fileset,
    config: SearchConfig,
    taggers: Taggers,
    searched: tuple[Histograms, Path],
    tmp_path: Path,
) -> None:
    resources = Resources(executor="iterative", chunk_size=35)
    found = tnt.search(files, taggers, config, out=tmp_path, resources=resources)
    for name in ("signals.h5", "histograms.h5"):
        ours, theirs = (path / name for path in (tmp_path / "search", searched[1]))
        assert ours.read_bytes() == theirs.read_bytes(), name
    assert found.signals["sum"].to_dict() == searched[0].signals["sum"].to_dict()
    assert found.signal_accounting == searched[0].signal_accounting
    assert found.digest == searched[0].digest
    assert Histograms.load(searched[1]).digest == found.digest
    assert found.signal_accounting is not None
    assert found.signal_accounting.events == 120


def test_only_what_a_variation_changes_is_scored_again(
    olympics: Path, corrections_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger_set = load_set("rnd-3500/tnt")  # of images alone
    members = sum(one.scope == "heavy" and one.fold == 0 for one in tagger_set.members)
    corrections = of_jets(
        corrections_file,
        jet_mass_scale={"correction": "forward"},
        jet_energy_resolution={"correction": "tenth"},
    )
    settings = SkimSettings(observables=("mass",))
    samples = varied_events(chunk(olympics, 0, 12), settings, corrections).samples
    # In another order, and two events that only varied jets have.
    before = samples["nominal"].select(np.arange(12)[:1:-1])
    known, score, scored = tagger_set.score(before), Tagger.score, []

    def noted(tagger: Tagger, inputs: Any) -> Any:
        scored.append(len(inputs["image"]))
        return score(tagger, inputs)

    monkeypatch.setattr(Tagger, "score", noted)
    changed = {}
    for name, sample in samples.items():
        alone = tagger_set.score(sample)
        assert sum(scored) == 2 * 12 * members
        scored.clear()
        found = tagger_set.score(sample, like=(before, known))
        for scope, raw in alone.raw.items():
            assert raw.tobytes() == found.raw[scope].tobytes()
        ours, theirs = (tagger_set.ranks(sample, scores=each) for each in (alone, found))
        assert ours.both.tobytes() == theirs.both.tobytes()
        changed[name] = 0
        for jet in ("heavy", "light"):
            other = sample.images(jet)[2:] != before.images(jet)[::-1]
            changed[name] += int(other.any(axis=(1, 2, 3)).sum())
        assert sum(scored) == members * (2 * 2 + changed[name])
        scored.clear()
    assert changed["nominal"] == 0
    exchanged = [changed[f"jet_mass_scale_{direction}"] for direction in ("up", "down")]
    assert 0 < sum(exchanged) < 2 * 2 * 10
    assert changed["jet_energy_resolution_up"] > 0


def test_data_and_training_know_nothing_of_signals(
    files: tnt.Fileset,
    config: SearchConfig,
    taggers: Taggers,
    skimmed: Skim,
    searched: tuple[Histograms, Path],
    tmp_path: Path,
) -> None:
    alone = tnt.skim(files.searched, config, out=tmp_path)
    assert alone.content == skimmed.content
    assert list(skimmed.for_training) == ["data"]
    keys = [train_stage(one, config, tmp_path).key for one in (alone, skimmed)]
    assert keys[0] == keys[1]
    found = tnt.search(alone, taggers, config, out=tmp_path)
    stored = (tmp_path / "search" / "histograms.h5").read_bytes()
    assert stored == (searched[1] / "histograms.h5").read_bytes()
    assert not found.signals
    assert not (tmp_path / "search" / "signals.h5").exists()
    assert found.digest != searched[0].digest


def test_a_skim_with_other_variations_is_refused(
    skimmed: Skim, taggers: Taggers, config: SearchConfig, tmp_path: Path
) -> None:
    fewer = SystematicsSettings(jets=config.systematics.jets)
    other = config.model_copy(update={"systematics": fewer})
    with pytest.raises(StageError, match="other systematic variations than those of the settings"):
        tnt.search(skimmed, taggers, other, out=tmp_path)


def test_the_settings_say_mass_and_sum_of_weights(
    skimmed: Skim, taggers: Taggers, config: SearchConfig, searched: tuple[Histograms, Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    said = {"m1500": {"mass": 1450.0, "sum_of_weights": 1000.0}}
    values = config.systematics.model_dump() | {"signals": said}
    own = config.model_copy(update={"systematics": SystematicsSettings(**values)})
    found = tnt.search(skimmed, taggers, own, out=tmp_path).signals["sum"]
    before = searched[0].signals["sum"]
    assert found.masses == {"m1500": 1450.0}
    point = searched[0].points["sum"][0.3]
    factor = before.generated["m1500"]["nominal"] / 1000.0
    for fold, template in found.templates("m1500", point).items():
        other = before.templates("m1500", point)[fold]
        assert template.nominal == pytest.approx(other.nominal * factor)
        for name, (up, _) in template.variations.items():
            assert up == pytest.approx(other.variations[name][0] * factor), name
    misspelt = SystematicsSettings(signals={"m1600": {"mass": 1600}})
    wrong = config.model_copy(update={"systematics": misspelt})
    with pytest.raises(ConfigError, match="names m1600, and the signals are m1500"):
        tnt.search(skimmed, taggers, wrong, out=tmp_path)


def test_no_event_is_signal_and_data_at_once(
    files: tnt.Fileset, config: SearchConfig, taggers: Taggers, tmp_path: Path
) -> None:
    (path,) = files.files["data"]
    (tmp_path / "copy.parquet").write_bytes(path.read_bytes())
    both = tnt.Fileset.from_paths(
        {"data": [path], "copy": [tmp_path / "copy.parquet"]}, roles={"copy": "signal:m1500"}
    )
    plain = config.model_copy(update={"systematics": SystematicsSettings()})
    with pytest.raises(LeakError, match="60 events are both data and signal:m1500"):
        tnt.skim(both, plain, out=tmp_path / "skim")
    with pytest.raises(LeakError, match="which is signal:m1500, is one of 'data', which is data"):
        tnt.search(both, taggers, plain, out=tmp_path / "search")


def test_a_signal_that_trained_taggers_without_folds_is_refused(
    skimmed: Skim, taggers: Taggers, config: SearchConfig, tmp_path: Path
) -> None:
    sha256 = skimmed.contents["signal:m1500"]
    for ancestors, refused in (((), True), ((0,), False)):
        members = []
        for member in taggers.sets["sum"].members:
            folds = ancestors and (1 - member.fold,)
            card = member.tagger.card.model_copy(
                update={"priors": {"x": sha256}, "ancestors": folds, "direct": folds}
            )
            model = onnx.load_model_from_string(member.tagger.data)
            onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
            members.append(replace(member, tagger=Tagger(model.SerializeToString())))
        own = Taggers({"sum": replace(taggers.sets["sum"], members=tuple(members))}, {})
        if refused:
            with pytest.raises(LeakError, match="the events of role 'signal:m1500' trained it"):
                tnt.search(skimmed, own, config, out=tmp_path)
        else:
            assert tnt.search(skimmed, own, config, out=tmp_path).signals


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"up": "pu_upp"}, "pu_upp, which the file has not; did you mean pu_up"),
        (
            {"up": "pdf_weights"},
            "parquet, .*number an event for pdf_weights of systematics.weights.own, found lists",
        ),
        (
            {"up": "PFCands_pt"},
            r"parquet, .*number an event for PFCands_pt of .*own, found lists of \?*float",
        ),
        (
            {"up": "PFCands_pt * pdf_weights"},
            r"parquet, .*PFCands_pt \* pdf_weights of .*own cannot be calculated of the columns",
        ),
        ({"members": "pu", "rule": "hessian"}, "pu of systematics.weights.own holds no lists"),
        (
            {"members": "PFCands_pt", "rule": "hessian", "which": "12"},
            "which has 12, and .* has 12",
        ),
        ({"up": "log(-pu)"}, r"log\(-pu\) of systematics.weights.own is nan in event 0"),
    ],
)
def test_columns_of_weights_that_do_not_fit_are_named(
    files: tnt.Fileset, config: SearchConfig, taggers: Taggers, tmp_path: Path,
    weights: dict[str, Any], message: str,
) -> None:  # fmt: skip
    systematics = SystematicsSettings(weights={"own": weights})
    own = config.model_copy(update={"systematics": systematics})
    with pytest.raises((InputError, ConfigError), match=message):
        tnt.search(files, taggers, own, out=tmp_path)


def test_variations_of_jets_are_not_of_tables(tmp_path: Path, corrections_file: str) -> None:
    table = tmp_path / "signal.csv"
    table.write_text("m_jj,heavy_mass,light_mass,w\n3500,500,100,2\n2800,90,40,3\n")
    events = chunk(table)
    weights = SystematicsSettings(weights={"own": {"up": "w"}})
    found = varied_events(events, SkimSettings(), JetCorrections.read(weights))
    assert found.weights["own_up"].tolist() == [2.0, 3.0]
    assert found.generated == {"nominal": 2 * 2**32, "own_up": 5 * 2**32}
    corrections = of_jets(corrections_file, jet_energy_scale={"correction": "two"})
    with pytest.raises(ConfigError, match=r"varies jets, and a table of features has none"):
        varied_events(events, SkimSettings(), corrections)


def test_members_are_combined_exactly() -> None:
    nominal, members = np.array([10.0, 4.0]), np.array([[13.0, 4.0], [14.0, 1.0], [6.0, 4.0]])
    up, down = varied_by_members("hessian", nominal, members)
    assert up == pytest.approx([10 + np.sqrt(41), 7])
    assert down == pytest.approx([10 - np.sqrt(41), 1])
    up, down = varied_by_members("replicas", nominal, members)
    assert up - nominal == pytest.approx(np.std(members, axis=0, ddof=1))
    up, down = varied_by_members("envelope", nominal, members)
    assert (up.tolist(), down.tolist()) == ([14.0, 4.0], [6.0, 1.0])
