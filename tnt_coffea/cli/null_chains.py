"""The command that searches background by the hundred."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tnt_coffea.cli.options import (
    PATH,
    configured,
    files_argument,
    fileset_of,
    machine_options,
    preset_option,
)

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.execution import Resources
    from tnt_coffea.filesets import Fileset
    from tnt_coffea.products import Skim

__all__ = ["null_chains"]


@click.command("null-chains")
@files_argument
@click.option(
    "--chains",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Searches in the table, those that it holds already included.",
)
@click.option(
    "--events", type=click.IntRange(1), default=10_000, show_default=True, help="Dijets in each."
)
@preset_option
@click.option(
    "--to", type=PATH, default=Path("null-chains.json"), show_default=True, help="The table."
)
@machine_options
@configured
def null_chains(
    files: tuple[str, ...],
    chains: int,
    events: int,
    to: Path,
    config: SearchConfig,
    resources: Resources,
    out: Path | None = None,
) -> None:
    """Search background many times, with taggers trained anew, for calibrated p-values.

    FILES hold background alone, events or folders of skims. The same command goes on with a table
    that was cut, or has fewer chains. Searches of these settings take it as `fit.bump.null_chains`.
    """
    from tnt_coffea import pipeline

    made = pipeline.run_null_chains(
        _source(files, resources), config, chains=chains, events=events, out=to, resources=resources
    )
    click.echo(made.summary())


def _source(files: tuple[str, ...], resources: Resources) -> Fileset | list[Skim]:
    from tnt_coffea.products import Skim

    folders = [Path(name) for name in files]
    if all((folder / "manifest.json").exists() for folder in folders):
        return [Skim.load(folder) for folder in folders]
    return fileset_of(files, resources=resources)
