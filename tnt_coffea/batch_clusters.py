"""Dask workers as jobs of a batch system, as a small file of settings says.

dask-jobqueue submits them. What it leaves open is closed here: the scheduler listens on the
loopback interface alone unless another one is named, jobs that ended are made up for, and what
the batch system says of them reaches whoever waits.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
import shutil
import signal
import sys
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from tnt_coffea.config.settings import Settings
from tnt_coffea.errors import ConfigError, ExecutionError, MissingExtraError, reason
from tnt_coffea.settings_text import MOST_CHARACTERS, SettingsText

__all__ = ["BatchSettings", "Jobs", "is_batch", "job_script", "submitted"]

COMMANDS = {"slurm": "sbatch", "htcondor": "condor_submit"}
FIRST_LOOK, LOOK = 4.0, 15.0
"""Seconds before the batch system is first asked about the jobs, and between later times."""
LOST = 30.0
"""Seconds after which a job whose worker has left is cancelled, where it runs on."""
RETIRED = 300.0
"""Most seconds before the end of the wall time at which a worker hands over what it holds."""
HOPELESS = 3
"""Jobs that fail before their worker comes, after which no more are tried."""
DEATHS = 3
"""Workers that may die of a task before it is taken for the cause."""
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED")
ALIVE = ("submitted", "RUNNING", "COMPLETING", "STAGE_OUT", *WAITING)
FAILED = ("BOOT_FAIL", "COMPLETED", "FAILED", "OUT_OF_MEMORY", "ended")
"""States of a job whose end is its own; others are of the batch system or somebody's wish."""

log = logging.getLogger(__name__.partition(".")[0])


def _line(text: str) -> str:
    if not text or any(unicodedata.category(one) == "Cc" and one != "\t" for one in text):
        msg = f"expected one line of text without control characters, got {text!r}"
        raise ValueError(msg)
    return text


def _size(memory: Any) -> Any:
    if not isinstance(memory, str) or not re.fullmatch(
        r"[1-9]\d*(\.\d+)? ?([kMGT]i?)?B", memory, re.ASCII
    ):
        msg = f"expected a size with its unit, such as 2 GB, got {memory!r}"
        raise ValueError(msg)
    return memory


Line = Annotated[str, AfterValidator(_line)]
Memory = Annotated[str, BeforeValidator(_size)]


def _seconds(wall_time: Any) -> Any:
    # YAML reads 12:00:00 without quotes as this number of seconds already.
    if not isinstance(wall_time, str):
        return wall_time
    found = re.fullmatch(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d):([0-5]\d)", wall_time)
    if found is None:
        msg = f"expected HH:MM:SS, D-HH:MM:SS or a number of seconds, got {wall_time!r}"
        raise ValueError(msg)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


WallTime = Annotated[int, BeforeValidator(_seconds), Field(ge=60)]
"""Seconds, of at least one minute, which is the shortest time that Slurm knows."""


class Jobs(Settings):
    """Numbers of jobs between which a cluster grows and shrinks with its load."""

    minimum: int = Field(0, ge=0)
    maximum: int = Field(ge=1)

    @model_validator(mode="before")
    @classmethod
    def _one_number(cls, jobs: Any) -> Any:
        if isinstance(jobs, int) and not isinstance(jobs, bool):
            return {"minimum": jobs, "maximum": jobs}
        if not isinstance(jobs, Mapping):
            msg = f"expected a number, or {{minimum: ..., maximum: ...}}, got {jobs!r}"
            raise ValueError(msg)
        return jobs

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum > self.maximum:
            msg = f"minimum must not be above maximum, got {self.minimum} > {self.maximum}"
            raise ValueError(msg)
        return self


