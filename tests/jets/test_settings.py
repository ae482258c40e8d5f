"""What the settings of jets, images and observables accept and refuse."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tnt_coffea.config import (
    ImageSettings,
    JetSettings,
    SearchConfig,
    SkimSettings,
    SubstructureSettings,
)


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"observables": ("tau10",)}, "unknown .*tau10.*; known are pt, .*delta_eta.*tau1 to tau9"),
        ({"observables": ("pt", "pt")}, "pt named twice"),
        ({"observables": ("tau2", "subjettiness", "tau1")}, "tau1, tau2 named twice"),
        ({"observables": ("efp_1_0_0",)}, "unknown .*efp_1_0_0.*subjettiness and energy_flow for"),
        ({"observables": ("subjet3_pt",)}, "substructure.subjets is 2"),
        ({"substructure": {"axes": "WTA_kt"}}, "'KT_Axes', 'WTA_KT_Axes'"),
        ({"images": {"channels": ["multiplicity"]}}, "start with pt"),
        ({"images": {"channels": ["pt", "pt"]}}, "each once"),
        ({"images": {"channels": ["pt", "charge"]}}, "'pt' or 'multiplicity'"),
        ({"jets": {"order": "eta"}}, "'mass', 'pt' or 'random'"),
        ({"jets": {"eta_max": 0}}, "greater than 0"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, object], cause: str) -> None:
    with pytest.raises(ValidationError, match=cause):
        SkimSettings.model_validate(values)


def test_new_fields_are_in_the_digest_only_where_they_are_used() -> None:
    plain = SkimSettings()
    for other in (
        SkimSettings(jets=JetSettings(order="pt")),
        SkimSettings(jets=JetSettings(eta_max=2.5)),
        SkimSettings(images=ImageSettings(channels=("pt", "multiplicity"))),
        SkimSettings(images=None),
        SkimSettings(observables=("pt",)),
        SkimSettings(substructure=SubstructureSettings(soft_drop_zcut=0.2)),
    ):
        assert other.digest() != plain.digest()
        assert SkimSettings.model_validate_json(other.model_dump_json()) == other
    assert SkimSettings(jets=JetSettings(order="mass")).digest() == plain.digest()


def test_a_group_is_the_observables_that_it_stands_for() -> None:
    groups = SkimSettings(observables=["mass", "subjettiness", "energy_flow", "delta_eta"])
    assert len(groups.of_jet) == 1 + 27 + 53
    assert groups.of_jet[:3] == ("mass", "tau1", "tau2")
    assert groups.of_event == ("delta_eta",)
    written_out = SkimSettings(observables=groups.observables)
    assert written_out.digest() == groups.digest()


def test_yaml_writes_every_setting_out(tmp_path) -> None:
    text = SearchConfig().to_yaml()
    for name in ("eta_max", "order", "order_seed", "channels", "observables", "soft_drop_zcut"):
        assert f"{name}:" in text
    (tmp_path / "search.yaml").write_text(text)
    assert SearchConfig.from_yaml(tmp_path / "search.yaml") == SearchConfig()
