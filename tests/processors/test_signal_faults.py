"""Simulated signals when something fails: what is lost is listed, and what was done is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import correctionlib.schemav2 as schema
import numpy as np
import pytest
import uproot

import tnt_coffea as tnt
from tnt_coffea.config import SearchConfig, SkimSettings, SystematicsSettings
from tnt_coffea.errors import FitError, InputError
from tnt_coffea.execution import OnError, Resources
from tnt_coffea.metrics import Metrics
from tnt_coffea.pipeline import evaluation
from tnt_coffea.products import Histograms, Skim, Taggers
from tnt_coffea.stages import manifest
from tnt_coffea.taggers import TaggerSet

N = 24
TRIGGER = 900.0
"""Least pT of the leading jet [GeV]; a variation multiplies momenta by 1.1 and 0.9."""
JETS: dict[str, Any] = {
    "images": None,
    "observables": ("mass", "pt"),
    "jets": {"radius": 0.8, "trigger_pt": TRIGGER},
}
SEARCH = (
    "{search: {efficiencies: [0.5], window: {low: 1800, high: 2400}, fit_range: {low: 1000, high: "
    "4000}, histogram_range: {low: 1000, high: 4000}, bin_width: 20}, fit: {bump: {efficiency: "
    "0.5}, abcd: {efficiency: 0.5}, direct: {efficiency: 0.5}}}"
)


def nano(path: Path, low: float = 950.0, high: float = 1200.0, **changes: Any) -> Path:
    """Write 24 events of two AK8 jets, as NanoAOD has them, with momenta in a range [GeV]."""
    rng = np.random.default_rng(sum(path.name.encode()))
    jets = {
        "pt": rng.uniform(low, high, (N, 2)),
        "eta": rng.uniform(-1, 1, (N, 2)),
        "phi": np.stack([np.zeros(N), np.full(N, 3.1)], 1),
        "mass": rng.uniform(50, 300, (N, 2)),
    }
    rows = {
        "FatJet": ak.zip({n: ak.from_regular(own.astype(np.float32)) for n, own in jets.items()}),
        "run": np.full(N, sum(path.name.encode()), np.uint32),
        "luminosityBlock": np.arange(N, dtype=np.uint32),
        "event": np.arange(N, dtype=np.uint64),
    }
    with uproot.recreate(path) as file:
        file.mktree("Events", {n: own for n, own in (rows | changes).items() if own is not None})
    return path


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SearchConfig:
    """Settings with a trigger, and a variation of the jets' energies by a tenth."""
    correction = schema.Correction(
        name="tenth",
        version=1,
        inputs=[schema.Variable(name="JetPt", type="real")],
        output=schema.Variable(name="value", type="real"),
        data=0.1,
    )
    made = schema.CorrectionSet(schema_version=2, corrections=[correction])
    path = tmp_path_factory.mktemp("corrections") / "jets.json"
    path.write_text(made.model_dump_json(exclude_unset=True))
    own = {"file": str(path), "correction": "tenth"}
    return SearchConfig.from_text(SEARCH).model_copy(
        update={
            "skim": SkimSettings.model_validate(JETS),
            "systematics": SystematicsSettings(jets={"jet_energy_scale": own}),
        }
    )


def fileset(data: Path, **signals: Path) -> tnt.Fileset:
    """Return a fileset of data and of files of one signal, each a data set of its own."""
    return tnt.Fileset.from_paths(
        {"data": [data], **{name: [path] for name, path in signals.items()}},
        roles=dict.fromkeys(signals, "signal:m2000"),
        missing_ok=True,
    )


def taggers_of(skim: Skim, config: SearchConfig, make: Callable[..., TaggerSet]) -> Taggers:
    search = config.search
    made = make(config.skim, name="sum").calibrated(
        skim.sample(), search.fit_range, search.efficiencies, {}, search.window
    )
    return Taggers({"sum": made}, {})


def searched(
    source: Any, taggers: Taggers, config: SearchConfig, out: Path, **more: Any
) -> Histograms:
    resources = Resources(chunk_size=12, progress=False, **more)
    return tnt.search(source, taggers, config, out=out, resources=resources)


