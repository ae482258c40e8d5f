"""The same events give the same histograms, from whatever file and on whichever road."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema, DelphesSchema, NanoAODSchema, PFNanoAODSchema

from tnt_coffea import taggers
from tnt_coffea.config import JetSettings, SearchConfig, SkimSettings
from tnt_coffea.events import convert
from tnt_coffea.events.pfnano import COLUMNS as NANO_COLUMNS
from tnt_coffea.events.skim import read_parts
from tnt_coffea.processors import SearchProcessor, SkimProcessor

pytestmark = pytest.mark.filterwarnings(
    "ignore:Missing cross-reference",
    "ignore:Missing event_ids",
    "ignore:Branch .* already exists",
    "ignore:Found duplicate branch",
    "ignore:Skipping",
)

FORMATS = ("root", "parquet")
_PHYSLITE_NUMBERS = tuple(
    f"EventInfoAuxDyn.{name}" for name in ("runNumber", "lumiBlock", "eventNumber")
)


class NumberlessNanoAODSchema(NanoAODSchema):
    """Events that no experiment numbered."""

    error_missing_event_ids = False


class OldDelphesSchema(DelphesSchema):
    """coffea's own schema asks for the mass of tracks, which old files do not have."""

    mixins = DelphesSchema.mixins | {"Track": "NanoCollection", "EFlowTrack": "NanoCollection"}


@pytest.fixture(scope="session")
def search() -> SearchProcessor:
    """Packaged taggers of images; the autoencoders are the quicker ones."""
    return SearchProcessor(SearchConfig(), taggers.load_set("rnd-3500/autoencoder"))


def filled(output: dict[str, Any]) -> float:
    (histogram,) = output["hists"].values()
    return histogram.sum(flow=True).value


def test_the_same_events_in_any_format_and_on_either_road(
    olympics: Path,
    tmp_path: Path,
    search: SearchProcessor,
    ours: Callable[..., Any],
    stock: Callable[..., Any],
) -> None:
    reference = ours(olympics, search)
    assert filled(reference) == 40
    for form, schemas in {
        "root": (NumberlessNanoAODSchema, BaseSchema),
        "parquet": (BaseSchema,),
    }.items():
        path = convert(olympics, tmp_path / f"converted.{form}", chunk_size=11).path
        assert ours(path, search, chunk_size=7) == reference
        for schema in schemas:
            assert stock(path, search, schema, chunk_size=9) == reference


def test_real_olympics_give_the_same_histograms_converted(
    lhco_file: Path,
    tmp_path: Path,
    search: SearchProcessor,
    ours: Callable[..., Any],
    stock: Callable[..., Any],
) -> None:
    reference = ours(lhco_file, search)
    assert filled(reference) == 1000
    root, parquet = (convert(lhco_file, tmp_path / f"out.{form}").path for form in FORMATS)
    assert ours(root, search, chunk_size=400) == reference
    assert stock(parquet, search, BaseSchema, chunk_size=600) == reference


@pytest.mark.parametrize(
    ("name", "tree", "schema", "events"),
    [
        ("pfnano", "Events", PFNanoAODSchema, 10),
        ("fastjet_pfnano_skim", "Events", NanoAODSchema, 3),
        ("skhep_uproot-issue513_delphes", "Delphes", OldDelphesSchema, 10),
        ("skhep_uproot-issue513_delphes", "Delphes", BaseSchema, 10),
    ],
)
def test_real_root_files_give_the_same_histograms_on_either_road(
    real_data: Path,
    search: SearchProcessor,
    ours: Callable[..., Any],
    stock: Callable[..., Any],
    name: str,
    tree: str,
    schema: Any,
    events: int,
) -> None:
    path = real_data / "root" / f"{name}.root"
    reference = ours(path, search)
    assert filled(reference) == events
    assert stock(path, search, schema, tree, chunk_size=5) == reference


def test_real_events_as_rntuple_give_the_same_histograms(
    real_data: Path, tmp_path: Path, search: SearchProcessor, ours: Callable[..., Any]
) -> None:
    source, copy = real_data / "root" / "pfnano.root", tmp_path / "rntuple.root"
    with uproot.open(source) as file, uproot.recreate(copy) as out:
        tree = file["Events"]
        names = sorted(set(NANO_COLUMNS).intersection(tree.keys()))
        out.mkrntuple("Events", tree.arrays(names, how=dict))
    assert ours(copy, search, chunk_size=4) == ours(source, search)


