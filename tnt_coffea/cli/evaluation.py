"""Commands on what was made: taggers, methods against the truth, and two searches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tnt_coffea.cli.options import (
    configured,
    configured_by_search,
    load_taggers,
    out_option,
    skim_option,
    workers_option,
)
from tnt_coffea.cli.signal_folders import signal_name, skim_in

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.products import Taggers

__all__ = ["answer", "characterise", "compare", "evaluate", "models"]

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
    in several folders are training runs of one method: median and 68 % band.
    """
    from tnt_coffea import pipeline, reporting
    from tnt_coffea.products import Skim
    from tnt_coffea.storage import held, stored, written

    runs = [item for folder in folders or (out / "train",) for item in _runs(folder)]
    skim = Skim.load(skim_folder or out / "skim")
    comparison = pipeline.compare_methods(skim, runs, config.search)
    folder = out / "evaluate"
    with held(out), stored(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for plot in reporting.comparison_plots(comparison):
            plot.save(folder)
        with written(folder / "comparison.json") as path:
            text = json.dumps(comparison.to_dict(), sort_keys=True, allow_nan=False)
            path.write_text(text + "\n")
    reporting.wide_console().print(reporting.comparison_table(comparison))
    click.echo(f"evaluation: {folder}")


@click.command()
@out_option
@skim_option
@click.option("--set", "name", help="Tagger set.  [default: the first one]")
@click.option("--selection", help="Share of events or name of cuts.  [default: that of fit.bump]")
@click.option(
    "--signal",
    "signals",
    metavar="FOLDER",
    type=PATH,
    multiple=True,
    help="Skim of a simulated signal, as `skim` makes it in FOLDER/skim; may be repeated.",
)
@configured_by_search
def characterise(
    config: SearchConfig,
    out: Path,
    skim_folder: Path | None,
    name: str | None,
    selection: str | None,
    signals: tuple[Path, ...],
) -> None:
    """Show what the excess of a finished search looks like: masses, prongs, images.

    Selected events of the window less those beside it; no truth is used. Simulated signals
    tell how many events there were before the selection, and how far it moves what it shows.
    Figures and numbers go to OUT/characterise.
    """
    from tnt_coffea import pipeline, reporting
    from tnt_coffea.products import Histograms, Skim, Taggers
    from tnt_coffea.storage import held, stored, written

    found = pipeline.characterise(
        Skim.load(skim_folder or out / "skim"),
        Taggers.load(out / "train"),
        Histograms.load(out / "search"),
        config,
        name=name,
        selection=_selection(selection),
        signals={signal_name(path): Skim.load(skim_in(path)) for path in signals},
    )
    folder = out / "characterise"
    with held(out), stored(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for plot in reporting.characterisation_plots(found):
            plot.save(folder)
        with written(folder / "characterisation.json") as path:
            text = json.dumps(found.to_dict(), sort_keys=True, allow_nan=False, indent=1)
            path.write_text(text + "\n")
    console = reporting.wide_console()
    for table in reporting.characterisation_tables(found):
        console.print(table)
    for caution in reporting.characterisation_cautions(found):
        click.echo(caution)
    click.echo(f"characterisation: {folder}")


def _selection(text: str | None) -> float | str | None:
    try:
        return text if text is None else float(text)
    except ValueError:
        return text


@click.command()
@out_option
@skim_option
@click.option(
    "--tried",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Searches of the same events in other folders that this one is picked from, itself "
    "included: the p-value is multiplied by them.",
)
@click.option(
    "--events",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Signal events simulated at the masses found, twice; 0: none, and no number of events.",
)
@workers_option
@configured_by_search
def answer(
    config: SearchConfig, out: Path, skim_folder: Path | None, tried: int, events: int, workers: int
) -> None:
    """Answer as the LHC Olympics asked: p-value, masses, prongs, events before any selection.

    Masses are given from a global significance of 3 on. No truth is read. The answer goes to
    OUT/answer/answer.json with the SHA-256 of answer and settings.
    """
    import functools

    from tnt_coffea import pipeline
    from tnt_coffea.execution import Resources
    from tnt_coffea.products import Histograms, Skim, Taggers
    from tnt_coffea.search_folder import noted_sources
    from tnt_coffea.storage import held

    histograms, noted = Histograms.load(out / "search"), noted_sources(out)
    resources = Resources(executor="futures" if workers > 1 else "iterative", workers=workers)
    simulate = functools.partial(
        pipeline.simulated_signal,
        config=config,
        out=out / "answer",
        events=events,
        resources=resources,
    )
    found = pipeline.answer(
        Skim.load(skim_folder or Path(noted.get("skim", out / "skim"))),
        Taggers.load(out / "train"),
        histograms,
        pipeline.standing_fit(histograms, config, out),
        config,
        simulate=simulate if events else None,
        tried=tried,
    )
    with held(out):
        path, sha256 = pipeline.write_answer(out, found, config)
    click.echo(found.summary())
    click.echo(f"answer: {path}")
    click.echo(f"SHA-256 of answer and settings: {sha256}")


@click.command()
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@click.option(
    "--events/--no-events",
    default=True,
    show_default=True,
    help="Score the dijets again, and count those that both searches select.",
)
@click.option("--json", "json_path", type=PATH, help="File for the same numbers.")
def compare(first: Path, second: Path, events: bool, json_path: Path | None) -> None:
    """Show two finished searches side by side: the folders FIRST and SECOND.

    Settings that differ, p-values, and how many events both select. No truth is used.
    """
    from tnt_coffea import pipeline, reporting
    from tnt_coffea.storage import written

    comparison = pipeline.compare_searches(first, second, events=events)
    reporting.wide_console().print(reporting.search_comparison_table(comparison))
    if json_path is not None:
        with written(json_path) as path:
            path.write_text(json.dumps(comparison.to_dict(), indent=1) + "\n")


def _runs(folder: Path) -> list[tuple[str, Taggers]]:
    from tnt_coffea import pipeline

    runs = [(str(folder), load_taggers(folder))]
    references = pipeline.references_beside(folder)
    return runs if references is None else [*runs, (str(folder), references)]


@click.group()
def models() -> None:
    """List and show trained taggers, packaged or your own."""


@models.command("list")
@click.argument("folder", type=PATH, required=False)
def list_(folder: Path | None) -> None:
    """List the tagger sets of the package, or those in FOLDER (a search's train/)."""
    from rich import box
    from rich.table import Table

    from tnt_coffea.cli.options import load_taggers
    from tnt_coffea.reporting import wide_console
    from tnt_coffea.taggers import packaged_taggers

    table = Table(box=box.SIMPLE_HEAD)
    for name in ("taggers", "set", "method", "scope", "simulation\nused", "folds"):
        table.add_column(name, overflow="fold", no_wrap=name in ("set", "method"))
    table.add_column("ONNX\nfiles", justify="right")
    for name in [str(folder)] if folder else sorted(packaged_taggers()):
        for label, tagger_set in sorted(load_taggers(Path(name)).sets.items()):
            cards = [member.tagger.card for member in tagger_set.members]
            table.add_row(
                name,
                label,
                ", ".join(sorted({card.method for card in cards})),
                ", ".join(sorted({card.scope for card in cards})),
                tagger_set.knowledge,
                str(tagger_set.folds.outer),
                str(len(cards)),
            )
    wide_console().print(table)


@models.command()
@click.argument("tagger")
def show(tagger: str) -> None:
    """Print the card of a TAGGER as JSON: an ONNX file, or a name like rnd-3500/tnt/heavy-0-0."""
    from tnt_coffea import taggers

    card = taggers.load(tagger).card
    shown = {"knowledge": card.knowledge, **card.model_dump(mode="json")}
    click.echo(json.dumps(shown, indent=2, sort_keys=True))
