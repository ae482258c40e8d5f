"""A whole search, and every fault of a batch system, on a real Slurm of this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tnt_coffea.batch_clusters import BatchSettings
from tnt_coffea.errors import ExecutionError
from tnt_coffea.execution import Resources, map_tasks

pytestmark = pytest.mark.cluster
Batch = Callable[..., BatchSettings]


def slowly(number: int) -> int:
    time.sleep(2)
    return number * number


def unevenly(number: int) -> int:
    time.sleep(60 if number == 29 else 2)
    return number * number


def very_slowly(number: int) -> int:
    time.sleep(600)
    return number


def in_too_much_memory(number: int) -> int:
    code = "held = bytearray(b'1') * 2**30; import time; time.sleep(30)"
    subprocess.run([sys.executable, "-c", code], check=True)
    return number


@contextmanager
def meanwhile(what: Callable[[], Any]) -> Iterator[None]:
    """Call a function beside the block; what it raises is raised when the block is left."""
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(what)
        yield
        called.result()


@contextmanager
def partition(slurm: Any, state: str) -> Iterator[None]:
    """Give the partition another state for as long as the block runs."""
    slurm.call("scontrol", "update", "PartitionName=short", f"State={state}")
    try:
        yield
    finally:
        slurm.call("scontrol", "update", "PartitionName=short", "State=UP")


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
    seen: list[int] = []
    with Resources(executor=batch(jobs={"minimum": 0, "maximum": 2})).open() as executor:
        assert not slurm.jobs("PENDING,RUNNING")
        done: list[list[int]] = []
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(1):
                seen.append(len(slurm.jobs("PENDING,RUNNING")))

        with meanwhile(watch):
            try:
                done.append(map_tasks(unevenly, range(30), executor))
            finally:
                ended.set()
        slurm.wait_for(lambda: not slurm.jobs("PENDING,RUNNING"), 60)
        assert map_tasks(slowly, [5], executor) == [25]
    assert done == [[n * n for n in range(30)]]
    assert max(seen) == 2
    assert 1 in seen[seen.index(2) :], "one job was left to the last item, and the other taken back"


@pytest.mark.parametrize("fault", ["scancel", "requeue"])
def test_job_taken_away_in_mid_train_changes_no_byte(slurm: Any, search: Any, fault: str) -> None:
    with train_in(search, fault) as process:
        parts = search.folder / fault / "train" / ".parts"
        slurm.wait_for(lambda: parts.exists() and slurm.jobs(), 120)
        time.sleep(10)
        running = slurm.jobs()
        command = ["scancel"] if fault == "scancel" else ["scontrol", "requeue"]
        slurm.call(*command, running[0])
        said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert trained(search, fault) == trained(search, "local")
    assert "Traceback" not in said


def test_all_jobs_gone_and_back(slurm: Any, batch: Batch) -> None:
    def cancel() -> None:
        slurm.wait_for(lambda: len(slurm.jobs()) == 2)
        time.sleep(15)
        slurm.call("scancel", *slurm.jobs())

    with Resources(executor=batch(jobs=2)).open() as executor:
        with meanwhile(cancel):
            assert map_tasks(slowly, range(20), executor) == [n * n for n in range(20)]
        states = executor.client.cluster.batch.states.values()
        assert list(states).count("CANCELLED") == 2
        assert len(states) >= 3


def test_job_that_slurm_ends_at_its_wall_time_is_made_up_for(slurm: Any, batch: Batch) -> None:
    with Resources(executor=batch(jobs=1)).open() as executor:
        first = slurm.wait_for(slurm.jobs)[0]
        slurm.call("scontrol", "update", f"JobId={first}", "TimeLimit=1")
        assert map_tasks(slowly, range(60), executor) == [n * n for n in range(60)]
        states = executor.client.cluster.batch.states
        assert states[first] == "TIMEOUT"
        assert len(states) >= 2


def test_worker_retires_before_the_wall_time(slurm: Any, batch: Batch) -> None:
    with Resources(executor=batch(jobs=1, wall_time=120)).open() as executor:
        assert map_tasks(slowly, range(3), executor) == [0, 1, 4]
        states = executor.client.cluster.batch.states
        slurm.wait_for(lambda: "COMPLETED" in states.values(), 150)
        assert map_tasks(slowly, range(3), executor) == [0, 1, 4]
        assert "TIMEOUT" not in states.values()


def test_wall_time_shorter_than_a_task_is_said_and_given_up(
    slurm: Any, batch: Batch, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Resources(executor=batch(jobs=2, wall_time=60), wait_for_workers=2).open() as executor,
        pytest.raises(ExecutionError) as found,
    ):
        map_tasks(very_slowly, [1, 2], executor)
    assert "A task takes longer than they live: give them more wall time" in str(found.value)
    assert re.search(r"\d ended as (COMPLETED|TIMEOUT|CANCELLED)", str(found.value))
    assert "the same command goes on where it was cut" in str(found.value)
    assert [one for one in caplog.messages if one.startswith("waiting: ")]


def test_refused_job_is_one_error_in_the_words_of_slurm(search: Any) -> None:
    file = search.write(queue="nowhere")
    words = ("--executor", file, "--skim", search.folder / "local" / "skim")
    with search.start("train", "refused", *words) as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == ExecutionError.exit_code
    last = said.splitlines()[-1]
    assert last.startswith("error: sbatch refused the job: sbatch: error: invalid partition")
    assert "nowhere" in last
    assert "Traceback" not in said


def test_jobs_that_fail_at_once_are_not_tried_for_ever(slurm: Any, batch: Batch) -> None:
    wrong = batch(jobs=3, prologue=["no_such_module load", "exit 3"])
    with (
        Resources(executor=wrong).open() as executor,
        pytest.raises(ExecutionError, match="jobs ended before their worker came") as found,
    ):
        map_tasks(slowly, [1], executor)
    assert "FAILED" in str(found.value)
    assert "no_such_module: command not found" in str(found.value)


def test_jobs_that_stay_in_the_queue_are_said_with_their_reason(slurm: Any, batch: Batch) -> None:
    with (
        partition(slurm, "DOWN"),
        Resources(executor=batch(), wait_for_workers=0.3).open() as executor,
        pytest.raises(ExecutionError, match=r"1 PENDING \(PartitionDown\)\. They may still be"),
    ):
        map_tasks(slowly, [1], executor)


def test_task_that_slurm_kills_for_memory_is_named(
    slurm: Any, batch: Batch, tmp_path: Path
) -> None:
    with (
        Resources(executor=batch(jobs=2, memory="900 MB")).open() as executor,
        pytest.raises(ExecutionError) as found,
    ):
        map_tasks(in_too_much_memory, [77], executor)
    assert str(found.value).startswith("77: a worker died of it 4 times, out of memory")
    # As it is called where memory is watched by polling; with control groups OUT_OF_MEMORY.
    assert "ended as FAILED" in str(found.value)
    said = "".join(path.read_text() for path in (tmp_path / "logs").glob("*.err"))
    assert said.count("memory limit") >= 3


def test_preempted_job_is_made_up_for(slurm: Any, batch: Batch, tmp_path: Path) -> None:
    script = tmp_path / "urgent.sh"
    script.write_text("#!/bin/sh\nsleep 20\n")
    everything = (f"--cpus-per-task={os.cpu_count()}", "--partition=urgent", "--output=/dev/null")

    def preempt() -> None:
        slurm.wait_for(slurm.jobs)
        time.sleep(15)
        slurm.call("sbatch", *everything, script)

    with (
        Resources(executor=batch(jobs=2, queue="short")).open() as executor,
        meanwhile(preempt),
    ):
        assert map_tasks(slowly, range(20), executor) == [n * n for n in range(20)]
    log = (slurm.folder / "slurmctld.log").read_text()
    assert "preempted" in log


def test_further_job_that_is_refused_is_said_and_tried_again(
    slurm: Any, batch: Batch, caplog: pytest.LogCaptureFixture
) -> None:
    def deny() -> None:
        first = slurm.wait_for(slurm.jobs)
        time.sleep(10)
        with partition(slurm, "DRAIN"):
            slurm.call("scancel", *first)
            slurm.wait_for(lambda: "refused a further job" in caplog.text, 60)

    with Resources(executor=batch(jobs=1, queue="short")).open() as executor:
        with meanwhile(deny):
            assert map_tasks(slowly, range(20), executor) == [n * n for n in range(20)]
        assert executor.client.cluster.batch.refusal == ""


def train_in(search: Any, out: str, *words: object) -> subprocess.Popen[str]:
    """Start the training of the search on jobs, from the skim that was made in one process."""
    if not (search.folder / out).exists():
        shutil.copytree(search.folder / "local" / "skim", search.folder / out / "skim")
        shutil.copy(search.folder / "local" / "config.yaml", search.folder / out)
    file = search.write(jobs=2, queue="short")
    process: subprocess.Popen[str] = search.start("train", out, "--executor", file, *words)
    return process


def trained(search: Any, out: str) -> dict[str, str]:
    return {name: one for name, one in search.hashes(out).items() if name.startswith("train/")}


def test_train_that_was_given_up_goes_on_with_the_same_command(slurm: Any, search: Any) -> None:
    with train_in(search, "given-up", "--wait-for-workers", "0.5") as process:
        slurm.wait_for(lambda: len(slurm.jobs()) == 2)
        time.sleep(20)
        with partition(slurm, "DOWN"):
            slurm.call("scancel", *slurm.jobs())
            said, _ = process.communicate(timeout=300)
    assert process.returncode == ExecutionError.exit_code, said
    assert "PENDING (PartitionDown)" in said.splitlines()[-1]
    assert "the same command goes on where it was cut" in said.splitlines()[-1]
    with train_in(search, "given-up") as process:
        said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert trained(search, "given-up") == trained(search, "local")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_job_outlives_the_command(slurm: Any, search: Any, number: signal.Signals) -> None:
    with train_in(search, number.name) as process:
        slurm.wait_for(lambda: len(slurm.jobs()) == 2)
        time.sleep(10)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), said
    assert "Traceback" not in said
    # Workers end themselves a minute after their scheduler is gone.
    slurm.wait_for(lambda: not slurm.jobs("PENDING,RUNNING"), 150)
