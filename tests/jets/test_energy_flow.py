"""Energy flow polynomials: EnergyFlow's values, the literal sum, and what changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.config import ENERGY_FLOW_GRAPHS, OBSERVABLE_GROUPS, SkimSettings
from tnt_coffea.events.sources import particles_of, source_of
from tnt_coffea.jets import energy_flow_polynomials, find_dijets
from tnt_coffea.jets.energy_flow import correlator_ratios, energy_correlators

Jets = Callable[[list[np.ndarray]], ak.Array]

# EnergyFlow 1.4.0, in the order of ENERGY_FLOW_GRAPHS. Of `pronged(4, 30)`, with masses of 0:
# EFPSet("d<=5", "p==1", measure="hadr", beta=1, coords="ptyphim").compute(jet)
PRONGED = """
    1.000000e+00 4.370692e-01 2.788502e-01 1.941664e-01 2.045468e-01 1.263437e-01 6.543343e-02
    8.759621e-02 8.609059e-02 1.613028e-01 9.426245e-02 8.435072e-02 3.720738e-02 5.803533e-02
    5.588172e-02 5.717120e-02 2.912883e-02 4.470236e-02 4.009078e-02 3.877103e-02 3.818158e-02
    1.329818e-01 7.536142e-02 6.427185e-02 2.603121e-02 1.960766e-02 4.396386e-02 3.934166e-02
    4.160869e-02 4.340344e-02 3.615732e-02 3.810898e-02 1.630868e-02 1.687082e-02 1.892139e-02
    3.125601e-02 1.123628e-02 2.699882e-02 2.563177e-02 2.623145e-02 2.511074e-02 2.479230e-02
    2.529102e-02 1.317686e-02 1.293008e-02 1.291794e-02 2.018912e-02 1.548227e-02 1.859454e-02
    1.771706e-02 1.743244e-02 1.716453e-02 1.719896e-02 1.693283e-02
"""
# Of the first three jets of the Olympics' tiny file: python benchmarks/energy_flow.py
# events_anomalydetection_tiny.h5 --python energyflow/bin/python --events 2 --values 3
OLYMPICS = """
    1.000000e+00 3.694967e-02 1.400446e-02 7.430923e-03 7.119104e-03 3.694685e-03 3.498318e-04
    3.512546e-03 3.779659e-04 4.428941e-03 2.278302e-03 2.238919e-03 1.617826e-04 2.169023e-03
    1.657936e-04 1.934953e-04 1.023742e-04 1.015602e-04 2.143361e-03 1.177969e-04 5.722641e-05
    3.277358e-03 1.677140e-03 1.635794e-03 1.064114e-04 8.170597e-05 1.598545e-03 1.589388e-03
    9.710740e-05 1.266686e-04 6.999260e-05 9.678947e-05 4.094772e-05 6.250963e-05 6.209823e-05
    5.134488e-05 2.193254e-05 1.575076e-03 7.178424e-05 7.270277e-05 4.593377e-05 2.805600e-05
    2.882402e-05 6.051586e-05 2.206059e-05 4.423301e-06 2.693515e-05 4.102380e-06 1.561833e-03
    7.007451e-05 2.265585e-05 4.866646e-06 2.600229e-05 3.549408e-06
    1.000000e+00 3.537244e-02 4.760617e-03 2.888021e-03 2.190821e-03 1.165201e-03 1.920582e-04
    1.103389e-03 1.522690e-04 1.591409e-03 8.298373e-04 8.012680e-04 7.507193e-05 7.936386e-04
    4.577918e-05 7.403233e-05 4.160349e-05 1.429151e-05 7.895646e-04 4.047920e-05 9.899428e-06
    1.293438e-03 6.719611e-04 6.475063e-04 5.419470e-05 3.273871e-05 6.441538e-04 6.422326e-04
    3.077116e-05 5.501442e-05 8.426081e-06 3.150780e-05 7.162733e-06 2.896877e-05 2.749422e-05
    6.234716e-06 4.305389e-06 6.408115e-04 2.780313e-05 2.936168e-05 6.253163e-06 3.507528e-06
    4.425392e-06 2.718504e-05 4.216001e-06 1.667884e-06 3.365590e-06 7.862714e-07 6.395019e-04
    2.756649e-05 4.187140e-06 1.564360e-06 3.234041e-06 5.784503e-07
    1.000000e+00 4.993473e-01 3.757800e-01 2.567642e-01 3.148303e-01 1.979178e-01 1.002098e-01
    1.379603e-01 1.316841e-01 2.786239e-01 1.691153e-01 1.567974e-01 7.197810e-02 1.096434e-01
    1.012856e-01 1.037981e-01 5.444498e-02 8.044751e-02 7.910011e-02 7.048935e-02 6.755190e-02
    2.554069e-01 1.522780e-01 1.367595e-01 6.045709e-02 5.160034e-02 9.607809e-02 8.959703e-02
    8.640027e-02 9.030668e-02 7.769547e-02 8.199313e-02 3.906856e-02 4.086099e-02 4.298235e-02
    6.538323e-02 2.613650e-02 6.538127e-02 5.587742e-02 5.714159e-02 5.408026e-02 5.196817e-02
    5.314038e-02 3.194904e-02 2.933223e-02 2.779675e-02 4.261300e-02 3.188287e-02 4.955522e-02
    4.020398e-02 3.751191e-02 3.602761e-02 3.617270e-02 3.465218e-02
