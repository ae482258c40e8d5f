from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
from coffea.processor import FuturesExecutor, IterativeExecutor, TaskVineExecutor
from distributed import Client, LocalCluster

from tnt_coffea import pipeline
from tnt_coffea.accounting import Accounting
from tnt_coffea.config import SearchConfig, SkimSettings
from tnt_coffea.errors import ConfigError, ExecutionError, InputError, StorageError
from tnt_coffea.events.sample import Sample
from tnt_coffea.events.skim import read_parts
from tnt_coffea.execution import OnError, Resources, map_tasks, open_executor, run
from tnt_coffea.filesets import Fileset
from tnt_coffea.processors import SkimProcessor


@pytest.fixture
def damaged(events_file: Path, tmp_path: Path) -> Path:
    """A readable table whose event 70 holds NaN."""
    path = tmp_path / "damaged.h5"
    with h5py.File(events_file) as source, h5py.File(path, "w") as target:
        rows = source["events"][:100]
        rows[70, 4] = np.nan
        target["events"] = rows
    return path


def skimmed(
    files: list[Path], folder: Path, executor: Any = "iterative", **options: Any
) -> tuple[Sample, Accounting]:
    fileset = Fileset.from_paths({"data": files})
    with open_executor(executor, workers=2) as opened:
        _, accounting = run(fileset, SkimProcessor(SkimSettings(), folder), opened, **options)
    return read_parts(folder.rglob("*.parquet"), truth=True), accounting


def test_items_cover_every_entry_once(events_file: Path) -> None:
    items = Fileset.from_paths({"data": [events_file]}).items(120)
    assert [(item.start, item.stop) for item in items] == [
        (0, 120),
        (120, 240),
        (240, 360),
        (360, 480),
        (480, 500),
    ]


def test_order_and_split_of_files_do_not_matter(events_file: Path, tmp_path: Path) -> None:
    whole, accounting = skimmed([events_file], tmp_path / "whole", chunk_size=1000)
    assert accounting.events == accounting.selected == 500
    with h5py.File(events_file) as source:
        rows = source["events"][:]
    halves = [tmp_path / "z.h5", tmp_path / "a.h5"]
    for path, part in zip(halves, (rows[:301], rows[301:][::-1]), strict=True):
        with h5py.File(path, "w") as target:
            target["df/block0_values"] = part.astype(np.float64)
    parts, _ = skimmed(halves, tmp_path / "parts", chunk_size=77)
    assert parts.content_hash() == whole.content_hash()
    assert np.array_equal(parts.label, whole.label)


def test_bad_file_ends_the_pass_with_its_own_error(
    events_file: Path, damaged: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="not finite") as error:
        skimmed([events_file, damaged], tmp_path / "out")
    assert str(damaged) in str(error.value)


@pytest.mark.parametrize(
    ("executor", "chunk_size"),
    [
        ("iterative", 13),
        ("iterative", 1000),
        pytest.param("futures", 50, marks=pytest.mark.slow),
    ],
)
def test_bad_event_alone_is_skipped_whatever_the_chunks(
    damaged: Path, tmp_path: Path, executor: str, chunk_size: int
) -> None:
    with h5py.File(damaged, "r+") as file:
        file["events"][71:74, 0] = -1.0
    sample, accounting = skimmed(
        [damaged], tmp_path / "out", executor, chunk_size=chunk_size, on_error=OnError.SKIP
    )
    assert accounting.events == 100
    assert accounting.n_lost == 4
    ((item, (lost, reason)),) = accounting.lost.items()
    assert (item, lost) == (f"data: {damaged}, entries 70-74", 4)
    assert "not finite" in reason
    assert len(sample) == accounting.selected == 96
    assert accounting.unopened == ()