def test_what_is_lost_of_signals_is_listed_as_of_data(
    config: SearchConfig, feature_taggers: Callable[..., TaggerSet], tmp_path: Path
) -> None:
    first = nano(tmp_path / "first.root")
    pt = ak.to_numpy(uproot.open(first)["Events/FatJet_pt"].array())
    pt[5] = np.nan
    damaged = nano(tmp_path / "second.root")
    with uproot.open(damaged) as file:
        jets = {n: file[f"Events/FatJet_{n}"].array() for n in ("eta", "phi", "mass")}
    wrong = ak.zip({"pt": ak.from_regular(pt)} | {n: own for n, own in jets.items()})
    nano(damaged, FatJet=wrong)
    (tmp_path / "third.root").write_bytes(first.read_bytes()[:400])
    files = fileset(
        nano(tmp_path / "data.root"), first=first, second=damaged, third=tmp_path / "third.root"
    )
    skip = Resources(chunk_size=12, progress=False, on_error=OnError.SKIP)
    skim = tnt.skim(files, config, out=tmp_path / "out", resources=skip)
    taggers = taggers_of(skim, config, feature_taggers)
    found = {
        "skim": searched(skim, taggers, config, tmp_path / "a", on_error=OnError.SKIP),
        "files": searched(files, taggers, config, tmp_path / "b", on_error=OnError.SKIP),
    }
    for histograms in found.values():
        of_signals = histograms.signal_accounting
        assert of_signals is not None
        assert (of_signals.events, of_signals.n_lost, of_signals.selected) == (2 * N, 1, 2 * N - 1)
        assert sorted(key.partition(":")[0] for key in of_signals.lost) == ["second", "third"]
        assert histograms.signals["sum"].generated["m2000"]["nominal"] == 2 * N - 1
        accounts = evaluation.accounting_of(histograms, skim)
        assert accounts["simulated signals"] == of_signals.to_dict()
    assert found["skim"].digest == found["files"].digest
    known = manifest(tmp_path / "out" / "skim")
    assert known is not None
    assert len(known.outputs["accounting"]["lost"]) == 2


def test_dijets_of_a_skim_are_not_left_out_of_a_template(
    config: SearchConfig, feature_taggers: Callable[..., TaggerSet], tmp_path: Path
) -> None:
    files = fileset(nano(tmp_path / "data.root"), first=nano(tmp_path / "first.root"))
    skim = tnt.skim(files, config, out=tmp_path)
    taggers = taggers_of(skim, config, feature_taggers)
    (part,) = skim.variations["first"]["jet_energy_scale_up"]
    part.write_bytes(part.read_bytes()[:-200])
    with pytest.raises(InputError, match=part.name):
        searched(skim, taggers, config, tmp_path, on_error=OnError.SKIP)


@pytest.mark.slow
def test_events_of_a_signal_without_any_dijet_count_as_generated(
    config: SearchConfig, feature_taggers: Callable[..., TaggerSet], tmp_path: Path
) -> None:
    # Of the second file only what the variation lifts above the trigger, of the third nothing.
    files = fileset(
        nano(tmp_path / "data.root"),
        first=nano(tmp_path / "first.root"),
        second=nano(tmp_path / "second.root", 850, 890),
        third=nano(tmp_path / "third.root", 400, 500),
    )
    skim = tnt.skim(files, config, out=tmp_path / "skimmed")
    assert sorted(skim.parts) == ["data", "first"]
    assert list(skim.variations["second"]) == ["jet_energy_scale_up"]
    taggers = taggers_of(skim, config, feature_taggers)
    of_skim = searched(skim, taggers, config, tmp_path / "a")
    of_files = searched(files, taggers, config, tmp_path / "b")
    assert of_skim.signals["sum"].to_dict() == of_files.signals["sum"].to_dict()
    assert of_skim.digest == of_files.digest
    assert of_skim.signal_accounting == of_files.signal_accounting
    signals = of_skim.signals["sum"]
    assert signals.generated["m2000"]["nominal"] == 3 * N
    templates = signals.templates("m2000")
    total = sum(template.total for template in templates.values())
    up = sum(t.variations["jet_energy_scale"][0].sum() for t in templates.values())
    assert (total, up) == pytest.approx((1 / 3, 2 / 3))


def test_a_direction_without_a_dijet_is_not_taken_for_a_mirror_image(
    config: SearchConfig, feature_taggers: Callable[..., TaggerSet], tmp_path: Path
) -> None:
    # Ten per cent below, all of them are below the trigger.
    files = fileset(nano(tmp_path / "data.root"), first=nano(tmp_path / "first.root", 910.0, 950.0))
    skim = tnt.skim(files, config, out=tmp_path)
    assert list(skim.variations["first"]) == ["jet_energy_scale_up"]
    taggers = taggers_of(skim, config, feature_taggers)
    signals = searched(skim, taggers, config, tmp_path).signals["sum"]
    assert signals.histogram[{"variation": "jet_energy_scale_down"}].sum().value == 0
    with pytest.raises(FitError, match="jet_energy_scale down of a signal template holds no event"):
        signals.templates("m2000")


