"""Generated against real events of the Olympics; what fails is listed here and in docs/data.md.

The level of 0.001 for one test was fixed before any of them was run; the listed failures
come from the larger samples of docs/data.md.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scipy.stats import ks_2samp

from tnt_coffea.config import GenerateSettings
from tnt_coffea.generator import generate_block, join, plan

pytest.importorskip("pythia8mc", reason="the 'generate' extra is not installed")
pytest.importorskip("matplotlib")
pytestmark = pytest.mark.slow

LEVEL = 0.001
QUANTITIES = (
    "m_jj",
    "leading_pt",
    "heavy_mass",
    "light_mass",
    "heavy_tau21",
    "light_tau21",
    "heavy_n_constituents",
    "light_n_constituents",
    "candidates",
)
SPECTRA = ("kinds", "pt_counts", "eta_counts")
# The public sample's background is harder than the data that it is from.
SAMPLES = {
    0: GenerateSettings(background=1500, signal=0, pt_hat_min=1100),
    1: GenerateSettings(background=0, signal=2000),
}
FAILING = {
    (1, "light_n_constituents"): "5 too many in the median, p = 0.001",
    (1, "pt_counts"): "25 % too many below 0.5 GeV, p = 0.0003",
}


def cases(names: tuple[str, ...]) -> list[Any]:
    return [
        pytest.param(
            label,
            name,
            id=f"{'signal' if label else 'background'}-{name}",
            marks=[pytest.mark.xfail(reason=f"{FAILING[label, name]} (docs/data.md)")]
            if (label, name) in FAILING
            else [],
        )
        for label in SAMPLES
        for name in names
    ]


@pytest.fixture(scope="module")
def benchmark_script() -> ModuleType:
    """The script that made the tables of docs/data.md."""
    path = Path(__file__).parents[2] / "benchmarks" / "generated_events.py"
    spec = importlib.util.spec_from_file_location("generated_events", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pairs(
    benchmark_script: ModuleType, lhco_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, tuple[Any, Any]]:
    """Real and generated events of either label."""
    found = {}
    for label, settings in SAMPLES.items():
        path = tmp_path_factory.mktemp("generated") / "events.h5"
        join([generate_block(task) for task in plan(settings, 91)], path, settings, 91)
        found[label] = tuple(benchmark_script.Events([p], label) for p in (lhco_file, path))
    return found


@pytest.mark.parametrize(("label", "name"), cases(QUANTITIES))
def test_distributions(pairs: dict[int, tuple[Any, Any]], label: int, name: str) -> None:
    real, made = (sample.columns[name] for sample in pairs[label])
    assert ks_2samp(real, made).pvalue > LEVEL


@pytest.mark.parametrize(("label", "name"), cases(SPECTRA))
def test_candidates(
    benchmark_script: ModuleType, pairs: dict[int, tuple[Any, Any]], label: int, name: str
) -> None:
    real, made = (getattr(sample, name) for sample in pairs[label])
    assert benchmark_script.hotelling(real, made) > LEVEL


@pytest.mark.parametrize("label", SAMPLES)
def test_padding_and_order(pairs: dict[int, tuple[Any, Any]], label: int) -> None:
    for sample in pairs[label]:
        assert sample.contiguous
        # Tracks, neutral hadrons, photons; never by pT.
        assert sample.ordered > 0.98
        assert sample.by_pt == 0
