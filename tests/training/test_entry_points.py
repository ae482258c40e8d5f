"""Methods of other packages: a small one is installed by its files alone, and used by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tnt_coffea.config import method_kinds
from tnt_coffea.errors import ConfigError

METHOD = '''
from typing import ClassVar, Literal

import numpy as np

from tnt_coffea.taggers.inputs import Columns
from tnt_coffea.training import Graph, Job, Method, Scorer


class Farthest(Method):
    """Distance of tau21 from its mean on the training events."""

    kind: Literal["farthest"] = "farthest"
    power: int = 2

    orientation: ClassVar[str] = "distance from the mean"

    def check(self, sample, scope):
        Columns.of((f"{scope}_tau21",), sample)

    def train(self, job: Job) -> Scorer:
        columns = Columns.of((f"{job.scope}_tau21",), job.data)
        mean = columns.reader(job.data)(np.arange(len(job.data))).mean()
        graph = Graph(columns)
        off = graph.ops.subtract("features", mean)
        score = off
        for _ in range(self.power - 1):
            score = graph.ops.multiply(score, off)
        return Scorer(
            graph.model(graph.flat(score)),
            (columns,),
            predict=lambda inputs: (inputs["features"][:, 0] - mean) ** self.power,
        )
'''

USE = """
import sys, tempfile
from pathlib import Path
from tnt_coffea.config import SearchConfig
from tnt_coffea.testing import make_sample, method_contract, train
text = "train: {methods: {mine: {kind: farthest}, tnt: {kind: tag_n_train, after: mine, "
text += "signal_rich: 0.3, classifier: {network: trees, trees: 5}}}, folds: {inner: 2}}"
config = SearchConfig.from_text(text)
assert SearchConfig.from_text(config.to_yaml()) == config
mine = config.train.methods["mine"]
with tempfile.TemporaryDirectory() as folder:
    method_contract(mine, Path(folder), events=1200)
with tempfile.TemporaryDirectory() as folder:
    sets = train(make_sample(800), config, Path(folder))
print(type(mine).__module__, {name: len(items) for name, items in sets.items()})
"""


def install(folder: Path, code: str, entry: str) -> dict[str, str]:
    """Lay a package's files out as an installer does, and return the environment to see it."""
    (folder / "farthest_tagger.py").write_text(code)
    info = folder / "farthest_tagger-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: farthest-tagger\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[tnt_coffea.methods]\n{entry}\n")
    (info / "RECORD").write_text("farthest_tagger.py,,\n")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def python(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


def test_a_method_of_another_package_is_used_by_its_kind(tmp_path):
    done = python(USE, install(tmp_path, METHOD, "farthest = farthest_tagger:Farthest"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "farthest_tagger {'mine': 8, 'tnt': 8}"
    assert "farthest" not in method_kinds()


@pytest.mark.parametrize(
    ("code", "entry", "message"),
    [
        ("import no_such_library", "x = farthest_tagger:X", "ModuleNotFoundError"),
        (METHOD, "x = farthest_tagger:Missing", "cannot be loaded: AttributeError"),
        ("X = 3", "x = farthest_tagger:X", "is no method; derive it from"),
        (
            METHOD.replace('"farthest"', '"autoencoder"'),
            "x = farthest_tagger:Farthest",
            "the kind 'autoencoder' is that of tnt_coffea.training.methods.autoencoder already",
        ),
    ],
)
def test_an_entry_point_that_is_no_method_of_its_own_is_named(
    tmp_path, monkeypatch, code, entry, message
):
    install(tmp_path, code, entry)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "farthest_tagger", raising=False)
    method_kinds.cache_clear()
    try:
        with pytest.raises(ConfigError) as found:
            method_kinds()
    finally:
        method_kinds.cache_clear()
        sys.modules.pop("farthest_tagger", None)
    assert f"entry point {entry} (tnt_coffea.methods)" in str(found.value)
    assert message in str(found.value)
