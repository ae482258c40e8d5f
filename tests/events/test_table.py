from __future__ import annotations

import csv
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
import vector
from click.testing import CliRunner
from pydantic import ValidationError

from tnt_coffea.cli import main
from tnt_coffea.config import SearchConfig, SkimSettings, TableSettings
from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events import SOURCES, Sample, convert, source_of
from tnt_coffea.events.table import mapped, without_label
from tnt_coffea.events.table_files import flat_table
from tnt_coffea.inspection import inspect_events
from tnt_coffea.processors.skim import reconstructed

Frame = dict[str, np.ndarray]

JETS = ("px", "py", "pz", "m", "tau1", "tau2", "tau3")
MAPPED = {
    "m_jj": "mjj * 1000",
    "heavy": {"mass": "m1", "tau21": "(t2_1 + 0) / t1_1"},
    "light": {"mass": "m2", "tau21": "t2_2 / t1_2"},
    "event": {"met": "MET"},
}


def feature_frame(n: int = 60, seed: int = 5) -> Frame:
    """The columns of the published feature files, of back-to-back jets."""
    rng = np.random.default_rng(seed)
    frame: Frame = {}
    phi = rng.uniform(-np.pi, np.pi, n)
    for jet in (1, 2):
        pt, eta = rng.uniform(1200, 2000, n), rng.normal(0, 0.8, n)
        around = phi + np.pi * (jet - 1) + rng.normal(0, 0.1, n)
        momentum = (pt * np.cos(around), pt * np.sin(around), pt * np.sinh(eta))
        mass = rng.gamma(3, 70, n)
        taus = np.sort(rng.uniform(0.01, 0.4, (3, n)), axis=0)[::-1]
        values = (*momentum, mass, *taus)
        frame |= {f"{name}j{jet}": v for name, v in zip(JETS, values, strict=True)}
    return frame | {"label": rng.integers(0, 2, n).astype(float)}


def our_frame(n: int = 60) -> Frame:
    """Columns under our own names, and some that are not."""
    rng = np.random.default_rng(6)
    return {
        "m_jj": rng.uniform(2500, 6000, n),
        "heavy_mass": rng.gamma(3, 90, n),
        "light_mass": rng.gamma(3, 40, n),
        "heavy_tau21": rng.uniform(0.1, 0.9, n),
        "light_tau21": rng.uniform(0.1, 0.9, n),
        "delta_eta": rng.uniform(0, 2, n),
        "is_signal": rng.integers(0, 2, n),
        "heavy_only": rng.normal(size=n),
    }


# Writers: one a layout


def as_parquet(path: Path, frame: Frame) -> None:
    pq.write_table(pa.table(frame), path, row_group_size=17)


def as_awkward_parquet(path: Path, frame: Frame) -> None:
    ak.to_parquet(ak.zip(frame, depth_limit=1), path, extensionarray=True)


def as_csv(path: Path, frame: Frame, delimiter: str = ",") -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(frame)
        writer.writerows(
            zip(*(map(repr, column.tolist()) for column in frame.values()), strict=True)
        )


def as_structured(path: Path, frame: Frame) -> None:
    kind = [(name, column.dtype) for name, column in frame.items()]
    rows = np.zeros(len(next(iter(frame.values()))), kind)
    for name, column in frame.items():
        rows[name] = column
    with h5py.File(path, "w") as file:
        file.create_dataset("events/features", data=rows, chunks=(7,), compression="gzip")


def as_columns(path: Path, frame: Frame) -> None:
    with h5py.File(path, "w") as file:
        for name, column in frame.items():
            file[f"features/{name}"] = column.astype(column.dtype.newbyteorder(">"))


def as_pandas_fixed(path: Path, frame: Frame) -> None:
    """What pandas' to_hdf(format="fixed") writes through PyTables: a block a type."""
    kinds = sorted({column.dtype for column in frame.values()}, key=str, reverse=True)
    names = {kind: [n for n, column in frame.items() if column.dtype == kind] for kind in kinds}
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        group.attrs.update(
            {"pandas_type": np.bytes_(b"frame"), "ndim": 2, "nblocks": np.int64(len(kinds))}
        )
        group["axis0"] = np.array([name.encode() for name in frame])
        group["axis1"] = np.arange(len(next(iter(frame.values()))))
        for i, kind in enumerate(kinds):
            group[f"block{i}_items"] = np.array([name.encode() for name in names[kind]])
            values = np.stack([frame[name] for name in names[kind]], axis=1)
            group.create_dataset(f"block{i}_values", data=values, compression="gzip")
            group[f"block{i}_values"].attrs["transposed"] = np.uint8(1)


