"""A Slurm of this machine's own, and a search that runs on it. `make cluster-test` runs them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import yaml

from tnt_coffea import testing
from tnt_coffea.batch_clusters import BatchSettings

SCRIPT = Path(__file__).with_name("slurm.sh")
COLUMNS = ("m_jj", "heavy_mass", "light_mass", "heavy_tau21", "light_tau21")
SEARCH = """
search: {efficiencies: [0.1]}
train:
  folds: {outer: 3}
  methods:
    cwola:
      kind: cwola
      classifier: {network: dense, features: [heavy_tau21, light_tau21], epochs: 3}
fit:
  limit: {enabled: false}
  bump: {efficiency: 0.1, toys: 0}
  scan: {toys: 0}
  abcd: {efficiency: 0.1}
"""


@dataclass(frozen=True)
class Slurm:
    """A running Slurm, and a folder with a search in it."""

    folder: Path

    def call(self, *words: object) -> str:
        """Return what a command of Slurm says."""
        told = subprocess.run([*map(str, words)], capture_output=True, text=True, check=True)
        return told.stdout

    def jobs(self, state: str = "RUNNING") -> list[str]:
        """Return the numbers of all jobs in a state."""
        return self.call("squeue", "-h", f"--states={state}", "--format=%i").split()

    def wait_for(self, what: Callable[[], object], seconds: float = 120) -> object:
        """Return what a function gives, as soon as it gives something."""
        end = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < end, f"not in {seconds:g} s: {what}"
            time.sleep(0.2)
        return found


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A Slurm of one node on the loopback interface."""
    pytest.importorskip("dask_jobqueue", reason="needs pip install 'tnt-coffea[cluster]'")
    if not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))):
        pytest.skip("needs Slurm: apt-get install slurm-wlm munge")
    if os.getuid() != 0:
        pytest.skip("root alone can start Slurm's daemons")
    # Not among pytest's folders, which are closed to others: munge wants its own open.
    with TemporaryDirectory(prefix="slurm-") as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        folder.chmod(0o755)
        subprocess.run([SCRIPT, "up", folder], check=True)
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("OMP_NUM_THREADS", "1")
        try:
            yield Slurm(folder)
        finally:
            subprocess.run([SCRIPT, "down", folder], check=True)


@pytest.fixture
def batch(slurm: Slurm, tmp_path: Path) -> Iterator[Callable[..., BatchSettings]]:
    """Make settings of jobs, with their logs in the test's folder; none is left afterwards."""

    def make(**settings: object) -> BatchSettings:
        given = {"kind": "slurm", "memory": "2 GB", "log_folder": str(tmp_path / "logs")}
        return BatchSettings.model_validate(given | settings)

    yield make
    slurm.wait_for(lambda: not slurm.jobs("PENDING,RUNNING,COMPLETING"), 30)


@dataclass(frozen=True)
class Search:
    """Files, settings and a folder of a search."""

    folder: Path

    def start(self, stage: str, out: str, *words: object) -> subprocess.Popen[str]:
        """Start a stage on its own."""
        files = ["box.csv"] if stage in ("run", "skim") else []
        command = [stage, *files, "--config", "search.yaml", "--out", out, "--quiet", *words]
        return subprocess.Popen(
            [sys.executable, "-m", "tnt_coffea", *map(str, command)],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, stage: str, out: str, *words: object) -> str:
        """Run a stage to its end, and return what it says."""
        with self.start(stage, out, *words) as process:
            said, _ = process.communicate(timeout=900)
        assert process.returncode == 0, said
        return said

    def write(self, **settings: object) -> Path:
        """Write the settings of a batch system, and return their file."""
        given = {"kind": "slurm", "memory": "2 GB", "wall_time": "00:10:00"}
        path = self.folder / "slurm.yaml"
        path.write_text(yaml.safe_dump(given | settings))
        return path

    def hashes(self, out: str) -> dict[str, str]:
        """Return the SHA-256 of every file that a stage made, but for those that hold times."""
        folder = self.folder / out
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in ("manifest.json", "report.html", "metrics.prom")
        }


@pytest.fixture(scope="session")
def search(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Search:
    """2,000 events with a signal in them, and the search of them in this process."""
    folder = tmp_path_factory.mktemp("search")
    sample = testing.make_sample(2000, signal_share=0.05)
    values = np.stack([sample.columns[name] for name in COLUMNS], axis=1)
    header = ",".join(COLUMNS)
    np.savetxt(folder / "box.csv", values, delimiter=",", header=header, comments="")
    (folder / "search.yaml").write_text(SEARCH)
    made = Search(folder)
    made.run("run", "local", "--executor", "iterative", "--chunk-size", "200")
    return made
