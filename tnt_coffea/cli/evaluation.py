"""Methods against the truth, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tnt_coffea.cli.options import configured, load_taggers, out_option, skim_option

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.products import Taggers

__all__ = ["evaluate"]

PATH = click.Path(path_type=Path)


@click.command()
@click.option(
    "--taggers",
    "folders",
    type=PATH,
    multiple=True,
    help="Folder with tagger sets, as of another seed, or a packaged one; may be repeated. "
    "References beside them are taken too.  [default: OUT/train]",
)
@skim_option
@out_option
@configured
def evaluate(
    config: SearchConfig, out: Path, skim_folder: Path | None, folders: tuple[Path, ...]
) -> None:
    """Compare trained methods on the same events; their truth must be known.

    Table, plots (PNG, PDF) and numbers (JSON) go to OUT/evaluate. Sets of the same name
    in several folders are trainings of one method: median and 68 % band.
    """
    from rich.console import Console

    from tnt_coffea import pipeline, reporting
    from tnt_coffea.products import Skim
    from tnt_coffea.storage import written

    trainings = [item for folder in folders or (out / "train",) for item in _trainings(folder)]
    skim = Skim.load(skim_folder or out / "skim")
    comparison = pipeline.compare_methods(skim, trainings, config.search)
    folder = out / "evaluate"
    folder.mkdir(parents=True, exist_ok=True)
    for plot in reporting.comparison_plots(comparison):
        plot.save(folder)
    with written(folder / "comparison.json") as path:
        text = json.dumps(comparison.to_dict(), sort_keys=True, allow_nan=False)
        path.write_text(text + "\n")
    Console().print(reporting.comparison_table(comparison))
    click.echo(f"evaluation: {folder}")


def _trainings(folder: Path) -> list[tuple[str, Taggers]]:
    from tnt_coffea import pipeline

    found = [(str(folder), load_taggers(folder))]
    references = pipeline.references_beside(folder)
    return found if references is None else [*found, (str(folder), references)]
