"""Fits: of a whole search, or of one stored histogram."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tnt_coffea.cli.count_fits import abcd, direct, transfer, window
from tnt_coffea.cli.fit_options import blind_options, blinded
from tnt_coffea.cli.options import (
    PATH,
    configured_by_search,
    histograms_option,
    out_option,
)
from tnt_coffea.cli.spectrum_fits import bias, bump, expected, limit, scan

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig

__all__ = ["fit"]


@click.command()
@histograms_option
@out_option
@blind_options
@configured_by_search
def _stage(config: SearchConfig, out: Path, search_folder: Path | None, **blinding: Any) -> None:
    from tnt_coffea import pipeline
    from tnt_coffea.products import Histograms

    config = blinded(config, blinding)
    report = out / "report" / "report.html"
    reported = report.exists()
    histograms = Histograms.load(search_folder or out / "search")
    result = (
        pipeline.blind_fit(histograms, config, out=out)
        if config.fit.blind
        else pipeline.fit(histograms, config, out=out)
    )
    click.echo(result.summary())
    click.echo(f"result: {out / 'fit' / 'result.json'}")
    if reported and not report.exists():
        click.echo(f"report: {report} was of another fit and is removed; `tnt-coffea report`")


@click.group(invoke_without_command=True, params=_stage.params)
@click.pass_context
def fit(context: click.Context, /, **stage: Any) -> None:
    """Fit the histograms of a search, or one histogram of your own.

    Without COMMAND this is the stage: bump hunts, ABCD and direct estimates, transfer factors and
    counts in windows if asked for, limits and, if the settings have masses, scans of OUT/search.
    Each COMMAND does one of these to one HISTOGRAM: a ROOT file with a TH1 in mass (for `abcd` a
    TH2 of two scores), a UHI file (.json, .h5), counts (.csv or .npy: low, high, count a bin; of
    weighted events, sumw2 as a fourth column), or the folder of a search stage. `null-chains`
    collects searches of background for `bump`.
    """
    if context.invoked_subcommand is None:
        context.invoke(_stage, **stage)
        return
    typed = click.core.ParameterSource.COMMANDLINE
    if any(context.get_parameter_source(name) is typed for name in stage):
        msg = f"options go behind the command: fit {context.invoked_subcommand} ..."
        raise click.UsageError(msg)


@click.command("null-chains")
@click.argument("folders", nargs=-1, required=True, type=PATH)
@click.option("--to", type=PATH, default=Path("null-chains.json"), show_default=True, help="File.")
def _null_chains(folders: tuple[Path, ...], to: Path) -> None:
    """Collect q0 of whole searches of background, in FOLDERS, for `fit bump --null-chains`.

    Each searched events of its own without a signal and trained its taggers on them, with the
    settings of the search whose p-value they give (`fit.bump.null_chains`).
    """
    from tnt_coffea import pipeline

    chains = pipeline.NullChains.collected(folders)
    chains.save(to)
    click.echo(f"null chains: {to}: {len(folders)} searches of {', '.join(chains.q0)}")


for _command in (bump, scan, limit, expected, bias, abcd, direct, transfer, window, _null_chains):
    fit.add_command(_command)
