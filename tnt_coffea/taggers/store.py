"""Taggers by name: those that come with the package, and those in a folder."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from tnt_coffea.errors import TaggerError
from tnt_coffea.taggers.ensemble import TaggerSet
from tnt_coffea.taggers.tagger import Tagger

__all__ = ["load", "load_set", "packaged_sets", "packaged_taggers"]


def _packaged() -> Path:
    return Path(str(resources.files("tnt_coffea.models")))


def packaged_sets() -> dict[str, Path]:
    """Return the folders of the tagger sets that come with the package, by name.

    Examples
    --------
    >>> sorted(packaged_sets())
    ['rnd-3500/autoencoder', 'rnd-3500/tnt']
    """
    return {
        path.parent.relative_to(_packaged()).as_posix(): path.parent
        for path in sorted(_packaged().rglob("set.json"))
    }


def packaged_taggers() -> dict[str, Path]:
    """Return the folders that hold the sets of one training each, by name.

    Examples
    --------
    >>> sorted(packaged_taggers())
    ['rnd-3500']
    """
    return {name.rpartition("/")[0]: path.parent for name, path in packaged_sets().items()}


def load_set(name: str | Path) -> TaggerSet:
    """Return a tagger set: of the package by its name, or any by its folder.

    Raises
    ------
    TaggerError
        There is no such set, or it is damaged.

    Examples
    --------
    >>> tagger_set = load_set("rnd-3500/tnt")
    >>> tagger_set.scopes, tagger_set.scored_folds, len(tagger_set.members)
    (('heavy', 'light'), (0, 1), 16)
    """
    known = packaged_sets()
    if str(name) in known:
        return TaggerSet.load(known[str(name)])
    if Path(name).is_dir():
        return TaggerSet.load(Path(name))
    msg = f"no tagger set '{name}': neither a folder nor one of the package's {sorted(known)}"
    raise TaggerError(msg)


def load(name: str | Path) -> Tagger:
    """Return a tagger: of the package by set and name ('rnd-3500/tnt/heavy-0-0'), or any file.

    Raises
    ------
    TaggerError
        There is no such tagger, or it is damaged.

    Examples
    --------
    >>> tagger = load("rnd-3500/tnt/light-0-0")
    >>> tagger.card.scope, len(tagger.sha256)
    ('light', 64)
    """
    packaged = _packaged() / f"{name}.onnx"
    if packaged.is_file():
        return Tagger.from_file(packaged)
    if Path(name).is_file():
        return Tagger.from_file(name)
    msg = (
        f"no tagger '{name}': neither a file nor in one of the package's sets "
        f"{sorted(packaged_sets())}"
    )
    raise TaggerError(msg)
