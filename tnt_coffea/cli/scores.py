"""Commands that score single events: their quantiles, and a signal's efficiency."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tnt_coffea.cli.options import (
    PATH,
    configured,
    fileset_of,
    load_taggers,
    machine_options,
    out_option,
    skim_option,
    taggers_option,
)

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.execution import Resources

__all__ = ["efficiency", "score"]

_files = click.argument("files", nargs=-1)


def _source(files: tuple[str, ...], skim_folder: Path | None, out: Path) -> Any:
    from tnt_coffea.products import Skim

    return fileset_of(files) if files else Skim.load(skim_folder or out / "skim")


@click.command()
@_files
@skim_option
@taggers_option
@click.option("--to", type=PATH, help="Parquet file to write.  [default: OUT/scores.parquet]")
@click.option("--truth", is_flag=True, help="Write the labels too, where the source has them.")
@out_option
@machine_options
@configured
def score(
    files: tuple[str, ...],
    config: SearchConfig,
    out: Path,
    skim_folder: Path | None,
    taggers_folder: Path | None,
    to: Path | None,
    truth: bool,
    resources: Resources,
) -> None:
    """Write the quantiles of every dijet of a skim, or of FILES, as a Parquet table."""
    import pyarrow.parquet as pq

    from tnt_coffea import pipeline
    from tnt_coffea.accounting import Accounting
    from tnt_coffea.storage import written

    taggers = load_taggers(taggers_folder or out / "train")
    source = _source(files, skim_folder, out)
    table = pipeline.score(source, taggers, config, truth=truth, resources=resources)
    path = to or out / "scores.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as partial:
        pq.write_table(table, partial, write_page_checksum=True)
    account = json.loads(table.schema.metadata[b"tnt_coffea.scores"])["accounting"]
    lost = Accounting.from_dict(account).n_lost
    click.echo(f"scores: {path}: {table.num_rows} dijets, {lost} events lost")


@click.command()
@_files
@skim_option
@taggers_option
@click.option("--to", type=PATH, help="JSON file to write.  [default: OUT/efficiency.json]")
@click.option(
    "--luminosity",
    type=click.FloatRange(0, min_open=True),
    help="Of the data [1/fb], for a limit on the model; that of the settings by default.",
)
@out_option
@machine_options
@configured
def efficiency(
    files: tuple[str, ...],
    config: SearchConfig,
    out: Path,
    skim_folder: Path | None,
    taggers_folder: Path | None,
    to: Path | None,
    luminosity: float | None,
    resources: Resources,
) -> None:
    """Measure which share of a simulated signal in FILES every selection keeps.

    With a luminosity the settings of the search are written beside it with these efficiencies,
    for `tnt-coffea fit --config`, which then sets limits on the model's cross section.
    """
    from tnt_coffea import pipeline
    from tnt_coffea.storage import written

    taggers = load_taggers(taggers_folder or out / "train")
    source = _source(files, skim_folder, out)
    found = pipeline.efficiency(source, taggers, config, resources=resources)
    path = to or out / "efficiency.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save(path)
    for line in found.lines():
        click.echo(line)
    click.echo(f"efficiencies: {path}")
    if luminosity or config.data.luminosity:
        settings = found.settings(config, luminosity)
        with written(path.with_suffix(".yaml")) as partial:
            partial.write_text(settings.to_yaml())
        click.echo(
            f"settings with them: {path.with_suffix('.yaml')}; `tnt-coffea fit --config` sets "
            "limits on the model"
        )
