from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.generator.detector import (
    Candidates,
    StableParticles,
    hardest,
    reconstruct,
)


def gun(
    code: int, charge: float, pt: float, eta: float, n_events: int, each: int = 1, mass: float = 0.0
) -> StableParticles:
    n = n_events * each
    rng = np.random.default_rng(11)
    pts, etas = np.full(n, pt), np.full(n, eta)
    return StableParticles(
        event=np.repeat(np.arange(n_events), each),
        pdg_id=np.full(n, code),
        charge=np.full(n, charge),
        pt=pts,
        eta=etas,
        phi=rng.uniform(-np.pi, np.pi, n),
        energy=np.hypot(pts * np.cosh(etas), mass),
    )


def test_same_generator_same_candidates() -> None:
    particles = gun(211, 1.0, 5.0, 0.3, 50, each=20)
    once, again = (reconstruct(particles, 50, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(once.counts, again.counts)
    np.testing.assert_array_equal(once.momenta, again.momenta)


def test_candidates_are_massless_triplets_within_the_acceptance() -> None:
    rng = np.random.default_rng(8)
    n = 5000
    pt, eta = rng.exponential(3.0, n) + 0.05, rng.uniform(-6, 6, n)
    code = rng.choice([22, 211, 130, 11, 13, 2112, 310], n)
    particles = StableParticles(
        event=np.sort(rng.integers(0, 30, n)),
        pdg_id=code,
        charge=np.isin(code, [211, 11, 13]).astype(float),
        pt=pt,
        eta=eta,
        phi=rng.uniform(-np.pi, np.pi, n),
        energy=pt * np.cosh(eta) + 0.1,
    )
    candidates = reconstruct(particles, 30, rng)
    momenta = candidates.momenta
    assert momenta.dtype == np.float32
    assert momenta.shape == (candidates.counts.sum(), 3)
    assert np.all(momenta[:, 0] > 0)
    assert np.all(np.abs(momenta[:, 1]) < 5)
    assert np.all(np.abs(momenta[:, 2]) <= np.float32(np.pi))


def test_neutrinos_leave_nothing() -> None:
    candidates = reconstruct(gun(14, 0.0, 500.0, 0.0, 10), 10, np.random.default_rng(1))
    np.testing.assert_array_equal(candidates.counts, 0)


def test_a_muon_is_its_track_or_nothing() -> None:
    n = 4000
    candidates = reconstruct(gun(13, -1.0, 20.0, 1.0, n), n, np.random.default_rng(1))
    assert set(candidates.counts) == {0, 1}
    efficiency = candidates.counts.mean()
    assert efficiency == pytest.approx(0.99, abs=4 * np.sqrt(0.99 * 0.01 / n))
    np.testing.assert_allclose(candidates.momenta[:, 1], 1.0)


@pytest.mark.parametrize(("code", "charge"), [(211, 1.0), (22, 0.0), (130, 0.0), (11, -1.0)])
def test_the_energy_scale_is_right(code: int, charge: float) -> None:
    n = 4000
    candidates = reconstruct(gun(code, charge, 50.0, 0.5, n), n, np.random.default_rng(1))
    # What a track measures too low may appear a second time as neutral energy:
    # the flow of charged hadrons, 8 % of resolution here, is a few per cent high.
    tolerance = 0.04 if code == 211 else 0.015
    assert candidates.momenta[:, 0].sum() / n == pytest.approx(50.0, rel=tolerance)


def test_neutral_directions_are_spread_over_their_tower() -> None:
    n = 4000
    particles = gun(130, 0.0, 50.0, 0.30, n)
    candidates = reconstruct(particles, n, np.random.default_rng(1))
    eta = candidates.momenta[:, 1].astype(float)
    assert eta.min() >= 0.261
    assert eta.max() <= 0.348 + 1e-6
    assert eta.std() == pytest.approx(0.087 / np.sqrt(12), rel=0.05)


def test_events_do_not_mix() -> None:
    # All in one tower: only the event tells the particles apart.
    particles = gun(22, 0.0, 20.0, 0.3, 40)
    candidates = reconstruct(particles, 41, np.random.default_rng(1))
    np.testing.assert_array_equal(candidates.counts, [1] * 40 + [0])


def test_an_empty_batch_is_fine() -> None:
    candidates = reconstruct(gun(22, 0.0, 20.0, 0.3, 0), 3, np.random.default_rng(1))
    np.testing.assert_array_equal(candidates.counts, [0, 0, 0])


def test_the_hardest_are_kept_in_their_order() -> None:
    momenta = np.zeros((8, 3), np.float32)
    momenta[:, 0] = [3, 1, 2, 5, 4, 9, 8, 7]
    kept = hardest(Candidates(np.array([5, 0, 3]), momenta), 3)
    np.testing.assert_array_equal(kept.counts, [3, 0, 3])
    np.testing.assert_array_equal(kept.momenta[:, 0], [3, 5, 4, 9, 8, 7])


def test_where_keeps_whole_events() -> None:
    momenta = np.arange(12, dtype=np.float32).reshape(4, 3)
    kept = Candidates(np.array([1, 2, 1]), momenta).where(np.array([True, False, True]))
    np.testing.assert_array_equal(kept.counts, [1, 1])
    np.testing.assert_array_equal(kept.momenta, momenta[[0, 3]])


def test_no_event_has_more_than_700_candidates() -> None:
    rng = np.random.default_rng(2)
    n = 1500
    particles = gun(13, 1.0, 10.0, 0.0, 1, each=n)
    candidates = reconstruct(particles, 1, rng)
    np.testing.assert_array_equal(candidates.counts, [700])


def test_cutting_bits_shortens_numbers_and_nothing_else() -> None:
    rng = np.random.default_rng(3)
    momenta = np.column_stack(
        [rng.exponential(50, 3000), rng.uniform(-5, 5, 3000), rng.uniform(-np.pi, np.pi, 3000)]
    ).astype(np.float32)
    whole = Candidates(np.full(30, 100), momenta)
    cut = whole.cut(18)
    np.testing.assert_array_equal(cut.counts, whole.counts)
    np.testing.assert_array_equal(np.sign(cut.momenta), np.sign(momenta))
    lost = 1 - cut.momenta.astype(float) / momenta.astype(float)
    assert np.all((lost >= 0) & (lost < 2**-18))
    np.testing.assert_array_equal(cut.momenta.view(np.uint32) & 0b11111, 0)
    assert whole.cut(23) is whole
