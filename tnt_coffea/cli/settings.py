"""Commands around the settings file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tnt_coffea.errors import ConfigError

__all__ = ["config"]

_MOST = 12
"""Values of a list that are shown."""
_file = click.argument("file", type=click.Path(path_type=Path))


@click.group()
def config() -> None:
    """Start, show and check a file of settings."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("search.yaml"))
@click.option(
    "--preset",
    help="Write those of a published search instead, olympics-cwola or olympics-tag-n-train; or of "
    "one in seconds, quick.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(file: Path, preset: str | None, force: bool) -> None:
    """Write all settings with their defaults and meanings to FILE (search.yaml)."""
    from tnt_coffea.config import SearchConfig, preset_text

    text = SearchConfig().to_yaml() if preset is None else preset_text(preset)
    if file.exists() and not force:
        msg = f"{file}: is there already; choose another name, or replace it (--force)"
        raise ConfigError(msg)
    try:
        file.write_text(text)
    except OSError as error:
        msg = f"{file}: cannot be written: {error.strerror}"
        raise ConfigError(msg) from error
    what = "; delete what you do not change, and keep the rest short" if preset is None else ""
    click.echo(f"settings: {file}{what}")


@config.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--seed", type=click.IntRange(0), help="Root seed, instead of the settings'.")
def show(file: Path | None, seed: int | None) -> None:
    """Print all settings as a search would use them, of FILE or the defaults."""
    from tnt_coffea.config import SearchConfig

    chosen = SearchConfig.from_yaml(file) if file else SearchConfig()
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    click.echo(chosen.to_yaml(), nl=False)


@config.command()
@_file
def check(file: Path) -> None:
    """Check FILE and list what it changes; errors name their line."""
    from tnt_coffea import pipeline
    from tnt_coffea.config import SearchConfig, differences

    chosen = SearchConfig.from_yaml(file)
    pipeline.check_training(chosen)
    pipeline.check_fit(chosen)
    changed = list(differences(SearchConfig(), chosen))
    for name, before, now in changed:
        click.echo(f"{name}: {_brief(now)} instead of {_brief(before)}")
    many = f"{len(changed)} settings differ" if len(changed) != 1 else "1 setting differs"
    click.echo(f"{file}: valid; {many} from the defaults")


def _brief(value: Any) -> Any:
    """Return a value with its long lists cut short."""
    if isinstance(value, Mapping):
        return {name: _brief(one) for name, one in value.items()}
    if isinstance(value, list | tuple) and len(value) > _MOST:
        return [*value[:3], f"... {len(value) - 4} more ...", value[-1]]
    return value