def as_pandas_table(path: Path, frame: Frame) -> None:
    """What to_hdf(format="table", data_columns=[...]) writes: fields, and fields of several."""
    alone, *others = sorted(frame)
    n = len(frame[alone])
    kind = [("index", "<i8"), ("values_block_0", "<f8", (len(others),)), (alone, "<f8")]
    rows = np.zeros(n, kind)
    rows["index"], rows[alone] = np.arange(n), frame[alone]
    rows["values_block_0"] = np.stack([frame[name] for name in others], axis=1)
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        group.attrs["pandas_type"] = np.bytes_(b"frame_table")
        group.create_group("_i_table/index")["sorted"] = np.arange(n)
        group.create_dataset("table", data=rows, chunks=(16,))
        group["table"].attrs.update(
            {
                "values_block_0_kind": np.bytes_(pickle.dumps(others, protocol=0)),
                f"{alone}_kind": np.bytes_(pickle.dumps([alone], protocol=0)),
            }
        )


def as_tree(path: Path, frame: Frame) -> None:
    with uproot.recreate(path) as file:
        file["folder/features"] = frame
        file["other"] = {"x": np.arange(3)}


def as_rntuple(path: Path, frame: Frame) -> None:
    with uproot.recreate(path) as file:
        file.mkrntuple("features", frame)


