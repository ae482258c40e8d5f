"""Commands on files of events: what is in one, and the same events in another format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tnt_coffea.cli.options import files_argument
from tnt_coffea.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from tnt_coffea.inspection import Inspection

__all__ = ["convert", "inspect"]

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("file", type=str)
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
def inspect(file: str, events: int, config_path: Path | None) -> None:
    """Say what is in FILE: its source, events, labels, weights, problems, first dijets.

    FILE is anything with events that a search reads. The exit code is 3 where there
    are problems.
    """
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.events.locations import paths_of
    from tnt_coffea.events.remote import shown
    from tnt_coffea.inspection import inspect_events
    from tnt_coffea.reporting import wide_console

    config = SearchConfig.from_yaml(config_path) if config_path else SearchConfig()
    click.echo(f"settings: {config_path or 'defaults'}", err=True)
    path, *more = paths_of(file)
    if more:
        msg = f"{shown(file)}: {len(more) + 1} files; inspect them one by one"
        raise InputError(msg)
    inspection = inspect_events(path, most=events or None, settings=config.skim)
    console = wide_console()
    console.print(_facts(inspection))
    if inspection.dijets:
        console.print(_dijets(inspection))
    for note in inspection.notes:
        console.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    for problem in inspection.problems:
        console.print(f"problem: {problem}", style="red", markup=False, soft_wrap=True)
    if inspection.problems:
        number = len(inspection.problems)
        msg = f"{path}: {number} problem{'s' if number > 1 else ''}, listed above"
        raise InputError(msg)
    but = "; but see the note" if inspection.notes else ""
    console.print(
        f"{path}: no problem in {inspection.read} events{but}", markup=False, soft_wrap=True
    )


def _facts(inspection: Inspection) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    rows = {
        "file": str(inspection.path),
        "source": inspection.source,
        "events": f"{inspection.entries}"
        + (f", {inspection.read} read" * (inspection.read < inspection.entries)),
        **inspection.facts,
    }
    for name, value in rows.items():
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def _dijets(inspection: Inspection) -> Table:
    import numpy as np
    from rich import box
    from rich.table import Table

    table = Table(title="First dijets", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("quantity")
    for name in ("16 %", "median", "84 %"):
        table.add_column(name, justify="right")
    for name, column in inspection.dijets.items():
        low, median, high = np.nanpercentile(column, (16, 50, 84))
        table.add_row(name, f"{low:.4g}", f"{median:.4g}", f"{high:.4g}")
    return table


@click.command()
@files_argument
@click.argument("output", type=PATH)
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "root"]),
    help="Format of OUTPUT.  [default: what its suffix says]",
)
@click.option(
    "--chunk-size",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Events in memory at once, and in a row group or basket of OUTPUT.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT where it exists.")
def convert(
    files: tuple[str, ...], output: Path, form: str | None, chunk_size: int, overwrite: bool
) -> None:
    """Rewrite the events of FILES, of any source, as one Parquet or ROOT file OUTPUT.

    The columns are NanoAOD's, with the events' identity, weights, numbers and labels: a
    search of OUTPUT gives what a search of FILES gives. coffea's NanoAODSchema wants run,
    luminosityBlock and event: of sources without them, read OUTPUT with BaseSchema, or set
    NanoAODSchema.error_missing_event_ids to False.
    """
    from tnt_coffea.errors import InputError
    from tnt_coffea.events import convert as convert_files
    from tnt_coffea.events.locations import paths_of

    if output.exists() and not overwrite:
        msg = f"{output}: exists already; name another file, or add --overwrite"
        raise InputError(msg)
    paths = [path for word in files for path in paths_of(word)]
    conversion = convert_files(paths, output, form, chunk_size=chunk_size)
    click.echo(conversion.summary())