"""


def numbers(text: str) -> np.ndarray:
    return np.array(text.split(), dtype=float).reshape(-1, len(ENERGY_FLOW_GRAPHS))


def test_values_of_energyflow(pronged: Any, jets_of: Jets) -> None:
    found = energy_flow_polynomials(jets_of([pronged(4, 30)]))
    np.testing.assert_allclose(found, numbers(PRONGED), rtol=1e-6)


def test_values_of_energyflow_for_real_jets(lhco_file: Path) -> None:
    metadata = {"dataset": "data", "filename": str(lhco_file), "entrystart": 0, "entrystop": 2}
    particles = particles_of(source_of(lhco_file).load(lhco_file, 0, 2, metadata))
    dijets, _ = find_dijets(particles.p4, SkimSettings().jets)
    found = energy_flow_polynomials(ak.flatten(dijets.constituents)[:3])
    np.testing.assert_allclose(found, numbers(OLYMPICS), rtol=1e-6)


def canonical(edges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    vertices = range(max(map(max, edges)) + 1)
    return min(
        tuple(sorted(tuple(sorted((new[i], new[j]))) for i, j in edges))
        for new in permutations(vertices)
    )


def test_the_graphs_are_all_connected_multigraphs() -> None:
    # An edge more: between two vertices that are there, or to a new one.
    grown = {((0, 1),)}
    every = set(grown)
    for _ in range(4):
        more = set()
        for edges in grown:
            vertices = max(map(max, edges)) + 1
            new = [*combinations(range(vertices), 2), *((i, vertices) for i in range(vertices))]
            more |= {tuple(sorted((*edges, edge))) for edge in new}
        grown = {canonical(list(edges)) for edges in more}
        every |= grown
    ours = {}
    for name, text in list(ENERGY_FLOW_GRAPHS.items())[1:]:
        edges = [("abcdef".index(i), "abcdef".index(j)) for i, j in text.split()]
        assert name.startswith(f"efp_{len(set(text)) - (' ' in text)}_{len(edges)}_")
        ours[canonical(edges)] = name
    assert set(ours) == every
    assert [sum(len(edges) == d for edges in ours) for d in range(1, 6)] == [1, 2, 5, 12, 33]
    assert set(ours.values()) == set(OBSERVABLE_GROUPS["energy_flow"])


def literal_sum(graph: str, jet: np.ndarray, beta: float) -> float:
    z = jet[:, 0] / jet[:, 0].sum()
    turn = np.abs(jet[:, None, 2] - jet[:, 2]) % (2 * np.pi)
    turn = np.minimum(turn, 2 * np.pi - turn)
    theta = np.hypot(jet[:, None, 1] - jet[:, 1], turn) ** beta
    vertices = sorted(set(graph) - {" "}) or ["a"]
    terms = ",".join([*graph.split(), *vertices])
    edges = [theta] * len(graph.split())
    return float(np.einsum(f"{terms}->", *edges, *[z] * len(vertices)))


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_literal_sum(beta: float, pronged: Any, jets_of: Jets) -> None:
    rows = [pronged(seed, n) for seed, n in enumerate((4, 5, 3))]
    found = energy_flow_polynomials(jets_of(rows), beta=beta)
    literal = [
        [literal_sum(graph, jet, beta) for graph in ENERGY_FLOW_GRAPHS.values()] for jet in rows
    ]
    np.testing.assert_allclose(found, literal, rtol=1e-12)


def test_jets_of_two_particles_in_closed_form(jets_of: Jets) -> None:
    jet = np.array([[60.0, 0.2, 3.1], [40.0, -0.1, -3.0]])
    theta = np.hypot(0.3, 2 * np.pi - 6.1)
    for name, (value,) in zip(
        ENERGY_FLOW_GRAPHS, energy_flow_polynomials(jets_of([jet])).T, strict=True
    ):
        edges = ENERGY_FLOW_GRAPHS[name].split()
        # Neighbours are on different particles: nothing but an even graph has a term.
        side = {"a": 0}
        for _ in edges:
            side |= {j: 1 - side[i] for i, j in edges if i in side and j not in side}
            side |= {i: 1 - side[j] for i, j in edges if j in side and i not in side}
        one = sum(side.values())
        other = len(side) - one
        even = all(side[i] != side[j] for i, j in edges)
        terms = 0.6**one * 0.4**other + 0.4**one * 0.6**other
        assert value == pytest.approx(even * terms * theta ** len(edges), rel=1e-12), name


def test_what_leaves_them_as_they_are(pronged: Any, jets_of: Jets) -> None:
    jet = pronged(1, 25)
    rng = np.random.default_rng(0)
    split = np.concatenate([jet * [0.3, 1, 1], jet[:5] * [0.7, 1, 1], jet[5:] * [0.7, 1, 1]])
    same = {
        "order": rng.permutation(jet),
        "phi": jet + np.array([0, 0, 2.0]),
        "boost along the beam": jet + np.array([0, 1.3, 0]),
        "energy": jet * [7.0, 1, 1],
        "mirrored": jet * [1, -1, 1],
        "collinear splitting": split,
        "soft emission": np.concatenate([jet, [[1e-13, 2.0, 0.0]]]),
    }
    expected = energy_flow_polynomials(jets_of([jet]))[0]
    found = energy_flow_polynomials(jets_of(list(same.values())))
    for what, values in zip(same, found, strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-11, err_msg=what)
    narrower = np.column_stack([jet[:, 0], jet[:, 1:] / 2])
    degrees = [len(graph.split()) for graph in ENERGY_FLOW_GRAPHS.values()]
    found = energy_flow_polynomials(jets_of([narrower]))[0]
    np.testing.assert_allclose(found, expected / 2.0 ** np.array(degrees), rtol=1e-11)


def test_rapidity_is_that_of_massive_particles(pronged: Any, jets_of: Jets) -> None:
    jet = np.column_stack([pronged(2, 10), np.full(10, 20.0)])
    massive = jets_of([jet])
    rapidity = ak.to_numpy(ak.flatten(massive.rapidity))
    massless = jets_of([np.column_stack([jet[:, 0], rapidity, jet[:, 2]])])
    found, expected = map(energy_flow_polynomials, (massive, massless))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert abs(found[0, 1] / energy_flow_polynomials(jets_of([jet[:, :3]]))[0, 1] - 1) > 1e-3


def test_jets_of_one_particle_of_none_and_without_pt(jets_of: Jets) -> None:
    one, nothing = np.array([[50.0, 2.0, 1.0]]), np.zeros((0, 3))
    still = np.array([[0.0, 0.5, 0.5, 3.0]])
    two = np.array([[50.0, 2.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    of_one, of_none, of_still, of_two = energy_flow_polynomials(
        ak.concatenate([jets_of([one, nothing]), jets_of([still, two])])
    )
    assert of_one.tolist() == of_two.tolist() == [1.0, *[0.0] * 53]
    assert not of_none.any()
    assert not of_still.any()
    assert energy_flow_polynomials(jets_of([one])[:0]).shape == (0, 54)


def test_a_jet_has_the_same_bits_whatever_is_beside_it(pronged: Any, jets_of: Jets) -> None:
    numbers_of = np.random.default_rng(2).integers(1, 130, 30)
    jets = jets_of([pronged(seed, int(n)) for seed, n in enumerate(numbers_of)])
    together = energy_flow_polynomials(jets)
    for chunk in (1, 7, 20):
        order = np.random.default_rng(chunk).permutation(len(jets))
        for rows in np.split(order, range(chunk, len(order), chunk)):
            assert np.array_equal(energy_flow_polynomials(jets[rows]), together[rows])
    names = ["efp_5_5_10", "efp_1_0_0", "efp_3_5_3"]
    columns = [list(ENERGY_FLOW_GRAPHS).index(name) for name in names]
    assert np.array_equal(energy_flow_polynomials(jets, names), together[:, columns])


SCRIPT = """
import sys
import numpy as np, awkward as ak, vector
from tnt_coffea.jets import energy_flow_polynomials
rng = np.random.default_rng(0)
n = rng.integers(1, 400, 60)
columns = {k: ak.unflatten(rng.random(n.sum()) * s, n) for k, s in
           {"pt": 100, "eta": 1, "phi": 1, "mass": 0}.items()}
