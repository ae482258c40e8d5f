from __future__ import annotations

import io
import json

import h5py
import numpy as np
import pytest
import uhi.io.hdf5
import uhi.io.json
import uproot

from tnt_coffea.errors import InputError
from tnt_coffea.stats.exchange import read_histogram


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
