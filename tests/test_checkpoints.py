from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tnt_coffea import pipeline, testing
from tnt_coffea.checkpoints import Checkpoints, packed, unpacked
from tnt_coffea.config import MassRange, SearchConfig
from tnt_coffea.errors import StageError
from tnt_coffea.events.skim import write_part
from tnt_coffea.execution import Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.products import Taggers
from tnt_coffea.stages import manifest
from tnt_coffea.taggers import load_set

SEARCH = """
import sys
from tnt_coffea import Fileset, Resources, SearchConfig, Taggers, pipeline, taggers
if __name__ == "__main__":
    source, out, executor = sys.argv[1:]
    packaged = Taggers({"autoencoder": taggers.load_set("rnd-3500/autoencoder")}, {})
    resources = Resources(executor, chunk_size=5, progress=False)
    pipeline.search(
        Fileset.from_paths(source), packaged, SearchConfig(), out=out, resources=resources
    )
"""
SKIM = """
import sys
from tnt_coffea import Fileset, Resources, SearchConfig, pipeline
if __name__ == "__main__":
    source, out, executor = sys.argv[1:]
    resources = Resources(executor, workers=2, chunk_size=5, progress=False)
    pipeline.skim(Fileset.from_paths(source), SearchConfig(), out=out, resources=resources)
"""


@pytest.fixture(scope="module")
def dijets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dijets") / "dijets.parquet"
    write_part(path, testing.make_sample(60, pixels=40))
    return path


@pytest.fixture(scope="module")
def packaged() -> Taggers:
    return Taggers({"autoencoder": load_set("rnd-3500/autoencoder")}, {})


def searched(source: Path, packaged: Taggers, out: Path, **settings: Any) -> dict[str, bytes]:
    config = SearchConfig()
    config = config.model_copy(update={"search": config.search.model_copy(update=settings)})
    pipeline.search(
        Fileset.from_paths(source), packaged, config, out=out, resources=Resources(chunk_size=5)
    )
    return content(out / "search")


def content(stage: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(stage)): path.read_bytes()
        for path in sorted(stage.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def items(out: Path) -> list[Path]:
    return [path for path in out.rglob(".parts/items/*/*") if path.suffix != ".partial"]


def killed(script: str, source: Path, out: Path, after: int, executor: str = "iterative") -> int:
    """Kill a stage in the midst of its pass, and return how many items were done."""
    command = [sys.executable, "-c", script, source, out, executor]
    with subprocess.Popen(list(map(str, command)), start_new_session=True) as process:
        while len(items(out)) < after:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    return len(items(out))


def costs(stage: Path) -> dict[str, Any]:
    known = manifest(stage)
    assert known is not None
    assert known.metrics is not None
    return known.metrics


def test_a_killed_search_goes_on_with_the_missing_items(
    dijets: Path, packaged: Taggers, tmp_path: Path
) -> None:
    whole = searched(dijets, packaged, tmp_path / "whole")
    assert costs(tmp_path / "whole" / "search")["kept"] == 0
    done = killed(SEARCH, dijets, tmp_path / "out", after=3)
    assert 3 <= done < 12
    other = shutil.copytree(tmp_path / "out", tmp_path / "other")
    assert searched(dijets, packaged, tmp_path / "out") == whole
    made = costs(tmp_path / "out" / "search")
    assert (made["items"], made["kept"], made["events"]) == (12, done, 60)
    assert not (tmp_path / "out" / "search" / ".parts").exists()
    # With other settings it is refused, and nothing of what was kept is taken.
    window = MassRange(low=3000.0, high=4000.0)
    with pytest.raises(StageError, match=r"another configuration .*window"):
        searched(dijets, packaged, other, window=window)


def test_nothing_of_other_models_or_settings_is_taken(
    dijets: Path, packaged: Taggers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stale = Checkpoints(str(tmp_path), "other models")
    stale.write("item", {"events": 5})
    mine = Checkpoints(str(tmp_path), "these models")
    assert mine.read("item") is None
    # Not even where its file is put in the place of mine.
    mine.path("item").parent.mkdir(exist_ok=True)
    shutil.copy(stale.path("item"), mine.path("item"))
    assert mine.read("item") is None
    mine.write("item", {"events": 7})
    assert (mine.read("item"), stale.read("item")) == ({"events": 7}, {"events": 5})
    # A worker that does not see the folder makes none.
    away = Checkpoints(str(tmp_path / "away"), "these models")
    away.write("item", {"events": 7})
    assert not (tmp_path / "away").exists()


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_item_is_done_again_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    source, out = tmp_path / "box.csv", tmp_path / "out"
    rows = "".join(f"{2500 + 10 * i},500,100\n" for i in range(20))
    source.write_text("m_jj,heavy_mass,light_mass\n" + rows)
    fileset, resources = Fileset.from_paths(source), Resources(chunk_size=5)
    pipeline.skim(fileset, SearchConfig(), out=tmp_path / "whole", resources=resources)

    class Killed(BaseException):
        pass

    def ends(*words: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.skimming, "contents_of", ends)
        with pytest.raises(Killed):
            pipeline.skim(fileset, SearchConfig(), out=out, resources=resources)
    first, *others = items(out)
    assert len(others) == 3
    image = first.read_bytes()
    first.write_bytes(
        {"cut": image[:-9], "changed": image[:-9] + b"?" + image[-8:], "empty": b""}[damage]
    )
    part = next((out / "skim" / ".parts" / "parts").rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    stray = part.with_name("of-another-pass.parquet")
    stray.write_bytes(b"PAR1")
    pipeline.skim(fileset, SearchConfig(), out=out, resources=resources)
    assert costs(out / "skim")["kept"] in (2, 3)  # both damages may be of one item
    assert caplog.text.count("was done again") == 4 - costs(out / "skim")["kept"]
    assert str(first) in caplog.text
    assert content(out / "skim") == content(tmp_path / "whole" / "skim")


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["iterative", "futures", "dask"])
def test_a_killed_skim_goes_on_with_the_missing_items(
    events_file: Path, tmp_path: Path, executor: str
) -> None:
    done = killed(SKIM, events_file, tmp_path / "out", 4, executor)
    time.sleep(1)  # workers that outlive their driver end by themselves
    fileset = Fileset.from_paths(events_file)
    for out in (tmp_path / "out", tmp_path / "whole"):
        pipeline.skim(fileset, SearchConfig(), out=out, resources=Resources(chunk_size=5))
    assert costs(tmp_path / "out" / "skim")["kept"] >= done - 2
    assert content(tmp_path / "out" / "skim") == content(tmp_path / "whole" / "skim")


def test_values_come_back_as_they_were() -> None:
    value = {
        "a": [1, 2.5, None, True, "x"],
        2: (np.float64(0.1), np.arange(6, dtype=np.int16).reshape(2, 3)),
        "parts": {"b", "a"},
    }
    found = unpacked(packed(value))
    assert json.dumps(found["a"]) == json.dumps(value["a"])
    assert found["parts"] == value["parts"]
    assert type(found[2][0]) is np.float64
    assert found[2][1].dtype == np.int16
    assert found[2][1].tolist() == [[0, 1, 2], [3, 4, 5]]
    for refused in (object(), np.array([object()]), {"a": lambda: None}):
        with pytest.raises(TypeError, match="not stored"):
            packed(refused)
    with pytest.raises(ValueError, match="OBJECT"):  # as a file of somebody else might say
        unpacked(b'[{"array":0,"scalar":false},[["|O",[1]]]]\n' + bytes(8))
