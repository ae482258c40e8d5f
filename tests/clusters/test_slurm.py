"""A whole search, and every fault of a batch system, on a real Slurm of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from threading import Thread
from typing import Any

import psutil
import pytest

from tnt_coffea.batch_clusters import BatchSettings
from tnt_coffea.execution import Resources, map_tasks

Batch = Callable[..., BatchSettings]


def slowly(number: int) -> int:
    time.sleep(2)
    return number * number


def very_slowly(number: int) -> int:
    time.sleep(600)
    return number


def in_too_much_memory(number: int) -> int:
    code = "held = bytearray(b'1') * 2**30; import time; time.sleep(30)"
    subprocess.run([sys.executable, "-c", code], check=True)
    return number


def squares(batch: BatchSettings, n: int, wait: float = 3) -> list[int]:
    with Resources(executor=batch, wait_for_workers=wait).open() as executor:
        return map_tasks(slowly, range(n), executor)


def meanwhile(what: Callable[[], Any]) -> Thread:
    thread = Thread(target=what)
    thread.start()
    return thread


def listening() -> dict[str, set[str]]:
    """Return the addresses on which Python's processes of this test and its jobs listen."""
    found: dict[str, set[str]] = {}
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if process.pid != os.getpid() and "distributed.cli.dask_worker" not in words:
                continue
            family = [process, *process.children(recursive=True)]
            for one in family:
                for connection in one.net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN:
                        found.setdefault(words, set()).add(connection.laddr.ip)
        except psutil.NoSuchProcess:
            continue
    return found


def test_whole_search_is_that_of_one_process(search: Any) -> None:
    file = search.write(jobs=2)
    search.run("run", "slurm", "--executor", file, "--chunk-size", 200)
    assert search.hashes("slurm") == search.hashes("local")
    assert "fit/result.json" in search.hashes("local")
    assert any(name.endswith(".onnx") for name in search.hashes("local"))
    assert list((search.folder / "batch-logs").glob("tnt-coffea-*.err"))


def test_every_port_is_of_the_loopback_interface(slurm: Any, batch: Batch) -> None:
    with Resources(executor=batch(jobs=1)).open() as executor:
        assert map_tasks(slowly, [3], executor) == [9]
        found = listening()
    assert len(found) >= 2, "this process and the worker of a job"
    assert set().union(*found.values()) == {"127.0.0.1"}


def test_cluster_grows_and_shrinks_while_it_runs(slurm: Any, batch: Batch) -> None:
    seen: set[int] = set()
    with Resources(executor=batch(jobs={"minimum": 0, "maximum": 2})).open() as executor:
        assert not slurm.jobs("PENDING,RUNNING")
        done: list[list[int]] = []
        thread = meanwhile(lambda: done.append(map_tasks(slowly, range(30), executor)))
        while thread.is_alive():
            seen.add(len(slurm.jobs()))
            time.sleep(1)
        thread.join()
        slurm.wait_for(lambda: not slurm.jobs("PENDING,RUNNING"), 60)
        assert map_tasks(slowly, [5], executor) == [25]
    assert done == [[n * n for n in range(30)]]
    assert max(seen) == 2


@pytest.mark.parametrize("fault", ["scancel", "requeue"])
def test_job_taken_away_in_mid_train_changes_no_byte(slurm: Any, search: Any, fault: str) -> None:
    shutil.copytree(search.folder / "local" / "skim", search.folder / fault / "skim")
    shutil.copy(search.folder / "local" / "config.yaml", search.folder / fault)
    file = search.write(jobs=2)
    with search.start("train", fault, "--executor", file) as process:
        parts = search.folder / fault / "train" / ".parts"
        slurm.wait_for(lambda: parts.exists() and slurm.jobs(), 120)
        time.sleep(10)
        running = slurm.jobs()
        slurm.call("scancel", running[0]) if fault == "scancel" else slurm.call(
            "scontrol", "requeue", running[0]
        )
        said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    local = {name: one for name, one in search.hashes("local").items() if name.startswith("train/")}
    made = {name: one for name, one in search.hashes(fault).items() if name.startswith("train/")}
    assert made == local
    assert "Traceback" not in said
