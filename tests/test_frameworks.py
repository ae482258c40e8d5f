"""The same search on executors and in frameworks of others."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from coffea import processor

import tnt_coffea as tnt
from tnt_coffea.errors import ExecutionError
from tnt_coffea.execution import map_tasks, open_executor
from tnt_coffea.taggers import packaged_taggers


def searched(files: list[Path], out: Path, executor: Any, chunk_size: int) -> dict[str, bytes]:
    """Return the bytes of the skim and the histograms of a search by packaged taggers."""
    resources = tnt.Resources(executor=executor, chunk_size=chunk_size)
    config = tnt.SearchConfig()
    skim = tnt.skim(tnt.Fileset.from_paths({"data": files}), config, out=out, resources=resources)
    taggers = tnt.Taggers.load(packaged_taggers()["rnd-3500"])
    tnt.search(skim, taggers, config, out=out, resources=resources)
    return {
        str(path.relative_to(out)): path.read_bytes()
        for stage, pattern in (("skim", "*.parquet"), ("search", "*.h5"))
        for path in (out / stage).rglob(pattern)
    }


@pytest.fixture(scope="module")
def on_parsl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[processor.ParslExecutor]:
    """Two workers of Parsl on this machine, a task of which is tried twice."""
    parsl = pytest.importorskip("parsl", reason="needs pip install 'tnt-coffea[parsl]'")
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    here = HighThroughputExecutor(
        label="here",
        address="127.0.0.1",
        max_workers_per_node=2,
        cores_per_worker=1e-3,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    folder = str(tmp_path_factory.mktemp("parsl"))
    config = Config([here], strategy="none", retries=1, run_dir=folder, initialize_logging=False)
    with pytest.MonkeyPatch.context() as patched:
        places = [str(Path(sys.executable).parent), str(Path(parsl.__file__).parents[1] / "bin")]
        patched.setenv("PATH", os.pathsep.join([*places, os.environ["PATH"]]))
        with parsl.load(config):
            yield processor.ParslExecutor(status=False)


@pytest.mark.slow
def test_search_on_parsl_has_the_bytes_of_a_local_one(
    on_parsl: Any, events_file: Path, tmp_path: Path
) -> None:
    there = searched([events_file], tmp_path / "there", on_parsl, chunk_size=100)
    assert len(there) >= 2
    assert there == searched([events_file], tmp_path / "here", "iterative", chunk_size=300)
    this = psutil.Process()
    listening = {
        connection.laddr.ip
        for process in (this, *this.children(recursive=True))
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.slow
def test_worker_of_parsl_that_dies_is_made_up_for_or_one_error(
    on_parsl: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_executor(on_parsl) as executor:
        assert map_tasks(math.factorial, [5, 3], executor) == [120, 6]
        died = tmp_path / "died"
        once = f"import os, pathlib\np = pathlib.Path({str(died)!r})\n"
        once += "if not p.exists(): p.touch(); os.kill(os.getpid(), 9)"
        assert map_tasks(exec, [once, "1", "2"], executor) == [None] * 3
        assert died.exists()
        with pytest.raises(ExecutionError, match=r"WorkerLost.*worker may have died"):
            map_tasks(os._exit, [3], executor)
        assert map_tasks(math.factorial, [4], executor) == [24]
        with pytest.raises(ExecutionError, match="negative values"):
            map_tasks(math.factorial, [1, -1], executor)
    assert "Traceback" not in capfd.readouterr().err