WRITERS: dict[str, tuple[str, Callable[[Path, Frame], None]]] = {
    "parquet": ("parquet", as_parquet),
    "awkward parquet": ("parquet", as_awkward_parquet),
    "csv": ("csv", as_csv),
    "structured": ("h5", as_structured),
    "columns": ("h5", as_columns),
    "pandas fixed": ("h5", as_pandas_fixed),
    "pandas table": ("h5", as_pandas_table),
    "tree": ("root", as_tree),
    "rntuple": ("root", as_rntuple),
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(frame: Frame, kind: str = "parquet", name: str = "table") -> Path:
        suffix, writer = WRITERS[kind]
        path = tmp_path / f"{name}.{suffix}"
        writer(path, frame)
        return path

    return written


def read(path: Path, start: int = 0, stop: int | None = None, table: Any = None) -> Sample:
    """The dijets of a range of rows, as our own execution gives them."""
    settings = SkimSettings() if table is None else SkimSettings(table=table)
    source = source_of(path) if table is None else SOURCES["table"]
    stop = source.entries(path) if stop is None else stop
    metadata = {"filename": str(path), "entrystart": start, "entrystop": stop}
    sample, cutflow = reconstructed(source.load(path, start, stop, metadata), settings)
    assert cutflow == {"events": stop - start, "rejected": {}, "selected": stop - start}
    return sample


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_dijets(write: Any, kind: str) -> None:
    frame = feature_frame()
    path = write(frame, kind)
    assert source_of(path) is SOURCES["table"]
    found, expected = read(path), read(write(frame, "parquet", "reference"))
    assert np.array_equal(found.event_id, expected.event_id)
    assert np.array_equal(found.label, frame["label"])
    for name, column in expected.columns.items():
        assert np.array_equal(found.columns[name], column)
    assert found.content_hash() == expected.content_hash()


@pytest.mark.parametrize("kind", WRITERS)
def test_any_range_gives_the_same_rows(write: Any, kind: str) -> None:
    path = write(feature_frame(), kind)
    whole = read(path)
    for start, stop in ((0, 1), (10, 35), (16, 18), (59, 60)):
        part = read(path, start, stop)
        assert np.array_equal(part.event_id, whole.event_id[start:stop])
        assert np.array_equal(part.m_jj, whole.m_jj[start:stop])
    with pytest.raises(InputError, match=r"60 are there.*changed during the pass"):
        read(path, 50, 70)


def test_olympics_features_are_what_the_momenta_say(write: Any) -> None:
    frame = feature_frame()
    sample = read(write(frame))
    jets = [
        vector.array(
            {n: frame[f"{n if n != 'mass' else 'm'}j{j}"] for n in ("px", "py", "pz", "mass")}
        )
        for j in (1, 2)
    ]
    np.testing.assert_allclose(sample.m_jj, (jets[0] + jets[1]).mass, rtol=1e-12)
    first_is_heavy = frame["mj1"] >= frame["mj2"]
    assert 0.2 < first_is_heavy.mean() < 0.8
    heavy = np.where(first_is_heavy, jets[0].pt, jets[1].pt)
    np.testing.assert_allclose(sample.columns["heavy_pt"], heavy, rtol=1e-6)
    tau21 = np.where(
        first_is_heavy, frame["tau2j2"] / frame["tau1j2"], frame["tau2j1"] / frame["tau1j1"]
    )
    np.testing.assert_allclose(sample.columns["light_tau21"], tau21, rtol=1e-6)
    assert (sample.columns["heavy_mass"] >= sample.columns["light_mass"]).all()


def test_olympics_files_are_searched_by_a_preset_alone(write: Any, tmp_path: Path) -> None:
    path = write(feature_frame(), "pandas fixed")
    words = ["run", str(path), "--preset", "quick", "--out", str(tmp_path / "out"), "--dry-run"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "settings: preset quick" in done.output
    assert "60 events" in done.output
    sample = read(path)
    config = SearchConfig.preset("quick")
    assert {f"heavy_{name}" for name in config.skim.observables} <= set(sample.columns)
    with pytest.raises(InputError, match=r"a table of features has none: .*--preset quick"):
        sample.required("images")


def test_order_is_a_setting_and_moves_no_event_to_another_fold(write: Any) -> None:
    frame = feature_frame()
    path = write(frame)
    found = {
        order: read(path, table={"preset": "olympics", "order": order})
        for order in ("mass", "pt", "given")
    }
    np.testing.assert_array_equal(found["given"].columns["heavy_mass"], np.float32(frame["mj1"]))
    assert (found["pt"].columns["heavy_pt"] >= found["pt"].columns["light_pt"]).all()
    for sample in found.values():
        assert np.array_equal(sample.event_id, found["mass"].event_id)
    with pytest.raises(ConfigError, match="no pt of the jets is mapped"):
        read(write(our_frame(), name="ours"), table={"order": "pt"})


def test_black_boxes_have_no_label(write: Any) -> None:
    frame = feature_frame()
    del frame["label"]
    assert read(write(frame)).label.tolist() == [-1] * 60
    assert read(write(frame), table="olympics").label.tolist() == [-1] * 60


def test_a_label_that_is_not_there_is_unknown_and_noted(write: Any, tmp_path: Path) -> None:
    frame = our_frame()
    labelled = write(frame, name="labelled")
    del frame["is_signal"]
    frame["m_jj"] += 1  # no event has two roles
    data = write(frame, name="data")
    mapping = {"m_jj": "m_jj", **{jet: {"mass": f"{jet}_mass"} for jet in ("heavy", "light")}}
    for table in ({"label": "is_signal"}, {"label": "is_signal", **mapping}):
        assert read(data, table=table).label.tolist() == [-1] * 60
        assert read(labelled, table=table).label.tolist() == our_frame()["is_signal"].tolist()
        settings = SkimSettings(table=table)
        note = without_label(settings, [labelled, data, tmp_path / "absent"])
        assert note is not None
        assert note.startswith(f"{data}: labels unknown: no column of numbers is called 'is_sig")
        assert without_label(settings, [labelled]) is None
        found = inspect_events(data, settings=settings)
        assert (found.notes, found.problems) == ((note,), ())
        assert found.facts["label column"] == "none"
    for column in ("weight", "numbers"):  # these decide numbers
        wrong = {"weight": "w"} if column == "weight" else {"numbers": {"run": "w"}}
        with pytest.raises(InputError, match="no column of numbers is called 'w'"):
            read(data, table=wrong)
    settings_file = tmp_path / "search.yaml"
    settings_file.write_text("skim: {table: {label: is_signal}}\n")
    args = (data, "--simulation", labelled, "--config", settings_file, "--out", tmp_path / "out")
    done = CliRunner().invoke(main, ["skim", *map(str, args), "--executor", "iterative", "--quiet"])
    assert done.exit_code == 0, done.output
    assert f"note: {note}" in done.output


def test_own_names_need_no_mapping_and_nothing_else_is_taken(write: Any) -> None:
    frame = our_frame()
    sample = read(write(frame))
    assert list(sample.columns) == [
        *("m_jj", "heavy_mass", "heavy_tau21", "light_mass", "light_tau21", "delta_eta")
    ]
    assert sample.columns["m_jj"].dtype == np.float64
    assert set(sample.label.tolist()) == {-1}
    assert set(sample.weight.tolist()) == {1.0}
    del frame["is_signal"], frame["heavy_only"]
    assert np.array_equal(read(write(frame, name="less")).event_id, sample.event_id)


def test_mapping_names_features_freely(write: Any) -> None:
    ours = our_frame()
    frame = {
        "mjj": ours["m_jj"] / 1000,
        "m1": ours["heavy_mass"],
        "m2": ours["light_mass"],
        **{f"t{n}_{j}": np.linspace(0.1 * n, 0.5 * n, 60) for n in (1, 2) for j in (1, 2)},
        "MET": np.arange(60),
        "w": np.linspace(-0.5, 2, 60),
        "truth": np.arange(60) % 2 == 0,
    }
    settings = {**MAPPED, "weight": "w", "label": "truth"}
    sample = read(write(frame, "columns"), table=settings)
    np.testing.assert_allclose(sample.m_jj, ours["m_jj"], rtol=1e-12)
    assert sample.columns["met"].tolist() == list(range(60))
    np.testing.assert_allclose(sample.columns["heavy_tau21"], 2.0, rtol=1e-6)
    assert np.array_equal(sample.weight, frame["w"])
    assert np.array_equal(sample.label == 1, frame["truth"])
    assert sample.settings.of_jet == ("mass", "tau21")
    assert sample.settings.of_event == ("met",)
    with pytest.raises(InputError, match="no images"):
        sample.images("heavy")


def test_labels_and_weights_have_no_part_in_identity_or_content(write: Any) -> None:
    frame = feature_frame() | {"w": np.ones(60)}
    plain = read(write(frame), table={"preset": "olympics"})
    for changed in (
        {**frame, "label": 1 - frame["label"]},
        {name: column for name, column in frame.items() if name != "label"},
    ):
        other = read(write(changed, name="changed"), table={"preset": "olympics", "weight": "w"})
        assert other.content_hash() == plain.content_hash()
    heavier = read(
        write({**frame, "w": np.full(60, 2.0)}), table={"preset": "olympics", "weight": "w"}
    )
    assert np.array_equal(heavier.event_id, plain.event_id)
    assert heavier.content_hash() != plain.content_hash()


def test_copies_in_single_precision_are_the_same_events(write: Any) -> None:
    frame = feature_frame()
    single = {name: column.astype(np.float32) for name, column in frame.items()}
    double = {name: column.astype(np.float64) for name, column in single.items()}
    ids = [read(write(f, name=f"copy{i}")).event_id for i, f in enumerate((frame, single, double))]
    assert np.array_equal(ids[0], ids[1])
    assert np.array_equal(ids[1], ids[2])


def test_numbers_of_the_experiment_are_part_of_the_identity(write: Any) -> None:
    frame = our_frame(4)
    numbers = {
        "run": np.array([1, 1, 1, 2], np.uint32),
        "luminosityBlock": np.array([7, 7, 8, 8], np.uint32),
        "event": np.array([2**60 + 1, 2**60 + 2, 5, 5], np.uint64),
    }
    sample = read(write(frame | numbers))
    assert {name: column.tolist() for name, column in sample.numbers.items()} == {
        name: column.tolist() for name, column in numbers.items()
    }
    assert (
        len({*sample.event_id.tolist(), *read(write(frame, name="plain")).event_id.tolist()}) == 8
    )
    lossy = frame | {"run": numbers["run"] * 1.5}
    with pytest.raises(InputError, match=r"run is .*1\.5.* in event 0; 3 such events"):
        read(write(lossy, name="lossy"))


def spoiled(column: str, row: int, value: float) -> Callable[[Frame], None]:
    def change(frame: Frame) -> None:
        frame[column] = frame[column].astype(float)
        frame[column][row] = value

    return change


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (spoiled("heavy_mass", 31, np.nan), ("'heavy_mass'", "1 of 60", "row 31", "finite")),
        (spoiled("delta_eta", 5, np.inf), ("'delta_eta'", "1 of 60", "row 5")),
        (spoiled("light_mass", 7, 1e39), ("'light_mass'", "1 of 60", "row 7")),
        (spoiled("m_jj", 8, 0.0), ("m_jj of event 8", "1 of 60", "above 0", "GeV")),
        (spoiled("m_jj", 8, -3.0), ("m_jj of event 8 is -3",)),
        (lambda f: f.update(label=np.full(60, 2)), ("truth column holds", "2")),
        (lambda f: f.update(weight=np.full(60, np.nan)), ("weight of event 0", "60 such events")),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "csv", "pandas fixed", "tree"])
