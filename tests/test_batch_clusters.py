"""Settings of batch systems, and the jobs that they would submit; tests/clusters submits them."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from distributed import LocalCluster

from tnt_coffea import batch_clusters
from tnt_coffea.batch_clusters import BatchSettings, is_batch, job_script, submitted
from tnt_coffea.cli import main
from tnt_coffea.errors import ConfigError, ExecutionError
from tnt_coffea.execution import Resources, map_tasks

SLURM = """
kind: slurm
queue: short
account: higgs
cores: 2
memory: 4 GiB
wall_time: 1-02:30:00
jobs: {minimum: 1, maximum: 20}
python: /cvmfs/site/env/bin/python
prologue: ["source /cvmfs/site/setup.sh"]
directives: ["--qos=normal", "--constraint=cpu"]
log_folder: /data/logs
scratch: /scratch
"""
CONDOR = """
kind: htcondor
account: group_u.higgs
memory: 2 GB
disk: 3 GB
wall_time: 7200
python: python3
prologue: ["source /cvmfs/site/setup.sh"]
directives: ['requirements = OpSysAndVer == "AlmaLinux9"', "+WantOS = el9"]
log_folder: logs
"""


def script(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pytest.importorskip("dask_jobqueue", reason="needs pip install 'tnt-coffea[cluster]'")
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    lines = job_script(BatchSettings.from_text(text)).splitlines()
    assert signal.getsignal(signal.SIGINT) is before  # dask-jobqueue sets one of its own
    assert list(tmp_path.iterdir()) == []
    return lines


def test_script_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = script(SLURM, tmp_path, monkeypatch)
    directives = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    assert directives == [
        "-J tnt-coffea",
        "-e /data/logs/tnt-coffea-%J.err",
        "-o /data/logs/tnt-coffea-%J.out",
        "-p short",
        "-A higgs",
        "-n 1",
        "--cpus-per-task=2",
        "--mem=4G",
        "-t 1-02:30:00",
        "--qos=normal",
        "--constraint=cpu",
    ]
    prologue, worker = (line for line in lines[1:] if line and not line.startswith("#"))
    assert prologue == "source /cvmfs/site/setup.sh"
    assert worker.startswith("/cvmfs/site/env/bin/python -m distributed.cli.dask_worker tcp://")
    for words in (
        "--nthreads 1",
        "--nworkers 2",
        "--memory-limit 2.00GiB",
        "--local-directory /scratch",
        "--lifetime 95100s",  # five minutes before the wall time
        "--no-dashboard",
    ):
        assert f" {words}" in worker
    assert not Path("/data/logs").exists()


def test_script_of_htcondor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = script(CONDOR, tmp_path, monkeypatch)
    given = dict(line.split(" = ", 1) for line in lines if " = " in line)
    assert given["accounting_group"] == "group_u.higgs"
    assert given["allowed_job_duration"] == "7200"
    assert given["requirements"] == 'OpSysAndVer == "AlmaLinux9"'
    assert given["+WantOS"] == "el9"
    assert given["MY.DaskWorkerMemory"] == str(2 * 10**9)
    assert given["MY.DaskWorkerDisk"] == str(3 * 10**9)
    assert given["LogDirectory"] == "logs"
    assert given["Executable"] == "/bin/sh"
    assert given["Arguments"].startswith(
        "\"-c 'source /cvmfs/site/setup.sh; python3 -m distributed"
    )
    assert lines[-1] == "Queue"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{queue: short}", "s.yaml:1: kind: Field required"),
        ("{kind: pbs}", "s.yaml:1: kind: must be 'slurm' or 'htcondor' (got 'pbs')"),
        ("kind: slurm\nqeue: short", "s.yaml:2: qeue is not a setting; did you mean queue?"),
        ("kind: slurm\npartition: short", "s.yaml:2: partition is not a setting; there are kind"),
        ("kind: slurm\nmemory: 2", "s.yaml:2: memory: expected a size with its unit, such as 2 GB"),
        ("kind: slurm\nmemory: two", "memory: expected a size with its unit, such as 2 GB, got 't"),
        ("kind: slurm\nmemory: 2 G", "s.yaml:2: memory: expected a size with its unit"),
        ('kind: slurm\nqueue: "a\\0b"', "s.yaml:2: queue: expected one line of text without con"),
        (
            "kind: slurm\nprologue: module load x",
            "expected a list: write [module load x]",
        ),
        ("kind: slurm\nwall_time: 2 hours", "s.yaml:2: wall_time: expected HH:MM:SS"),
        ("kind: slurm\nwall_time: 30", "s.yaml:2: wall_time: must be greater than or"),
        ("kind: slurm\njobs: 0", "s.yaml:2: jobs: must be greater than"),
        ("kind: slurm\njobs: {minimum: 3, maximum: 2}", "minimum must not be above maximum"),
        ('kind: slurm\nprologue: ["a\\nb"]', "s.yaml:2: prologue.0: expected one line of text"),
        ("kind: slurm\njobs: true", "s.yaml:2: jobs: expected a number, or"),
        ("kind: slurm\ndisk: 2 GB", "s.yaml:2: disk is of HTCondor"),
        ("kind: htcondor\nqueue: short", "s.yaml:2: queue is of Slurm"),
        ("kind: htcondor\ndirectives: [--qos=short]", "of the form 'name = value'"),
        ("- kind", "s.yaml:1: expected settings by name"),
        ("kind: [", "s.yaml:1: not valid YAML"),
    ],
)
def test_faults_of_the_file_are_named_with_their_line(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as found:
        BatchSettings.from_yaml(path)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_times_are_read_with_and_without_quotes() -> None:
    for text in ("12:00:00", "'12:00:00'", "'0-12:00:00'", "43200"):
        settings = BatchSettings.from_text(f"{{kind: slurm, wall_time: {text}}}")
        assert settings.wall_time == 12 * 3600, text


def test_numbers_of_jobs() -> None:
    for text, expected in (("", (1, 1)), ("jobs: 3", (3, 3)), ("jobs: {maximum: 50}", (0, 50))):
        jobs = BatchSettings.from_text(f"{{kind: slurm, {text}}}").jobs
        assert (jobs.minimum, jobs.maximum) == expected


def test_absent_files_and_interfaces_are_one_error(tmp_path: Path) -> None:
    missing = tmp_path / "slurm.yaml"
    assert is_batch(missing)
    with (
        pytest.raises(ConfigError, match=r"slurm\.yaml: cannot read the settings of a batch"),
        Resources(executor=str(missing)).open(),
    ):
        pass
    pytest.importorskip("dask_jobqueue", reason="needs pip install 'tnt-coffea[cluster]'")
    with pytest.raises(ConfigError, match=r"'ib7' is not a valid network interface"):
        job_script(BatchSettings(kind="slurm", interface="ib7"))


def test_machine_without_the_batch_system_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask_jobqueue", reason="needs pip install 'tnt-coffea[cluster]'")
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(ExecutionError, match="condor_submit is not found"),
        Resources(executor=BatchSettings(kind="htcondor")).open(),
    ):
        pass


def test_dry_run_shows_the_job_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dask_jobqueue", reason="needs pip install 'tnt-coffea[cluster]'")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "box.csv").write_text("m_jj,heavy_mass,light_mass\n3000,500,100\n3100,90,80\n")
    (tmp_path / "search.yaml").write_text("train: {methods: {tau: {kind: feature}}}")
    (tmp_path / "slurm.yaml").write_text("{kind: slurm, queue: short, cores: 3, jobs: 4}")
    before = sorted(tmp_path.iterdir())
    words = ["run", "box.csv", "--config", "search.yaml", "--dry-run", "--executor"]

    def call(executor: str) -> Any:
        return CliRunner().invoke(main, [*words, executor])

    shown = call("slurm.yaml")
    assert shown.exit_code == 0, shown.output
    assert "with 12 processes" in " ".join(shown.stdout.split())
    assert "A job of slurm would be:\n\n#!/usr/bin/env bash\n" in shown.stdout
    assert "#SBATCH -p short\n" in shown.stdout
    assert "batch-logs/tnt-coffea-%J.err" in shown.stdout
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "slurm.yaml").write_text("{kind: slurm, jobs: none}")
    wrong = call("slurm.yaml")
    assert wrong.exit_code == ConfigError.exit_code
    assert wrong.stderr.splitlines()[1:] == [
        "error: slurm.yaml:1: jobs: expected a number, or {minimum: ..., maximum: ...}, got 'none'"
    ]


def test_files_of_the_how_to_are_valid() -> None:
    page = (Path(__file__).parents[1] / "docs" / "how-to" / "own-cluster.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 5
    for block in blocks:  # some show a line of the file alone
        BatchSettings.from_text(block if "kind:" in block else f"kind: slurm\n{block}")
    table = page.partition("| setting | means |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|(.*?)\|", table, re.MULTILINE))))
    assert named == set(BatchSettings.model_fields) - {"kind", "disk"}


def test_jobs_are_looked_after_whatever_the_batch_system_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("dask_jobqueue")
    number, answer, looks, cancelled = (
        tmp_path / name for name in ("number", "answer", "looks", "cancelled")
    )
    number.write_text("0")
    commands = {
        "sbatch": f'n=$(($(cat {number}) + 1)); echo $n > {number}; echo "Submitted batch job $n"',
        "squeue": f"echo >> {looks}; cat {answer}",
        "scancel": f'echo "$@" >> {cancelled}',
    }
    for name, lines in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(batch_clusters, "FIRST_LOOK", 0.1)
    monkeypatch.setattr(batch_clusters, "LOOK", 0.1)
    settings = BatchSettings(kind="slurm", jobs=1, log_folder=str(tmp_path / "logs"))

    def until(what: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while not what():
            assert time.monotonic() < end, "the batch system is not as expected"
            time.sleep(0.02)

    def said(*lines: str) -> None:
        (tmp_path / "next").write_text("\n".join(lines))
        (tmp_path / "next").replace(answer)

    with suppress(ZeroDivisionError), submitted(settings) as client:
        batch = client.cluster.batch
        until(lambda: "not looked after: RuntimeError" in batch.said())  # squeue has failed
        said("slurm_load_jobs error", "", "1|PENDING|Resources")
        until(lambda: batch.said() == "Jobs: 1 PENDING (Resources)")
        said("1|CANCELLED|None")
        until(lambda: batch.states.get("1") == "CANCELLED")
        until(batch.problem)  # it was made up for, by jobs that ended at once
        assert "3 jobs ended before their worker came (the last one, 4: ended)" in batch.problem()
        before = len(looks.read_text())
        until(lambda: len(looks.read_text()) > before + 3)
        assert number.read_text().strip() == "4"  # no more are tried
        said("5|PENDING|Resources")
        batch.failed.clear()
        until(lambda: "PENDING" in batch.states.get("5", ""))
        raise ZeroDivisionError  # whatever ends a pass
    assert "5" in cancelled.read_text().split()
    assert caplog.text.count("jobs are not looked after") == 1


CONDOR_SUBMIT = """#!{python}
import pathlib, re, subprocess, sys
text = pathlib.Path(sys.argv[-1]).read_text()
(given,) = re.findall(r'^Arguments = "(.*)"$', text, re.MULTILINE)
words = re.findall(r"'((?:[^']|'')*)'|(\\S+)", given.replace('""', '"'))
words = [quoted.replace("''", "'") or plain for quoted, plain in words]
with open("{folder}/output", "wb") as output:
    job = subprocess.Popen(
        ["/bin/sh", *words], start_new_session=True, stdout=output, stderr=output
    )
