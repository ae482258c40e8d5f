"""How far many toys are, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["toys_shown"]


@contextmanager
def toys_shown(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Give what is to be called with the toys done and all of them; None shows nothing.

    The bar goes to standard error, so that a result can be piped, and is drawn on a
    terminal only.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("toys"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("toys", total=None, rate="", visible=False)

        def shown(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)
            elapsed = bar.tasks[0].elapsed
            if elapsed:
                bar.update(task, rate=f"{done / elapsed:.3g} toys/s")

        yield shown
