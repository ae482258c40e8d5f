"""The folders of the stages: what each is keyed by, whether it is complete."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import MissingExtraError
from tnt_coffea.events.selection import Selection
from tnt_coffea.execution import OnError, Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.products import Skim, Taggers
from tnt_coffea.search_folder import note_config
from tnt_coffea.stages import Stage

__all__ = [
    "OUT",
    "STAGES",
    "begun",
    "done",
    "generate_stage",
    "search_stage",
    "skim_stage",
    "stage_seconds",
    "train_stage",
]

OUT = "tnt-coffea-output"
STAGES = ("generate", "skim", "train", "search", "fit", "report")


def generate_stage(config: SearchConfig, out: str | Path) -> Stage:
    """Return the folder of `generate`, keyed by what decides its content."""
    inputs = {"settings": config.generate.model_dump(mode="json"), "seed": config.seed}
    return Stage("generate", Path(out) / "generate", inputs | {"pythia": _extra("pythia8mc")})


def skim_stage(
    fileset: Fileset, config: SearchConfig, out: str | Path, resources: Resources
) -> Stage:
    """Return the folder of `skim`, keyed by what decides its content."""
    inputs = {
        "settings": config.skim.model_dump(mode="json"),
        "files": fileset.content_hashes(skip_bad=resources.on_error is OnError.SKIP),
        "roles": {dataset: fileset.role(dataset) for dataset in fileset.files},
        "on_error": resources.on_error.value,
        **_selection(config),
    }
    return Stage("skim", Path(out) / "skim", inputs)


def _selection(config: SearchConfig) -> dict[str, str]:
    # A function of the same name may be another one.
    return {"select": Selection(config.skim.select).digest} if config.skim.select else {}


def train_stage(skim: Skim, config: SearchConfig, out: str | Path) -> Stage:
    """Return the folder of `train`, keyed by what decides its content."""
    inputs: dict[str, Any] = {
        "settings": config.train.model_dump(mode="json"),
        "window": config.search.window.model_dump(),
        "fit_range": config.search.fit_range.model_dump(),
        "efficiencies": list(config.search.efficiencies),
        "cuts": {name: cut.model_dump() for name, cut in config.search.cuts.items()},
        "variable": config.search.variable,
        "seed": config.seed,
        "skim": dict(skim.contents),
        # A file of the same name may be another tagger.
        "content": {
            name: content
            for name, method in config.train.methods.items()
            if (content := method.content())
        },
    }
    return Stage("train", Path(out) / "train", inputs)


def search_stage(
    source: Skim | Fileset,
    taggers: Taggers,
    config: SearchConfig,
    out: str | Path,
    resources: Resources,
) -> Stage:
    """Return the folder of `search`, keyed by what decides its content."""
    skip = resources.on_error is OnError.SKIP
    scored: dict[str, Any] = (
        {"skim": source.content}
        if isinstance(source, Skim)
        else {"files": source.content_hashes(skip_bad=skip)}
    )
    inputs = {
        "settings": config.search.model_dump(mode="json"),
        "skim_settings": config.skim.model_dump(mode="json"),
        "source": scored,
        "taggers": {name: tagger_set.digest for name, tagger_set in taggers.sets.items()},
        "quantiles": {n: s.quantiles and s.quantiles.sample for n, s in taggers.sets.items()},
        "on_error": resources.on_error.value,
        **_selection(config),
    }
    return Stage("search", Path(out) / "search", inputs)


def stage_seconds(out: str | Path) -> dict[str, float]:
    """Return how long each complete stage in a search's folder took, in seconds."""
    return {
        name: Stage(name, Path(out) / name, {}).seconds()
        for name in STAGES
        if (Path(out) / name / "manifest.json").exists()
    }


def done(stage: Stage, resources: Resources) -> bool:
    """Tell whether a stage is complete, after clearing it where that was asked for and needed."""
    if resources.overwrite and not stage.matches():
        stage.clear()
    return stage.finished() is not None


def begun(stage: Stage, config: SearchConfig) -> Path:
    """Begin a stage, note the settings in the search's folder, and return where parts go."""
    parts = stage.begin()
    note_config(stage.folder.parent, config)  # for commands that go on in this folder
    return parts


def _extra(package: str) -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(package)
    except PackageNotFoundError as error:
        raise MissingExtraError(package, "generate") from error
