"""Jet masses that are made to depend on m_jj, on every way to a search; nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tnt_coffea.config import MassRange, SearchConfig, SearchSettings, SkimSettings
from tnt_coffea.errors import ConfigError
from tnt_coffea.events import SOURCES, Sample
from tnt_coffea.events.skim import read_parts
from tnt_coffea.processors import SearchProcessor, SkimProcessor
from tnt_coffea.processors.skim import reconstructed

ALPHA = {"heavy": 0.2, "light": -0.1}
EVERYTHING = {
    "images": {"pixels": 20},
    "constituents": 5,
    "jets": {"trigger_pt": 0.0},
    "observables": ("pt", "mass", "rescaled_mass", "tau21", "soft_drop_mass", "pt_balance"),
}
WIDE = MassRange(low=80.0, high=12000.0)


@pytest.fixture
def skimmed(ours: Callable[..., Any], tmp_path: Path) -> Callable[..., Sample]:
    """The skim of a file."""

    def make(path: Path, settings: SkimSettings, name: str) -> Sample:
        ours(path, SkimProcessor(settings, tmp_path / name))
        return read_parts((tmp_path / name).rglob("*.parquet"), truth=True)

    return make


def check_shifted(shifted: Sample, plain: Sample, changed: set[str]) -> None:
    assert np.array_equal(shifted.event_id, plain.event_id)
    assert np.array_equal(shifted.label, plain.label)
    for name, column in plain.columns.items():
        if name not in changed:
            assert np.array_equal(shifted.columns[name], column), name
    for name, column in plain.lists.items():
        assert shifted.lists[name].tolist() == column.tolist(), name
    for jet, alpha in ALPHA.items():
        mass, moved = (each.columns[f"{jet}_mass"] for each in (plain, shifted))
        assert moved == pytest.approx(mass + alpha * plain.m_jj, rel=1e-6)
        if f"{jet}_rescaled_mass" in plain.columns:
            of_shifted = (moved - 30) / plain.m_jj + 0.01
            assert shifted.columns[f"{jet}_rescaled_mass"] == pytest.approx(of_shifted, abs=1e-6)


def test_particles_and_their_skim_have_the_same_shift_and_nothing_else_changes(
    olympics: Path,
    tmp_path: Path,
    ours: Callable[..., Any],
    skimmed: Callable[..., Sample],
    feature_taggers: Callable[..., Any],
) -> None:
    settings = SkimSettings.model_validate({**EVERYTHING, "mass_shift": ALPHA})
    shifted = skimmed(olympics, settings, "shifted")
    plain = skimmed(olympics, SkimSettings.model_validate(EVERYTHING), "plain")
    moved = {f"{jet}_{name}" for jet in ALPHA for name in ("mass", "rescaled_mass")}
    check_shifted(shifted, plain, moved)

    taggers = feature_taggers(settings).calibrated(shifted, WIDE, (0.5, 0.3))
    config = SearchConfig(
        skim=settings, search=SearchSettings(histogram_range=WIDE, fit_range=WIDE)
    )
    of_particles, of_skim = (
        ours(path, SearchProcessor(config, taggers))["hists"]
        for path in (olympics, next((tmp_path / "shifted").rglob("*.parquet")))
    )
    assert of_particles["features"].sum(flow=True).value == len(shifted) > 0
    assert of_particles == of_skim


def test_a_table_is_shifted_after_its_jets_are_ordered(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("mjj,m1,m2,t1,t2\n3500,500,100,0.1,0.2\n2800,40,90,0.3,0.4\n")
    table = {
        "m_jj": "mjj",
        "order": "mass",
        "heavy": {"mass": "m1", "rescaled_mass": "(m1 - 30) / mjj + 0.01", "tau21": "t1"},
        "light": {"mass": "m2", "rescaled_mass": "(m2 - 30) / mjj + 0.01", "tau21": "t2"},
    }

    def read(**more: Any) -> Sample:
        source, settings = SOURCES["table"], SkimSettings.model_validate({**more})
        events = source.load(path, 0, 2, {"filename": str(path), "entrystart": 0, "entrystop": 2})
        return reconstructed(events, settings)[0]

    plain, shifted = read(table=table), read(table=table, mass_shift=ALPHA)
    moved = {f"{jet}_{name}" for jet in ALPHA for name in ("mass", "rescaled_mass")}
    check_shifted(shifted, plain, moved)
    assert shifted.columns["heavy_mass"].tolist() == [1200, 650]
    assert shifted.settings.mass_shift.light == ALPHA["light"]
    assert SkimSettings.model_validate_json(shifted.settings.model_dump_json()) == shifted.settings
    without = {**table, "heavy": {"tau21": "t1"}, "light": {"tau21": "t2"}, "order": None}
    with pytest.raises(ConfigError, match=r"table\.csv.*skim\.mass_shift.*the table has none"):
        read(table=without, mass_shift=ALPHA)


def test_a_tagger_of_another_shift_is_refused(feature_taggers: Callable[..., Any]) -> None:
    settings = SkimSettings.model_validate({"images": None, "mass_shift": ALPHA})
    plain = SkimSettings(images=None)
    card = feature_taggers(settings).members[0].tagger.card
    assert card.misfit(settings) is None
    assert "mass_shift" in card.misfit(plain)
    assert "mass_shift" in feature_taggers(plain).members[0].tagger.card.misfit(settings)


def test_without_a_shift_nothing_is_called_otherwise() -> None:
    assert "mass_shift" not in SkimSettings(mass_shift={"heavy": 0}).model_dump(mode="json")
    digest = SkimSettings().digest()
    assert digest == "1753dc5bbabb4a98537b1b31f4dc7c45241e7c572e2bb3b1dbd7bb47028f1e20"
    assert SkimSettings.model_validate({"mass_shift": {"light": 0.1}}).digest() != digest
    assert "mass_shift:" in SearchConfig().to_yaml()
    with pytest.raises(ValidationError, match="add mass to observables"):
        SkimSettings.model_validate({"observables": ["pt"], "images": None, "mass_shift": ALPHA})
