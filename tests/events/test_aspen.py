"""AspenOpenJets: jets that are put together to events, wherever their rows are."""

from __future__ import annotations

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
from tnt_coffea.errors import InputError
from tnt_coffea.events import SOURCES, SourceSettings, convert, jets_of, particles_of, source_of
from tnt_coffea.filesets import Fileset
from tnt_coffea.processors import SkimProcessor

ASPEN = SOURCES["aspen"]
SETTINGS = SkimSettings.model_validate(
    {"jets": {"radius": 0.8}, "images": None, "observables": ["pt", "mass", "n_constituents"]}
)
PER_EVENT = (2, 1, 2, 3, 1, 2, 2)
"""Jets of the seven events of a file."""


def made(seed: int = 5) -> dict[str, np.ndarray]:
    """Return the data sets of a file, of jets with four candidates each, in writing order."""
    rng = np.random.default_rng(seed)
    event = np.repeat(np.arange(len(PER_EVENT)), PER_EVENT)
    n = len(event)
    # Numbers alone tell nothing: the same event number occurs in two blocks and in two runs.
    numbers = [(280000, 1), (280000, 2), (280001, 1), (280001, 1), (280001, 2), (7, 9), (7, 9)]
    last = (2**33, 2**33, 2**33, 5, 5, 1, 2)
    info = np.array([(*numbers[i], last[i]) for i in event], np.int64)
    side = np.concatenate([np.arange(k) for k in PER_EVENT])
    kinematics = np.stack(
        [
            rng.uniform(300, 900, n),
            rng.uniform(-2, 2, n),
            np.where(side == 0, 0.5, 0.5 - np.pi) + rng.uniform(-0.2, 0.2, n),
            np.where(np.arange(n) == 3, -1, rng.uniform(5, 200, n)),
        ],
        axis=1,
    )
    cube = np.zeros((n, 6, 11), np.float32)
    pt, eta, phi = (
        rng.uniform(10, 100, (n, 4)),
        rng.normal(0, 0.1, (n, 4)) + kinematics[:, 1:2],
        rng.normal(0, 0.1, (n, 4)) + kinematics[:, 2:3],
    )
    parts = [pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)]
    cube[:, :4, :4] = np.stack(parts, axis=2)
    cube[:, :4, 4:10] = 1.0
    cube[:, :4, 10] = [1.0, 0.5, 0.0, 1.0]
    return {
        "event_info": info,
        "jet_kinematics": kinematics.astype(np.float32),
        "PFCands": cube,
        "jet_tagging": np.ones((n, 13), np.float32),
    }


def written(path: Path, data: dict[str, np.ndarray], order: Any = slice(None)) -> Path:
    """Return a file in the layout of the public ones: resizable, gzip but for the numbers."""
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            packed = {} if name == "event_info" else {"compression": "gzip"}
            shape = (None, *values.shape[1:])
            file.create_dataset(name, data=values[order], maxshape=shape, chunks=True, **packed)
    return path


def stored(path: Path, *cuts: int, **settings: Any) -> list[Any]:
    return [
        jets_of(
            ASPEN.load(path, start, stop, {"filename": str(path), "entrystart": start}),
            SourceSettings(**settings),
        )
        for start, stop in pairwise(cuts)
    ]


def test_jets_of_an_event_come_together_by_falling_pt(tmp_path: Path) -> None:
    data = made()
    path = written(tmp_path / "a.h5", data)
    assert source_of(path) is ASPEN
    assert ASPEN.entries(path) == len(PER_EVENT)
    (found,) = stored(path, 0, 7)
    assert ak.num(found.p4).tolist() == list(PER_EVENT)
    rows = np.split(data["jet_kinematics"].astype(np.float64), np.cumsum(PER_EVENT)[:-1])
    for i, jets in enumerate(rows):
        expected = jets[np.argsort(-jets[:, 0])]
        expected[:, 3] = np.maximum(expected[:, 3], 0)
        p4 = found.p4[i]
        assert [list(jet) for jet in zip(p4.pt, p4.eta, p4.phi, p4.mass, strict=True)] == [
            list(jet) for jet in expected
        ]
    assert ak.min(found.p4.mass) == 0  # -1 in the file
    assert found.radius == 0.8
    assert found.numbers["run"].tolist() == [280000, 280000, *[280001] * 3, 7, 7]
    assert found.numbers["event"].tolist() == [2**33, 2**33, 2**33, 5, 5, 1, 2]


