"""HepMC3: what is taken of an event, from where in a file, and what is refused."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from tnt_coffea import execution
from tnt_coffea.cli import main
from tnt_coffea.config import SkimSettings
from tnt_coffea.errors import InputError, MissingExtraError
from tnt_coffea.events import SOURCES, jets_of, particles_of, source_of
from tnt_coffea.events.sample import Sample
from tnt_coffea.execution import OnError
from tnt_coffea.filesets import Fileset
from tnt_coffea.processors import SkimProcessor
from tnt_coffea.processors.skim import reconstructed

pyhepmc = pytest.importorskip("pyhepmc", reason="the 'hepmc' extra is not installed")

HEPMC = SOURCES["hepmc"]
Row = tuple[float, float, float, float, int, int]
"""px, py, pz, energy, PDG code, status."""


def written(
    path: Path,
    events: Sequence[Sequence[Row]],
    unit: str = "GEV",
    weights: Sequence[Sequence[float]] | None = None,
    version: str | None = None,
) -> Path:
    """Return a file of events in which two protons give all particles at one vertex."""
    with pyhepmc.open(path, "w", format=version) as file:
        for i, rows in enumerate(events):
            event = pyhepmc.GenEvent(pyhepmc.Units.GEV, pyhepmc.Units.MM)
            event.event_number = 100 + i
            vertex = pyhepmc.GenVertex()
            for side in (1, -1):
                proton = pyhepmc.GenParticle((0, 0, side * 6500.0, 6500.0), 2212, 4)
                vertex.add_particle_in(proton)
            for *momentum, code, status in rows:
                vertex.add_particle_out(pyhepmc.GenParticle(momentum, code, status))
            event.add_vertex(vertex)
            if unit == "MEV":
                event.set_units(pyhepmc.Units.MEV, pyhepmc.Units.MM)
            event.weights = [1.0] if weights is None else weights[i]
            file.write(event)
    return path


def dijets(n: int, seed: int = 3) -> tuple[np.ndarray, list[list[Row]]]:
    """Return events of two back-to-back jets as a table of (pT, eta, phi), and as rows."""
    rng = np.random.default_rng(seed)
    table = np.zeros((n, 20, 3))
    table[..., 0] = rng.uniform(20, 300, (n, 20))
    table[..., 1:] = rng.uniform(-0.3, 0.3, (n, 20, 2))
    table[..., 2] += np.repeat((0.0, 3.0), 10)
    pt, eta, phi = np.moveaxis(table.astype(np.float32).astype(np.float64), 2, 0)
    cartesian = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], 2)
    energy = pt * np.cosh(eta)
    rows = [
        [(*p.tolist(), float(e), 22, 1) for p, e in zip(*event, strict=True)]
        for event in zip(cartesian, energy, strict=True)
    ]
    return table, rows


def skimmed(paths: Path, tmp_path: Path, **more: Any) -> tuple[Sample | None, Any]:
    settings = SkimSettings(images=None)
    with execution.open_executor("iterative") as executor:
        output, account = execution.run(
            Fileset.from_paths([paths]), SkimProcessor(settings, tmp_path), executor, **more
        )
    return output, account


def ids(path: Path, *cuts: int) -> list[int]:
    found: list[int] = []
    for start, stop in pairwise(cuts):
        metadata = {"filename": str(path), "entrystart": start}
        found += particles_of(HEPMC.load(path, start, stop, metadata)).event_id.tolist()
    return found


def test_stable_particles_are_taken_without_invisible_ones(loaded: Any, tmp_path: Path) -> None:
    seen: list[Row] = [(30.0, 40.0, 0.0, 50.0, 22, 1), (0.0, -10.0, 0.0, 10.2, 211, 1)]
    unseen: list[Row] = [
        *((100.0, 0.0, 0.0, 100.0, code, 1) for code in (12, -14, 16, 1000022, 52, 4900211)),
        (100.0, 0.0, 0.0, 100.0, 23, 2),
        (0.0, 0.0, 6400.0, 6400.0, 2212, 1),
        (1e-7, 0.0, 6400.0, 6400.0, 2212, 1),
    ]
    path = written(tmp_path / "a.hepmc", [seen + unseen], weights=[[0.25, 9.0]])
    events = loaded(path)
    found = particles_of(events)
    assert source_of(path) is HEPMC
    assert jets_of(events) is None
    assert found.p4.pt.tolist() == [[50.0, 10.0]]
    assert found.p4.phi[0].tolist() == pytest.approx([np.arctan2(4, 3), -np.pi / 2])
    assert found.p4.mass[0].tolist() == pytest.approx([0.0, np.sqrt(10.2**2 - 100)])
    assert found.weight.tolist() == [0.25]
    assert found.numbers["event"].tolist() == [100]
    assert found.label.tolist() == [-1]


def test_momenta_in_mev_are_the_same_events(loaded: Any, tmp_path: Path) -> None:
    _, rows = dijets(3)
    gev, mev = (
        particles_of(loaded(written(tmp_path / f"{unit}.hepmc", rows, unit)))
        for unit in ("GEV", "MEV")
    )
    assert ak.num(gev.p4).tolist() == [20, 20, 20]
    np.testing.assert_allclose(*(ak.flatten(one.p4.pt) for one in (gev, mev)), rtol=1e-6)
    np.testing.assert_allclose(*(ak.flatten(one.p4.eta) for one in (gev, mev)), atol=1e-6)


def test_event_number_has_no_part_in_the_identity(loaded: Any, tmp_path: Path) -> None:
    _, rows = dijets(2)
    first, turned = (
        particles_of(loaded(written(tmp_path / f"{n}.hepmc", events)))
        for n, events in enumerate((rows, rows[::-1]))
    )
    assert first.event_id.tolist() == turned.event_id.tolist()[::-1]


@pytest.mark.parametrize("name", ["a.hepmc", "a.hepmc.gz"])
def test_events_are_the_same_chunk_by_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = written(tmp_path / name, dijets(9)[1])
    whole = ids(path, 0, 9)
    assert len(set(whole)) == 9
    assert ids(path, 0, 1, 2, 5, 9) == whole
    assert ids(path, 7, 9) + ids(path, 0, 7) == whole[7:] + whole[:7]  # back in the file
    HEPMC._index.cache_clear()
    monkeypatch.setattr(HEPMC, "_BLOCK", 97)  # smaller than an event, and its lines cut
    assert ids(path, 0, 4, 9) == whole


def test_files_that_were_appended_are_one(tmp_path: Path) -> None:
    _, rows = dijets(5)
    parts = [
        written(tmp_path / f"{n}.hepmc", some).read_bytes()
        for n, some in enumerate((rows[:2], rows[2:]))
    ]
    both = tmp_path / "both.hepmc.gz"
    both.write_bytes(gzip.compress(parts[0]) + gzip.compress(parts[1]))
    assert HEPMC.entries(both) == 5
    assert ids(both, 0, 5) == ids(written(tmp_path / "all.hepmc", rows), 0, 5)


def test_ends_of_lines_and_a_mark_of_other_systems_change_nothing(tmp_path: Path) -> None:
    text = written(tmp_path / "a.hepmc", dijets(3)[1]).read_bytes()
    other = b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")
    for name, content in (("b.hepmc", other), ("b.hepmc.gz", gzip.compress(other))):
        path = tmp_path / name
        path.write_bytes(content)
        assert source_of(path) is HEPMC
        assert HEPMC.entries(path) == 3
        assert ids(path, 0, 2, 3) == ids(tmp_path / "a.hepmc", 0, 3)


def test_dijets_are_those_of_the_same_particles_in_hdf5(tmp_path: Path) -> None:
    table, rows = dijets(12)
    olympics = tmp_path / "a.h5"
    with h5py.File(olympics, "w") as file:
        padded = np.zeros((12, 2100), np.float32)
        padded[:, :60] = table.reshape(12, 60)
        file["events"] = padded
    masses = []
    for path in (olympics, written(tmp_path / "a.hepmc", rows)):
        output, account = skimmed(path, tmp_path / path.suffix, chunk_size=5)
        assert (account.events, account.selected) == (12, 12)
        (parts,) = output["parts"].values()
        skim = [
            SOURCES["skim"].load(tmp_path / path.suffix / part, 0, n, {})
            for part in sorted(parts)
            for n in [SOURCES["skim"].entries(tmp_path / path.suffix / part)]
        ]
        masses.append(np.sort(np.concatenate([ak.to_numpy(one.m_jj) for one in skim])))
    np.testing.assert_allclose(*masses, rtol=1e-5)


def damaged(tmp_path: Path, old: bytes, new: bytes, events: int = 3) -> Path:
    path = written(tmp_path / "damaged.hepmc", dijets(events)[1])
    content = path.read_bytes()
    assert content.count(old)
    # In the last event: the one before it stays sound.
    before, found, after = content.rpartition(old)
    path.write_bytes(before + found.replace(old, new) + after)
    return path


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"\nP 22 ", b"\nP x ", "announces 22 particles, and 21 can be read"),
        (b"\nP 22 -1 22 ", b"\nP 22 -1 22 text", "announces 22 particles, and 21 can be read"),
        (b"E 102 1 22\n", b"E 102 1 900000000\n", "announces 900000000"),
        (b"E 102 1 22\n", b"E 102\n", "and 22 can be read"),
        (b"\nV -1 0 [1,2]", b"\nv -1 0 [1,2]", "vertices"),
    ],
)
def test_damaged_event_is_one_error_and_one_lost_event(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], old: bytes, new: bytes, reason: str
) -> None:
    path = damaged(tmp_path, old, new)
    with pytest.raises(InputError, match=r"damaged\.hepmc.*event 2") as error:
        ids(path, 0, 3)
    assert reason in str(error.value)
    if b"V" not in old:
        assert capfd.readouterr() == ("", "")
    _, account = skimmed(path, tmp_path / "out", on_error=OnError.SKIP)
    assert (account.events, account.selected, account.n_lost) == (3, 2, 1)


def test_value_that_is_not_finite_is_refused_with_its_event(tmp_path: Path, loaded: Any) -> None:
    (row,) = dijets(1)[1]
    path = written(tmp_path / "a.hepmc", [row, [(np.nan, 1.0, 1.0, 2.0, 22, 1), *row]])
    with pytest.raises(InputError, match="a value that is not finite in event 1"):
        particles_of(loaded(path))


def test_files_that_cannot_be_read_are_one_error_each(tmp_path: Path) -> None:
    good = written(tmp_path / "good.hepmc", dijets(3)[1])
    content, packed = good.read_bytes(), gzip.compress(good.read_bytes())
    header = content[: content.index(b"E 100")]
    (partons,) = dijets(1)[1]
    cases = {
        "cut.hepmc": (content[: len(content) // 2], "cut short"),
        "cut.hepmc.gz": (packed[: len(packed) // 2], "cut short"),
        "crc.hepmc.gz": (packed[:-8] + b"\0" * 8, "damaged"),
        "none.hepmc": (header + content[content.rindex(b"HepMC::") :], "holds no events"),
        "two.hepmc": (
            written(tmp_path / "2", dijets(1)[1], version="HepMC2").read_bytes(),
            "not the ASCII format of version 3",
        ),
        "partons.hepmc": (
            written(tmp_path / "3", [[(*row[:5], 23) for row in partons]]).read_bytes(),
            "none of the first 1 events has a particle of status 1",
        ),
    }
    for name, (text, reason) in cases.items():
        path = tmp_path / name
        path.write_bytes(text)
        assert source_of(path) is HEPMC
        with pytest.raises(InputError, match=reason) as error:
            HEPMC.entries(path)
        assert str(error.value).startswith(str(path))
        assert "\n" not in str(error.value)
        done = CliRunner().invoke(main, ["inspect", str(path)])
        assert (done.exit_code, done.output.count("error:")) == (InputError.exit_code, 1)


def test_other_compressed_files_are_of_no_known_source(tmp_path: Path) -> None:
    for name, text in (("a.gz", gzip.compress(b"m_jj,heavy_mass\n1,2\n")), ("b.gz", b"\x1f\x8bxx")):
        path = tmp_path / name
        path.write_bytes(text)
        assert not HEPMC.is_mine(path)


def test_inspect_says_what_is_taken(tmp_path: Path) -> None:
    path = written(tmp_path / "a.hepmc", dijets(4)[1], "MEV", [[0.5, 2.0]] * 4)
    done = CliRunner().invoke(main, ["inspect", str(path)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for what in ("hepmc", "without neutrinos", "MEV", "all 0.5", "100 to 103", "no problem"):
        assert what in done.output


def test_files_of_a_folder_and_of_a_list_are_found(tmp_path: Path) -> None:
    _, rows = dijets(2)
    names = ("a.hepmc", "b.hepmc.gz", "c.hepmc3")
    paths = [written(tmp_path / name, rows) for name in names]
    (tmp_path / "other.gz").write_bytes(b"no events")
    assert Fileset.from_paths(tmp_path).files == {"data": tuple(paths)}


def test_missing_package_is_named_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.hepmc", dijets(1)[1])
    monkeypatch.setitem(sys.modules, "pyhepmc", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tnt-coffea\[hepmc\]'"):
        HEPMC.entries(path)


@pytest.mark.slow
def test_events_of_pythia_are_those_that_were_generated(tmp_path: Path, loaded: Any) -> None:
    pytest.importorskip("pythia8mc", reason="the 'generate' extra is not installed")
    from tnt_coffea.generator import DATASETS
    from tnt_coffea.generator.processes import process_named
    from tnt_coffea.generator.pythia import parton_veto, pythia_module, started

    process = process_named("wprime_wz")
    lines = (*process.lines(DATASETS["rnd-signal"].settings), "Check:event = off")
    pythia = started(lines, 3, parton_veto(pythia_module(), 1050.0, 0.0, 1e9))
    events: list[list[Row]] = []
    while len(events) < 3:
        assert pythia.next()
        final = (p for p in pythia.event if p.isFinal())
        events.append([(p.px(), p.py(), p.pz(), p.e(), p.id(), 1) for p in final])
    path = written(tmp_path / "a.hepmc.gz", events)
    particles = particles_of(loaded(path))
    visible = [
        np.array([row[:4] for row in rows if abs(row[4]) not in (12, 14, 16)]) for rows in events
    ]
    assert ak.num(particles.p4).tolist() == [len(rows) for rows in visible]
    for found, rows in zip(particles.p4, visible, strict=True):
        for part, expected in zip(("px", "py", "pz", "E"), rows.T, strict=True):
            np.testing.assert_allclose(getattr(found, part), expected, rtol=1e-4, atol=1e-3)
    sample, _ = reconstructed(loaded(path), SkimSettings(images=None))
    assert 2900 < np.median(sample.columns["m_jj"]) < 3700  # the resonance has 3500 GeV
