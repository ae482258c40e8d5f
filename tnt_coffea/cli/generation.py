"""The command that makes events: what the settings say, or a data set by its name."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tnt_coffea.cli.options import configured, machine_options, out_option
from tnt_coffea.errors import ConfigError

if TYPE_CHECKING:
    from tnt_coffea.config import GenerateSettings, SearchConfig
    from tnt_coffea.execution import Resources

__all__ = ["generate"]

BLIND = "blackbox"


def _listed(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from tnt_coffea.generator import DATASETS
    from tnt_coffea.planning import BACKGROUND_EVENT, SIGNAL_EVENT

    for name, dataset in DATASETS.items():
        made = dataset.settings
        seconds = made.background * BACKGROUND_EVENT + made.signal * SIGNAL_EVENT
        click.echo(f"{name}: {dataset.about}")
        click.echo(
            f"    {made.background} background and {made.signal} signal events, "
            f"about {seconds / 3600:.1f} core hours"
        )
        click.echo(f"    {dataset.source}")
    click.echo("prior-x500-y100-2prong and its kin: W' -> X Y of 3.5 TeV, masses [GeV] and prongs")
    click.echo("    as the name says, 2 or 3; 1000 signal events")
    context.exit()


@click.command()
@click.argument("name", required=False)
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_listed, help="Show names."
)
@click.option("--blind", is_flag=True, help="Draw a black box whose answer nobody knows.")
@click.option("--events", type=click.IntRange(1), help="Events in all; keeps the signal's share.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="SETTING=VALUE",
    help="Change a setting, as signal=100 or shower.alpha_s=0.12; may be repeated.",
)
@out_option
@machine_options
@configured
@click.pass_context
def generate(
    context: click.Context,
    name: str | None,
    blind: bool,
    events: int | None,
    changes: Sequence[str],
    config: SearchConfig,
    out: Path,
    resources: Resources,
) -> None:
    """Make events with PYTHIA 8 in the layout of the LHC Olympics.

    With NAME a data set of its own (--list), else what the settings say. The truth of a
    black box goes to `key.json` beside the events.
    """
    from tnt_coffea import pipeline
    from tnt_coffea.generator import KEY, dataset_named, scaled
    from tnt_coffea.search_folder import noted_config

    settings = dataset_named(_chosen(name, blind)).settings if name or blind else config.generate
    settings = changed(settings, changes)
    if events is not None:
        settings = scaled(settings, events)
    update: dict[str, Any] = {"generate": settings}
    unseeded = context.params.get("seed") is None and context.params.get("config_path") is None
    if settings.blind and unseeded and noted_config(out) is None:
        # With the default seed every blind box would be the same one.
        update["seed"] = secrets.randbelow(2**31)
    config = config.model_copy(update=update)
    fileset = pipeline.generate(config, out=out, resources=resources)
    path = fileset.files["data"][0]
    click.echo(f"events: {path}")
    if settings.hidden:
        click.echo(f"truth: {path.with_name(KEY)}; do not open it before you have an answer")


def _chosen(name: str | None, blind: bool) -> str:
    if blind and name not in (None, BLIND):
        msg = f"--blind draws a box of its own, {name!r} is a known data set; leave out one of them"
        raise ConfigError(msg)
    if name == BLIND and not blind:
        msg = f"{BLIND} is drawn at random: add --blind, or name one of --list"
        raise ConfigError(msg)
    return name or BLIND


def changed(settings: GenerateSettings, changes: Sequence[str]) -> GenerateSettings:
    """Return settings with `name=value` applied; inner ones as `shower.alpha_s=0.12`.

    Raises
    ------
    ConfigError
        A change is not of this form, or names or gives what the settings do not allow.
    """
    from tnt_coffea.config import SearchConfig

    if not changes:
        return settings
    values = settings.model_dump(mode="json")
    for change in changes:
        name, equals, value = change.partition("=")
        place: Any = values
        *outer, last = name.strip().split(".")
        for part in outer:
            place = place.get(part) if isinstance(place, Mapping) else None
        if not equals or not isinstance(place, Mapping):
            msg = f"--set {change}: expected SETTING=VALUE, as signal=100 or shower.alpha_s=0.12"
            raise ConfigError(msg)
        place[last] = _parsed(value, change)  # type: ignore[index]
    return SearchConfig.from_text(_yaml({"generate": values}), "--set").generate


def _parsed(value: str, change: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        msg = f"--set {change}: {value!r} is no value"
        raise ConfigError(msg) from error


def _yaml(values: Mapping[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(dict(values), sort_keys=False)
    return text
