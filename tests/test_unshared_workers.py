"""Workers that do not see the search's folder: what they need comes along, what they make home."""

from __future__ import annotations

import functools
import json
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cloudpickle
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from coffea.processor import accumulate

import tnt_coffea as tnt
from tnt_coffea import testing
from tnt_coffea.checkpoints import Checkpoints
from tnt_coffea.config import SkimSettings
from tnt_coffea.errors import ExecutionError, InputError, StorageError
from tnt_coffea.execution import open_executor, run
from tnt_coffea.filesets import Fileset
from tnt_coffea.processors import SearchProcessor, SkimProcessor
from tnt_coffea.training import Schedule, elsewhere, run_task
from tnt_coffea.training.elsewhere import Elsewhere
from tnt_coffea.visibility import Mark, marked
from tnt_coffea.work_functions import ProcessItem

CONFIG = tnt.SearchConfig.from_text(
    """
search:
  efficiencies: [0.5, 0.3]
  window: {low: 2800.0, high: 4500.0}
train:
  folds: {inner: 2}
  methods:
    mass: {kind: feature}
    tnt: {kind: tag_n_train, after: mass, classifier: {network: trees}}
fit:
  bump: {efficiency: 0.5, bin_width: 200.0}
  abcd: {efficiency: 0.3}
"""
)
ELSEWHERE = Mark("/no/such/folder/of/the/driver")


def table(path: Path, n: int = 600) -> Path:
    rng = np.random.default_rng(3)
    columns = {
        "m_jj": 2000 + rng.exponential(700, n),
        "heavy_mass": rng.gamma(3, 90, n),
        "light_mass": rng.gamma(3, 40, n),
        "heavy_tau21": rng.uniform(0.1, 0.9, n),
        "light_tau21": rng.uniform(0.1, 0.9, n),
    }
    pq.write_table(pa.table(columns), path)
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_parts_of_a_skim_come_home_as_they_would_have_been_written(tmp_path: Path) -> None:
    fileset = Fileset.from_paths(table(tmp_path / "box.parquet"))
    made = {}
    for name, mark in {"shared": None, "home": ELSEWHERE}.items():
        (tmp_path / name).mkdir()
        processor = SkimProcessor(SkimSettings(), tmp_path / name, mark)
        with open_executor("iterative") as executor:
            output, accounting = run(fileset, processor, executor, chunk_size=100)
        assert output.keys() == {"cutflow", "parts"}
        made[name] = (output, accounting, files_of(tmp_path / name))
    assert len(made["home"][2]) == 6
    assert made["home"] == made["shared"]


def test_training_runs_come_home_as_they_would_have_been_written(tmp_path: Path) -> None:
    skim = tnt.Skim.from_sample(testing.make_sample(600))
    schedule = Schedule.planned(skim.by_role, CONFIG, tmp_path / "shared")
    away = replace(schedule, folder=str(tmp_path / "home"), outcomes={})

    def one_by_one(tasks: list, function: object) -> list:
        return [run_task(task) for task in tasks]

    def travelling(tasks: list, function: object) -> list:
        work = Elsewhere.of(tasks, "tcp://10.0.0.1:1")
        return [work(task).stored(task) for task in tasks]

    first, second = schedule.waves
    schedule.finish(first, one_by_one)
    away.finish(first, travelling)
    # Of those that build on others, one.
    one_by_one(schedule.tasks(second)[:1], run_task)
    travelling(away.tasks(second)[:1], run_task)
    shared, home = (
        {name: content for name, content in files_of(tmp_path / place).items() if "/" not in name}
        for place in ("shared", "home")
    )
    assert sum(name.endswith(".onnx") for name in home) == 3
    assert home == shared
    done, left = elsewhere.missing(away.tasks(second))
    assert (len(done), len(left)) == (1, 7)


def test_a_skim_too_large_to_travel_is_an_error_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skim = tnt.Skim.from_sample(testing.make_sample(200))
    schedule = Schedule.planned(skim.by_role, CONFIG, tmp_path)
    monkeypatch.setattr(elsewhere, "MOST_BYTES", 1000)
    with pytest.raises(ExecutionError, match=r"not seen by the worker w1, .* give --out on a file"):
        Elsewhere.of(schedule.tasks(schedule.waves[0]), "w1")


def test_files_that_did_not_all_arrive_are_not_taken_for_whole() -> None:
    work = Elsewhere({"/a.parquet": b"PAR1", "/b.parquet": "cut"}, "half")  # type: ignore[dict-item]
    for _ in range(2):  # the second task does not find what the first one left
        with pytest.raises(TypeError), elsewhere._unpacked(work):
            pass
    assert "half" not in elsewhere._HERE


def test_a_folder_that_cannot_be_looked_into_is_not_seen() -> None:
    assert not Mark(f"/{'x' * 300}")()  # the system refuses to say


