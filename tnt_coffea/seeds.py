"""Random numbers with names: every use of chance has its own reproducible stream."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["generator", "integer"]


def _sequence(root: int, names: tuple[str | int, ...]) -> np.random.SeedSequence:
    # The name enters through a hash, so adding a stage or a fold never shifts
    # the random numbers of another one, as spawning children in order would.
    name = "/".join(str(part) for part in names)
    words = np.frombuffer(hashlib.blake2b(name.encode(), digest_size=16).digest(), "<u4")
    return np.random.SeedSequence([root, *map(int, words)])


def generator(root: int, *names: str | int) -> np.random.Generator:
    """Return the random generator of one named purpose.

    Parameters
    ----------
    root
        The one seed of a configuration.
    names
        What the numbers are for, outermost first: stage, window, fold, member.
    """
    return np.random.default_rng(_sequence(root, names))


def integer(root: int, *names: str | int) -> int:
    """Return a seed in [1, 2**31 - 1) of one named purpose, for libraries that want an int."""
    return int(_sequence(root, names).generate_state(1, np.uint64)[0] % (2**31 - 2)) + 1