def test_constituents_are_those_of_their_jet_scaled_by_puppi(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", made())
    (plain,), (scaled,) = stored(path, 0, 7, puppi=False), stored(path, 0, 7)
    assert ak.flatten(ak.num(plain.constituents, axis=2)).to_list() == [4] * sum(PER_EVENT)
    assert ak.flatten(ak.num(scaled.constituents, axis=2)).to_list() == [3] * sum(PER_EVENT)
    for axis in ("eta", "phi"):
        off = getattr(plain.constituents, axis) - getattr(plain.p4, axis)
        assert ak.max(abs(off)) < 0.6
    unscaled, pt = (ak.to_numpy(ak.flatten(one.constituents.pt)) for one in (plain, scaled))
    np.testing.assert_allclose(pt, unscaled[:, [0, 1, 3]] * [1.0, 0.5, 1.0])
    assert np.array_equal(plain.event_id, scaled.event_id)


def test_events_are_the_same_in_chunks_and_with_their_rows_anywhere(tmp_path: Path) -> None:
    data = made()
    whole = stored(written(tmp_path / "a.h5", data), 0, 7)[0]
    assert len(set(whole.event_id.tolist())) == 7
    for seed in (None, 1):
        order = slice(None) if seed is None else np.random.default_rng(seed).permutation(13)
        path = written(tmp_path / f"{seed}.h5", data, order)
        for cuts in ((0, 1, 3, 7), (0, 2, 6, 7)):
            parts = stored(path, *cuts)
            ids = np.concatenate([part.event_id for part in parts])
            place = np.argsort(ids)
            there = np.argsort(whole.event_id)
            assert ids[place].tolist() == whole.event_id[there].tolist()
            for what in ("p4", "constituents"):
                joined = ak.concatenate([getattr(part, what) for part in parts])[place]
                assert joined.pt.tolist() == getattr(whole, what).pt[there].tolist()


def test_single_jets_are_rejected_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", made(), np.random.default_rng(3).permutation(13))
    cutflows = []
    for size in (2, 7):
        with execution.open_executor("iterative") as executor:
            output, account = execution.run(
                Fileset.from_paths([path]),
                SkimProcessor(SETTINGS, tmp_path / str(size)),
                executor,
                chunk_size=size,
            )
        assert (account.events, account.selected, account.n_lost) == (7, 5, 0)
        assert account.rejected["two_jets"] == 2
        cutflows.append(output["cutflow"])
    assert cutflows[0] == cutflows[1]


def test_converted_file_has_the_same_jets(tmp_path: Path, loaded: Any) -> None:
    path = written(tmp_path / "a.h5", made())
    (first,) = stored(path, 0, 7)
    again = jets_of(loaded(convert(path, tmp_path / "b.parquet", chunk_size=3).path))
    assert again is not None
    assert again.event_id.tolist() == first.event_id.tolist()
    assert again.radius == first.radius
    per_jet = ak.num(again.constituents, axis=2)
    assert per_jet.tolist() == ak.num(first.constituents, axis=2).tolist()
    old, new = (ak.to_numpy(ak.flatten(one.constituents.pt, axis=None)) for one in (first, again))
    np.testing.assert_allclose(new, old, rtol=1e-6)


def test_there_are_no_particles_of_the_whole_event(tmp_path: Path, loaded: Any) -> None:
    with pytest.raises(InputError, match="nothing to cluster"):
        particles_of(loaded(written(tmp_path / "a.h5", made())))


@pytest.mark.parametrize(
    ("name", "place", "value", "reason"),
    [
        ("jet_kinematics", (0, 0), np.nan, "not finite"),
        ("jet_kinematics", (0, 0), -5.0, "a negative pT in event 0"),
        ("jet_kinematics", (0, 0), 0.0, "a jet without pT in event 0 .*run 280000.*event 8589"),
        ("jet_kinematics", 1, (300.0, 25.0, 0.0, 1.0), r"abs\(eta\) above 20"),
        ("PFCands", (0, 1, 2), np.inf, "a constituent that is not finite in event 0"),
        ("PFCands", (0, 1, 10), np.nan, "a constituent that is not finite in event 0"),
        ("event_info", (0, 1), -1, "luminosityBlock is"),
    ],
)
def test_impossible_values_are_refused_with_their_event(
    tmp_path: Path, name: str, place: Any, value: Any, reason: str
) -> None:
    data = made()
    data[name][place] = value
    with pytest.raises(InputError, match=reason) as error:
        stored(written(tmp_path / "bad.h5", data), 0, 7)
    assert "bad.h5" in str(error.value)


def test_jets_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    data = {name: np.concatenate([values, values[:2]]) for name, values in made().items()}
    with pytest.raises(InputError, match="a jet twice in event 0"):
        stored(written(tmp_path / "a.h5", data), 0, 7)


def test_rounded_event_numbers_are_refused(tmp_path: Path) -> None:
    data = made()
    data["event_info"] = data["event_info"].astype(np.float32)
    with pytest.raises(InputError, match="event numbers as float32"):
        ASPEN.entries(written(tmp_path / "a.h5", data))
    data["event_info"] = np.minimum(data["event_info"], 1000)
    assert ASPEN.entries(written(tmp_path / "b.h5", data)) > 0


def test_files_of_other_shapes_or_cut_ones_are_one_error(tmp_path: Path) -> None:
    data = made()
    cases = {
        "rows": {**data, "PFCands": data["PFCands"][:5]},
        "width": {**data, "jet_kinematics": data["jet_kinematics"][:, :3]},
        "text": {**data, "jet_kinematics": data["jet_kinematics"].astype(np.int32)},
        "none": {name: values[:0] for name, values in data.items()},
    }
    for name, changed in cases.items():
        path = written(tmp_path / f"{name}.h5", changed)
        with pytest.raises(InputError, match="expected a row a jet") as error:
            ASPEN.entries(path)
        assert str(error.value).startswith(str(path))
    whole = written(tmp_path / "a.h5", data).read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole[: len(whole) // 2])
    done = CliRunner().invoke(main, ["inspect", str(cut)])
    assert (done.exit_code, done.output.count("error:")) == (InputError.exit_code, 1)
    never = tmp_path / "never.h5"
    with h5py.File(written(never, data), "a") as file:
        for item in file.values():
            item.resize(10_000, axis=0)
    with pytest.raises(InputError, match="were written"):
        ASPEN.entries(never)


def test_inspect_says_what_is_there(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", made())
    assert ASPEN.meaning(path)["jets of an event"] == "neighbours in the file"
    path = written(tmp_path / "b.h5", made(), np.random.default_rng(3).permutation(13))
    done = CliRunner().invoke(main, ["inspect", str(path)], env={"COLUMNS": "250"})
    assert done.exit_code == 0, done.output
    for what in ("aspen", "13, of which 2 are alone", "apart in the file", "soft drop", "R = 0.8"):
        assert what in done.output
