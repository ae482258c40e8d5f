"""The command that times the kernels against their peers."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tnt_coffea.cli.options import files_argument

__all__ = ["benchmark"]

SHORT, LONG = (1000, 2000, 5000, 10_000), (1000, 10_000, 100_000, 1_000_000)


@click.command()
@files_argument
@click.option(
    "--events",
    type=click.IntRange(1),
    default=4000,
    show_default=True,
    help="Events of each file that are timed.",
)
@click.option(
    "--repetitions",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Rounds; the best of each piece of work counts.",
)
@click.option("--quick", is_flag=True, help="Leave out peak memory and the time over events.")
@click.option("--long", "to_a_million", is_flag=True, help="Time over events up to a million.")
@click.option("--json", "record", type=click.Path(path_type=Path), help="Write the figures, too.")
@click.option("--quiet", "-q", is_flag=True, help="Do not say what is being measured.")
def benchmark(
    files: tuple[Path, ...],
    events: int,
    repetitions: int,
    quick: bool,
    to_a_million: bool,
    record: Path | None,
    quiet: bool,
) -> None:
    """Time the way from FILES to jets, images and scores against its peers, in one run.

    Targets are for the first of FILES, which should be generated float32 events. All
    times are CPU times of one core.
    """
    from tnt_coffea import benchmarking
    from tnt_coffea.storage import written

    def notify(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    left_out = {"memory_events": (), "linear_events": ()}
    growing = {"linear_events": LONG if to_a_million else SHORT}
    made = benchmarking.benchmark(
        files,
        events=events,
        repetitions=repetitions,
        notify=notify,
        **(left_out if quick else growing),
    )
    click.echo(benchmarking.markdown(made))
    if record is not None:
        with written(record) as partial:
            partial.write_text(json.dumps(made.to_dict(), indent=1) + "\n")
        click.echo(f"figures: {record}")
