"""Shared test data: the real files where they are, and freshly generated events."""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from tnt_coffea import chain, pipeline
from tnt_coffea.config import (
    AbcdSettings,
    BumpSettings,
    FitSettings,
    FoldSettings,
    GenerateSettings,
    MassRange,
    SearchConfig,
    SearchSettings,
    TrainSettings,
)
from tnt_coffea.config.fits import ScanSettings
from tnt_coffea.products import Skim, Taggers

SMALL = SearchConfig(
    seed=11,
    generate=GenerateSettings(background=350, signal=150, block=50),
    search=SearchSettings(efficiencies=(0.5, 0.3), window=MassRange(low=3000.0, high=4000.0)),
    train=TrainSettings(
        folds=FoldSettings(inner=2),
        methods={
            "autoencoder": {"kind": "autoencoder"},
            "tnt": {
                "kind": "tag_n_train",
                "after": "autoencoder",
                "classifier": {
                    "network": "dense",
                    "features": ("mass", "tau21"),
                    "layers": (8,),
                    "epochs": 2,
                },
            },
        },
    ),
    fit=FitSettings(
        bump=BumpSettings(efficiency=0.5, bin_width=200.0, max_parameters=3),
        abcd=AbcdSettings(efficiency=0.3),
        scan=ScanSettings(toys=100),
    ),
)


SLOWEST = (
    "test_chain.py",
    "test_contract.py",
    "test_methods.py",
    "test_examples.py",
    "test_null_chains.py",
    "test_cli.py",
    "test_search_limits.py",
    "test_histogram_fits.py",
)
"""Files that take longest: begun last, one of them would keep one process busy alone.

Behind the first, which makes the search that others read, stand files that do not wait for it.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest in front."""
    place = {name: i for i, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where a test was skipped and none may be (make optional-test)."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("TNT_COFFEA_NO_SKIPS") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = os.environ.get("TNT_COFFEA_TEST_DATA")
    if not folder:
        pytest.skip("TNT_COFFEA_TEST_DATA does not name the folder with real data")
    return Path(folder)


@pytest.fixture(scope="session")
def on_a_terminal() -> Callable[..., tuple[str, str]]:
    """Call the command with standard error on a terminal: what it prints, what the terminal shows.

    With `whole` standard output goes to the terminal too.
    """
    if not hasattr(os, "openpty"):
        pytest.skip("needs a pseudo-terminal")

    def call(*words: object, whole: bool = False) -> tuple[str, str]:
        terminal, end = os.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "tnt_coffea.cli", *map(str, words)],
            stdout=end if whole else subprocess.PIPE,
            stderr=end,
            text=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        ) as process:
            os.close(end)
            shown = b""
            with suppress(OSError):  # what a closed terminal gives instead of an end of file
                while part := os.read(terminal, 4096):
                    shown += part
            printed, _ = process.communicate(timeout=60)
        os.close(terminal)
        assert process.returncode == 0, shown
        return printed or "", shown.decode()

    return call


@pytest.fixture(scope="session")
def add_reference() -> Callable[[Path, Path], str]:
    """Put a set beside those of a search that stands for one trained with the truth."""

    def add(search: Path, train: Path) -> str:
        name, first = next(iter(Taggers.load(train).sets.items()))
        (train / "references" / "best").mkdir(parents=True)
        reference = replace(first, name="best", reference=True, quantiles=None)
        sample = Skim.load(search / "skim").sample()
        config = SearchConfig.from_yaml(search / "config.yaml").search
        reference = reference.calibrated(sample, config.fit_range, config.efficiencies)
        reference.save(train / "references" / "best")
        return name

    return add


@pytest.fixture(scope="session")
def lhco_file(real_data: Path) -> Path:
    return real_data / "lhco" / "events_anomalydetection_tiny.h5"


@pytest.fixture(scope="session")
def small_config() -> SearchConfig:
    return SMALL


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a folder in the first test process that needs it; each has a copy of its own."""
    own = tmp_path_factory.getbasetemp()
    common = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        made, done = common / f"{name}-made", common / f"{name}-done"
        with (common / f"{name}-lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the system lets go of it, whatever happens
            if not done.exists():
                make(made)
                done.touch()
        return shutil.copytree(made, own / name)

    return folder


@pytest.fixture(scope="session")
def events_file(made_once: Callable[..., Path]) -> Path:
    """350 QCD dijets and 150 signal events from PYTHIA, as an LHC Olympics file."""
    out = made_once("events", lambda folder: pipeline.generate(SMALL, out=folder))
    return out / "generate" / "events.h5"


PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)


def leave_figures_empty(patch: pytest.MonkeyPatch) -> None:
    """Make every figure, with its numbers, and draw none: that takes half of a small search.

    The figures of a report are drawn in `reporting/test_document.py`.
    """

    def save(figure: Figure, path: Path, **_: Any) -> None:
        path.write_bytes(PIXEL if path.suffix == ".png" else b"%PDF-1.4\n")

    patch.setattr(Figure, "savefig", save)
    patch.setattr(Figure, "get_layout_engine", lambda figure: None)


@pytest.fixture
def empty_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_figures_empty(monkeypatch)


@pytest.fixture(scope="session")
def workspace(made_once: Callable[..., Path], events_file: Path) -> Path:
    """A finished search of the small configuration, made once."""

    def make(folder: Path) -> None:
        shutil.copytree(events_file.parent.parent, folder)
        with pytest.MonkeyPatch.context() as patch:
            leave_figures_empty(patch)
            chain.demo(SMALL, out=folder)

    return made_once("search", make)
