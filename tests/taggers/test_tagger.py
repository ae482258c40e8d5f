from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tnt_coffea.errors import TaggerError
from tnt_coffea.taggers import Tagger

WEIGHTS = np.random.default_rng(0).random((6, 6)).astype(np.float32)


def images(n: int) -> np.ndarray:
    return np.random.default_rng(n).random((n, 1, 6, 6)).astype(np.float32)


def test_score_is_what_the_graph_says(make_tagger: Callable[..., Tagger]) -> None:
    inputs = images(100)
    expected = (inputs[:, 0] * WEIGHTS).sum(axis=(1, 2))
    scores = make_tagger(WEIGHTS).score(inputs)
    assert scores.dtype == np.float32
    assert scores == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cut", [1, 7, 31, 32, 33, 64])
def test_scores_do_not_depend_on_how_jets_are_split(
    make_tagger: Callable[..., Tagger], cut: int
) -> None:
    inputs, tagger = images(100), make_tagger(WEIGHTS)
    parts = [tagger.score(inputs[:cut]), tagger.score(inputs[cut:])]
    assert np.array_equal(np.concatenate(parts), tagger.score(inputs))


def test_no_jet_gives_no_score(make_tagger: Callable[..., Tagger]) -> None:
    assert make_tagger(WEIGHTS).score(images(0)).shape == (0,)


def test_tagger_survives_pickling(make_tagger: Callable[..., Tagger]) -> None:
    tagger = make_tagger(WEIGHTS)
    before = tagger.score(images(3))
    copy = pickle.loads(pickle.dumps(tagger))
    assert copy.sha256 == tagger.sha256
    assert np.array_equal(copy.score(images(3)), before)
    assert copy.card == tagger.card


def test_images_of_another_size_are_refused(make_tagger: Callable[..., Tagger]) -> None:
    with pytest.raises(TaggerError, match=r"\(3, 1, 8, 8\)"):
        make_tagger(WEIGHTS).score(np.zeros((3, 1, 8, 8), np.float32))


def test_scores_that_are_not_finite_are_refused(make_tagger: Callable[..., Tagger]) -> None:
    inputs = images(3)
    inputs[1, 0, 0, 0] = np.nan
    with pytest.raises(TaggerError, match="1 of 3 scores are not finite"):
        make_tagger(WEIGHTS).score(inputs)


def test_other_outputs_are_refused(make_tagger: Callable[..., Tagger]) -> None:
    with pytest.raises(TaggerError, match="'score'"):
        make_tagger(WEIGHTS, output="Identity:0").score(images(1))


def test_one_changed_byte_is_noticed(make_tagger: Callable[..., Tagger], tmp_path: Path) -> None:
    tagger = make_tagger(WEIGHTS)
    path = tmp_path / "tagger.onnx"
    data = bytearray(tagger.data)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(TaggerError, match="SHA-256"):
        Tagger.from_file(path, sha256=tagger.sha256)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x08\x09" * 40])
def test_files_that_are_not_taggers_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tagger.onnx"
    path.write_bytes(content)
    with pytest.raises(TaggerError, match=str(path)):
        Tagger.from_file(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaggerError, match="No such file"):
        Tagger.from_file(tmp_path / "absent.onnx")