def test_a_signal_of_which_nothing_is_left_is_one_error(
    config: SearchConfig, feature_taggers: Callable[..., TaggerSet], tmp_path: Path
) -> None:
    data = nano(tmp_path / "data.root")
    taggers = taggers_of(
        tnt.skim(fileset(data), config, out=tmp_path / "data"), config, feature_taggers
    )
    # What a variation alone selects makes no template: of what would it be a variation?
    files = fileset(data, first=nano(tmp_path / "first.root", 850, 890))
    words = rf"none of {N} events has a dijet \(role signal:m2000\): .*'trigger': {N}"
    with pytest.raises(InputError, match=words):
        tnt.skim(files, config, out=tmp_path / "out")
    with pytest.raises(InputError, match=words):
        searched(files, taggers, config, tmp_path / "out")
    assert not list((tmp_path / "out").rglob(".parts"))


def test_filters_of_data_are_those_of_signals_of_one_year(
    config: SearchConfig, feature_taggers: Callable[..., TaggerSet], tmp_path: Path
) -> None:
    golden = tmp_path / "golden.json"
    golden.write_text(json.dumps({str(sum(b"data.root")): [[0, N - 5]]}))
    filters = {"certified_runs": str(golden), "hlt": ["HLT_A", "HLT_B"]}
    skim = SkimSettings.model_validate(JETS | {"filters": filters})
    config = config.model_copy(update={"skim": skim})
    fired = {"HLT_A": np.ones(N, bool), "HLT_B": np.arange(N) % 2 == 0}
    # The signal knows neither the runs nor one of the paths.
    own = {"HLT_A": np.arange(N) % 3 == 0, "run": None, "luminosityBlock": None}
    files = fileset(
        nano(tmp_path / "data.root", **fired), first=nano(tmp_path / "first.root", **own)
    )
    made = tnt.skim(files, config, out=tmp_path)
    taggers = taggers_of(made, config, feature_taggers)
    assert made.accounts["data"].rejected["certified_runs"] == 4
    of_files = searched(files, taggers, config, tmp_path / "b").signal_accounting
    for account in (made.accounts["first"], of_files):
        assert account is not None
        assert account.rejected == {"hlt": N - N // 3, "two_jets": 0, "trigger": 0}
        assert account.absent == {"HLT_B": N}


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def whole(
    config: SearchConfig,
    feature_taggers: Callable[..., TaggerSet],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[tnt.Fileset, Taggers, dict[str, bytes]]:
    """Files, taggers, and what a skim and a search of them write."""
    tmp_path = tmp_path_factory.mktemp("whole")
    files = fileset(nano(tmp_path / "data.root"), first=nano(tmp_path / "first.root"))
    out, resources = tmp_path / "out", Resources(chunk_size=12, progress=False)
    skim = tnt.skim(files, config, out=out, resources=resources)
    taggers = taggers_of(skim, config, feature_taggers)
    searched(files, taggers, config, out)
    return files, taggers, content(out)


def content(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.glob("s*/**/*"))
        if path.is_file() and path.name != "manifest.json"
    }


@pytest.mark.parametrize(
    "when",
    [
        pytest.param("in the pass", marks=pytest.mark.slow),
        "before the manifest",
        pytest.param("after the manifest", marks=pytest.mark.slow),
    ],
)
def test_a_stage_with_signals_that_was_killed_goes_on_where_it_was(
    config: SearchConfig,
    whole: tuple[tnt.Fileset, Taggers, dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    when: str,
) -> None:
    files, taggers, expected = whole
    out, resources = tmp_path / "out", Resources(chunk_size=12, progress=False)

    def killed(*words: Any, **settings: Any) -> None:
        raise Killed

    def killed_in_the_end(folder: Path, **settings: Any) -> None:
        if folder.name == ".parts":
            raise Killed

    stages: dict[str, Callable[[], Any]] = {
        "skim": lambda: tnt.skim(files, config, out=out, resources=resources),
        "search": lambda: searched(files, taggers, config, out),
    }
    for stage, run in stages.items():
        with monkeypatch.context() as patch:
            if when == "in the pass":  # behind the one over the data
                kind = "SignalSkimProcessor" if stage == "skim" else "SignalProcessor"
                patch.setattr(f"tnt_coffea.processors.signals.{kind}.postprocess", killed)
            elif when == "before the manifest":
                patch.setattr("tnt_coffea.stages.Stage.finish", killed)
            else:
                patch.setattr("tnt_coffea.stages.shutil.rmtree", killed_in_the_end)
            with pytest.raises(Killed):
                run()
        if when != "after the manifest":
            (out / stage / "of-a-kill.json.77.partial").touch()
        caplog.clear()
        run()
        known = manifest(out / stage)
        assert known is not None
        assert known.metrics is not None
        found = Metrics.from_dict(known.metrics)
        assert (found.items, found.events) == (4, 2 * N)
        assert found.kept == (0 if when == "after the manifest" else 4)
        assert not (out / stage / ".parts").exists()
        assert "done again" not in caplog.text
    assert content(out) == expected