jets = ak.zip(columns, with_name="Momentum4D", behavior=vector.backends.awkward.behavior)
np.save(sys.argv[1], energy_flow_polynomials(jets))
"""


@pytest.mark.slow
def test_any_number_of_threads_gives_the_same_bits(tmp_path: Path) -> None:
    found = []
    for threads in "12":
        path = tmp_path / f"{threads}.npy"
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, threads)}
        subprocess.run([sys.executable, "-c", SCRIPT, path], env=environment, check=True)
        found.append(np.load(path))
    assert found[0].shape == (60, 54)
    assert np.array_equal(*found)


def test_memory_is_that_of_a_batch_or_of_the_largest_jet(pronged: Any, jets_of: Jets) -> None:
    def peak(jets: ak.Array) -> int:
        tracemalloc.start()
        energy_flow_polynomials(jets)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    # Matrices of 8 bytes: one jet's at most seven at once, of all 200 jets one would be 15 MB.
    assert peak(jets_of([pronged(0, 400)])) < 7 * 8 * 400**2
    assert peak(jets_of([pronged(seed, 96) for seed in range(200)])) < 10e6


def test_correlators_are_sums_over_pairs_and_triplets(pronged: Any, jets_of: Jets) -> None:
    rows = [pronged(2, 8), pronged(3, 11), pronged(1, 1)]
    jets = jets_of(rows)
    e2, e3 = energy_correlators(jets)
    ratios = correlator_ratios(e2, e3)
    for i in range(2):
        pt, y, phi = (ak.to_numpy(getattr(jets[i], name)) for name in ("pt", "rapidity", "phi"))
        z, turn = pt / pt.sum(), np.abs(phi[:, None] - phi)
        apart = np.hypot(y[:, None] - y, np.minimum(turn, 2 * np.pi - turn))
        two = sum(z[a] * z[b] * apart[a, b] for a, b in combinations(range(len(z)), 2))
        three = sum(
            z[a] * z[b] * z[c] * apart[a, b] * apart[a, c] * apart[b, c]
            for a, b, c in combinations(range(len(z)), 3)
        )
        assert (e2[i], e3[i]) == pytest.approx((two, three), rel=1e-9)
        assert ratios["c2"][i] == pytest.approx(three / two**2, rel=1e-9)
        assert ratios["d2"][i] == pytest.approx(three / two**3, rel=1e-9)
    assert [values[2] for values in (e2, e3, *ratios.values())] == [0, 0, 0, 0]


def test_unknown_graphs_and_angles_are_refused(pronged: Any, jets_of: Jets) -> None:
    jets = jets_of([pronged(0, 3)])
    with pytest.raises(ValueError, match=r"efp_N_D_K .* got \['efp_2_6_0'\]"):
        energy_flow_polynomials(jets, ["efp_2_1_0", "efp_2_6_0"])
    with pytest.raises(ValueError, match="beta above 0; got 0"):
        energy_flow_polynomials(jets, beta=0.0)
