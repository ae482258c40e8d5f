from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pytest

from tnt_coffea.errors import InputError
from tnt_coffea.events import lhco, sources
from tnt_coffea.events.particles import Particles


def table(n: int = 5, columns: int = 2101, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = np.zeros((n, columns), np.float32)
    for i in range(n):
        k = 3 * int(rng.integers(2, 20))
        rows[i, 0:k:3] = rng.uniform(1, 500, k // 3)
        rows[i, 1:k:3] = rng.uniform(-2, 2, k // 3)
        rows[i, 2:k:3] = rng.uniform(-3, 3, k // 3)
    if columns > 2100:
        rows[:, 2100] = np.arange(n) % 2
    return rows


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def _write(rows: np.ndarray, name: str = "events") -> Path:
        path = tmp_path / "events.h5"
        with h5py.File(path, "w") as file:
            file[name] = rows
        return path

    return _write


def read(path: Path, start: int = 0, stop: int | None = None) -> Particles:
    source = sources.source_of(path)
    n = source.entries(path)
    events = source.load(path, start, n if stop is None else stop, {"filename": str(path)})
    return sources.particles_of(events)


@pytest.mark.parametrize("name", ["events", "df/block0_values"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_table_is_found_by_shape_and_values_come_out_unchanged(
    write: Callable[..., Path], name: str, dtype: type
) -> None:
    rows = table().astype(dtype)
    particles = read(write(rows, name))
    assert len(particles) == 5
    assert particles.label.tolist() == [0, 1, 0, 1, 0]
    for i in range(5):
        cube = rows[i, :2100].reshape(700, 3)
        cube = cube[cube[:, 0] > 0].astype(np.float64)
        for column, values in enumerate(("pt", "eta", "phi")):
            assert ak.to_numpy(getattr(particles.p4[i], values)) == pytest.approx(
                cube[:, column], abs=1e-12
            )


def test_float32_and_float64_copies_are_the_same_events(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    rows = table(n=20)
    single = read(write(rows))
    double = read(write(rows.astype(np.float64)))
    assert np.array_equal(single.event_id, double.event_id)
    assert len(np.unique(single.event_id)) == 20


def test_black_box_without_truth_has_unknown_labels(write: Callable[..., Path]) -> None:
    assert read(write(table(columns=2100))).label.tolist() == [-1] * 5


def test_ids_ignore_the_truth_bit(write: Callable[..., Path]) -> None:
    rows = table()
    before = read(write(rows)).event_id
    rows[:, 2100] = 1 - rows[:, 2100]
    after = read(write(rows))
    assert np.array_equal(before, after.event_id)
    assert after.label.tolist() == [1, 0, 1, 0, 1]


def test_ranges_join_to_the_whole(write: Callable[..., Path]) -> None:
    path = write(table(n=17))
    whole = read(path).event_id
    parts = [read(path, a, b).event_id for a, b in ((0, 6), (6, 7), (7, 17))]
    assert np.array_equal(np.concatenate(parts), whole)


def test_event_without_particles_is_kept_for_the_cutflow(write: Callable[..., Path]) -> None:
    rows = table()
    rows[2, :2100] = 0
    assert ak.num(read(write(rows)).p4).tolist()[2] == 0


@pytest.mark.parametrize(
    ("column", "value", "cause"),
    [
        (0, np.nan, "not finite"),
        (1, np.inf, "not finite"),
        (3, -5.0, "negative pT"),
        (1, 50.0, r"abs\(eta\)"),
        (2100, 7.0, "truth column"),
    ],
)
def test_impossible_values_are_named_with_file_and_place(
    write: Callable[..., Path], column: int, value: float, cause: str
) -> None:
    rows = table()
    rows[3, column] = value
    path = write(rows)
    with pytest.raises(InputError, match=cause) as error:
        read(path)
    assert str(path) in str(error.value)


def test_truncated_file_is_refused(write: Callable[..., Path]) -> None:
    path = write(table(n=200))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=str(path)):
        lhco.entries(path)


@pytest.mark.parametrize("shape", [(4, 2099), (4,), (0, 2101)])
def test_wrong_tables_are_refused(write: Callable[..., Path], shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"2100|no events"):
        lhco.entries(write(np.zeros(shape, np.float32)))


def test_page_named_h5_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.h5"
    path.write_text("<html>404</html>")
    with pytest.raises(InputError, match="no known source"):
        sources.source_of(path)