def test_impossible_values_are_one_error(
    write: Any, kind: str, change: Callable[[Frame], None], parts: tuple[str, ...]
) -> None:
    frame = our_frame()
    change(frame)
    path = write(frame, kind)
    with pytest.raises(InputError) as error:
        read(path)
    for part in (str(path), *parts):
        assert part in str(error.value)


def test_text_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "text.csv"
    path.write_text("m_jj,heavy_mass,light_mass,process\n3000,1e2,40,qcd\n4000,n/a,50,qcd\n")
    with pytest.raises(InputError, match=r"'heavy_mass': 1 of 2 values .* row 1"):
        read(path)
    path.write_text("m_jj,heavy_mass,light_mass,process\n3000,1e2,40,qcd\n4000,90,50,qcd\n")
    assert read(path).columns["heavy_mass"].tolist() == [100.0, 90.0]
    path.write_text("m_jj;heavy_mass;light_mass\n3000,5;100;40\n4000,25;90;50\n")
    with pytest.raises(InputError, match=r"'m_jj': 2 of 2 values .* decimal commas\?"):
        read(path)
    path.write_text("m_jj,heavy_mass,light_mass,label\n3000,100,40,0\n4000,90,50,signal\n")
    with pytest.raises(InputError, match=r"holds nan .text, or no value. in event 1 .* numbers 1"):
        read(path)
    parquet = tmp_path / "text.parquet"
    table = {"m_jj": [3000.0], "heavy_mass": ["100 GeV"], "light_mass": [4.0]}
    pq.write_table(pa.table(table), parquet)
    with pytest.raises(InputError, match="'heavy_mass': 1 of 1"):
        read(parquet)


