"""Commands that repeat published studies and compare."""

from __future__ import annotations

from pathlib import Path

import click

from tnt_coffea.cli.options import workers_option

__all__ = ["study"]


@click.group()
def study() -> None:
    """Repeat a published study: its figures, its numbers, and which of its claims hold."""


@study.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("tnt-coffea-studies"),
    show_default=True,
    help="Folder of studies, one subfolder a study.",
)
@click.option(
    "--members",
    type=click.IntRange(2),
    default=20,
    show_default=True,
    help="Trainings of each curve of figure 2; a quarter of them in scans and supervised.",
)
@click.option(
    "--scale",
    type=click.FloatRange(0.01, 100),
    default=1.0,
    show_default=True,
    help="Numbers of events over those of the paper; their shares stay the same.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Root seed.")
@workers_option
@click.option(
    "--as-published",
    is_flag=True,
    help="As the authors' notebook, where it differs from the text: 100 epochs, batches of 10 %, "
    "lambda 1.05, SALAD with twice the events.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress bars.")
def gaussian(
    out: Path,
    members: int,
    scale: float,
    seed: int,
    workers: int,
    as_published: bool,
    quiet: bool,
) -> None:
    """Simulation-assisted decorrelation on Gaussians: arXiv:2009.02205, section III.

    SALAD, SA-CWoLa and their references, trained many times, beside the closed form of each
    optimum. Numbers (study.json), page (study.md) and figures go to OUT/gaussian; a killed study
    goes on with the same command. About 5 minutes on two cores.
    """
    from tnt_coffea.execution import Resources
    from tnt_coffea.pipeline import studies
    from tnt_coffea.reporting import wide_console

    resources = Resources(
        executor="futures" if workers > 1 else "iterative", workers=workers, progress=not quiet
    )
    result = studies.gaussian(
        out=out,
        members=members,
        scale=scale,
        seed=seed,
        as_published=as_published,
        resources=resources,
    )
    wide_console().print(studies.claims_table(result.claims))
    for note in result.notes:
        click.echo(f"note: {note}")
    click.echo(f"study: {out / 'gaussian'}")
