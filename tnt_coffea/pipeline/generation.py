"""The stage `generate`: events from PYTHIA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError
from tnt_coffea.execution import Resources, map_tasks
from tnt_coffea.filesets import Fileset
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.folders import (
    OUT,
    begun,
    done,
    generate_stage,
    one_writer,
)
from tnt_coffea.stages import check_files
from tnt_coffea.visibility import check_seen

__all__ = ["generate"]


@one_writer
def generate(
    config: SearchConfig, *, out: str | Path = OUT, resources: Resources | None = None
) -> Fileset:
    """Return a fileset of freshly generated LHC-Olympics-like events.

    Parameters
    ----------
    config
        `seed` and `generate` are read, and `data.sqrt_s`, which must be 13.
    out
        Folder of the search; the events go to `generate/events.h5`.
    resources
        What may be used.

    Raises
    ------
    MissingExtraError
        PYTHIA is not installed.
    GeneratorError
        PYTHIA refuses the settings.
    ConfigError
        `data.sqrt_s` is not the energy of what is generated.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import SearchConfig
    >>> config = SearchConfig.from_text("generate: {background: 2, signal: 1}")
    >>> with TemporaryDirectory() as out:
    ...     fileset = generate(config, out=out)
    ...     [(item.source, item.stop) for item in fileset.items(1000)]
    [('lhco', 3)]
    """
    from tnt_coffea import generator

    check_types(config=(config, SearchConfig), resources=(resources, Resources))
    if config.data.energy != generator.SQRT_S:
        msg = (
            f"events are generated at {generator.SQRT_S / 1000:g} TeV, and data.sqrt_s is "
            f"{config.data.sqrt_s:g}: leave it out, or search files of your own"
        )
        raise ConfigError(msg)
    resources = resources or Resources()
    stage = generate_stage(config, out)
    path = stage.folder / "events.h5"
    if not done(stage, resources):
        parts = begun(stage, config)
        tasks = [
            (task, str((parts / task.name).resolve()))
            for task in generator.plan(config.generate, config.seed)
        ]
        with resources.open() as executor:
            check_seen(executor, parts, "generated events")
            blocks = map_tasks(_generated, tasks, executor, "Generating")
        generator.join(blocks, path, config.generate, config.seed)
        stage.finish({"file": path.name})
    check_files(stage.folder)
    return Fileset.from_paths({"data": [path]})


def _generated(task_and_path: tuple[Any, str]) -> str:
    from tnt_coffea import generator

    task, path = task_and_path
    if not Path(path).exists():  # a block that an earlier, killed run has made
        generator.write_block(path, generator.generate_block(task))
    return path
