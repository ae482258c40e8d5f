"""Commands that look into files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tnt_coffea.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from tnt_coffea.inspection import Inspection

__all__ = ["inspect"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--events",
    type=click.IntRange(0),
    default=10_000,
    show_default=True,
    help="How many to look at, from the first on; 0 for all.",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Settings (YAML): jets, or the columns of a table (skim.table).",
)
def inspect(file: Path, events: int, config_path: Path | None) -> None:
    """Say what is in FILE: its source, events, labels, weights, problems, first dijets.

    FILE is anything with events that a search reads. The exit code is 3 where there
    are problems.
    """
    from rich.console import Console

    from tnt_coffea.config import SearchConfig
    from tnt_coffea.inspection import inspect_events

    config = SearchConfig.from_yaml(config_path) if config_path else SearchConfig()
    found = inspect_events(file, most=events or None, settings=config.skim)
    console = Console()
    console.print(_facts(found))
    if found.dijets:
        console.print(_dijets(found))
    for problem in found.problems:
        console.print(f"problem: {problem}", style="red", markup=False, soft_wrap=True)
    if found.problems:
        msg = f"{file}: {len(found.problems)} problems, listed above"
        raise InputError(msg)
    console.print(f"{file}: no problem in {found.read} events", markup=False, soft_wrap=True)


def _facts(found: Inspection) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    rows = {
        "file": str(found.path),
        "source": found.source,
        "events": f"{found.entries}" + (f", {found.read} read" * (found.read < found.entries)),
        **found.facts,
    }
    for name, value in rows.items():
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def _dijets(found: Inspection) -> Table:
    import numpy as np
    from rich import box
    from rich.table import Table

    table = Table(title="First dijets", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("quantity")
    for name in ("16 %", "median", "84 %"):
        table.add_column(name, justify="right")
    for name, column in found.dijets.items():
        low, median, high = np.nanpercentile(column, (16, 50, 84))
        table.add_row(name, f"{low:.4g}", f"{median:.4g}", f"{high:.4g}")
    return table
