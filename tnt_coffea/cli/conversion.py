"""The command that rewrites events in another format."""

from __future__ import annotations

from pathlib import Path

import click

from tnt_coffea.cli.options import files_argument

__all__ = ["convert"]

PATH = click.Path(path_type=Path)


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
    files: tuple[Path, ...], output: Path, form: str | None, chunk_size: int, overwrite: bool
) -> None:
    """Rewrite the events of FILES, of any source, as one Parquet or ROOT file OUTPUT.

    The columns are NanoAOD's, with the events' identity, weights, numbers and labels: a
    search of OUTPUT gives what a search of FILES gives.
    """
    from tnt_coffea.errors import InputError
    from tnt_coffea.events import convert as convert_files

    if output.exists() and not overwrite:
        msg = f"{output}: exists already; name another file, or add --overwrite"
        raise InputError(msg)
    made = convert_files(files, output, form, chunk_size=chunk_size)
    click.echo(made.summary())
