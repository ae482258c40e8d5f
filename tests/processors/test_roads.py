"""The same events give the same histograms, from whatever file and on whichever road."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coffea.nanoevents import BaseSchema, DelphesSchema, NanoAODSchema, PFNanoAODSchema

from tnt_coffea import taggers
from tnt_coffea.config import SearchConfig
from tnt_coffea.events import convert
from tnt_coffea.processors import SearchProcessor

pytestmark = pytest.mark.filterwarnings(
    "ignore:Missing cross-reference",
    "ignore:Missing event_ids",
    "ignore:Branch .* already exists",
    "ignore:Found duplicate branch",
    "ignore:Skipping",
)

FORMATS = ("root", "parquet")


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