def test_a_worker_whose_disk_is_full_is_named_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skim = tnt.Skim.from_sample(testing.make_sample(200))
    schedule = Schedule.planned(skim.by_role, CONFIG, tmp_path / "driver")
    tasks = schedule.tasks(schedule.waves[0])[:1]
    work = Elsewhere.of(tasks, "w1")
    (disk := tmp_path / "disk").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # less than what comes along
    try:
        with pytest.raises(StorageError, match=f"^on {socket.gethostname()}: .*cannot be writ"):
            work(tasks[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(disk.iterdir())
    assert work(tasks[0]).stored(tasks[0]).set_name == "mass"


def test_files_of_a_task_stay_while_another_thread_works_on_other_files(tmp_path: Path) -> None:
    works = [
        Elsewhere({f"/of/the/driver/{number}.parquet": bytes([number])}, f"digest {number}")
        for number in range(3)
    ]
    with elsewhere._unpacked(works[0]) as first:
        with elsewhere._unpacked(works[1]) as second, elsewhere._unpacked(works[0]) as again:
            assert again == first != second
        assert (first / "000000.parquet").read_bytes() == b"\0"
        with elsewhere._unpacked(works[2]):  # the only one in use is kept beside it
            assert (first.exists(), second.exists()) == (True, False)


def test_a_folder_of_the_same_name_elsewhere_is_not_the_drivers(tmp_path: Path) -> None:
    # Items of an earlier run on the worker's own disk, of the same stage and files.
    earlier = Checkpoints(str(tmp_path), "key")
    earlier.write("item", {"parts": {"a"}})
    blind = replace(earlier, mark=ELSEWHERE)
    assert (earlier.read("item"), blind.read("item")) == ({"parts": {"a"}}, None)
    blind.write("other", {"parts": {"b"}})
    assert earlier.read("other") is None
    with marked(tmp_path) as mark, marked(tmp_path) as other:
        assert mark != other
        assert replace(earlier, mark=mark).read("item") is not None
    assert replace(earlier, mark=mark).read("item") is None


def test_parts_that_come_along_are_searched_as_those_on_the_disk() -> None:
    skim = tnt.Skim.from_sample(testing.make_sample(40, pixels=40))
    processor = SearchProcessor(tnt.SearchConfig(), tnt.taggers.load_set("rnd-3500/tnt"))
    items = skim.fileset().items(30)
    with open_executor("iterative") as executor:
        output, _ = run(skim.fileset(), processor, executor, chunk_size=30)
    work = ProcessItem(cloudpickle.dumps(processor), skip=False)
    along = [replace(item.brought(), path="/elsewhere/part.parquet") for item in items]
    found = [work(item)["processed"] for item in along]
    assert len(found) == 2
    hists = processor.postprocess(accumulate(found))["hists"]
    assert hists["tnt"] == output["hists"]["tnt"]
    at_address = replace(items[0], path="http://127.0.0.1:9/nano.root")
    assert at_address.brought() is at_address  # however large it is
    with pytest.raises(InputError, match=r"part\.parquet: cannot be read: No such file"):
        replace(items[0], path="/elsewhere/part.parquet").brought()


def unshare() -> list[str]:
    """Return the command with which a process gets mounts of its own; none where it may not."""
    for flags in ("-m", "-Urm"):
        command = ["unshare", flags]
        may = [*command, "mount", "-t", "tmpfs", "none", "/mnt"]
        if shutil.which("unshare") and not subprocess.run(may, capture_output=True).returncode:
            return command
    return []


@pytest.fixture
def blind_workers(tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler whose workers see another, empty folder for the driver's."""
    command = unshare()
    if not command:
        pytest.skip("a process may not have mounts of its own here (unshare)")
    where, hidden = tmp_path / "scheduler.json", tmp_path / "driver"
    hidden.mkdir()

    def dask(what: str, *words: object) -> list[str]:
        code = f"import sys; from distributed.cli.dask_{what} import main; main(sys.argv[1:])"
        return [sys.executable, "-c", code, *map(str, words), "--no-dashboard"]

    def started(words: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            words, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    run_in = [*command, "sh", "-c", f'mount -t tmpfs none {hidden} && exec "$@"', "worker"]
    words = ("worker", "--scheduler-file", where, "--nthreads", "1", "--no-nanny")
    processes = [
        started(dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", where)),
        *(started([*run_in, *dask(*words)]) for _ in range(2)),
    ]
    try:
        while not where.exists():
            time.sleep(0.1)
        yield json.loads(where.read_text())["address"]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_whole_search_on_workers_without_its_folder(blind_workers: str, tmp_path: Path) -> None:
    table(tmp_path / "box.parquet", 2000)
    served = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), served)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fileset = Fileset.from_paths(f"http://127.0.0.1:{server.server_port}/box.parquet")
    made = {}
    for name, executor in {"driver": blind_workers, "local": "iterative"}.items():
        resources = tnt.Resources(executor=executor, chunk_size=500, progress=False)
        where = {"out": tmp_path / name / "out", "resources": resources}
        dijets = tnt.skim(fileset, CONFIG, **where)
        taggers = tnt.train(dijets, CONFIG, **where)
        made[name] = tnt.search(dijets, taggers, CONFIG, **where)
    server.shutdown()
    server.server_close()
    away, here = files_of(tmp_path / "driver" / "out"), files_of(tmp_path / "local" / "out")
    compared = {
        name
        for name in here
        if name.startswith(("skim/parts/", "train/", "search/")) and "manifest" not in name
    }
    assert len(compared) > 20
    assert {name: away.get(name) for name in compared} == {name: here[name] for name in compared}
    assert made["driver"].digest == made["local"].digest
    # What cannot travel is refused before anything starts.
    resources = tnt.Resources(executor=blind_workers, progress=False)
    box = table(tmp_path / "driver" / "box.parquet")
    with pytest.raises(ExecutionError, match=r"box.parquet: not seen by the worker tcp://.*https"):
        tnt.skim(Fileset.from_paths(box), CONFIG, out=tmp_path / "other", resources=resources)
    with pytest.raises(ExecutionError, match=r"not seen by the worker .* generated events are"):
        tnt.generate(CONFIG, out=tmp_path / "driver" / "generated", resources=resources)