def test_columns_that_are_not_there_are_named(write: Any) -> None:
    path = write(our_frame())
    table = {"m_jj": "m_jj", "heavy": {"mass": "heavy_masss"}, "light": {"mass": "light_mass"}}
    with pytest.raises(InputError, match=rf"{path}.*'heavy_masss'.*did you mean 'heavy_mass'"):
        read(path, table=table)
    for text in ("m_jj // 2", "open(m_jj)", "m_jj if 1 else 2", "__import__('os')", "m_jj < 'a'"):
        with pytest.raises(InputError, match="nor is it arithmetic"):
            read(path, table={**table, "m_jj": text})
    with pytest.raises(InputError, match=r"say in skim\.table which is which"):
        read(write({"a": np.ones(3), "b": np.ones(3)}, name="other"), table={"label": "a"})
    with pytest.raises(ConfigError, match="'is_signal' is the label, and a feature is made of it"):
        read(path, table={"label": "is_signal", "event": {"odd": "is_signal + 1"}})
    with pytest.raises(ConfigError, match="m_jj is neither mapped nor can it be made"):
        read(path, table={"heavy": {"mass": "heavy_mass"}, "light": {"mass": "light_mass"}})


def test_zero_over_zero_is_zero_and_other_infinities_are_refused(write: Any) -> None:
    frame = our_frame(3) | {"a": np.array([0.0, 1, 2]), "b": np.array([0.0, 2, 4])}
    sample = read(write(frame), table={"event": {"ratio": "a / b"}})
    assert sample.columns["ratio"].tolist() == [0.0, 0.5, 0.5]
    with pytest.raises(InputError, match=r"ratio of event 0 is inf; 1 of 3"):
        read(write(frame), table={"event": {"ratio": "(a + 1) / b"}})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"heavy": {"mass": "a"}, "light": {"pt": "b"}}, "feature of one jet only"),
        ({"event": {"weight": "a"}}, "cannot be a feature's name"),
        ({"event": {"heavy_mass": "a"}}, "cannot be a feature's name"),
        ({"heavy": {"tau 21": "a"}, "light": {"tau 21": "a"}}, "letters, digits and _"),
        ({"numbers": {"lumi": "a"}}, "numbers are run, luminosityBlock and event"),
        ({"order": "random"}, "given"),
        ({"mass": "a"}, "mass"),
        ("cms", "olympics"),
    ],
)
def test_mappings_without_sense_are_refused(table: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SkimSettings(table=table)


def test_a_table_has_no_images(tmp_path: Path) -> None:
    settings = SkimSettings(table=MAPPED)
    assert (settings.images, settings.constituents, settings.observables) == (None, None, ())
    assert SkimSettings.model_validate_json(settings.model_dump_json()) == settings
    text = "seed: 1\nskim:\n  images: {pixels: 20}\n  table: olympics\n"
    with pytest.raises(ConfigError, match=r"x\.yaml:2: skim: table: a table of features has no"):
        SearchConfig.from_text(text, "x.yaml")
    written = SearchConfig(skim=settings).to_yaml()
    assert SearchConfig.from_text(written).skim == settings


@pytest.mark.parametrize(
    "name", ["constituents", "aligned", "sequence", "splittings", "event_image"]
)
def test_a_table_has_no_lists(name: str) -> None:
    asked = SkimSettings(**{name: 5 if name in ("constituents", "aligned") else {}})
    columns = ("m_jj", "heavy_mass", "light_mass")
    with pytest.raises(ConfigError, match=rf"x\.csv: .* has no {name}; set skim\.{name} to null"):
        mapped(asked, columns, "x.csv")


def test_a_table_beside_olympics_events_does_not_hide_them(tmp_path: Path) -> None:
    path = tmp_path / "both.h5"
    as_pandas_fixed(path, feature_frame())
    with h5py.File(path, "a") as file:
        file["events"] = np.zeros((3, 2101), np.float32)
    assert source_of(path) is SOURCES["lhco"]


def test_plain_two_dimensional_tables_have_numbered_columns(tmp_path: Path) -> None:
    frame, path = our_frame(), tmp_path / "plain.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.stack(list(frame.values()), axis=1)
    assert source_of(path) is SOURCES["lhco"]  # whose complaint names skim.table
    with pytest.raises(InputError, match=r"skim\.table"):
        SOURCES["lhco"].entries(path)
    table = {"m_jj": "column0", "heavy": {"mass": "column1"}, "light": {"mass": "column2"}}
    assert np.array_equal(read(path, table=table).m_jj, frame["m_jj"])


def test_several_tables_of_one_width_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.h5"
    with h5py.File(path, "w") as file:
        for key in ("signal", "background"):
            for name, column in our_frame().items():
                file[f"{key}/{name}"] = column
    with pytest.raises(InputError, match="several of one width: /background, /signal"):
        read(path, table={"m_jj": "m_jj"})


def test_pickles_in_attributes_cannot_run_anything(tmp_path: Path) -> None:
    path = tmp_path / "evil.h5"
    as_pandas_table(path, feature_frame())

    class Evil:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "made"), "w"))

    with h5py.File(path, "a") as file:
        file["df/table"].attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(Evil(), protocol=0))
    with pytest.raises(InputError, match="names of its columns cannot be read"):
        read(path, table="olympics")
    assert not (tmp_path / "made").exists()


