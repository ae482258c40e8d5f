from __future__ import annotations

import io
import json

import h5py
import hist
import numpy as np
import pytest
import uhi.io.hdf5
import uhi.io.json
import uproot

from tnt_coffea.errors import InputError
from tnt_coffea.stats import exchange
from tnt_coffea.stats.exchange import read_histogram
from tnt_coffea.stats.spectrum import rebinned, variable_of
from tnt_coffea.stats.spectrum_fit import SpectrumFit

FIT = SpectrumFit((2600.0, 7000.0), bin_width=40.0)


def write_histogram(path, histogram):
    if path.suffix == ".root":
        with uproot.recreate(path) as file:
            file["m_jj"] = histogram
    elif path.suffix == ".json":
        path.write_text(json.dumps({"m_jj": histogram}, default=uhi.io.json.default))
    else:
        image = io.BytesIO()
        with h5py.File(image, "w") as file:
            uhi.io.hdf5.write(file.create_group("m_jj"), histogram)
        path.write_bytes(image.getvalue())


@pytest.mark.parametrize("ending", [".root", ".json", ".h5"])
def test_histogram_comes_back_from_a_file(tmp_path, toy_spectrum, ending):
    histogram = toy_spectrum(500, 20, 41)
    path = tmp_path / f"spectrum{ending}"
    write_histogram(path, histogram)
    back = read_histogram(path)
    np.testing.assert_array_equal(back.values(), histogram.values())
    np.testing.assert_array_equal(back.variances(), histogram.variances())
    np.testing.assert_allclose(back.axes[0].edges, histogram.axes[0].edges)


def test_root_file_of_another_program_is_read(tmp_path):
    path = tmp_path / "own.root"
    with uproot.recreate(path) as file:
        file["spectrum"] = np.histogram([3.0, 3.5, 3.6], bins=4, range=(2, 6))
        file["folder/plane"] = np.histogram2d([0.1, 0.9], [0.2, 0.8], bins=2, range=[[0, 1]] * 2)
    assert read_histogram(path, "spectrum").values().sum() == 3
    assert len(read_histogram(path, "folder/plane").axes) == 2
    with pytest.raises(InputError, match=r"name one of .*plane.*spectrum"):
        read_histogram(path)
    with pytest.raises(InputError, match="no histogram 'x'"):
        read_histogram(path, "x")
    with uproot.recreate(tmp_path / "other") as file:
        file["spectrum"] = np.histogram([], bins=4, range=(2, 6))
    named = path.rename(tmp_path / "other::own.root")  # fsspec would read the other one
    assert read_histogram(named, "spectrum").values().sum() == 3


@pytest.mark.parametrize("ending", [".root", ".json", ".h5"])
def test_what_is_no_histogram_is_refused(tmp_path, ending):
    path = tmp_path / f"broken{ending}"
    for content in (b"", b"not a histogram", b"[1, 2]", b'{"uhi_schema": 1}'):
        path.write_bytes(content)
        with pytest.raises(InputError, match="broken"):
            read_histogram(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_histogram(tmp_path / "none.root")
    (tmp_path / "x.txt").write_text("1")
    with pytest.raises(InputError, match="choose one"):
        read_histogram(tmp_path / "x.txt")


ROWS = [(2600, 2640, 12), (2640, 2700, 7), (2700, 2800, 0)]


@pytest.mark.parametrize("header", ["", "low,high,count\n", "# my counts\nlow,high,count\n"])
def test_counts_are_read_from_csv(tmp_path, header):
    path = tmp_path / "counts.csv"
    path.write_text(header + "".join(f"{low},{high},{n}\n" for low, high, n in ROWS))
    histogram = read_histogram(path)
    assert histogram.values().tolist() == [12, 7, 0]
    assert histogram.axes[0].edges.tolist() == [2600, 2640, 2700, 2800]
    assert rebinned("all", histogram, SpectrumFit((2600, 2800))).scale is None


def test_weights_are_read_from_an_array(tmp_path):
    path = tmp_path / "weights.npy"
    np.save(path, np.array([(*row, 2.0 * row[2]) for row in ROWS]))
    histogram = read_histogram(path)
    assert histogram.values().tolist() == [12, 7, 0]
    assert rebinned("all", histogram, SpectrumFit((2600, 2800))).counts.sum() == pytest.approx(9.5)


@pytest.mark.parametrize(
    "header", ["", "low,high,count,sumw2\n", "low,high,sumw,Variance\n", "# made by A, B, C, D\n"]
)
def test_squared_weights_are_read_from_csv(tmp_path, header):
    path = tmp_path / "weights.csv"
    path.write_text(header + "".join(f"{low},{high},{n},{2 * n}\n" for low, high, n in ROWS))
    assert read_histogram(path).variances().tolist() == [24, 14, 0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("low,high,count\n", "holds no numbers"),
        ("1,2\n3,4\n", "a row a bin with 3 or 4 numbers"),
        ("1,2,3\n4,5,6\n", "from where the one before ends"),
        ("2,1,3\n", "bins must rise"),
        ("1,nan,3\n", "bins must rise"),
        ("1,2,x\n", "no histogram can be read"),
        ("\nlow,high,count\n1,2,3\n2,3,x\n", "line 4: 'x' is no number"),
        ("low;high;count\n1;2;3\n", "line 1: separate by commas"),
        ("low,high,count\n1;2;3\n", "line 2: separate by commas"),
        ("low,high,count,error\n1,2,3,1.7\n", "fourth column is 'error'.*name it 'sumw2'"),
        ('"low","high","count","Stat"\n1,2,3,1.7\n', "fourth column is 'Stat'"),
        ("# low,high,count,sigma\n1,2,3,1.7\n", "fourth column is 'sigma'"),
    ],
)
def test_rows_that_are_no_bins_are_refused(tmp_path, content, words):
    path = tmp_path / "counts.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=words) as refused:
        read_histogram(path)
    assert "\n" not in str(refused.value)