pathlib.Path("{folder}/42.0").write_text(str(job.pid))
print("1 job(s) submitted to cluster 42.")
"""
CONDOR_RM = """#!{python}
import os, pathlib, signal, sys
(number,) = sys.argv[1:]
os.killpg(int(pathlib.Path("{folder}", number).read_text()), signal.SIGKILL)
pathlib.Path("{folder}/removed").write_text(number)
"""


@pytest.mark.slow
def test_a_pass_on_jobs_of_htcondor_as_it_would_run_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With commands that take the submit description apart and run the job here."""
    pytest.importorskip("dask_jobqueue")
    for name, lines in (("condor_submit", CONDOR_SUBMIT), ("condor_rm", CONDOR_RM)):
        (tmp_path / name).write_text(lines.format(python=sys.executable, folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    prologue = f'export SAID="it\'s here"; echo "$SAID" > {tmp_path}/said'
    settings = BatchSettings(
        kind="htcondor", jobs=1, log_folder=str(tmp_path / "logs"), prologue=(prologue,)
    )
    with Resources(executor=settings, wait_for_workers=2).open() as executor:
        assert map_tasks(_briefly, range(3), executor) == [0, 1, 2]
        assert (tmp_path / "said").read_text() == "it's here\n"
        (worker,) = executor.client.scheduler_info()["workers"].values()
        assert worker["nthreads"] == 1
    assert (tmp_path / "removed").read_text() == "42.0"
    left = int((tmp_path / "42.0").read_text())
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE


def _briefly(number: int) -> int:
    time.sleep(0.2)
    return number


@pytest.mark.slow
def test_results_lost_with_the_only_worker_again_and_again_are_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:

        def replace_it() -> None:
            for _ in range(7):
                time.sleep(1.5)
                cluster.scale(0)
                time.sleep(0.3)
                cluster.scale(1)

        thread = Thread(target=replace_it)
        thread.start()
        with Resources(executor=cluster).open() as executor:
            assert map_tasks(_briefly, range(12), executor) == list(range(12))
        thread.join()
    assert "tasks were done for 12 work items" in caplog.text