@pytest.mark.parametrize("form", FORMATS)
def test_random_order_follows_the_event_not_the_file(
    olympics: Path, tmp_path: Path, ours: Callable[..., Any], form: str
) -> None:
    by_mass, by_lot = SkimSettings(), SkimSettings(jets=JetSettings(order="random", order_seed=5))
    mass = {}
    for name, settings, path, chunk_size in (
        ("mass", by_mass, olympics, 1000),
        ("lot", by_lot, olympics, 1000),
        ("converted", by_lot, convert(olympics, tmp_path / f"out.{form}").path, 9),
    ):
        folder = tmp_path / name
        parts = ours(path, SkimProcessor(settings, folder), chunk_size)["parts"]["data"]
        sample = read_parts(folder / part for part in parts)
        mass[name] = np.stack([sample.columns[f"{jet}_mass"] for jet in ("heavy", "light")])
    assert np.array_equal(mass["lot"], mass["converted"])
    assert np.array_equal(np.sort(mass["lot"], axis=0), np.sort(mass["mass"], axis=0))
    # Forty coins: 10 to 30 heads but for one time in a thousand.
    assert 10 < (mass["lot"][0] > mass["lot"][1]).sum() < 30


@pytest.mark.parametrize(
    ("name", "tree", "branches"),
    [
        ("pfnano", "Events", ("run", "luminosityBlock", "event")),
        ("PHYSLITE_example", "CollectionTree", _PHYSLITE_NUMBERS),
        ("skhep_uproot-issue513_delphes", "Delphes", None),
    ],
)
def test_numbers_of_real_events_come_through_conversion_and_skim(
    real_data: Path,
    tmp_path: Path,
    ours: Callable[..., Any],
    name: str,
    tree: str,
    branches: tuple[str, ...] | None,
) -> None:
    source = real_data / "root" / f"{name}.root"
    settings = SkimSettings(images=None, observables=("mass",))
    skims = {}
    for path in (source, convert(source, tmp_path / "converted.parquet").path):
        folder = tmp_path / path.stem
        parts = ours(path, SkimProcessor(settings, folder), chunk_size=7)["parts"]["data"]
        skims[path] = read_parts([folder / part for part in parts], numbers=True)
    direct, converted = skims.values()
    assert len(direct) > 0
    assert {n: c.tolist() for n, c in direct.numbers.items()} == {
        n: c.tolist() for n, c in converted.numbers.items()
    }
    with uproot.open(source) as file:
        raw = {b: file[tree][b].array() for b in branches or ("Event.Number",)}
    rows = set(
        zip(*(np.asarray(ak.ravel(column)).tolist() for column in raw.values()), strict=True)
    )
    assert set(zip(*(c.tolist() for c in direct.numbers.values()), strict=True)) <= rows
    assert len(direct.numbers) == len(raw)


@pytest.mark.parametrize(
    ("name", "form"), [("pfnano", "root"), ("skhep_uproot-issue513_delphes", "parquet")]
)
def test_real_root_files_give_the_same_histograms_converted(
    real_data: Path,
    tmp_path: Path,
    search: SearchProcessor,
    ours: Callable[..., Any],
    name: str,
    form: str,
) -> None:
    path = real_data / "root" / f"{name}.root"
    converted = convert(path, tmp_path / f"converted.{form}", chunk_size=3).path
    assert ours(converted, search) == ours(path, search)


@pytest.mark.parametrize("form", ["list", "trees by path"])
def test_the_runner_takes_files_in_every_form_and_may_stop_early(
    olympics: Path, tmp_path: Path, form: str
) -> None:
    from coffea.processor import IterativeExecutor, Runner

    path = str(convert(olympics, tmp_path / "events.root").path)
    files: Any = {"files": [path], "treename": "Events"}
    if form == "trees by path":
        files = {"files": {path: "Events"}}
    processor = SkimProcessor(SkimSettings(images=None, observables=("mass",)), tmp_path / "parts")
    options = {"schema": BaseSchema, "chunksize": 15, "savemetrics": True}
    for most, events in ((None, 40), (1, 14)):
        runner = Runner(IterativeExecutor(status=False), maxchunks=most, **options)
        output, metrics = runner({"data": files}, processor_instance=processor)
        assert metrics["entries"] == output["cutflow"]["data"]["events"] == events