def test_a_pickle_is_not_opened(tmp_path):
    path = tmp_path / "counts.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"counts\.npy"):
        read_histogram(path)


def test_a_name_that_a_file_of_counts_lacks_is_refused(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text("1,2,3\n")
    with pytest.raises(InputError, match="not 'mjj'"):
        read_histogram(path, "mjj")


def test_profiles_are_named_in_the_refusal(tmp_path):
    path = tmp_path / "profile.root"
    axis = uproot.writing.identify.to_TAxis("", "", 2, 0.0, 2.0)
    zeros = np.zeros(4)
    with uproot.recreate(path) as file:
        file["mean"] = uproot.writing.identify.to_TProfile(
            "mean", "", zeros, 2, 2, 2, 2, 2, 2, 2, zeros, zeros, zeros, axis
        )
    for name in (None, "mean"):
        with pytest.raises(InputError, match="'mean' is a TProfile, which holds no counts"):
            read_histogram(path, name)


@pytest.mark.parametrize("bins", [1_000_000_000, 10**15])
def test_a_billion_bins_are_refused_before_they_are_allocated(tmp_path, toy_spectrum, bins):
    content = json.loads(json.dumps(toy_spectrum(500, 0, 1), default=uhi.io.json.default))
    content["axes"] = [
        {"type": "regular", "lower": 0, "upper": 1, "bins": bins, "underflow": True}
        | {"overflow": True, "circular": False, "metadata": {}}
    ]
    path = tmp_path / "huge.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="declares 1e"):
        read_histogram(path)
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        uhi.io.hdf5.write(file.create_group("m_jj"), toy_spectrum(500, 0, 1))
        file["m_jj/storage"].create_dataset(
            "more", shape=(bins // 10,), dtype="f8", chunks=(1000,), compression="gzip"
        )
    with pytest.raises(InputError, match="holds an array of 1e"):
        read_histogram(tmp_path / "huge.h5")


MASSES = np.random.default_rng(6).exponential(600.0, 3000) + 2600.0


def regular(**traits):
    return hist.axis.Regular(110, 2600, 7000, name="m_jj", **traits)


@pytest.mark.parametrize("ending", [".root", ".json", ".h5"])
@pytest.mark.parametrize(
    ("axis", "storage"),
    [
        (regular(), hist.storage.Double()),
        (regular(), hist.storage.Int64()),
        (regular(), hist.storage.Weight()),
        (regular(underflow=False, overflow=False), hist.storage.Double()),
        (regular(growth=True), hist.storage.Double()),
        (hist.axis.Variable(np.linspace(2600, 7000, 111), name="m_jj"), hist.storage.Weight()),
    ],
)
def test_histograms_of_every_kind_are_the_same_counts(tmp_path, axis, storage, ending):
    if ending == ".root" and isinstance(storage, hist.storage.Int64):
        storage = hist.storage.Double()  # uproot writes no TH1L
    path = tmp_path / f"spectrum{ending}"
    write_histogram(path, hist.Hist(axis, storage=storage).fill(MASSES))
    spectrum = rebinned("all", read_histogram(path), FIT)
    assert spectrum.counts.tolist() == np.histogram(MASSES, spectrum.edges)[0].tolist()
    assert not spectrum.weighted


@pytest.mark.parametrize("kind", ["f8", "f4", "i4", "i2"])
def test_root_histograms_of_every_type_the_latest_cycle_and_folders(tmp_path, kind):
    counts, edges = np.histogram(MASSES, np.linspace(2600, 7000, 111))
    path = tmp_path / "own.root"
    with uproot.recreate(path) as file:
        file["sr/m_jj"] = counts.astype(kind) // 2, edges
        file["sr/m_jj"] = counts.astype(kind), edges
    for name in (None, "sr/m_jj"):
        assert rebinned("all", read_histogram(path, name), FIT).counts.sum() == counts.sum()
    assert read_histogram(path).axes[0].name == "xaxis"  # as ROOT has it
    assert variable_of(read_histogram(path)) == "m_jj"


def test_a_root_histogram_of_too_many_bins_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "large.root"
    with uproot.recreate(path) as file:
        file["m_jj"] = np.zeros(30_000), np.arange(30_001.0)
    assert len(read_histogram(path).axes[0]) == 30_000
    monkeypatch.setattr(exchange, "_MOST_BINS", 9_000)
    with pytest.raises(InputError, match=r"takes 2\.41e\+05 bytes"):
        read_histogram(path)
