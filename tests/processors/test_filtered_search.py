"""Filtered and weighted events: a search from files fills what one from their skim fills."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from tnt_coffea import stats
from tnt_coffea.config import MassRange, SearchConfig, SkimSettings
from tnt_coffea.errors import FitError
from tnt_coffea.events.skim import read_parts
from tnt_coffea.processors import SearchProcessor, SkimProcessor
from tnt_coffea.taggers import TaggerSet

N = 60


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    """Sixty dijets with weights of either sign."""
    rng = np.random.default_rng(6)
    jets = {
        "pt": rng.uniform(1200, 1900, (N, 2)),
        "eta": rng.uniform(-1, 1, (N, 2)),
        "phi": np.stack([np.zeros(N), np.full(N, 3.1)], 1),
        "mass": rng.uniform(50, 300, (N, 2)),
    }
    path = tmp_path / "nano.root"
    with uproot.recreate(path) as file:
        rows = {
            "run": np.ones(N, np.uint32),
            "luminosityBlock": np.arange(N, dtype=np.uint32),
            "event": np.arange(N, dtype=np.uint64),
            "genWeight": rng.choice([-0.5, 1.0, 2.0], N).astype(np.float32),
            "HLT_PFHT1050": np.arange(N) % 3 > 0,
            "Flag_goodVertices": np.arange(N) % 7 > 0,
            "FatJet": ak.zip({n: ak.from_regular(part.astype("f4")) for n, part in jets.items()}),
        }
        file.mktree("Events", rows)
    return path


def test_a_search_of_files_fills_what_one_of_their_skim_does(
    nano: Path, ours: Callable[..., Any], feature_taggers: Callable[..., TaggerSet], tmp_path: Path
) -> None:
    mask = tmp_path / "golden.json"
    mask.write_text(json.dumps({"1": [[5, 50]]}))
    names = {"hlt": ["HLT_PFHT1050"], "flags": ["Flag_goodVertices"]}
    skim = SkimSettings.model_validate(
        {
            "filters": {"certified_runs": str(mask), **names},
            "images": None,
            "observables": ["pt", "mass"],
            "jets": {"radius": 0.8},
        }
    )
    made = ours(nano, SkimProcessor(skim, tmp_path / "skim"), chunk_size=25)
    sample = read_parts((tmp_path / "skim").rglob("*.parquet"), numbers=True)
    kept = [i for i in range(5, 51) if i % 3 and i % 7]
    assert sorted(sample.numbers["event"].tolist()) == kept
    everything = MassRange(low=1.0, high=20_000.0)
    taggers = feature_taggers(skim).calibrated(sample, everything, (0.5, 0.3))
    search = SearchProcessor(SearchConfig(skim=skim), taggers)
    found = ours(nano, search, chunk_size=17)
    assert found["cutflow"] == made["cutflow"]
    assert list(found["cutflow"]["data"]["rejected"])[:3] == [
        "certified_runs",
        "hlt",
        "Flag_goodVertices",
    ]
    histogram = found["hists"]["features"]
    with uproot.open(nano) as file:
        weight = file["Events"]["genWeight"].array(library="np")[kept].astype(float)
    assert (weight < 0).any()
    total = histogram.sum(flow=True)
    assert total.value == pytest.approx(weight.sum())
    assert total.variance == pytest.approx((weight**2).sum())
    of_parts = sum(
        ours(each, search)["hists"]["features"]
        for each in sorted((tmp_path / "skim").rglob("*.parquet"))
    )
    assert of_parts == histogram


def test_a_bin_of_negative_weight_is_not_fitted() -> None:
    import hist

    spectrum = hist.Hist(hist.axis.Regular(40, 2600, 4600, name="m_jj"), storage="weight")
    masses = np.random.default_rng(1).uniform(2600, 4600, 400)
    spectrum.fill(masses, weight=np.where(masses > 4400, -1.0, 1.0))
    fit = stats.SpectrumFit((2600, 4600), bin_width=50)
    with pytest.raises(FitError, match="a bin of the fit is negative"):
        stats.bump_hunt({"all": spectrum}, mass=3500, width=100, fit=fit)
