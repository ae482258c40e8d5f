from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema, NanoAODSchema, PFNanoAODSchema

from tnt_coffea.errors import InputError
from tnt_coffea.events import (
    JetsFrom,
    SourceSettings,
    convert,
    jets_of,
    particles_of,
    pfnano,
    source_of,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:Missing cross-reference", "ignore:Branch .* already exists"
)
STORED = SourceSettings(jets=JetsFrom.FILE)
RAW = SourceSettings(puppi=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "schema"),
    [("pfnano", PFNanoAODSchema), ("pfnano", BaseSchema), ("skimmed pfnano", NanoAODSchema)],
)
def test_every_schema_gives_the_same_particles(
    root_files: dict[str, Path], loaded: Any, under_schema: Any, name: str, schema: Any
) -> None:
    ours = particles_of(loaded(root_files[name]))
    theirs = particles_of(under_schema(root_files[name], "Events", schema))
    assert np.array_equal(ours.event_id, theirs.event_id)
    assert ak.array_equal(ours.p4, theirs.p4)
    assert np.array_equal(ours.weight, theirs.weight)


def test_numbers_and_weights_are_the_files_own(root_files: dict[str, Path], loaded: Any) -> None:
    particles = particles_of(loaded(root_files["pfnano"]))
    with uproot.open(root_files["pfnano"]) as file:
        there = file["Events"].arrays(["run", "luminosityBlock", "event", "genWeight"])
    for name in ("run", "luminosityBlock", "event"):
        assert np.array_equal(particles.numbers[name], ak.to_numpy(there[name]))
    assert np.array_equal(particles.weight, ak.to_numpy(there.genWeight))
    assert set(particles.label.tolist()) == {-1}
    assert len(set(particles.event_id.tolist())) == 10


def test_puppi_weights_scale_the_momenta(root_files: dict[str, Path], loaded: Any) -> None:
    events = loaded(root_files["pfnano"])
    with uproot.open(root_files["pfnano"]) as file:
        pair = file["Events"].arrays(["PFCands_pt", "PFCands_puppiWeight"], how=tuple)
    pt, weight = (ak.values_astype(column, np.float64) for column in pair)
    weighted, raw = particles_of(events), particles_of(events, RAW)
    assert ak.num(raw.p4).tolist() == ak.num(pt).tolist()
    assert ak.sum(raw.p4.pt, axis=1).tolist() == pytest.approx(ak.sum(pt, axis=1).tolist())
    assert ak.num(weighted.p4).tolist() == ak.sum(weight > 0, axis=1).tolist()
    expected = ak.sum(pt * weight, axis=1).tolist()
    assert ak.sum(weighted.p4.pt, axis=1).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_mass_is_scaled_as_well(write_nano: Callable[..., Path], loaded: Any) -> None:
    particles = particles_of(loaded(write_nano()))
    assert particles.p4.pt.tolist() == [[50.0, 15.0], [], [80.0, 17.5]]
    assert particles.p4.mass[0].tolist() == pytest.approx([0.14, 0.0], rel=1e-6)
    assert particles.p4.mass[2].tolist() == pytest.approx([0.0, -0.00025], rel=1e-6)
    assert particles.weight.tolist() == [0.5, -1.0, 2.0]


def test_stored_jets_have_the_files_constituents(root_files: dict[str, Path], loaded: Any) -> None:
    jets = jets_of(loaded(root_files["pfnano"]), STORED)
    with uproot.open(root_files["pfnano"]) as file:
        there = file["Events"].arrays(filter_name=["FatJet_pt", "FatJet_rawFactor"])
    assert jets.radius == 0.8
    assert jets.p4.pt.tolist() == there.FatJet_pt.tolist()
    assert ak.num(jets.constituents).tolist() == ak.num(jets.p4).tolist()
    total = ak.sum(jets.constituents, axis=2)
    before_corrections = there.FatJet_pt * (1 - there.FatJet_rawFactor)
    assert ak.flatten(total.pt).tolist() == pytest.approx(
        ak.flatten(before_corrections).tolist(), rel=0.005
    )


