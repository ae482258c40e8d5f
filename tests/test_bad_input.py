"""Mistakes that people make, through the command line: one clear error each, or a counted loss."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import hdf5plugin
import numpy as np
import pytest
import uproot
from click.testing import CliRunner, Result

from tnt_coffea.cli import main
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ExecutionError
from tnt_coffea.execution import Resources, map_tasks

GOOD = 12
"""Events of the good file."""

NOBODY = 65534


def dijets(n: int = GOOD, columns: int = 2101) -> np.ndarray:
    """Events of two back-to-back jets, ten particles each, as an LHC Olympics table."""
    rng = np.random.default_rng(7)
    rows = np.zeros((n, columns), np.float32)
    for i in range(n):
        pt = rng.uniform(20, 300, 20)
        eta = rng.uniform(-0.3, 0.3, 20)
        phi = rng.uniform(-0.3, 0.3, 20) + np.repeat((0.0, np.pi), 10)
        rows[i, :60] = np.stack([pt, eta, np.where(phi > np.pi, phi - 2 * np.pi, phi)], 1).ravel()
    if columns % 3:
        rows[:, -1] = np.arange(n) % 2
    return rows


def written(path: Path, rows: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("events", data=rows, **hdf5plugin.Blosc(cname="zstd"))
    return path


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def skim(path: Path, out: Path, *more: object) -> Result:
    return call("skim", path, "--out", out, "--executor", "iterative", "--quiet", *more)


def refused(result: Result, code: int, *parts: object) -> str:
    """The one line that an error is, after checking what it must and must not hold."""
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    lines = result.output.strip().splitlines()
    lines = [line for line in lines if not line.startswith("settings: ")]
    assert len(lines) == 1, result.output
    assert lines[0].startswith("error: ")
    for part in parts:
        assert str(part) in lines[0]
    return lines[0]


def assert_nothing_half_written(out: Path) -> None:
    notes = {"config.yaml", "files.json"}
    left = [p for p in out.rglob("*") if p.is_file() and p.name not in notes]
    assert [p for p in left if ".parts" not in p.parts] == []
    assert not list(out.rglob("*.partial"))


def manifest(out: Path, stage: str = "skim") -> dict:
    return json.loads((out / stage / "manifest.json").read_text())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.h5"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_good_table_is_taken(path: Path, out: Path) -> None:
    done = skim(written(path, dijets()), out)
    assert done.exit_code == 0, done.output
    assert f"{GOOD} dijets of {GOOD} events, 0 lost, 0 duplicates" in done.output


def changed(row: int, column: int, value: float) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        rows = dijets()
        rows[row, column] = value
        written(path, rows)

    return make


def shaped(*shape: int) -> Callable[[Path], None]:
    return lambda path: written(path, np.zeros(shape, np.float32)) and None


def cut(share: float) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        data = written(path, dijets(200)).read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return make


def page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>\n")


def stopped_half_way(path: Path) -> None:
    with h5py.File(path, "w") as file:
        table = file.create_dataset("events", (GOOD, 2101), "f4", chunks=(2, 2101), fillvalue=0)
        table[:6] = dijets()[:6]


def rows_never_filled(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("events", (GOOD, 2101), "f4")[:6] = dijets()[:6]


def tree_cut_short(path: Path) -> None:
    with uproot.recreate(path) as file:
        file["Events"] = {"PFCands_pt": np.arange(5000.0), "PFCands_eta": np.zeros(5000)}
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (cut(0.5), ("not readable as HDF5", "truncated", "fetch it again")),
        (cut(0.01), ("not readable as HDF5", "fetch it again")),
        (tree_cut_short, ("cut short", "bytes", "fetch")),
        (page, ("no known source (a web page, HTML", "tnt_coffea reads aspen, lhco")),
        (lambda path: path.write_bytes(b""), ("no known source: it is empty (0 bytes)",)),
        (lambda path: path.write_bytes(b" \n" * 40), ("no known source; tnt_coffea reads",)),
        (shaped(5, 2099), ("2100 columns", "2101 (with truth bit)", "(5, 2099)")),
        (shaped(5, 14), ("2100 columns", "(5, 14)")),
        (shaped(5, 2103), ("700 x pT, eta, phi", "(5, 2103)")),
        (shaped(5, 2104), ("700 x pT, eta, phi", "(5, 2104)")),
        (shaped(5), ("2100 columns", "(5,)")),
        (stopped_half_way, ("12 rows", "were written", "write it again")),
        (rows_never_filled, ("rows 6 to 12", "hold nothing", "Write it again")),
        (changed(3, 0, np.nan), ("not finite", "event 3", "nan", "GeV and radians")),
        (changed(3, 1, np.inf), ("not finite", "event 3", "inf")),
        (changed(3, 2, -np.inf), ("not finite", "event 3", "-inf")),
        (changed(5, 6, -20.0), ("negative pT", "event 5", "-20")),
        (changed(5, 7, 50.0), ("abs(eta) above 20", "event 5", "50")),
        (changed(5, 7, -50.0), ("abs(eta) above 20", "event 5", "-50")),
        (changed(2, 2100, 2.0), ("truth column", "1 (signal), 0 (background)")),
        (changed(2, 2100, 0.5), ("truth column", "0.5")),
        (changed(2, 2100, np.nan), ("truth column", "nan")),
    ],
    ids=[
        "truncated-h5",
        "header-only-h5",
        "truncated-root",
        "html",
        "empty-file",
        "file-of-blanks",
        "2099-columns",
        "features-file",
        "701-particles",
        "701-particles-and-label",
        "one-dimension",
        "writer-stopped",
        "rows-never-filled",
        "nan",
        "inf",
        "minus-inf",
        "negative-pt",
        "eta-50",
        "eta-minus-50",
        "label-2",
        "label-half",
        "label-nan",
    ],
)
def test_bad_file_is_one_error_and_the_good_one_is_then_taken(
    path: Path, out: Path, make: Callable[[Path], object], expected: tuple[str, ...]
) -> None:
    make(path)
    refused(skim(path, out), 3, path, *expected)
    assert_nothing_half_written(out)
    written(path, dijets())
    done = skim(path, out)
    assert done.exit_code == 0, done.output
    assert manifest(out)["outputs"]["accounting"]["selected"] == GOOD


def test_table_without_rows_is_refused(path: Path, out: Path) -> None:
    with h5py.File(path, "w") as file:
        file["events"] = np.zeros((0, 2101), np.float32)
    refused(skim(path, out), 3, path, "no events")
    assert_nothing_half_written(out)


def test_bad_file_beside_good_ones_is_named_or_left_out_and_counted(
    path: Path, out: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.h5"
    changed(3, 0, np.nan)(bad)
    written(path, dijets())
    refused(call("skim", path, bad, "--out", out, "--executor", "iterative", "-q"), 3, bad)
    done = call(
        *("skim", path, bad, "--out", out, "--executor", "iterative", "-q", "--skip-bad-files")
    )
    assert done.exit_code == 0, done.output
    assert f"{2 * GOOD - 1} dijets of {2 * GOOD} events, 1 lost, {GOOD - 1} dup" in done.output
    (item, (n, reason)), *more = manifest(out)["outputs"]["accounting"]["lost"].items()
    assert not more
    assert item == f"data: {bad}, entries 3-4"
    assert n == 1
    assert "not finite" in reason
    assert f"left out: {item}: {reason}" in done.output


@pytest.fixture
def bad_files(tmp_path: Path) -> dict[str, Path]:
    """Files of every kind that cannot be read, by what must be said of them."""
    paths = {reason: tmp_path / f"bad-{i}" for i, reason in enumerate(BAD)}
    for reason, path in paths.items():
        BAD[reason](path)
    return paths


def _truncated(path: Path) -> None:
    whole = written(path, dijets()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _without_tree(path: Path) -> None:
    with uproot.recreate(path) as file:
        file.mktree("Other", {"x": "int64"}).extend({"x": np.arange(3)})


def _without_events(path: Path) -> None:
    with uproot.recreate(path) as file:
        parts = ", ".join(f"{name}: float32" for name in ("pt", "eta", "phi", "mass"))
        file.mktree("Events", {"PFCands": f"var * {{{parts}}}"})


BAD: dict[str, Callable[[Path], object]] = {
    "truncated file": _truncated,
    "it is empty (0 bytes)": lambda path: path.write_bytes(b""),
    "no known source": lambda path: path.write_bytes(b"<html>404 Not Found</html>"),
    "it holds the tree 'Other' (x)": _without_tree,
    "the tree 'Events' has no events": _without_events,
    "No such file": lambda path: None,
}


def test_every_kind_of_bad_file_is_left_out_and_listed(
    path: Path, out: Path, bad_files: dict[str, Path]
) -> None:
    files = (written(path, dijets()), *bad_files.values())
    options = ("--out", out, "--executor", "iterative", "--quiet")
    for bad in bad_files.values():
        refused(call("skim", path, bad, *options), 3, bad)
    assert not out.exists() or not list(out.rglob("*.parquet"))
    done = call("skim", *files, *options, "--skip-bad-files")
    assert done.exit_code == 0, done.output
    assert f"{GOOD} dijets of {GOOD} events, 0 lost, 0 duplicates, 6 files left out" in done.output
    accounting = manifest(out)["outputs"]["accounting"]
    assert (accounting["events"], accounting["selected"]) == (GOOD, GOOD)
    assert accounting["lost"].keys() == {f"data: {bad}" for bad in bad_files.values()}
    for reason, bad in bad_files.items():
        assert reason in accounting["lost"][f"data: {bad}"][1]
        assert f"left out: data: {bad}: " in done.output
    # One that was mended is another input, and not silently left out again.
    shutil.copy(path, next(iter(bad_files.values())))
    refused(call("skim", *files, *options, "--skip-bad-files"), 4, "files.data")


@pytest.mark.parametrize("command", ["skim", "search"])
def test_nothing_but_bad_files_is_an_error(
    out: Path, tmp_path: Path, bad_files: dict[str, Path], command: str
) -> None:
    changed(3, 0, np.nan)(bad := tmp_path / "bad.h5")
    with h5py.File(bad, "r+") as file:
        file["events"][:, 0] = -1.0
    more = ("--taggers", "rnd-3500") if command == "search" else ()
    done = call(
        *(command, *bad_files.values(), bad, *more, "--skip-bad-files"),
        *("--out", out, "--executor", "iterative", "--quiet"),
    )
    refused(done, 3, "none of the events could be read (7 files)", bad)
    assert_nothing_half_written(out)


def test_events_without_two_jets_are_dropped_and_counted(path: Path, out: Path) -> None:
    rows = dijets()
    rows[2, :2100] = 0  # no particle
    rows[4, 30:2100] = 0  # one jet
    rows[7, 30:2100] = 0
    done = skim(written(path, rows), out)
    assert done.exit_code == 0, done.output
    assert f"{GOOD - 3} dijets of {GOOD} events, 0 lost" in done.output
    accounting = manifest(out)["outputs"]["accounting"]
    assert sum(accounting["rejected"].values()) == 3
    assert accounting["selected"] == GOOD - 3


def test_no_dijet_at_all_is_an_error(path: Path, out: Path) -> None:
    rows = dijets()
    rows[:, 30:2100] = 0
    refused(skim(written(path, rows), out), 3, f"none of {GOOD} events has a dijet")
    assert_nothing_half_written(out)


def test_missing_path(tmp_path: Path, out: Path) -> None:
    refused(skim(tmp_path / "absent.h5", out), 3, tmp_path / "absent.h5", "no such file")
    assert not out.exists()


def test_directory(tmp_path: Path, out: Path) -> None:
    refused(skim(tmp_path, out), 3, tmp_path, "a folder, expected a file")
    assert not out.exists()


def test_same_file_twice(path: Path, out: Path) -> None:
    written(path, dijets())
    refused(call("skim", path, path, "--out", out), 3, path, "given twice")
    assert not out.exists()


def shell(*words: object, before: Callable[[], None] | None = None) -> Result:
    """Run the command as a process of its own, for what a process alone can lose."""
    program = "from tnt_coffea.cli import main; main()"
    command = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=before, check=False)
    return Result(
        CliRunner(),
        done.stdout.encode(),
        done.stderr.encode(),
        done.stderr.encode(),
        None,
        done.returncode,
        None,
    )


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read and write everything, so it steps down for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that anybody may enter and write to; the first skim imports what it needs."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        with as_nobody():
            if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
                pytest.skip(f"{folder} cannot be entered by other users")
        written(folder / "warm.h5", dijets())
        assert skim(folder / "warm.h5", folder / "warm").exit_code == 0
        yield folder


def test_file_without_permission(open_folder: Path) -> None:
    path = written(open_folder / "events.h5", dijets())
    path.chmod(0)
    with as_nobody():
        result = skim(path, open_folder / "out")
    refused(result, 3, path, "Permission denied", "check its permissions")
    assert_nothing_half_written(open_folder / "out")


def test_folder_without_permission(open_folder: Path) -> None:
    out = open_folder / "out"
    out.mkdir(mode=0o555)
    with as_nobody():
        result = skim(open_folder / "warm.h5", out)
    refused(result, 11, out, "Permission denied", "another output folder")
    assert not list(out.iterdir())


def no_room() -> None:
    # As a full disk does, it fails the write itself; Python ignores the signal that comes along.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))


@pytest.mark.slow
def test_full_disk_ends_in_one_error_and_the_command_goes_on_with_room(
    path: Path, out: Path
) -> None:
    written(path, dijets(300))
    words = ("skim", path, "--out", out, "--executor", "iterative", "--quiet")
    refused(shell(*words, before=no_room), 11, out, "File too large", "Choose another")
    assert not (out / "skim" / "manifest.json").exists()
    assert not (out / "skim" / "parts").exists()
    assert not list(out.rglob("*.partial"))
    done = call(*words)
    assert done.exit_code == 0, done.output
    assert manifest(out)["outputs"]["accounting"]["selected"] == 300


def test_out_that_is_a_file(path: Path, tmp_path: Path) -> None:
    written(path, dijets())
    taken = tmp_path / "taken"
    taken.write_text("mine")
    refused(skim(path, taken), 11, taken)
    assert taken.read_text() == "mine"


def test_misspelt_setting_is_named(path: Path, out: Path, tmp_path: Path) -> None:
    config = tmp_path / "search.yaml"
    config.write_text("seed: 3\nskim:\n  jets:\n    raduis: 0.8\n")
    written(path, dijets())
    refused(skim(path, out, "--config", config), 2, config, "skim.jets.raduis")
    assert_nothing_half_written(out)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: [3\n", ("search.yaml",)),
        ("- seed\n", ("search.yaml", "settings by name")),
        ("seed: many\n", ("search.yaml", "seed", "many")),
        ("skim: {jets: {radius: -1}}\n", ("search.yaml", "skim.jets.radius")),
    ],
)
def test_wrong_settings_are_one_error(
    path: Path, out: Path, tmp_path: Path, text: str, expected: tuple[str, ...]
) -> None:
    config = tmp_path / "search.yaml"
    config.write_text(text)
    refused(skim(written(path, dijets()), out, "--config", config), 2, *expected)


def test_out_of_another_configuration_is_refused_with_the_difference(
    path: Path, out: Path, tmp_path: Path
) -> None:
    written(path, dijets())
    assert skim(path, out).exit_code == 0
    before = (out / "skim" / "manifest.json").read_bytes()
    config = tmp_path / "search.yaml"
    config.write_text("skim: {jets: {radius: 0.8}}\n")
    refused(
        skim(path, out, "--config", config),
        4,
        out / "skim",
        "settings.jets.radius: 1.0 there, 0.8 now",
        "--overwrite",
    )
    assert (out / "skim" / "manifest.json").read_bytes() == before
    assert skim(path, out, "--config", config, "--overwrite").exit_code == 0


@pytest.fixture(scope="module")
def good_skim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    written(folder / "events.h5", dijets())
    done = skim(folder / "events.h5", folder / "out")
    assert done.exit_code == 0, done.output
    return folder / "out" / "skim"


@pytest.fixture
def made(good_skim: Path, tmp_path: Path) -> Path:
    """A finished skim to damage."""
    return Path(shutil.copytree(good_skim, tmp_path / "made" / "skim"))


def search(skim: Path, out: Path, taggers: object = "rnd-3500") -> Result:
    words = ("--out", out, "--executor", "iterative", "--quiet")
    return call("search", "--skim", skim, "--taggers", taggers, *words)


def one_part(skim: Path) -> Path:
    return next(skim.rglob("*.parquet"))


def test_skim_that_a_packaged_tagger_can_score(made: Path, out: Path) -> None:
    done = search(made, out)
    assert done.exit_code == 0, done.output
    assert f"{GOOD} dijets of {GOOD} events" in done.output


def without_checksums(stage: Path) -> None:
    noted = json.loads((stage / "manifest.json").read_text())
    (stage / "manifest.json").write_text(json.dumps(noted | {"files": {}}))


def test_skim_of_another_version_is_refused(made: Path, path: Path, out: Path) -> None:
    import pyarrow.parquet as pq

    part = one_part(made)
    table = pq.read_table(part)
    footer = table.schema.metadata | {b"tnt_coffea.schema": b"0"}
    pq.write_table(table.replace_schema_metadata(footer), part)
    refused(search(made, out), 4, part, "was changed since the stage 'skim' made it")
    without_checksums(made)
    refused(search(made, out), 3, part, "skim schema 0", "make the skim again")
    assert_nothing_half_written(out)


def test_stage_of_another_version_is_refused_with_both(
    made: Path, good_skim: Path, path: Path
) -> None:
    noted = manifest(made.parent)
    noted |= {"version": "0.0.1", "key": "0" * 64}
    (made / "manifest.json").write_text(json.dumps(noted))
    result = skim(good_skim.parent.parent / "events.h5", made.parent)
    refused(result, 4, made, "version: 0.0.1 there", "--overwrite")


def test_skim_with_one_byte_changed_is_refused(made: Path, out: Path) -> None:
    part = one_part(made)
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 0x10
    part.write_bytes(data)
    refused(search(made, out), 4, part, "was changed since the stage 'skim' made it")
    without_checksums(made)
    refused(search(made, out), 3, part, "damaged")
    assert_nothing_half_written(out)


def test_skim_with_a_part_gone_is_refused(made: Path, out: Path) -> None:
    part = one_part(made)
    part.unlink()
    refused(search(made, out), 4, part, "gone")
    assert_nothing_half_written(out)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"stage": "skim", "outputs": {}}'])
def test_skim_with_a_damaged_manifest_is_refused(made: Path, out: Path, text: str) -> None:
    (made / "manifest.json").write_text(text)
    refused(search(made, out), 4, made / "manifest.json", "remove", "run `tnt-coffea skim` again")
    assert_nothing_half_written(out)


def test_another_stage_in_place_of_a_skim_is_refused(made: Path, out: Path) -> None:
    assert search(made, out).exit_code == 0
    refused(search(out / "search", out / "again"), 4, out / "search", "'search', expected 'skim'")


def test_no_skim_yet(tmp_path: Path, out: Path) -> None:
    refused(search(tmp_path / "nothing", out), 4, "run `tnt-coffea skim` first")


@pytest.fixture
def taggers(tmp_path: Path) -> Path:
    """The packaged taggers, to damage."""
    from tnt_coffea.taggers import packaged_taggers

    return Path(shutil.copytree(packaged_taggers()["rnd-3500"], tmp_path / "taggers"))


def test_tagger_with_one_byte_changed_is_refused(made: Path, out: Path, taggers: Path) -> None:
    file = sorted(taggers.rglob("*.onnx"))[3]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    refused(search(made, out, taggers), 5, file, "SHA-256", "restore or train it again")
    assert_nothing_half_written(out)


def test_tagger_that_is_gone_is_named(made: Path, out: Path, taggers: Path) -> None:
    file = sorted(taggers.rglob("*.onnx"))[3]
    file.unlink()
    refused(search(made, out, taggers), 5, file, "No such file")


@pytest.mark.parametrize("name", ["set.json", "quantiles.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_tagger_set_with_damaged_json_is_refused(
    made: Path, out: Path, taggers: Path, name: str, text: str
) -> None:
    file = taggers / "tnt" / name
    file.write_text(text)
    refused(search(made, out, taggers), 5, file)
    assert_nothing_half_written(out)


def test_folder_without_taggers(made: Path, out: Path, tmp_path: Path) -> None:
    refused(search(made, out, tmp_path / "none"), 5, tmp_path / "none", "no tagger set")


def test_tagger_of_another_image_setting_is_refused(path: Path, tmp_path: Path, out: Path) -> None:
    config = tmp_path / "search.yaml"
    config.write_text("skim: {images: {pixels: 20}}\n")
    assert skim(written(path, dijets()), tmp_path / "small", "--config", config).exit_code == 0
    line = refused(search(tmp_path / "small" / "skim", out), 5, "images", "tagger's settings")
    assert "40" in line
    assert "20" in line
    assert_nothing_half_written(out)


def fit(folder: Path, out: Path) -> Result:
    return call("fit", "--histograms", folder, "--out", out)


def test_histograms_with_one_byte_changed_are_refused(made: Path, out: Path) -> None:
    assert search(made, out).exit_code == 0
    file = out / "search" / "histograms.h5"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    refused(fit(out / "search", out), 4, file, "was changed", "run `tnt-coffea search` again")
    assert not (out / "fit").exists()


def test_no_histograms_yet(tmp_path: Path, out: Path) -> None:
    refused(fit(tmp_path / "nothing", out), 4, "run `tnt-coffea search` first")


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["dask", "futures"])
def test_worker_that_dies_is_one_error_and_no_hang(
    executor: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        Resources(executor=executor, workers=2).open() as workers,
        pytest.raises(ExecutionError, match=r"worker (may have )?died"),
    ):
        map_tasks(os._exit, [3, 3, 3], workers)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_debug_shows_the_stack_and_nothing_else_does(tmp_path: Path, out: Path) -> None:
    words = ("skim", tmp_path / "absent.h5", "--out", out)
    refused(call(*words), 3)
    assert "Traceback" in shell("--debug", *words).stderr


def test_settings_are_read_before_anything_is_made(out: Path, small_config: SearchConfig) -> None:
    refused(call("demo", "--out", out, "--config", out.parent / "none.yaml"), 2, "none.yaml")
    assert not out.exists()


def test_names_of_any_bytes_are_read(path: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"bad\xff.h5")
    shutil.copy(written(path, dijets()), odd)
    done = call("inspect", odd)
    assert done.exit_code == 0, done.output
