"""Commands around trained taggers."""

from __future__ import annotations

import json
from pathlib import Path

import click

__all__ = ["models"]


@click.group()
def models() -> None:
    """List and show trained taggers, packaged or your own."""


@models.command("list")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
def list_(folder: Path | None) -> None:
    """List the tagger sets of the package, or those in FOLDER (a search's train/)."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from tnt_coffea.cli.options import load_taggers
    from tnt_coffea.taggers import packaged_taggers

    table = Table(box=box.SIMPLE_HEAD)
    for name in ("taggers", "set", "method", "scope", "folds"):
        table.add_column(name, overflow="fold")
    table.add_column("ONNX files", justify="right")
    for name in [str(folder)] if folder else sorted(packaged_taggers()):
        for label, tagger_set in sorted(load_taggers(Path(name)).sets.items()):
            cards = [member.tagger.card for member in tagger_set.members]
            table.add_row(
                name,
                label,
                ", ".join(sorted({card.method for card in cards})),
                ", ".join(sorted({card.scope for card in cards})),
                str(tagger_set.folds.outer),
                str(len(cards)),
            )
    Console().print(table)


@models.command()
@click.argument("tagger")
def show(tagger: str) -> None:
    """Print the card of a TAGGER as JSON: an ONNX file, or a name like rnd-3500/tnt/heavy-0-0."""
    from tnt_coffea import taggers

    card = taggers.load(tagger).card
    click.echo(json.dumps(card.model_dump(mode="json"), indent=2, sort_keys=True))
