"""Events whose jets are given: with constituents, and without."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import PHYSLITESchema

from tnt_coffea.config import ImageSettings, JetSettings, MassRange, SearchConfig, SkimSettings
from tnt_coffea.errors import InputError, TaggerError
from tnt_coffea.events import JetsFrom, SourceSettings, convert, source_of
from tnt_coffea.events.sample import Sample
from tnt_coffea.events.skim import read_parts
from tnt_coffea.processors import SearchProcessor, SkimProcessor
from tnt_coffea.processors.skim import reconstructed
from tnt_coffea.taggers import TaggerSet, load_set

pytestmark = pytest.mark.filterwarnings("ignore:Skipping")

KINEMATICS = SkimSettings(images=None, observables=("pt", "eta", "phi", "mass", "delta_eta"))


OWN_JETS = SourceSettings(jets=JetsFrom.FILE)


def loaded(path: Path, start: int = 0, stop: int | None = None) -> Any:
    source = source_of(path)
    stop = source.entries(path) if stop is None else stop
    return source.load(path, start, stop, {"dataset": "data", "filename": str(path)})


@pytest.fixture
def physlite(real_data: Path) -> Path:
    return real_data / "root" / "PHYSLITE_example.root"


def skimmed(path: Path, settings: SkimSettings, ours: Callable[..., Any], folder: Path) -> Sample:
    ours(path, SkimProcessor(settings, folder), chunk_size=30)
    return read_parts(folder.rglob("*.parquet"))


@pytest.mark.slow
def test_dijets_of_physlite_are_the_leading_jets(
    physlite: Path, ours: Callable[..., Any], tmp_path: Path
) -> None:
    sample = skimmed(physlite, KINEMATICS, ours, tmp_path)
    with uproot.open(physlite) as file:
        names = ("pt", "eta", "phi", "m")
        jets = file["CollectionTree"].arrays(
            [f"AnalysisLargeRJetsAuxDyn.{name}" for name in names], how=tuple
        )
    expected = {}
    for pt, eta, phi, m in zip(*(part.tolist() for part in jets), strict=True):
        if len(pt) < 2:
            continue
        first, second = sorted(range(len(pt)), key=lambda i: -pt[i])[:2]
        heavy, light = (first, second) if m[first] >= m[second] else (second, first)
        p4 = [
            (
                np.hypot(m[i], pt[i] * np.cosh(eta[i])),
                pt[i] * np.cos(phi[i]),
                pt[i] * np.sin(phi[i]),
                pt[i] * np.sinh(eta[i]),
            )
            for i in (heavy, light)
        ]
        energy, *momentum = np.sum(p4, axis=0)
        m_jj = np.sqrt(energy**2 - np.dot(momentum, momentum)) / 1000
        expected[round(m_jj, 2)] = (m[heavy] / 1000, m[light] / 1000)
    assert len(sample) == len(expected) == 32
    for i, m_jj in enumerate(sample.m_jj):
        found = sample.columns["heavy_mass"][i], sample.columns["light_mass"][i]
        assert found == pytest.approx(expected[round(m_jj, 2)], rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (SkimSettings(), "tau21|N-subjettiness|images"),
        (SkimSettings(observables=("mass",)), "images"),
        (SkimSettings(images=None), "constituents"),
        (SkimSettings(images=None, observables=("mass", "tau54")), "N-subjettiness|tau54"),
    ],
)
def test_what_needs_constituents_is_refused(
    physlite: Path, ours: Callable[..., Any], tmp_path: Path, settings: SkimSettings, wanted: str
) -> None:
    with pytest.raises(InputError, match=wanted) as error:
        skimmed(physlite, settings, ours, tmp_path)
    assert "set skim.images to null and skim.observables" in str(error.value)
    assert not list(tmp_path.rglob("*"))


SUBSTRUCTURE = SkimSettings(
    images=None, observables=("pt", "mass", "tau1", "tau21", "tau32", "c2", "d2")
)


@pytest.mark.slow
def test_decorations_of_physlite_are_observables(
    physlite: Path, ours: Callable[..., Any], tmp_path: Path
) -> None:
    sample = skimmed(physlite, SUBSTRUCTURE, ours, tmp_path)
    names = ("m", "Tau1_wta", "Tau2_wta", "Tau3_wta", "C2", "D2")
    with uproot.open(physlite) as file:
        branches = [f"AnalysisLargeRJetsAuxDyn.{name}" for name in names]
        rows = zip(
            *(ak.flatten(b).tolist() for b in file["CollectionTree"].arrays(branches, how=tuple)),
            strict=True,
        )
    stored = {round(m / 1000, 3): rest for m, *rest in rows}
    known = 0
    for jet in ("heavy", "light"):
        columns = [sample.columns[f"{jet}_{name}"] for name in SUBSTRUCTURE.of_jet[1:]]
        for mass, tau1, tau21, tau32, c2, d2 in zip(*columns, strict=True):
            if round(float(mass), 3) not in stored or mass < 1:
                continue
            one, two, three, their_c2, their_d2 = stored[round(float(mass), 3)]
            known += 1
            assert tau1 == pytest.approx(one, rel=1e-5)
            assert tau21 == pytest.approx(two / one if one > 0 else 0, rel=1e-5)
            assert tau32 == pytest.approx(three / two if two > 0 else 0, rel=1e-5)
            assert (c2, d2) == pytest.approx((max(their_c2, 0), max(their_d2, 0)), rel=1e-5)
    assert known > 40


def written_jets(path: Path, **columns: Any) -> Path:
    """Write large-radius jets as ATLAS does, pT and mass in MeV."""
    rows = {
        f"AnalysisLargeRJetsAuxDyn.{name}": ak.values_astype(ak.Array(given), np.float32)
        for name, given in columns.items()
    }
    with uproot.recreate(path) as file:
        file.mktree("CollectionTree", rows)
    return path


def test_jets_without_pt_are_part_of_no_dijet(ours: Callable[..., Any], tmp_path: Path) -> None:
    pt = [[1e6, 0, 5e5], [0, 6e5], [0, 0, 0], [], [7e5, 8e5]]
    columns = {
        "pt": pt,
        "eta": [[0.1, np.nan, -0.2], [0, 0.3], [0, 0, np.inf], [], [0.5, -0.5]],
        "phi": [[0, 0, 3], [0, 1], [0, 0, 0], [], [1, -2]],
        "m": [[8e4, 0, 9e4], [0, 7e4], [0, 0, 0], [], [6e4, 5e4]],
        "Tau1_wta": [[0.1, 0.2, 0.3], [0.4, 0.5], [0.6, 0.7, 0.8], [], [0.9, 0.95]],
    }
    path = written_jets(tmp_path / "zeros.root", **columns)
    settings = SkimSettings(images=None, observables=("pt", "mass", "tau1"))
    given = path, convert(path, tmp_path / "zeros.parquet").path
    for number, one in enumerate(given):
        output = ours(one, SkimProcessor(settings, tmp_path / str(number)))
        assert output["cutflow"]["data"] == {
            "events": 5,
            "rejected": {"two_jets": 3, "trigger": 0},
            "selected": 2,
        }
        sample = read_parts((tmp_path / str(number)).rglob("*.parquet"))
        order = np.argsort(sample.columns["heavy_mass"])
        for name, expected in {
            "heavy_mass": [60, 90],
            "light_mass": [50, 80],
            "heavy_tau1": [0.9, 0.3],
            "light_tau1": [0.95, 0.1],
        }.items():
            assert sample.columns[name][order] == pytest.approx(expected, rel=1e-6)
    bad = written_jets(tmp_path / "nan.root", **columns | {"pt": [[1e6, np.nan, 5e5], *pt[1:]]})
    with pytest.raises(InputError, match=r"nan\.root.*not finite in event 0"):
        skimmed(bad, settings, ours, tmp_path / "bad")


def test_ratios_are_those_of_the_stored_correlators(
    ours: Callable[..., Any], tmp_path: Path
) -> None:
    path = written_jets(
        tmp_path / "ecf.root",
        pt=[[9e5, 8e5], [7e5, 6e5]],
        eta=[[0, 0.5], [0, 0.5]],
        phi=[[0, 3], [0, 3]],
        m=[[9e4, 8e4], [7e4, 6e4]],
        ECF1=[[100, 50], [8, 16]],
        ECF2=[[20, 5], [2, 0]],
        ECF3=[[2, 0.5], [0.25, 0]],
    )
    settings = SkimSettings(images=None, observables=("mass", "c2", "d2"))
    sample = skimmed(path, settings, ours, tmp_path / "out")
    order = np.argsort(sample.columns["heavy_mass"])
    for name, expected in {
        "heavy_c2": [0.25 * 8 / 2**2, 2 * 100 / 20**2],  # ECF3 ECF1 / ECF2^2
        "light_c2": [0, 0.5 * 50 / 5**2],
        "heavy_d2": [0.25 * 8**3 / 2**3, 2 * 100**3 / 20**3],  # ECF3 ECF1^3 / ECF2^3
        "light_d2": [0, 0.5 * 50**3 / 5**3],
    }.items():
        assert sample.columns[name][order] == pytest.approx(expected, rel=1e-6, abs=0), name


def test_decorations_that_a_file_stores_are_what_a_skim_has(
    ours: Callable[..., Any], tmp_path: Path
) -> None:
    path = written_jets(
        tmp_path / "decorated.root",
        pt=[[9e5, 8e5], [7e5, 6e5]],
        eta=[[0, 0.5], [0, 0.5]],
        phi=[[0, 3], [0, 3]],
        m=[[9e4, 8e4], [7e4, 6e4]],
        Tau1_wta=[[0.5, 0.4], [0.25, 0]],
        Tau2_wta=[[0.1, 0.3], [0.2, 0]],
        D2=[[1.5, 2.5], [3.5, -1]],  # -1 says that there is none
        ECF1=[[9, 9], [9, 9]],  # of which nothing is made where D2 is stored
        ECF2=[[9, 9], [9, 9]],
        ECF3=[[9, 9], [9, 9]],
    )
    settings = SkimSettings(images=None, observables=("mass", "tau1", "tau2", "tau21", "d2"))
    given = path, convert(path, tmp_path / "decorated.parquet").path
    for number, one in enumerate(given):
        sample = skimmed(one, settings, ours, tmp_path / str(number))
        order = np.argsort(sample.columns["heavy_mass"])
        for name, expected in {
            "heavy_mass": [70, 90],
            "heavy_tau1": [0.25, 0.5],
            "light_tau2": [0, 0.3],
            "heavy_tau21": [0.8, 0.2],
            "light_tau21": [0, 0.75],
            "heavy_d2": [3.5, 1.5],
            "light_d2": [0, 2.5],
        }.items():
            assert sample.columns[name][order] == pytest.approx(expected, rel=1e-6), name


def test_a_decoration_that_is_not_there_is_named(ours: Callable[..., Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(3)

    def written(*decorations: str) -> Path:
        names = ("pt", "eta", "phi", "m", *decorations)
        columns = {name: ak.from_regular(rng.uniform(1, 2, (20, 2))) for name in names}
        columns["pt"] = columns["pt"] * 1e6
        return written_jets(tmp_path / f"{len(list(tmp_path.iterdir()))}.root", **columns)

    for observable, missing in (
        ("d2", r"AnalysisLargeRJetsAuxDyn\.D2, or ECF1, ECF2, ECF3"),
        ("tau2", r"AnalysisLargeRJetsAuxDyn\.Tau2_wta"),
        ("tau21", r"AnalysisLargeRJetsAuxDyn\.Tau2_wta"),
    ):
        settings = SkimSettings(images=None, observables=("mass", observable))
        with pytest.raises(InputError, match=rf"asks for {observable}, .*{missing}; leave out"):
            skimmed(written("Tau1_wta"), settings, ours, tmp_path / "out")
    settings = SkimSettings(images=None, observables=("mass", "tau21"))
    sample = skimmed(written("Tau21_wta"), settings, ours, tmp_path / "out")
    assert (sample.columns["heavy_tau21"] >= 1).all()  # the stored ratio, which is no ratio here


def test_plain_nanoaod_has_the_experiments_substructure(
    ours: Callable[..., Any], tmp_path: Path
) -> None:
    rng, path = np.random.default_rng(4), tmp_path / "v9.root"
    names = ("pt", "eta", "phi", "mass", "tau1", "tau2", "msoftdrop")
    jets = {name: rng.uniform(0.1, 1, (20, 2)).astype("f4") for name in names}
    jets["pt"] *= 1000
    with uproot.recreate(path) as file:
        rows = {"FatJet": ak.zip({name: ak.from_regular(part) for name, part in jets.items()})}
        file.mktree("Events", rows)
    wanted = {"images": None, "jets": {"radius": 0.8, "order": "pt"}}
    observables = ("tau21", "soft_drop_mass")
    settings = SkimSettings.model_validate({**wanted, "observables": ("pt", *observables)})
    for form in ("root", "parquet"):
        given = path if form == "root" else convert(path, tmp_path / "v9.parquet").path
        sample = skimmed(given, settings, ours, tmp_path / form)
        of = np.argsort(jets["pt"].max(axis=1))
        first = jets["pt"].argmax(axis=1)
        order = np.argsort(sample.columns["heavy_pt"])
        for name, stored in zip(
            observables, (jets["tau2"] / jets["tau1"], jets["msoftdrop"]), strict=True
        ):
            expected = stored[np.arange(20), first][of]
            assert sample.columns[f"heavy_{name}"][order] == pytest.approx(expected, rel=1e-5)
    tau32 = SkimSettings.model_validate({**wanted, "observables": ("tau32",)})
    with pytest.raises(InputError, match=r"v9\.root.*asks for tau32.* nor FatJet_tau3;"):
        skimmed(path, tau32, ours, tmp_path / "out")


def test_taggers_of_images_refuse_jets_without_constituents(
    physlite: Path, ours: Callable[..., Any]
) -> None:
    config = SearchConfig(skim=KINEMATICS)
    with pytest.raises(TaggerError, match=r"takes images, and these events have none"):
        ours(physlite, SearchProcessor(config, load_set("rnd-3500/tnt")))


@pytest.fixture
def calibrated(
    physlite: Path,
    ours: Callable[..., Any],
    tmp_path: Path,
    feature_taggers: Callable[..., TaggerSet],
) -> TaggerSet:
    sample = skimmed(physlite, SUBSTRUCTURE, ours, tmp_path / "skim")
    everything = MassRange(low=1.0, high=20_000.0)
    return feature_taggers(SUBSTRUCTURE, ("mass", "tau21", "d2")).calibrated(
        sample, everything, (0.5, 0.3)
    )


@pytest.mark.slow
def test_taggers_of_features_score_physlite_on_every_road(
    physlite: Path,
    ours: Callable[..., Any],
    stock: Callable[..., Any],
    calibrated: TaggerSet,
    tmp_path: Path,
) -> None:
    config = SearchConfig(skim=SUBSTRUCTURE)
    search = SearchProcessor(config, calibrated)
    reference = ours(physlite, search)
    (histogram,) = reference["hists"].values()
    assert reference["cutflow"]["data"]["selected"] == 32
    assert histogram.sum(flow=True).value != 32  # these events have weights
    assert stock(physlite, search, PHYSLITESchema, "CollectionTree") == reference
    for form in ("root", "parquet"):
        path = convert(physlite, tmp_path / f"converted.{form}").path
        assert ours(path, search) == reference


def test_features_are_the_samples_columns_in_the_cards_order(
    physlite: Path, ours: Callable[..., Any], feature_taggers: Callable[..., Any], tmp_path: Path
) -> None:
    sample = skimmed(physlite, KINEMATICS, ours, tmp_path)
    made = feature_taggers(KINEMATICS, ("mass", "light_pt", "delta_eta"))
    assert made.members[0].tagger.card.inputs[0].columns == ("heavy_mass", "light_pt", "delta_eta")
    scores = made.score(sample).raw
    for scope in ("heavy", "light"):
        names = (f"{scope}_mass", "light_pt", "delta_eta")
        expected = sum(sample.columns[name] for name in names)
        assert scores[scope] == pytest.approx(expected, rel=1e-6)


def test_features_that_the_skim_lacks_are_named(
    physlite: Path, ours: Callable[..., Any], feature_taggers: Callable[..., Any], tmp_path: Path
) -> None:
    sample = skimmed(physlite, KINEMATICS, ours, tmp_path)
    with pytest.raises(TaggerError, match=r"features heavy_tau21, which these events do not have"):
        feature_taggers(KINEMATICS, ("mass", "tau21")).score(sample)


def test_stored_ak8_jets_give_images_and_observables(real_data: Path) -> None:
    events = loaded(real_data / "root" / "pfnano.root")
    jets = JetSettings(radius=0.8)
    clustered, _ = reconstructed(events, SkimSettings(jets=jets))
    stored, _ = reconstructed(events, SkimSettings(source=OWN_JETS, jets=jets))
    assert np.array_equal(stored.event_id, clustered.event_id)
    # CMS corrects the energy of its jets by up to ten per cent; their shapes are the same.
    assert stored.m_jj == pytest.approx(clustered.m_jj, rel=0.15)
    heavy = stored.columns["heavy_eta"], clustered.columns["heavy_eta"]
    same = np.flatnonzero(np.abs(heavy[0] - heavy[1]) < 0.05)
    assert len(same) >= 7
    difference = np.abs(stored.images("heavy", same) - clustered.images("heavy", same))
    assert np.median(difference.sum(axis=(1, 2, 3))) < 0.3


def test_settings_have_to_say_what_the_stored_jets_are(real_data: Path) -> None:
    with pytest.raises(InputError, match=r"set .* skim\.jets\.radius to 0\.8"):
        reconstructed(loaded(real_data / "root" / "pfnano.root"), SkimSettings(source=OWN_JETS))


@pytest.mark.slow
def test_jets_in_random_order_do_not_depend_on_the_chunk(physlite: Path) -> None:
    settings = KINEMATICS.model_copy(update={"jets": JetSettings(order="random", order_seed=5)})
    masses = []
    for cuts in ((0, 100), (0, 37, 100)):
        parts = [
            reconstructed(loaded(physlite, *cut), settings)[0].columns["heavy_mass"]
            for cut in pairwise(cuts)
        ]
        masses.append(np.concatenate(parts))
    assert np.array_equal(*masses)


def test_images_of_another_size_are_still_refused(feature_taggers: Callable[..., Any]) -> None:
    card = load_set("rnd-3500/tnt").members[0].tagger.card
    assert card.misfit(SkimSettings()) is None
    assert card.misfit(SkimSettings(observables=("mass",))) is None
    reason = card.misfit(SkimSettings(images=ImageSettings(pixels=32)))
    assert reason is not None
    assert "pixels=32" in reason
    features = feature_taggers(KINEMATICS).members[0].tagger.card
    assert features.misfit(SkimSettings()) is None  # images more do not matter
    assert "radius=0.8" in (features.misfit(SkimSettings(jets=JetSettings(radius=0.8))) or "")