def test_links_may_come_in_any_order_and_lead_nowhere(
    write_nano: Callable[..., Path], loaded: Any
) -> None:
    links = ak.zip(
        {
            "jetIdx": ak.Array([[1, 0, 0, -1], [], [1, 0, 0]]),
            "pFCandsIdx": ak.Array([[1, 2, 0, 0], [], [0, 1, -1]]),
        }
    )
    events = loaded(write_nano(FatJetPFCands=links))
    jets = jets_of(events, SourceSettings(jets=JetsFrom.FILE, puppi=False))
    assert jets.constituents.pt.tolist() == [[[10.0, 50.0], [30.0]], [], [[70.0], [80.0]]]
    # A weight of 0 takes a constituent away, as it does in the clustering.
    assert jets_of(events, STORED).constituents.pt.tolist()[0] == [[50.0], [15.0]]


def test_links_beyond_the_particles_are_refused(
    write_nano: Callable[..., Path], loaded: Any
) -> None:
    links = ak.zip({"jetIdx": ak.Array([[0], [], [0]]), "pFCandsIdx": ak.Array([[2], [], [2]])})
    path = write_nano(FatJetPFCands=links)
    with pytest.raises(InputError, match="particle 2 of 2 to jet 0") as error:
        jets_of(loaded(path), STORED)
    assert str(path) in str(error.value)


def test_jets_without_links_have_no_constituents(root_files: dict[str, Path], loaded: Any) -> None:
    jets = jets_of(loaded(root_files["skimmed pfnano"]), STORED)
    assert jets.constituents is None
    assert len(jets) == 3


def test_plain_nanoaod_has_jets_alone(write_nano: Callable[..., Path], loaded: Any) -> None:
    path = write_nano(PFCands=None, FatJetPFCands=None)
    assert source_of(path) is pfnano
    events = loaded(path)
    jets = jets_of(events)
    assert jets.p4.pt.tolist() == [[60.0, 15.0], [], [17.5, 80.0]]
    with pytest.raises(InputError, match="jets without particles"):
        particles_of(events)


def _rows(path: Path) -> dict[str, Any]:
    with uproot.open(path) as file:
        names = [f"PFCands_{name}" for name in ("pt", "eta", "phi", "mass", "puppiWeight")]
        return file["Events"].arrays([*names, "run", "luminosityBlock", "event"], how=dict)


def _doubles(rows: dict[str, Any]) -> dict[str, Any]:
    return {n: ak.values_astype(c, np.float64) if c.ndim > 1 else c for n, c in rows.items()}


def _signed(rows: dict[str, Any]) -> dict[str, Any]:
    return {n: ak.values_astype(c, np.int64) if c.ndim == 1 else c for n, c in rows.items()}


@pytest.mark.parametrize("form", ["mktree", "mkrntuple"])
@pytest.mark.parametrize("changed", [dict, _doubles, _signed], ids=["own counters", "f8", "i8"])
def test_the_same_events_in_other_types_are_the_same(
    write_nano: Callable[..., Path], loaded: Any, tmp_path: Path, form: str, changed: Any
) -> None:
    expected = particles_of(loaded(write_nano()))
    path = tmp_path / "other.root"
    with uproot.recreate(path) as file:
        # Two cycles of a tree: the last one counts.
        getattr(file, form)("Events", {n: c[:1] for n, c in _rows(tmp_path / "nano.root").items()})
        getattr(file, form)("Events", changed(_rows(tmp_path / "nano.root")))
    found = particles_of(loaded(path))
    assert np.array_equal(found.event_id, expected.event_id)
    assert ak.array_equal(found.p4, expected.p4)


def test_particles_in_fixed_numbers_and_negative_weights_are_read(
    loaded: Any, tmp_path: Path
) -> None:
    rng, path = np.random.default_rng(4), tmp_path / "fixed.root"
    rows: dict[str, Any] = {
        f"PFCands_{name}": rng.uniform(0.5, 2, (4, 6)).astype(np.float32)
        for name in ("pt", "eta", "phi", "mass")
    }
    rows["PFCands_pt"][:, 4:] = 0  # padding
    with uproot.recreate(path) as file:
        file.mktree("Events", rows | {"genWeight": np.array([1, -2, 0.5, -1], np.float32)})
    particles = particles_of(loaded(path))
    assert particles.p4.pt.tolist() == rows["PFCands_pt"][:, :4].tolist()
    assert particles.weight.tolist() == [1.0, -2.0, 0.5, -1.0]
    assert particles.numbers == {}
    assert len(set(particles.event_id.tolist())) == 4