def test_virtual_tables_with_a_missing_file_are_refused(tmp_path: Path) -> None:
    frame = our_frame()
    as_columns(tmp_path / "there.h5", frame)
    layouts = {}
    for name, column in frame.items():
        layouts[name] = h5py.VirtualLayout(column.shape, column.dtype)
        layouts[name][:] = h5py.VirtualSource(
            tmp_path / "there.h5", f"features/{name}", column.shape
        )
    path = tmp_path / "virtual.h5"
    with h5py.File(path, "w") as file:
        for name, layout in layouts.items():
            file.create_virtual_dataset(name, layout)
    assert np.array_equal(read(path).m_jj, frame["m_jj"])
    (tmp_path / "there.h5").unlink()
    with pytest.raises(InputError, match=r"virtual\.h5.*there\.h5 is gone"):
        read(path, table={"event": {"d": "delta_eta"}})


@pytest.mark.parametrize("kind", WRITERS)
def test_files_cut_short_are_one_error(write: Any, kind: str) -> None:
    path = write(feature_frame(n=3000), kind)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=str(path)):
        read(path, table="olympics")


@pytest.mark.parametrize(
    "text",
    [
        "m_jj,heavy_mass,light_mass\r\n3000,100,40\r\n4000,90,50\r\n",
        "m_jj\theavy_mass\tlight_mass\n3000\t100\t40\n4000\t90\t50",
        "# m_jj;heavy_mass;light_mass\n3000;100;40\n\n4000;90;50\n\n",
        "\ufeffm_jj, heavy_mass, light_mass\n3000,100,40\n4000,90,50\n",
        '"m_jj","heavy_mass","light_mass"\n3000,100,40\n"4000","90","50"\n',
        ",m_jj,heavy_mass,light_mass\n0,3000,100,40\n1,4000,90,50\n",
        '""\tm_jj\theavy_mass\tlight_mass\na\t3000\t100\t40\nb\t4000\t90\t50\n',
        "#\tm_jj\theavy_mass\tlight_mass\n3000\t100\t40\n4000\t90\t50\n",
        "\tm_jj\theavy_mass\tlight_mass\n0\t3000\t100\t40\n1\t4000\t90\t50\n",
    ],
    ids=[
        *("windows", "tabs", "semicolons-and-blank-lines", "byte-order-mark", "quoted"),
        *("pandas-index", "quoted-index-of-text", "hash-and-tab", "index-and-tabs"),
    ],
)
def test_csv_as_others_write_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.txt"
    path.write_bytes(text.encode())
    sample = read(path)
    assert sample.m_jj.tolist() == [3000, 4000]
    assert sample.columns["light_mass"].tolist() == [40, 50]
    assert read(path, 1, 2).m_jj.tolist() == [4000]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("m_jj,heavy_mass,light_mass\n", "no events"),
        ("m_jj,heavy_mass,light_mass\n3000,100\n", "cannot be read as CSV"),
        ("m_jj,m_jj,light_mass\n3000,100,1\n", "'m_jj' twice"),
        ("m_jj,,light_mass\n3000,100,1\n", "does not name columns"),
        (",m_jj\n0,3000\n", "does not name columns"),
        ("3000,100,40\n4000,90,50\n", "does not name columns"),
        ("<html><body>404</body></html>\n", "does not name columns"),
        ('m_jj,heavy_mass,name\n3000,100,"two\nlines"\n', "one row a line|cannot be read as CSV"),
    ],
)
def test_csv_that_is_none_is_refused(tmp_path: Path, text: str, cause: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=cause) as error:
        read(path, table={"event": {"a": "heavy_mass"}})
    assert str(path) in str(error.value)


