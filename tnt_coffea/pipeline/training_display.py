"""Trainings as they run, on a terminal: how many are done, what is left, the last losses."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tnt_coffea.execution import is_watched

if TYPE_CHECKING:
    from rich.console import Console, Group

    from tnt_coffea.training import Task

__all__ = ["shown"]

_PER_SECOND = 2
_MOST = 16
"""Trainings shown; a cluster runs more of them than a screen has lines."""


@contextmanager
def shown(tasks: Sequence[Task], console: Console | None = None) -> Iterator[None]:
    """Show the tasks while the block runs; silent where there is no terminal.

    Parameters
    ----------
    tasks
        Trainings of one wave, run by whatever executor: all that is looked at is their folder.
    console
        Where to; the standard error by default.
    """
    from rich.console import Console
    from rich.live import Live

    console = console or Console(stderr=True)
    if not is_watched(console):
        yield
        return
    began, before = time.monotonic(), _finished(tasks)

    def standing() -> Group:
        return _standing(tasks, before, time.monotonic() - began)

    with Live(
        get_renderable=standing, console=console, refresh_per_second=_PER_SECOND, transient=True
    ):
        yield


def _standing(tasks: Sequence[Task], before: int, seconds: float) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from tnt_coffea.reporting.wording import duration
    from tnt_coffea.training import progress

    done = _finished(tasks)
    made, left = done - before, len(tasks) - done
    expected = f", about {duration(seconds / made * left)} left" if made and left else ""
    sets = ", ".join(dict.fromkeys(task.set_name for task in tasks))
    title = Text(f"Training {sets}: {done} of {len(tasks)} done{expected}", style="bold")
    table = Table(box=None)
    for heading in ("", "epoch", "loss", "validation"):
        table.add_column(heading, justify="right" if heading else "left")
    for one in progress.read_statuses(task.status_path for task in tasks)[:_MOST]:
        losses = (f"{loss:.4g}" for loss in (one.loss, one.validation_loss))
        table.add_row(one.name, f"{one.epoch} of {one.epochs}", *losses)
    return Group(title, table) if table.row_count else Group(title)


def _finished(tasks: Sequence[Task]) -> int:
    return sum(task.history_path.exists() for task in tasks)
