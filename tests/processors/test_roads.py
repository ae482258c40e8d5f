"""The same events give the same histograms, from whatever file and on whichever road."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema, DelphesSchema, NanoAODSchema, PFNanoAODSchema

from tnt_coffea import taggers
from tnt_coffea.config import JetSettings, MassRange, SearchConfig, SkimSettings
from tnt_coffea.errors import InputError
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
WIDE = MassRange(low=1, high=14000)
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


@pytest.mark.slow
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
        pytest.param("fastjet_pfnano_skim", "Events", NanoAODSchema, 3, marks=pytest.mark.slow),
        pytest.param(
            *("skhep_uproot-issue513_delphes", "Delphes", OldDelphesSchema, 10),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("skhep_uproot-issue513_delphes", "Delphes", BaseSchema, 10), marks=pytest.mark.slow
        ),
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


@pytest.mark.slow
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
        pytest.param(
            *("pfnano", "Events", ("run", "luminosityBlock", "event")), marks=pytest.mark.slow
        ),
        pytest.param(
            *("PHYSLITE_example", "CollectionTree", _PHYSLITE_NUMBERS), marks=pytest.mark.slow
        ),
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
    ("name", "form"),
    [
        pytest.param("pfnano", "root", marks=pytest.mark.slow),
        ("skhep_uproot-issue513_delphes", "parquet"),
    ],
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


@pytest.fixture
def quick_search(
    olympics: Path, tmp_path: Path, feature_taggers: Callable[..., Any], ours: Callable[..., Any]
) -> SearchProcessor:
    """Taggers of features, of dijets that need no image."""
    settings = SkimSettings(images=None, observables=("mass", "pt"))
    parts = ours(olympics, SkimProcessor(settings, tmp_path / "skim"))["parts"]["data"]
    sample = read_parts(tmp_path / "skim" / part for part in parts)
    tagger_set = feature_taggers(settings).calibrated(sample, WIDE, (0.5,))
    return SearchProcessor(SearchConfig(skim=settings), tagger_set)


def written_as(form: str, source: Path, folder: Path) -> Path:
    """Return the events of a file as TTree, RNTuple or Parquet."""
    if form == "Parquet":
        return convert(source, folder / "events.parquet").path
    path = convert(source, folder / "events.root").path
    if form == "RNTuple":
        copy = folder / "rntuple.root"
        with uproot.open(path) as file, uproot.recreate(copy) as out:
            out.mkrntuple("Events", file["Events"].arrays(how=dict))
        return copy
    return path


@pytest.mark.parametrize("form", ["TTree", "RNTuple", "Parquet"])
def test_the_runner_takes_filesets_of_coffea_and_its_own_chunks_and_leaves_out_bad_files(
    olympics: Path,
    tmp_path: Path,
    quick_search: SearchProcessor,
    ours: Callable[..., Any],
    form: str,
) -> None:
    from coffea.dataset_tools import DataGroupSpec
    from coffea.processor import Err, IterativeExecutor, Runner

    path = written_as(form, olympics, tmp_path)
    bad = tmp_path / f"bad{path.suffix}"
    bad.write_bytes(path.read_bytes()[:100])
    reference = ours(olympics, quick_search)
    assert filled(reference) == 40
    kind = "parquet" if form == "Parquet" else "root"

    def runner(**more: Any) -> Any:
        executor = IterativeExecutor(status=False, retries=0)
        common = {"schema": BaseSchema, "chunksize": 25, "format": kind, "metadata_cache": {}}
        return Runner(executor, **common, **more)

    # In coffea's form, with steps, which the Runner makes anew.
    about = {"steps": [[0, 15], [15, 40]], "num_entries": 40, "uuid": "x"}
    about |= {} if form == "Parquet" else {"object_path": "Events"}
    both = {"data": {"files": dict.fromkeys(map(str, (bad, path)), about), "format": kind}}
    assert len(DataGroupSpec.model_validate(both).root["data"].files) == 2
    (tmp_path / "fileset.json").write_text(json.dumps(both))
    skipping = runner(skipbadfiles=(OSError, ValueError), savemetrics=True)
    with pytest.warns(UserWarning, match="Skipping bad file"):
        output, metrics = skipping(str(tmp_path / "fileset.json"), quick_search, treename="Events")
    assert output == reference
    assert metrics["entries"] == 40
    assert "PFCands_pt-data" in metrics["columns"], "arrays are virtual: it says what was read"
    with pytest.raises((OSError, ValueError)):
        runner()(both, quick_search, treename="Events")

    # A callable of events will do: what is merged becomes histograms afterwards.
    chunks = list(runner().preprocess({"data": [str(path)]}, treename="Events"))
    assert len(chunks) == 2
    merged = runner()(chunks, processor_instance=quick_search.process)
    assert quick_search.postprocess(merged) == reference

    # An error of ours is in coffea's chain of exceptions, and keeps its words.
    simulated = {"data": {"files": [str(path)], "metadata": {"role": "simulation"}}}
    catching = runner(skipbadfiles=(InputError,), use_result_type=True)
    refused = catching(simulated, quick_search, treename="Events")
    assert isinstance(refused, Err)
    assert "only data are searched" in str(refused.exception)


@pytest.mark.parametrize("form", ["TTree", "Parquet"])
def test_a_fileset_that_coffea_preprocessed_gives_its_runner_the_same(
    olympics: Path,
    tmp_path: Path,
    quick_search: SearchProcessor,
    ours: Callable[..., Any],
    form: str,
) -> None:
    pytest.importorskip("dask_awkward", reason="coffea's preprocess needs dask-awkward")
    from coffea.dataset_tools import DataGroupSpec, preprocess
    from coffea.processor import IterativeExecutor, Runner

    path = str(written_as(form, olympics, tmp_path))
    kind = "parquet" if form == "Parquet" else "root"
    files: Any = [path] if form == "Parquet" else {path: "Events"}
    given = DataGroupSpec.model_validate({"data": {"files": files, "format": kind}})
    found, _ = preprocess(given, step_size=15, scheduler="sync", save_form=False)
    made = json.loads(found.model_dump_json())
    (about,) = made["data"]["files"].values()
    assert about["steps"][-1][-1] == 40
    fileset = tmp_path / "fileset.json"
    fileset.write_text(json.dumps(made))
    runner = Runner(
        IterativeExecutor(status=False), schema=BaseSchema, format=kind, metadata_cache={}
    )
    output = runner(str(fileset), quick_search, treename="Events")
    assert output == ours(olympics, quick_search)


def test_what_the_runner_gives_taskvine_can_be_pickled_and_added(
    olympics: Path, tmp_path: Path, quick_search: SearchProcessor, ours: Callable[..., Any]
) -> None:
    import cloudpickle
    from coffea.processor import Runner, TaskVineExecutor, accumulate
    from coffea.processor.executor import _compression_wrapper, _decompress

    sent: list[int] = []

    class AsTaskVine(TaskVineExecutor):
        """Sends functions, items and outputs as files, and adds outputs in any order."""

        def __call__(self, items: Any, function: Any, accumulator: Any) -> Any:
            work = _compression_wrapper(self.compression, function)
            files = [cloudpickle.dumps((work, item)) for item in items]
            sent.append(len(files))
            outputs = []
            for file in reversed(files):
                there, item = cloudpickle.loads(file)
                outputs.append(cloudpickle.loads(cloudpickle.dumps(there(item))))
            return accumulate([*map(_decompress, outputs), accumulator]), 0

    path = str(convert(olympics, tmp_path / "events.parquet").path)
    executor = AsTaskVine(status=False)
    runner = Runner(executor, schema=BaseSchema, format="parquet", chunksize=15, metadata_cache={})
    files = {"data": {"files": [path], "treename": "Events"}}
    assert runner(files, processor_instance=quick_search) == ours(olympics, quick_search)
    assert sent == [1, 3]  # files of which the entries are asked, and chunks