class BatchSettings(Settings):
    """Jobs of a batch system that a pass runs on; no result depends on any of it.

    Examples
    --------
    >>> batch = BatchSettings.from_text("{kind: slurm, wall_time: '01:30:00', jobs: 20}")
    >>> batch.most_workers, batch.wall_time, batch.interface
    (20, 5400, None)
    """

    kind: Literal["slurm", "htcondor"] = Field(description="the batch system")
    queue: Line | None = Field(None, description="partition of Slurm; its default without one")
    account: Line | None = Field(None, description="who pays; HTCondor's accounting_group")
    cores: int = Field(1, ge=1, description="of a job; each is a worker of one thread")
    memory: Memory = Field("2 GiB", description="of a job, for all of its workers")
    disk: Memory | None = Field(None, description="of a job of HTCondor; 2 GB without one")
    wall_time: WallTime | None = Field(
        None, description="of a job, HH:MM:SS or D-HH:MM:SS; a number is in seconds [s]"
    )
    # A default of these values would give its minimum to a file that names the maximum alone.
    jobs: Jobs = Field(
        default_factory=lambda: Jobs(minimum=1, maximum=1),
        description="a number, or {minimum, maximum} by the load",
    )
    python: Line | None = Field(None, description="interpreter of the jobs; this one without it")
    prologue: tuple[Line, ...] = Field((), description="lines of the job before the worker starts")
    directives: tuple[Line, ...] = Field(
        (), description="further lines for the batch system: --qos=short; name = value for HTCondor"
    )
    log_folder: Line = Field("batch-logs", description="where the jobs' output goes")
    scratch: Line | None = Field(None, description="folder of the node that workers spill to")
    interface: Line | None = Field(
        None, description="network interface that jobs reach this machine by; loopback without it"
    )
    port: int = Field(0, ge=0, lt=2**16, description="of the scheduler; 0 is any free one")
    dashboard: bool = Field(False, description="Dask's web pages, on the same interface")

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        condor = self.kind == "htcondor"
        if condor and self.queue is not None:
            msg = "queue is of Slurm: HTCondor has none; requirements go into directives"
            raise ValueError(msg)
        if not condor and self.disk is not None:
            msg = "disk is of HTCondor: Slurm takes it among directives (--tmp=2G)"
            raise ValueError(msg)
        for one in self.directives if condor else ():
            if not re.fullmatch(r"[+\w.]+\s*=\s*.+", one):
                msg = f"directives of HTCondor are of the form 'name = value', got {one!r}"
                raise ValueError(msg)
        return self

    @property
    def most_workers(self) -> int:
        """Workers of one thread there are at most."""
        return self.jobs.maximum * self.cores

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Return the settings in a YAML file.

        Parameters
        ----------
        path
            The file.

        Raises
        ------
        ConfigError
            The file cannot be read, is not YAML, or holds a wrong setting; the line is named.
        """
        try:
            with Path(path).open(encoding="utf-8") as file:
                text = file.read(MOST_CHARACTERS + 1)
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{path}: cannot read the settings of a batch system: {reason(error)}"
            raise ConfigError(msg) from error
        return cls.from_text(text, str(path))

    @classmethod
    def from_text(cls, text: str, name: str = "executor") -> Self:
        """Return the settings in YAML text; errors as `from_yaml`, under the name given.

        Examples
        --------
        >>> BatchSettings.from_text("{kind: htcondor, jobs: {maximum: 50}, memory: 4 GB}").jobs
        Jobs(maximum=50)
        """
        settings = SettingsText.parsed(text, name)
        try:
            return cls.model_validate(settings.values)
        except ValidationError as error:
            names = ", ".join(cls.model_fields)
            raise settings.complaint(
                error, cls(kind="slurm"), listed=f"there are {names}"
            ) from error


def is_batch(executor: Any) -> bool:
    """Tell whether an executor is the settings of a batch system, or a file with them.

    Examples
    --------
    >>> [is_batch(executor) for executor in ("slurm.yaml", "dask", "tcp://host:8786")]
    [True, False, False]
    """
    if isinstance(executor, str | Path):
        return str(executor).endswith((".yaml", ".yml"))
    return isinstance(executor, BatchSettings)


def job_script(settings: BatchSettings) -> str:
    """Return the script of a job as it would be submitted; nothing is started or written.

    Parameters
    ----------
    settings
        Of the batch system. The address of the scheduler is not known before it is started.

    Raises
    ------
    ConfigError
        This machine has no such network interface.
    MissingExtraError
        dask-jobqueue is not installed.
    """
    job_class = _cluster_class(settings.kind).job_cls
    # The constructor makes the folder of the logs.
    with TemporaryDirectory() as folder:
        options = _job_options(settings.model_copy(update={"log_folder": folder}))
        job = job_class("tcp://SCHEDULER:PORT", name="NAME", jobs=None, **options)
        return str(job.job_script()).replace(folder, settings.log_folder)


@contextmanager
def submitted(settings: BatchSettings) -> Iterator[Any]:
    """Submit jobs, and give a client of their scheduler; they are cancelled at the end.

    Parameters
    ----------
    settings
        Of the batch system.

    Raises
    ------
    ConfigError
        This machine has no such network interface.
    ExecutionError
        There is no batch system here, or it refuses the job.
    MissingExtraError
        dask-jobqueue is not installed.
    """
    made = _cluster_class(settings.kind)
    from distributed import Client
    from distributed.utils import silence_logging_cmgr

    from tnt_coffea.dask_clusters import import_what_coffea_imports, interrupts_held

    command = COMMANDS[settings.kind]
    if shutil.which(command) is None:
        msg = f"{command} is not found: jobs are submitted from a machine of the batch system"
        raise ExecutionError(msg)
    options = _job_options(settings)
    # What matters of Dask's own lines is told by `dask_clusters.WatchedDask`.
    with silence_logging_cmgr(logging.CRITICAL), ExitStack() as stack:
        with interrupts_held():
            import_what_coffea_imports()
            try:
                cluster = made(
                    jobs=_Submitted(settings),
                    scheduler_options=_scheduler_options(settings),
                    silence_logs=logging.CRITICAL,
                    **options,
                )
            except (OSError, RuntimeError) as error:
                msg = f"the Dask scheduler does not start on this machine: {error}"
                raise ExecutionError(msg) from error
            stack.enter_context(cluster)
        client = stack.enter_context(Client(cluster))
        if settings.dashboard:
            log.warning("Dask's pages: %s", client.dashboard_link)
        jobs = settings.jobs
        if jobs.minimum == jobs.maximum:
            cluster.scale(jobs=jobs.maximum)
        else:
            cluster.adapt(minimum_jobs=jobs.minimum, maximum_jobs=jobs.maximum)
        yield client


def _interface(settings: BatchSettings) -> tuple[str, str]:
    """Return name and IPv4 address of the network interface that everything listens on."""
    from distributed.utils import get_ip_interface

    name = settings.interface or ("lo0" if sys.platform == "darwin" else "lo")
    try:
        return name, str(get_ip_interface(name))
    except ValueError as error:
        msg = f"interface of a batch system's settings: {error}"
        raise ConfigError(msg) from error


def _scheduler_options(settings: BatchSettings) -> dict[str, Any]:
    name, address = _interface(settings)
    return {
        "interface": name,
        "port": settings.port,
        "dashboard": settings.dashboard,
        # Its web server is there without a dashboard too: any free port.
        "dashboard_address": f"{address}:{8787 if settings.dashboard else 0}",
        "allowed_failures": DEATHS,
    }


def _job_options(settings: BatchSettings) -> dict[str, Any]:
    """Return what dask-jobqueue makes a job of; nothing is left to its files of settings."""
    name, _ = _interface(settings)
    # Every web server of a worker would listen on all interfaces.
    worker = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    if (wall := settings.wall_time) is not None:
        # It hands over what it holds in time, and the end of its job is not held against a task.
        margin = min(RETIRED, wall / 3)
        worker += ["--lifetime", f"{wall - margin:.0f}s"]
        worker += ["--lifetime-stagger", f"{margin / 4:.0f}s"]
    options: dict[str, Any] = {
        "job_name": "tnt-coffea",
        "cores": settings.cores,
        "processes": settings.cores,
        "memory": settings.memory,
        "python": settings.python or sys.executable,
        "interface": name,
        "protocol": "tcp://",
        "log_directory": settings.log_folder,
        "local_directory": settings.scratch,
        "job_script_prologue": list(settings.prologue),
        "worker_extra_args": worker,
        "death_timeout": 60,
        "job_directives_skip": [],
    }
    if settings.kind == "slurm":
        return options | {
            "queue": settings.queue,
            "account": settings.account,
            "walltime": None if wall is None else _slurm_time(wall),
            "job_extra_directives": list(settings.directives),
        }
    further: dict[str, Any] = dict(
        re.split(r"\s*=\s*", line, maxsplit=1) for line in settings.directives
    )
    if settings.account is not None:
        further = {"accounting_group": settings.account} | further
    if wall is not None:
        further = {"allowed_job_duration": wall} | further
    return options | {"disk": settings.disk or "2 GB", "job_extra_directives": further}


def _slurm_time(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours // 24}-{hours % 24:02}:{rest // 60:02}:{rest % 60:02}"


class _Submitted:
    """The jobs of a cluster, and what the batch system said of them."""

    def __init__(self, settings: BatchSettings) -> None:
        self.settings = settings
        self.refusal = ""
        self.fault = ""
        """Why jobs were last not looked after."""
        self.states: dict[str, str] = {}
        """State by number of the job, in the batch system's words."""
        self.failed: list[str] = []
        """Jobs that ended by themselves before a worker came, since the last one came."""
        self._told: set[str] = set()

    def refused(self, error: Exception) -> None:
        """Note that a job was not taken."""
        _, _, told = str(error).partition("stderr:\n")
        lines = [line.strip() for line in (told or str(error)).splitlines() if line.strip()]
        self.refusal = "; ".join(lines)
        if self.states:
            command = COMMANDS[self.settings.kind]
            self._once(f"{command} refused a further job, which is tried again", self.refusal)

    def stopped(self) -> None:
        """Note that no more jobs are tried, although there are workers."""
        self._once("no further job is submitted until a worker comes", self.problem())

    def _once(self, what: str, why: str) -> None:
        if what not in self._told:
            self._told.add(what)
            log.warning("%s: %s", what, why)

    def looked_after(self, error: Exception | None) -> None:
        """Note whether the jobs could be looked after; that they cannot is said once."""
        fault = "" if error is None else f"{type(error).__name__}: {' '.join(str(error).split())}"
        if fault and not self.fault:
            log.warning("jobs are not looked after, which is tried again: %s", fault[:300])
        self.fault = fault[:300]

    def problem(self) -> str:
        """Return why no worker will come, or nothing."""
        if self.refusal and not self.states:
            return f"{COMMANDS[self.settings.kind]} refused the job: {self.refusal}"
        if len(self.failed) >= HOPELESS:
            last = self.failed[-1]
            return (
                f"{len(self.failed)} jobs ended before their worker came (the last one, {last}: "
                f"{self.states[last]}){self._last_words(last)}"
            )
        return ""

    def _last_words(self, job: str) -> str:
        folder = Path(self.settings.log_folder)
        for path in sorted(folder.glob(f"*-{job}.err")):
            try:
                lines = path.read_text(errors="replace").split("\n")
            except OSError as error:
                return f"; {path} cannot be read: {error.strerror}"
            said = [line.strip() for line in lines if line.strip()]
            return f"; {path} ends with: {said[-1][:300]}" if said else f"; {path} is empty"
        return f"; their output is in {folder}"

    def said(self) -> str:
        """Return in words how the jobs are and how others ended, or nothing."""
        states = list(self.states.values())  # another thread adds to them
        alive = Counter(state for state in states if _is_alive(state))
        ended = Counter(state for state in states if not _is_alive(state))
        words = [f"{n} {state}" for state, n in alive.items()]
        words += [f"{n} ended as {state}" for state, n in ended.items()]
        if self.refusal:
            words.append(f"a further one is refused: {self.refusal}")
        if self.fault:
            words.append(f"not looked after: {self.fault}")
        return f"Jobs: {', '.join(words)}" if words else ""

    def unheard(self) -> str:
        """Return what may be wrong where jobs run and no worker has come."""
        runs = "RUNNING" in list(self.states.values())
        if not runs or self.settings.interface is not None:
            return ""
        return (
            ". They reach this machine by its loopback interface alone; from other machines "
            "name a network `interface` in the settings of the executor"
        )