V15_LINKS = {"jetIdx": [[0, 1, 0], [], [0, 1]], "pfCandIdx": [[0, 1, 2], [], [1, 0]]}


def test_nanoaod_15_has_jets_with_constituents_and_no_event_to_cluster(
    write_nano: Callable[..., Path], loaded: Any, tmp_path: Path
) -> None:
    pfnano_file = write_nano("pfnano.root")
    with uproot.open(pfnano_file) as file:
        parts = file["Events"].arrays(filter_name="PFCands_*", how=dict)
    particles = ak.zip({name: parts[f"PFCands_{name}"] for name in ("pt", "eta", "phi", "mass")})
    links = ak.zip({name: ak.Array(values) for name, values in V15_LINKS.items()})
    none = {"PFCands": None, "FatJetPFCands": None}
    path = write_nano("v15.root", PFCand=particles, FatJetPFCand=links, **none)
    assert source_of(path) is pfnano
    events = loaded(path)
    jets = jets_of(events)
    expected = jets_of(loaded(pfnano_file), SourceSettings(jets=JetsFrom.FILE, puppi=False))
    # Their momenta hold the PUPPI weights already.
    assert jets.constituents.pt.tolist() == expected.constituents.pt.tolist()
    assert jets.constituents.pt.tolist() == [[[50.0, 10.0], [30.0]], [], [[70.0], [80.0]]]
    with pytest.raises(InputError, match="jets without particles"):
        particles_of(events)
    converted = tmp_path / "converted.parquet"
    convert(path, converted)
    again = jets_of(loaded(converted))
    assert np.array_equal(again.event_id, jets.event_id)
    assert ak.array_equal(again.constituents, jets.constituents)


def test_collections_of_an_rntuple_may_be_records(
    write_nano: Callable[..., Path], loaded: Any, under_schema: Any, tmp_path: Path
) -> None:
    flat = write_nano()
    with uproot.open(flat) as file:
        columns = file["Events"].arrays(how=dict)
    nested: dict[str, Any] = {
        name: columns[name] for name in ("run", "luminosityBlock", "event", "genWeight")
    }
    for name in ("PFCands", "FatJet", "FatJetPFCands"):
        there = [column for column in columns if column.startswith(f"{name}_")]
        nested[name] = ak.zip({column.partition("_")[2]: columns[column] for column in there})
    path = tmp_path / "nested.root"
    with uproot.recreate(path) as file:
        file.mkrntuple("Events", nested)
    ours, theirs = loaded(path), under_schema(path, "Events", BaseSchema)
    for events in (ours, theirs):
        assert np.array_equal(particles_of(events).event_id, particles_of(loaded(flat)).event_id)
        assert ak.array_equal(particles_of(events).p4, particles_of(loaded(flat)).p4)
    stored = jets_of(ours, STORED)
    assert ak.array_equal(stored.constituents, jets_of(loaded(flat), STORED).constituents)
    assert loaded(path, 1, 3).PFCands_pt.tolist() == [[], [80.0, 70.0]]


def test_a_header_of_another_version_does_not_make_a_file_cut_short(
    write_nano: Callable[..., Path], loaded: Any
) -> None:
    path = write_nano()
    whole = bytearray(path.read_bytes())
    before = particles_of(loaded(path)).event_id
    whole[4:8] = (-62206).to_bytes(4, "big", signed=True)
    path.write_bytes(whole)
    assert np.array_equal(particles_of(loaded(path)).event_id, before)
    path.write_bytes(whole[:-10])
    with pytest.raises(InputError, match="cut short"):
        source_of(path)


