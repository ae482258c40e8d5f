"""The stage `skim`: from particles to dijets, observables and images."""

from __future__ import annotations

import shutil
from pathlib import Path

from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import InputError
from tnt_coffea.execution import Resources
from tnt_coffea.execution import run as run_pass
from tnt_coffea.filesets import Fileset
from tnt_coffea.pipeline.folders import (
    OUT,
    begun,
    done,
    skim_stage,
)
from tnt_coffea.products import Skim
from tnt_coffea.search_folder import note_files

__all__ = ["skim"]


def skim(
    fileset: Fileset,
    config: SearchConfig,
    *,
    out: str | Path = OUT,
    resources: Resources | None = None,
) -> Skim:
    """Return the dijets, observables and images of a fileset.

    Parameters
    ----------
    fileset
        Files of any source with particles.
    config
        `skim` is read.
    out
        Folder of the search; the dijets go to `skim/parts`.
    resources
        What may be used.

    Raises
    ------
    InputError
        A file cannot be read or holds impossible values, or no event has a dijet.
    """
    from tnt_coffea.processors import SkimProcessor

    resources = resources or Resources()
    stage = skim_stage(fileset, config, out, resources)
    if not done(stage, resources):
        work = begun(stage, config) / "parts"
        note_files(out, fileset)
        shutil.rmtree(work, ignore_errors=True)  # of a pass that was killed
        work.mkdir()
        with stage.undone_on_bad_input(), resources.open() as executor:
            output, accounting = run_pass(
                fileset,
                SkimProcessor(config.skim, work.resolve()),
                executor,
                chunk_size=resources.chunk_size,
                on_error=resources.on_error,
                description="Skimming",
            )
            if not output["parts"]:
                msg = f"none of {accounting.events} events has a dijet: {accounting.to_dict()}"
                raise InputError(msg)
        parts = {dataset: sorted(names) for dataset, names in sorted(output["parts"].items())}
        shutil.rmtree(stage.folder / "parts", ignore_errors=True)
        work.rename(stage.folder / "parts")
        paths = {d: tuple(stage.folder / "parts" / n for n in names) for d, names in parts.items()}
        made = Skim(paths, "", 0, accounting)
        sample = made.sample()
        stage.finish(
            {
                "parts": parts,
                "content": sample.content_hash(),
                "duplicates": len(sample) - len(set(sample.event_id.tolist())),
                "accounting": accounting.to_dict(),
            }
        )
    return Skim.load(stage.folder)