class _Swapping(IterativeExecutor):
    """Changes a file between planning and reading, as another process might."""

    def __init__(self, change: Callable[[], object]) -> None:
        super().__init__(status=False)
        self.change = change

    def copy(self, **settings: Any) -> Any:
        self.change()
        return IterativeExecutor(status=False).copy(**settings)


@pytest.mark.parametrize("rows", [100, 120], ids=["replaced", "grown"])
def test_file_that_changes_after_planning_is_an_error(
    events_file: Path, tmp_path: Path, rows: int
) -> None:
    path = tmp_path / "events.h5"
    with h5py.File(events_file) as source:
        events = source["events"][:120]

    def write(n: int, scale: float = 1.0) -> None:
        with h5py.File(path, "w") as file:
            file["events"] = events[:n] * np.float32(scale)

    write(100)
    with pytest.raises(InputError, match="was changed since the pass was planned"):
        skimmed([path], tmp_path / "out", _Swapping(lambda: write(rows, 1.01)))
    # Beside others it is listed as lost, and no event of what it is now is taken.
    write(100)
    sample, accounting = skimmed(
        [path, events_file],
        tmp_path / "skipped",
        _Swapping(lambda: write(rows, 1.01)),
        on_error=OnError.SKIP,
    )
    assert accounting.lost == {
        f"data: {path}, entries 0-100": (100, accounting.lost[f"data: {path}, entries 0-100"][1])
    }
    assert len(sample) == 500


def test_file_that_changes_after_it_was_hashed_is_an_error(
    events_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "events.h5"
    path.write_bytes(events_file.read_bytes())
    fileset = Fileset.from_paths(path).noted()
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    with pytest.raises(InputError, match=r"was changed .*same size"):
        fileset.items(100)
    assert len(Fileset.from_paths(path).noted().items(100)) == 5


@pytest.mark.parametrize("on_error", list(OnError))
def test_errors_that_are_no_files_end_a_pass_that_skips_too(
    tmp_path: Path, on_error: OnError
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("m_jj,heavy_mass,light_mass\n3500,500,100\n")
    processor = SkimProcessor(SkimSettings(select="numpy:array_equal"), tmp_path / "out")
    with (
        open_executor() as executor,
        pytest.raises(ConfigError, match=r"skim\.select: numpy:array_equal: TypeError"),
    ):
        run(Fileset.from_paths(path), processor, executor, on_error=on_error)


def test_nothing_is_skipped_where_no_file_is_at_fault(events_file: Path, tmp_path: Path) -> None:
    class Full(SkimProcessor):
        def process(self, events: Any) -> Any:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "part"))

    fileset = Fileset.from_paths({"data": [events_file]})
    with (
        open_executor() as executor,
        pytest.raises(StorageError, match=r"part: cannot be written: No space left.*Free some"),
    ):
        run(fileset, Full(SkimSettings(), tmp_path), executor, on_error=OnError.SKIP)