def test_files_are_not_held_in_memory(write: Any) -> None:
    path = write(feature_frame(n=3000), "csv")
    with flat_table(path) as table:
        assert table.rows == 3000
        rows = table.read(2990, 3000)
    assert all(column.base is None or len(column) == 10 for column in rows.values())


# In memory


@pytest.mark.parametrize("kind", [np.asarray, ak.Array, pd.Series, list])
def test_columns_in_memory_are_those_of_a_file(write: Any, kind: Callable[..., Any]) -> None:
    frame = our_frame()
    given = {name: kind(column) for name, column in frame.items()}
    sample = Sample.from_columns(
        given["m_jj"],
        heavy={"mass": given["heavy_mass"], "tau21": given["heavy_tau21"]},
        light={"tau21": given["light_tau21"], "mass": given["light_mass"]},
        event={"delta_eta": given["delta_eta"]},
        label=given["is_signal"],
    )
    expected = read(write(frame))
    assert np.array_equal(sample.event_id, expected.event_id)
    assert sample.content_hash() == expected.content_hash()
    assert np.array_equal(sample.label, frame["is_signal"])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"m_jj": [1.0, 2.0]}, InputError, r"heavy_mass has shape \(3,\), m_jj has 2 events"),
        ({"m_jj": [1.0, np.nan, 2.0]}, InputError, "m_jj of event 1 is nan; 1 of 3"),
        ({"m_jj": [1.0, 0.0, 2.0]}, InputError, "m_jj of event 1 is 0"),
        ({"heavy": {"mass": ["a", "b", "c"]}}, InputError, "heavy_mass cannot be read"),
        ({"heavy": {"mass": [1, None, 2]}}, InputError, "heavy_mass"),
        ({"heavy": {"mass": np.ones((3, 2))}}, InputError, r"heavy_mass has shape \(3, 2\)"),
        ({"heavy": {"pt": [1, 2, 3]}}, ConfigError, "feature of one jet only"),
        ({"event": {"m_jj": [1, 2, 3]}}, ConfigError, "cannot be a feature's name"),
        ({"label": [0, 1, 3]}, InputError, "truth column holds"),
        ({"weight": [1, np.inf, 1]}, InputError, "weight of event 1"),
        ({"weight": [1, 1]}, InputError, r"weight has shape \(2,\)"),
        ({"numbers": {"run": [-1, 2, 3]}}, InputError, "run is"),
    ],
)
def test_columns_in_memory_are_checked(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    good: dict[str, Any] = {
        "m_jj": [3000.0, 3500.0, 4000.0],
        "heavy": {"mass": [1, 2, 3]},
        "light": {"mass": [1, 2, 3]},
    }
    Sample.from_columns(**good)
    with pytest.raises(error, match=message):
        Sample.from_columns(**(good | changes))


def test_a_sample_shows_counts_and_columns() -> None:
    sample = Sample.from_columns(
        [3000.0, 3500.0], heavy={"mass": [1, 2]}, light={"mass": [1, 2]}, event={"met": [5, 6]}
    )
    for text in (repr(sample), sample._repr_html_()):
        assert "2 dijets, labels unknown" in text
        assert "m_jj, met" in text
        assert len(text) < 500
    assert "1 signal, 1 background, weighted" in repr(
        Sample.from_columns([3e3, 3e3], heavy={}, light={}, label=[0, 1], weight=[1, 2])
    )


def test_settings_in_the_footer_are_complete(write: Any) -> None:
    settings = read(write(feature_frame())).settings.table
    assert isinstance(settings, TableSettings)
    assert (settings.preset, settings.label, settings.weight) == (None, None, None)
    assert settings.heavy["tau21"] == "tau2j1 / tau1j1"


def test_inspect_says_which_columns_are_read(write: Any, tmp_path: Path) -> None:
    found = inspect_events(write(our_frame(), "pandas fixed"))
    assert (found.source, found.entries, found.problems) == ("table", 60, ())
    assert found.facts["columns left out"] == "is_signal, heavy_only"
    assert "heavy_tau21" in found.facts["columns read"]
    assert found.facts["labels"] == "60 unknown"
    frame = our_frame()
    frame["m_jj"] /= 1000
    settings = SkimSettings(table={"label": "is_signal"})
    labelled = inspect_events(write(frame, "csv"), settings=settings)
    assert "signal" in labelled.facts["labels"]
    assert labelled.facts["columns left out"] == "heavy_only"
    (problem,) = labelled.problems
    assert "TeV" in problem
    again = our_frame()
    for column in again.values():
        column[5] = column[4]
    (problem,) = inspect_events(write(again, name="again")).problems
    assert problem == "1 events are copies of others in this file"


def test_inspect_takes_the_mapping_from_settings(write: Any, tmp_path: Path) -> None:
    path = write({f"x_{name}": column for name, column in our_frame().items()})
    alone = CliRunner().invoke(main, ["inspect", str(path)])
    assert alone.exit_code == 3
    assert "Of a table of features skim.table says which column is which" in alone.output
    settings = tmp_path / "search.yaml"
    for text, code, message in (
        ("{m_jj: x_m_jj, event: {deta: x_delta_eta}}", 0, "no problem in 60 events"),
        ("{m_jj: x_mjj}", 3, "'x_mjj' (skim.table); did you mean 'x_m_jj'"),
    ):
        settings.write_text(f"skim: {{table: {text}}}\n")
        done = CliRunner().invoke(main, ["inspect", str(path), "--config", str(settings)])
        assert done.exit_code == code, done.output
        assert message in done.output
    with pytest.raises(InputError, match="a table of features, which holds no particles"):
        convert(write(our_frame(), name="ours"), tmp_path / "out.root")
