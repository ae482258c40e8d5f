"""Jets that a test can look through, and the literal algorithms they are checked against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest
import vector


def momenta(jets: list[np.ndarray]) -> ak.Array:
    """(jet, particle) of rows pt, eta, phi and, if there, mass."""
    flat = np.concatenate(
        [np.asarray(jet, float).reshape(len(jet), -1) for jet in jets if len(jet)]
    )
    mass = flat[:, 3] if flat.shape[1] > 3 else np.zeros(len(flat))
    p4 = vector.zip({"pt": flat[:, 0], "eta": flat[:, 1], "phi": flat[:, 2], "mass": mass})
    return ak.unflatten(p4, [len(jet) for jet in jets])


def pronged_jet(seed: int, n: int = 20) -> np.ndarray:
    """Rows pt, eta, phi of a jet with three prongs, across the seam of phi."""
    rng = np.random.default_rng(seed)
    prong = rng.integers(0, 3, n)
    eta = np.array([0.0, 0.35, -0.2])[prong] + rng.normal(0, 0.08, n)
    phi = np.pi + np.array([0.0, 0.1, -0.4])[prong] + rng.normal(0, 0.08, n)
    return np.stack([rng.exponential(30, n) + 0.5, eta, phi], axis=1)


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a + b


def winner_takes_all(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum of pT in the direction of the harder one, massless."""
    pt = np.hypot(*a[:2]) + np.hypot(*b[:2])
    harder = a if np.hypot(*a[:2]) > np.hypot(*b[:2]) else b
    return harder * pt / np.hypot(*harder[:2])


def rapidity_phi(p: np.ndarray) -> tuple[float, float]:
    return 0.5 * np.log((p[3] + p[2]) / (p[3] - p[2])), np.arctan2(p[1], p[0])


def distance2(a: np.ndarray, b: np.ndarray) -> float:
    (ya, fa), (yb, fb) = rapidity_phi(a), rapidity_phi(b)
    dphi = abs(fa - fb)
    return (ya - yb) ** 2 + min(dphi, 2 * np.pi - dphi) ** 2


class Tree:
    """A literal sequential clustering, pair by pair, with its history."""

    def __init__(self, rows: np.ndarray, power: int, merge: Any = add) -> None:
        self.parents: dict[int, tuple[int, int]] = {}
        self.p4 = {
            i: np.array([pt * np.cos(f), pt * np.sin(f), pt * np.sinh(e), pt * np.cosh(e)])
            for i, (pt, e, f) in enumerate(rows[:, :3])
        }
        self.levels = {len(rows): set(self.p4)}
        alive = set(self.p4)
        while len(alive) > 1:
            a, b = min(
                ((i, j) for i in alive for j in alive if i < j),
                key=lambda ij: (
                    min(*(np.hypot(*self.p4[k][:2]) ** (2 * power) for k in ij))
                    * distance2(self.p4[ij[0]], self.p4[ij[1]])
                ),
            )
            new = len(self.p4)
            self.p4[new] = merge(self.p4[a], self.p4[b])
            self.parents[new] = (a, b)
            alive = alive - {a, b} | {new}
            self.levels[len(alive)] = alive

    @property
    def root(self) -> int:
        return max(self.p4)

    def exclusive(self, n: int) -> list[np.ndarray]:
        """The pieces left when the clustering is stopped at n."""
        return [self.p4[i] for i in self.levels[min(n, max(self.levels))]]


@pytest.fixture(scope="session")
def literal_tree() -> type[Tree]:
    return Tree


@pytest.fixture(scope="session")
def wta() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return winner_takes_all


@pytest.fixture(scope="session")
def squared_distance() -> Callable[[np.ndarray, np.ndarray], float]:
    return distance2


@pytest.fixture(scope="session")
def jets_of() -> Callable[[list[np.ndarray]], ak.Array]:
    return momenta


@pytest.fixture(scope="session")
def pronged() -> Callable[..., np.ndarray]:
    return pronged_jet
