"""The same search on executors and in frameworks of others."""

from __future__ import annotations

import json
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
from tnt_coffea.execution import map_tasks, open_executor, run
from tnt_coffea.taggers import packaged_taggers

BLOCK = "pocket-coffea"


def searched(files: list[Path], out: Path, executor: Any) -> dict[str, bytes]:
    """Return the bytes of the skim and the histograms of a search by packaged taggers."""
    resources = tnt.Resources(executor=executor, chunk_size=200)
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
        heartbeat_period=2,
        heartbeat_threshold=10,  # after that Parsl itself takes a node for gone
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
    there = searched([events_file], tmp_path / "there", on_parsl)
    assert len(there) >= 2
    assert there == searched([events_file], tmp_path / "here", "iterative")
    this = psutil.Process()
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
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


@pytest.mark.slow
def test_a_pass_on_parsl_without_workers_is_given_up(on_parsl: Any) -> None:
    import parsl

    here = parsl.dfk().executors["here"]
    with open_executor(on_parsl, wait_for_workers=5) as executor:
        assert map_tasks(math.factorial, [5], executor) == [120]
    here.scale_in_facade(1)
    with (
        open_executor(on_parsl, wait_for_workers=0.1) as executor,
        pytest.raises(ExecutionError, match=r"^Working: Parsl had no worker for 0\.1 min"),
    ):
        map_tasks(math.factorial, [4, 2], executor)
    here.scale_out_facade(1)
    with open_executor(on_parsl, wait_for_workers=5) as executor:
        assert map_tasks(math.factorial, [3], executor) == [6]


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore"
)  # PocketCoffea's, and those of coffea on a file of few branches
def test_workflow_of_pocketcoffea_gives_the_histograms_of_the_search(
    real_data: Path, tmp_path: Path
) -> None:
    why = "needs pip install --no-deps pocket-coffea, and omegaconf"
    configurator = pytest.importorskip("pocket_coffea.utils.configurator", reason=why)
    from coffea.nanoevents import PFNanoAODSchema
    from omegaconf import OmegaConf
    from pocket_coffea.parameters.cuts import passthrough

    page = Path(__file__).parents[1] / "docs" / "how-to" / "frameworks.md"
    _, _, after = page.read_text().partition(f"<!-- block: {BLOCK} -->\n```python\n")
    workflow: dict[str, Any] = {"__name__": "workflow"}
    exec(compile(after.partition("\n```\n")[0], "workflow", "exec", dont_inherit=True), workflow)

    metadata = {"sample": "DATA", "year": "2018", "isMC": "False", "era": "A", "nano_version": 9}
    files = {"data": {"metadata": metadata, "files": [str(real_data / "root" / "pfnano.root")]}}
    (tmp_path / "files.json").write_text(json.dumps(files))
    (tmp_path / "search.yaml").write_text("{}")
    nothing = {"common": {"inclusive": [], "bycategory": {}}}
    config = configurator.Configurator(
        workflow=workflow["AnomalousDijets"],
        parameters=OmegaConf.create({"jets_calibration": {}}),
        datasets={"jsons": [str(tmp_path / "files.json")]},
        skim=[],
        preselections=[passthrough],
        categories={"baseline": [passthrough]},
        weights=nothing,
        variations={"weights": nothing},
        variables={},
        columns={},
        weights_classes=[],
        calibrators=[],
        workflow_options={
            "settings": str(tmp_path / "search.yaml"),
            "taggers": str(packaged_taggers()["rnd-3500"]),
        },
    )
    config.load()
    runner = processor.Runner(
        processor.IterativeExecutor(status=False, retries=0), schema=PFNanoAODSchema, chunksize=6
    )
    options = {"processor_instance": config.processor_instance, "treename": "Events"}
    output = runner(config.filesets, **options)
    assert output["cutflow"]["initial"] == {"data": 10}
    with open_executor() as executor:
        fileset = tnt.Fileset.from_paths({"data": files["data"]["files"]})
        search = config.processor_instance.search
        reference, _ = run(fileset, search, executor)
    assert output["tnt"]["hists"] == reference["hists"]
    assert output["tnt"]["coincidences"] == reference["coincidences"]