def _is_alive(state: str) -> bool:
    return state.partition(" ")[0] in ALIVE


@functools.cache
def _cluster_class(kind: str) -> Any:
    before = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue
    except ImportError as error:
        raise MissingExtraError(error.name or "dask_jobqueue", "cluster") from error
    # Its import makes Ctrl-C end a program as if all were well.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, before)
    from distributed import deploy
    from distributed.deploy.spec import ProcessInterface

    base = {"slurm": dask_jobqueue.SLURMCluster, "htcondor": dask_jobqueue.HTCondorCluster}[kind]

    class Job(base.job_cls):  # type: ignore[misc, name-defined]
        """A job that says whether it was taken, instead of an error that nobody hears."""

        def __init__(self, *args: Any, jobs: _Submitted, **options: Any) -> None:
            super().__init__(*args, **options)
            self.jobs = jobs

        async def start(self) -> None:
            try:
                await super().start()
            except (OSError, RuntimeError, ValueError) as error:
                self.jobs.refused(error)
                await ProcessInterface.start(self)
            else:
                self.jobs.states[self.job_id] = "submitted"
                self.jobs.refusal = ""

        async def close(self) -> None:
            await super().close()
            await ProcessInterface.close(self)

    class Cluster(base):  # type: ignore[misc, valid-type]
        """A cluster that makes up for jobs that ended, and asks the batch system about them."""

        job_cls = Job

        def __init__(self, *, jobs: _Submitted, **options: Any) -> None:
            self.batch = jobs
            super().__init__(jobs=jobs, **options)

        async def _start(self) -> None:
            await super()._start()
            self._seen: dict[str, float] = {}
            self._keeper = asyncio.ensure_future(self._keep())

        async def _close(self) -> None:
            if hasattr(self, "_keeper"):
                self._keeper.cancel()
            await super()._close()

        def _update_worker_status(self, op: str, msg: Any) -> None:
            if op == "add":
                arrived = {str(one["name"]) for one in msg["workers"].values()}
                for name, job in self.workers.items():
                    if arrived & self._names(name):
                        self._seen[job.job_id] = time.monotonic()
                self.batch.failed.clear()
            # Without what SpecCluster adds: it cancels a job whose worker has left, and one that
            # the batch system queued again with it.
            deploy.Cluster._update_worker_status(self, op, msg)

        async def _keep(self) -> None:
            for wait in chain((FIRST_LOOK,), repeat(LOOK)):
                await asyncio.sleep(wait)
                try:
                    silence = await self._look()
                    if not self.batch.problem():
                        # A job that is just being submitted is known before all are cancelled.
                        await asyncio.shield(self._correct_state())
                    elif self.scheduler.workers:
                        self.batch.stopped()
                except Exception as error:  # the next look may do
                    silence = error
                self.batch.looked_after(silence)

        async def _look(self) -> Exception | None:
            """Give up jobs whose worker is gone; return why the batch system says nothing."""
            jobs, states = self.batch, self.batch.states
            silence: Exception | None = None
            if kind == "slurm":
                asked_for = [one for one, state in states.items() if _is_alive(state)]
                try:
                    listed = await _slurm_states(self.job_cls._call)
                except (OSError, RuntimeError) as error:  # workers that are gone are seen without
                    silence = error
                else:
                    states |= dict.fromkeys(asked_for, "ended")
                    states |= {one: state for one, state in listed.items() if one in states}
            refused = [name for name, job in self.workers.items() if job.job_id is None]
            for name in refused[:1]:  # one a time: what is refused now is often refused again
                await self.workers.pop(name).close()
            now = time.monotonic()
            present = {str(worker.name) for worker in self.scheduler.workers.values()}
            for name, job in list(self.workers.items()):
                state = states.get(job.job_id, "submitted")
                if self._names(name) & present:
                    self._seen[job.job_id] = now
                    continue
                if state.partition(" ")[0] in WAITING:  # perhaps again
                    self._seen.pop(job.job_id, None)
                    continue
                seen = self._seen.get(job.job_id)
                if _is_alive(state) and (seen is None or now - seen < LOST):
                    continue
                if seen is None and state.partition(" ")[0] in FAILED:
                    jobs.failed.append(job.job_id)
                try:
                    await job.close()
                except (OSError, RuntimeError) as error:
                    silence = error
                    if _is_alive(state):  # cancelled at the next look
                        continue
                self.workers.pop(name, None)
            return silence

        def _names(self, name: str) -> set[str]:
            return {name, *(f"{name}{suffix}" for suffix in self.new_spec.get("group", ()))}

    return Cluster


async def _slurm_states(call: Callable[..., Awaitable[str]]) -> dict[str, str]:
    """Return the state of every job of this user that Slurm remembers."""
    asked = ["squeue", f"--user={os.getuid()}", "--noheader", "--states=all", "--format=%i|%T|%r"]
    states = {}
    for line in (await call(asked)).splitlines():
        number, _, rest = line.partition("|")
        state, _, reason = rest.partition("|")
        waits = state in WAITING and reason not in ("None", "")
        states[number] = f"{state} ({reason})" if waits else state
    return states