@pytest.mark.parametrize("name", ["a::b.root", "data:1.root", "root:::x", "q*?[1]#%20 é.root"])
def test_a_path_is_that_path_whatever_is_in_it(
    write_nano: Callable[..., Path],
    loaded: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    write_nano().rename(tmp_path / name)
    expected = particles_of(loaded(tmp_path / name)).event_id
    for decoy in ("a", "data"):
        write_nano(decoy, event=np.array([1, 2, 3], np.uint64))
    monkeypatch.chdir(tmp_path)
    for path in (Path(name), tmp_path / name):
        assert np.array_equal(particles_of(loaded(path)).event_id, expected)
    convert(name, out := Path("out::of:it.root"))
    assert np.array_equal(particles_of(loaded(out)).event_id, expected)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({name, "a", "data", out.name})


def test_particles_without_jets_have_none_to_take(
    write_nano: Callable[..., Path], loaded: Any
) -> None:
    events = loaded(write_nano(FatJet=None, FatJetPFCands=None))
    assert jets_of(events) is None
    with pytest.raises(InputError, match="no AK8 jets"):
        jets_of(events, STORED)


def test_identity_does_not_depend_on_how_the_event_is_read(
    root_files: dict[str, Path], loaded: Any
) -> None:
    events = loaded(root_files["pfnano"])
    ids = particles_of(events).event_id
    assert np.array_equal(particles_of(events, RAW).event_id, ids)
    assert np.array_equal(jets_of(events, STORED).event_id, ids)
    parts = [loaded(root_files["pfnano"], *part) for part in ((0, 3), (3, 10))]
    assert np.array_equal(np.concatenate([particles_of(p).event_id for p in parts]), ids)


def test_identity_is_over_numbers_and_content(write_nano: Callable[..., Path], loaded: Any) -> None:
    ids = particles_of(loaded(write_nano())).event_id
    renumbered = particles_of(
        loaded(write_nano("b.root", event=np.array([12, 12, 11], np.uint64)))
    ).event_id
    assert (renumbered == ids).tolist() == [False, True, True]
    # Numbers that repeat (private productions do) do not make two events one.
    same = np.zeros(3, np.uint32)
    repeated = write_nano("c.root", run=same, luminosityBlock=same, event=same.astype(np.uint64))
    assert len(set(particles_of(loaded(repeated)).event_id.tolist())) == 3


def test_truncated_file_is_named_with_its_cause(
    root_files: dict[str, Path], tmp_path: Path
) -> None:
    whole = root_files["pfnano"].read_bytes()
    path = tmp_path / "cut.root"
    for size in (100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="cut short") as error:
            source_of(path)
        assert str(path) in str(error.value)


def test_damaged_basket_is_named_with_its_cause(
    root_files: dict[str, Path], tmp_path: Path, loaded: Any
) -> None:
    with uproot.open(root_files["pfnano"]) as file:
        branch = file["Events"]["PFCands_pt"]
        start, size = (int(branch.member(n)[0]) for n in ("fBasketSeek", "fBasketBytes"))
    data = bytearray(root_files["pfnano"].read_bytes())
    data[start + 120 : start + size - 20] = bytes(size - 140)
    path = tmp_path / "damaged.root"
    path.write_bytes(data)
    with pytest.raises(InputError, match="not readable as ROOT") as error:
        loaded(path)
    assert str(path) in str(error.value)


def test_tree_without_events_is_refused(write_nano: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "empty.root"
    with uproot.open(write_nano()) as file, uproot.recreate(path) as target:
        kinds = {"PFCands": "var * {pt: float32, eta: float32, phi: float32, mass: float32}"}
        target.mktree("Events", kinds)
        assert file["Events"].num_entries == 3
    with pytest.raises(InputError, match="no events"):
        pfnano.entries(path)


def test_a_particle_that_cannot_be_is_refused(write_nano: Callable[..., Path], loaded: Any) -> None:
    parts = {"pt": 1.0, "eta": 0.0, "phi": 0.0, "mass": np.nan}
    bad = ak.zip({n: ak.Array([[np.float32(v)]] * 3) for n, v in parts.items()})
    path = write_nano(PFCands=bad, FatJet=None, FatJetPFCands=None)
    with pytest.raises(InputError, match="not finite in event 0"):
        particles_of(loaded(path))


def test_weight_that_is_not_finite_is_refused(write_nano: Callable[..., Path], loaded: Any) -> None:
    path = write_nano(genWeight=np.array([1, np.inf, 1], np.float32))
    with pytest.raises(InputError, match="weight of event 1"):
        particles_of(loaded(path))