def test_a_pass_that_loses_everything_is_an_error(damaged: Path, tmp_path: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        rows = file["events"][:8]
        rows[:, 4] = np.nan
        del file["events"]
        file["events"] = rows
    with pytest.raises(InputError, match="not finite"):
        skimmed([damaged], tmp_path / "out", on_error=OnError.SKIP)


def test_events_without_a_dijet_are_counted(events_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.h5"
    with h5py.File(events_file) as source, h5py.File(path, "w") as target:
        rows = source["events"][:20]
        rows[3, :2100] = 0  # no particle at all
        rows[5, 3:2100] = 0  # one particle, one jet
        target["events"] = rows
    _, accounting = skimmed([path], tmp_path / "out")
    assert list(accounting.datasets) == ["data"]
    assert accounting.datasets["data"].to_dict() == {
        "events": 20,
        "selected": 18,
        "rejected": {"any_particle": 1, "two_jets": 1, "trigger": 0},
        "lost": {},
    }


def test_unaccounted_events_are_an_error() -> None:
    with pytest.raises(ExecutionError, match="2 of 10 events are unaccounted"):
        Accounting(events=10, selected=5, rejected={"two_jets": 1}, lost={"x": (2, "bad")})


@pytest.mark.parametrize(
    "executor", ["iterative", pytest.param("futures", marks=pytest.mark.slow), "dask"]
)
def test_tasks_come_back_in_order(executor: str) -> None:
    with open_executor(executor, workers=2) as opened:
        assert map_tasks(math.factorial, [5, 3, 9, 0], opened) == [120, 6, 362880, 1]
        assert {address.ip for address in _listening()} <= {"127.0.0.1", "::1"}
        assert map_tasks(math.factorial, [], opened) == []
        with pytest.raises(
            ExecutionError, match=r"ValueError in a worker.*\(1 more work item failed\)"
        ):
            map_tasks(math.factorial, [5, -1, -2], opened)


def test_tasks_within_tasks_say_once_how_many_failed() -> None:
    def tasks_within(number: int) -> list[int]:
        with open_executor("iterative") as opened:
            return map_tasks(math.factorial, [-number, -1], opened)

    with open_executor("iterative") as outer, pytest.raises(ExecutionError) as found:
        map_tasks(tasks_within, [1, 2], outer)
    assert str(found.value).endswith("negative values (1 more work item failed)")
    assert str(found.value).count("more work item") == 1


def _listening() -> list[Any]:
    this = psutil.Process()
    return [
        connection.laddr
        for process in (this, *this.children(recursive=True))
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]


@pytest.fixture
def threads() -> Iterator[LocalCluster]:
    """A Dask cluster within this process, without workers at first."""
    with LocalCluster(
        n_workers=0, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield cluster


def test_no_worker_is_said_and_given_up(
    threads: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Resources(executor=threads, wait_for_workers=0.01).open() as executor,
        pytest.raises(ExecutionError, match=r"no worker at \S+\. Start one .*--wait-for-workers"),
    ):
        map_tasks(math.factorial, [3], executor)
    assert "waiting: no worker" in caplog.text


def test_workers_that_vanish_and_come_back_finish_the_pass(
    threads: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    class Mine(Client):
        """As sites have them."""

    with Mine(threads) as client, Resources(executor=client, progress=True).open() as executor:
        Timer(0.5, threads.scale, [1]).start()  # none at first
        assert map_tasks(math.factorial, [5, 3], executor) == [120, 6]
        Timer(0.5, threads.scale, [0]).start()
        Timer(1.5, threads.scale, [1]).start()
        assert map_tasks(_slowly, [1, 2, 3], executor) == [1, 2, 3]
    assert not [record for record in caplog.records if record.name == "tnt_coffea"]


def test_a_cluster_that_adapts_from_no_worker_starts_one_for_a_pass(threads: LocalCluster) -> None:
    adaptive = threads.adapt(minimum=0, maximum=1, interval="100ms")
    try:
        with Resources(executor=threads, wait_for_workers=0.5).open() as executor:
            assert map_tasks(math.factorial, [5, 3], executor) == [120, 6]
    finally:
        adaptive.stop()


def _slowly(number: int) -> int:
    time.sleep(0.5)
    return number


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "lost", "message"),
    [
        (False, False, r"tnt_coffea is not installed on the workers at tcp://127\.0\.0\.1:\d+"),
        (True, True, r"scheduler at tcp://127\.0\.0\.1:\d+ is lost"),
    ],
)
def test_faults_of_a_cluster_of_ones_own(
    package: bool, lost: bool, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def dask(what: str, *words: str) -> subprocess.Popen[bytes]:
        code = f"import sys; from distributed.cli.dask_{what} import main; main(sys.argv[1:])"
        if not package and what == "worker":  # as where it is not installed
            code = "import sys; sys.modules['tnt_coffea'] = None;" + code
        return subprocess.Popen(
            [sys.executable, "-c", code, *words, "--no-dashboard"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    where = tmp_path / "scheduler.json"
    scheduler = dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", where)
    worker = dask("worker", "--scheduler-file", where, "--nthreads", "1", "--no-nanny")
    try:
        while not where.exists():
            time.sleep(0.1)
        address = json.loads(where.read_text())["address"]
        with open_executor(address, wait_for_workers=1) as executor:
            if lost:
                Timer(3, scheduler.kill).start()
            with pytest.raises(ExecutionError, match=message):
                map_tasks(time.sleep, [0.5] * 100, executor)
        assert "Traceback" not in capfd.readouterr().err
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


SCRIPT = """
import math, os, time
from tnt_coffea.execution import Resources, map_tasks
with Resources(executor="dask", workers=1).open() as executor:
    map_tasks(math.factorial, [3], executor)
"""


@pytest.mark.slow
def test_script_without_the_guard_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["futures", "dask"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("delay", [0.2, 6.0])
def test_signals_leave_no_process(
    events_file: Path, tmp_path: Path, executor: str, number: signal.Signals, delay: float
) -> None:
    words = ("skim", events_file, "--out", tmp_path, "--executor", executor, "--workers", "2")
    with subprocess.Popen(
        [sys.executable, "-m", "tnt_coffea", *map(str, words), "--chunk-size", "1"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        this = psutil.Process(process.pid)
        while len(this.children()) < 2:
            time.sleep(0.1)
        time.sleep(delay)
        children = this.children(recursive=True)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    settings, *lines = said.splitlines()
    assert settings.startswith("settings: ")
    assert len(lines) == 1, said
    assert not psutil.wait_procs(children, timeout=10)[1]


def _dies(number: int) -> None:
    time.sleep(0.1)
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_death_of_a_process_is_one_error_and_no_hang(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        open_executor("futures", workers=2) as executor,
        pytest.raises(ExecutionError, match=r"a worker died.*goes on where it was cut$"),
    ):
        map_tasks(_dies, range(8), executor)
    assert "Traceback" not in capfd.readouterr().err


def test_a_pass_from_which_nothing_comes_home_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tnt_coffea.work_functions.PATIENCE", 0.1)
    pool = ThreadPoolExecutor(2)
    with pool, open_executor(FuturesExecutor(pool=pool, status=False)) as executor:
        assert map_tasks(_slowly, [1, 2], executor) == [1, 2]
        assert 1 <= caplog.text.count("waiting: no work item of 'Working'") <= 4
        caplog.clear()
        assert map_tasks(abs, [1, 2], executor) == [1, 2]
    assert not caplog.text


@pytest.mark.slow
def test_commands_run_on_processes_of_coffea_where_dask_is_missing(
    events_file: Path, tmp_path: Path
) -> None:
    def skim(name: str, **environment: str) -> dict[Path, bytes]:
        words = ("skim", events_file, "--out", tmp_path / name, "--workers", "2")
        done = subprocess.run(
            [sys.executable, "-m", "tnt_coffea", *map(str, words), "--chunk-size", "100"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        folder = tmp_path / name
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.parquet")}

    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules.update(dict.fromkeys(('dask', 'distributed')))\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    without = skim("without", PYTHONPATH=path)
    assert len(without) >= 1
    assert without == skim("with")


def test_encrypted_scheduler_without_certificates_is_one_error() -> None:
    with pytest.raises(ConfigError, match="certificates"), open_executor("tls://127.0.0.1:9"):
        pass


def test_a_shared_executor_is_set_up_when_first_used() -> None:
    with Resources(executor="spark").shared() as shared:  # never used, never refused
        pass
    with (
        Resources().shared() as shared,
        shared.shared() as again,
        again.open() as first,
        shared.open() as second,
    ):
        assert first is second


def test_the_package_runs_as_a_module_and_prints_no_banner() -> None:
    code = (
        "import awkward as ak, vector\n"
        "from tnt_coffea.config import JetSettings\n"
        "from tnt_coffea.jets import cluster\n"
        "names, one = ('pt', 'eta', 'phi', 'mass'), ak.Array([[1.0]])\n"
        "particles = vector.zip(dict.fromkeys(names, one)) * 500\n"
        "print(len(cluster(particles, JetSettings())))\n"
    )
    for words, expected in (
        (["-c", code], "1\n"),
        (["-m", "tnt_coffea", "--version"], "tnt-coffea,"),
    ):
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(expected)
        assert done.stdout.count("\n") == 1


def test_unknown_executor_is_refused_with_the_known_ones() -> None:
    with (
        pytest.raises(ConfigError, match="iterative, futures, dask"),
        open_executor("spark"),
    ):
        pass


def test_absent_scheduler_is_named() -> None:
    with (
        pytest.raises(ExecutionError, match=r"tcp://127\.0\.0\.1:9"),
        open_executor("tcp://127.0.0.1:9", wait_for_workers=0.01),
    ):
        pass


def test_filesets_refuse_what_is_no_file(events_file: Path, tmp_path: Path) -> None:
    for files, cause in (
        ([tmp_path / "absent.h5"], "no such file"),
        ([tmp_path], "a folder, expected a file with events, or a folder of them"),
        ([events_file, events_file], "twice"),
        ([], "no file given"),
        ([os.fsdecode(b"caf\xe9.h5")], "PYTHONUTF8=1"),
    ):
        with pytest.raises(InputError, match=cause):
            Fileset.from_paths({"data": files})


def test_executor_of_the_users_own_is_used(tmp_path: Path, events_file: Path) -> None:
    calls = []

    class Counted(IterativeExecutor):
        def __call__(self, items: Any, function: Any, accumulator: Any) -> Any:
            calls.append(len(items))
            return super().__call__(items, function, accumulator)

    sample, _ = skimmed([events_file], tmp_path / "a", Counted(status=False), chunk_size=250)
    assert calls == [2]
    assert len(sample) == 500


@pytest.mark.parametrize("error", [None, MemoryError("of a worker")])
def test_what_an_executor_gives_up_is_an_error_and_no_smaller_result(
    events_file: Path, tmp_path: Path, error: Exception | None
) -> None:
    class EndingEarly(IterativeExecutor):
        """As coffea's do where they are `recoverable`, or end early."""

        def __call__(self, items: Any, function: Any, accumulator: Any) -> Any:
            output, _ = super().__call__(items[:-1], function, accumulator)
            return output, error or 0

    said = r"4 of 5 work items came back" if error is None else "gave up: MemoryError: of a worker"
    with pytest.raises(ExecutionError, match=said):
        skimmed([events_file], tmp_path, EndingEarly(status=False), chunk_size=100)
    with pytest.raises(ExecutionError, match=r"came back|gave up"):
        map_tasks(math.factorial, [3, 4], EndingEarly(status=False))


def test_executor_of_taskvine_is_told_where_it_works() -> None:
    executor = TaskVineExecutor(status=False)
    with pytest.raises(ConfigError, match=r"TaskVineExecutor .*Runner"), open_executor(executor):
        pass


def test_planted_duplicates_are_counted(
    tmp_path: Path, events_file: Path, small_config: SearchConfig
) -> None:
    path = tmp_path / "twice.h5"
    with h5py.File(events_file) as source, h5py.File(path, "w") as target:
        rows = source["events"][:30]
        rows[20, :2100], rows[25, :2100] = rows[4, :2100], rows[4, :2100]
        target["events"] = rows
    made = pipeline.skim(Fileset.from_paths({"data": [path]}), small_config, out=tmp_path)
    assert (made.duplicates, made.accounting.selected) == (2, 30)
    # Copies have one id, so no fold can train on one and score another.
    assert len(set(made.sample().event_id.tolist())) == 28
