from __future__ import annotations

import shutil
from pathlib import Path

import awkward as ak
import kernel_peers as peers
import numpy as np
import pytest
import vector
from kernel_peers import native_clustering
from kernels import Chain

from tnt_coffea.config import ImageSettings, JetSettings, SkimSettings
from tnt_coffea.jets import cluster, jet_images

EVENTS = 60


@pytest.fixture(scope="module")
def chain(events_file: Path) -> Chain:
    return Chain(events_file, EVENTS, 25, SkimSettings())


@pytest.fixture(scope="module")
def particles(chain: Chain) -> list[ak.Array]:
    return [chunk.p4 for chunk in chain.particles()]


@pytest.mark.slow
def test_literal_script_makes_our_images(chain: Chain, particles: list[ak.Array]) -> None:
    rows = peers.literal_rows(particles, EVENTS)
    assert rows.shape == (EVENTS, 2100)
    ours = np.concatenate([images.dense() for images in chain.images()])[:, 0]
    for events in peers.literal_tables(rows).values():
        theirs = peers.literal_images(events, EVENTS, JetSettings(), ImageSettings())
        # FastJet's own angles differ in the last bits, which moves a particle on a pixel's edge.
        distance = np.abs(theirs.reshape(ours.shape) - ours).max(axis=(1, 2))
        assert (distance < 1e-5).mean() > 0.98
        assert distance.max() < 0.1


def test_bare_binding_finds_the_same_jets(particles: list[ak.Array]) -> None:
    bare = peers.BareBinding(particles, JetSettings())
    ours = sum(len(ak.flatten(cluster(chunk, JetSettings(), leading=99))) for chunk in particles)
    assert bare() == ours
    momenta, counts = bare.flat()
    assert counts.sum() == len(momenta) == sum(len(ak.flatten(chunk)) for chunk in particles)


@pytest.mark.slow
def test_native_program_finds_the_same_jets(particles: list[ak.Array], tmp_path: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler")
    bare = peers.BareBinding(particles, JetSettings())
    found = native_clustering(*bare.flat(), JetSettings(), tmp_path, 2)
    assert found is not None
    timing, jets = found
    assert jets == bare()
    assert (timing.events, len(timing.repetitions)) == (EVENTS, 2)


def test_without_a_compiler_there_is_no_native_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    nothing = np.zeros((0, 4)), np.zeros(0, np.int64)
    assert native_clustering(*nothing, JetSettings(), tmp_path, 1) is None


def test_energyflow_makes_our_images_of_centred_jets(particles: list[ak.Array]) -> None:
    pytest.importorskip("energyflow", reason="EnergyFlow is not installed")
    settings = ImageSettings(pixels=33, rotate=False, flip=False)
    rows = []
    for jet in cluster(particles[0], JetSettings())[:, 0].constituents:
        pt, eta, phi = (ak.to_numpy(getattr(jet, name)) for name in ("pt", "eta", "phi"))
        phi = np.remainder(phi - phi[np.argmax(pt)] + np.pi, 2 * np.pi) - np.pi
        # It centres on the pixel of the centroid, we on the centroid itself.
        eta, phi = (values - np.average(values, weights=pt) for values in (eta, phi))
        rows.append(np.stack([pt, eta, phi, np.zeros(len(pt))], axis=1))
    theirs = peers.energyflow_images(rows, settings)
    names = ("pt", "eta", "phi", "mass")
    flat = vector.zip(dict(zip(names, np.concatenate(rows).T, strict=True)))
    ours = jet_images(ak.unflatten(flat, [len(row) for row in rows]), settings)
    distance = [np.abs(a[..., 0] - b[0]).max() for a, b in zip(theirs, ours, strict=True)]
    assert len(distance) == 25
    assert np.mean(np.array(distance) < 1e-5) > 0.9


def test_a_short_file_is_gone_through_again(events_file: Path) -> None:
    chain = Chain(events_file, 1230, 400, SkimSettings())
    sizes = [len(chunk) for chunk in chain.loaded()]
    assert sum(sizes) == 1230
    assert max(sizes) <= 400
