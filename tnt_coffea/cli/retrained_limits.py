"""The form of `fit limit` that trains anew: options of its own, for a whole search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tnt_coffea.cli.group import KEEPS
from tnt_coffea.cli.options import (
    PATH,
    configured_by_search,
    dry_run_option,
    machine_options,
    options,
    skim_option,
)
from tnt_coffea.cli.signal_folders import signal_name, skim_in

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.execution import Resources

__all__ = ["with_retraining"]

_SHARED = ("config_path", "seed", "out", "name", "toys", "luminosity", "json_path")
"""Options of a limit on one histogram that one with retraining has as well."""


def _numbers(_: click.Context, option: click.Parameter, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(word) for word in text.split(",")]
    except ValueError as error:
        msg = f"numbers with commas, such as 50,100,200, expected, got {text}"
        raise click.BadParameter(msg, param=option) from error


_own = options(
    click.option(
        "--retrain",
        is_flag=True,
        help="Limit a stated signal, with taggers trained anew at each strength: of the search in "
        "--out, without HISTOGRAM. The options below go with it.",
    ),
    click.option(
        "--signal",
        metavar="FOLDER|NAME",
        help="Skim of the simulated signal, as `skim` makes it in FOLDER/skim, or the NAME that "
        "the search's own skim has it under (skim --signal NAME=PATH).",
    ),
    click.option(
        "--strengths",
        callback=_numbers,
        help="Produced signal events to test, rising, with commas.",
    ),
    click.option(
        "--cross-sections",
        callback=_numbers,
        help="The same as cross sections [fb], which need the luminosity.",
    ),
    click.option(
        "--injections", type=click.IntRange(1), help="Draws, and trainings, of each strength."
    ),
    click.option("--plot", type=PATH, help="File for a figure (.png, .pdf, .svg)."),
    skim_option,
    dry_run_option,
    machine_options,
)


def with_retraining(limit: click.Command) -> click.Command:
    """Give `fit limit` its form with --retrain."""
    histogram, of_histogram = limit.params[0], limit.callback
    own = [option.name for option in _of(_own)]
    assert of_histogram is not None

    @click.pass_context
    def either(context: click.Context, /, **given: Any) -> None:
        typed = {
            option.name: max(option.opts, key=len)
            for option in context.command.params
            if context.get_parameter_source(str(option.name))
            is click.core.ParameterSource.COMMANDLINE
        }
        if not given["retrain"]:
            if wrong := [text for name, text in typed.items() if name in own and name != "quiet"]:
                msg = f"{wrong[0]} goes with --retrain: give that as well"
                raise click.UsageError(msg)
            if given["histogram"] is None:
                raise click.MissingParameter(ctx=context, param=histogram, param_hint="HISTOGRAM")
            of_histogram(**{name: value for name, value in given.items() if name not in own})
            return
        if wrong := [text for name, text in typed.items() if name not in (*own, *_SHARED)]:
            text = "HISTOGRAM" if "histogram" in typed else wrong[0]
            msg = f"{text} does not go with --retrain: it takes the search in --out as it is"
            raise click.UsageError(msg)
        shared = {name: given[name] for name in (*own, *_SHARED) if name != "retrain"}
        shared["out"] = shared["out"] or Path("tnt-coffea-output")
        click.get_current_context().meta[KEEPS] = True
        _retrained(**shared)

    histogram.required = False
    limit.params += _of(_own)
    limit.callback = either
    return limit


def _of(decorate: Any) -> list[click.Parameter]:
    """Return the options that a decorator gives a command."""
    command: click.Command = click.command(decorate(lambda: None))
    return command.params


@configured_by_search
def _retrained(
    config: SearchConfig,
    resources: Resources,
    out: Path,
    skim_folder: Path | None,
    signal: str | None,
    strengths: list[float] | None,
    cross_sections: list[float] | None,
    injections: int | None,
    luminosity: float | None,
    toys: int | None,
    name: str | None,
    plot: Path | None,
    json_path: Path | None,
    dry_run: bool,
) -> None:
    from tnt_coffea import fit_files, pipeline, reporting
    from tnt_coffea.pipeline.retrained_limits import FOLDER
    from tnt_coffea.products import Skim
    from tnt_coffea.reporting.retrained_figures import retrained_limit_table

    if signal is None:
        msg = "--retrain needs the signal to be limited: give --signal FOLDER or NAME"
        raise click.UsageError(msg)
    for path in (plot, json_path):
        if path is not None:
            fit_files.check_place(path)
    if plot is not None:
        fit_files.figure_format(plot)
    config = _changed(config, strengths, cross_sections, injections, luminosity, toys)
    skim = Skim.load(skim_folder or out / "skim")
    folder = Path(signal)
    given: dict[str, Any] = {"config": config, "out": out, "resources": resources}
    if folder.is_dir():
        simulated: Any = Skim.load(skim_in(folder))
        given["name"] = signal_name(folder)
    else:
        simulated = signal
    if dry_run:
        with resources.announced("Timing two epochs of every network"):
            costs = pipeline.retraining_costs(skim, simulated, **given)
        click.echo(costs.summary())
        return

    def progress(done: int, trainings: int) -> None:
        click.echo(f"training {done + 1} of {trainings}", err=True)

    found = pipeline.retrained_limit(
        skim,
        simulated,
        **given,
        tagger_set=name,
        progress=progress if resources.progress else None,
    )
    for set_, one in found.items():
        reporting.wide_console().print(retrained_limit_table(one))
        click.echo(one.summary())
        several = f"-{set_}" if len(found) > 1 else ""
        if json_path is not None:
            path = json_path.with_stem(f"{json_path.stem}{several}")
            fit_files.write_result(path, one)
            click.echo(f"result: {path}")
        if plot is not None:
            path = plot.with_stem(f"{plot.stem}{several}")
            click.echo(f"figure: {fit_files.write_plot(path, one)}")
    made = out / FOLDER / next(iter(found.values())).signal / "result.json"
    click.echo(f"limits: {made}")


def _changed(
    config: SearchConfig,
    strengths: list[float] | None,
    cross_sections: list[float] | None,
    injections: int | None,
    luminosity: float | None,
    toys: int | None,
) -> SearchConfig:
    """Return the settings with what the command line says of the strengths.

    Raises
    ------
    ConfigError
        It makes no settings.
    """
    from tnt_coffea.config import SearchConfig

    retrain = config.fit.limit.retrain.model_dump(mode="json")
    if strengths is not None or cross_sections is not None:
        retrain |= {"strengths": strengths or [], "cross_sections": cross_sections or []}
    retrain |= {} if injections is None else {"injections": injections}
    limit: dict[str, Any] = {"retrain": retrain} | ({} if toys is None else {"toys": toys})
    values: dict[str, Any] = {"fit": {"limit": limit}}
    if luminosity is not None:
        values["data"] = {"luminosity": luminosity}
    return SearchConfig.from_text(json.dumps(values), "options of the command", config)
