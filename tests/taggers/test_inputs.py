from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tnt_coffea.config import JetSettings, SkimSettings
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers import Card, load_set, packaged_sets
from tnt_coffea.taggers.inputs import inputs_of

from .conftest import SKIM, card


def features(*names: str, **changes: Any) -> Card:
    return card(input="features", inputs=names, **changes)


def test_features_are_columns_in_the_cards_order(sample: Sample) -> None:
    rows = np.array([5, 2, 9])
    made = inputs_of(features("tau21", "mass", "m_jj"), "heavy", sample, rows)["features"]
    expected = [sample.columns[name][rows] for name in ("heavy_tau21", "heavy_mass", "m_jj")]
    assert made.dtype == np.float32
    assert made.tolist() == np.stack(expected, axis=1).astype(np.float32).tolist()


def test_a_jets_observable_is_that_of_the_scope_unless_it_names_its_jet() -> None:
    names = ("mass", "light_pt", "delta_eta")
    assert features(*names).columns == ("heavy_mass", "light_pt", "delta_eta")
    assert features(*names, scope="light").columns == ("light_mass", "light_pt", "delta_eta")


def test_an_event_is_seen_by_both_images(sample: Sample) -> None:
    rows = np.arange(4)
    made = inputs_of(card(scope="event"), "event", sample, rows)["image"]
    assert made.shape == (4, 2, 6, 6)
    for channel, jet in enumerate(("heavy", "light")):
        assert np.array_equal(made[:, channel], sample.images(jet, rows)[:, 0])


@pytest.mark.parametrize(
    "changes",
    [
        {"input": "features"},
        {"inputs": ("mass",)},
        {"input": "tracks"},
        {"input": "features", "inputs": ()},
        {"input": "both", "inputs": ()},
    ],
)
def test_input_and_names_have_to_agree(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="input is"):
        card(**changes)


def test_card_of_images_names_no_features_in_its_file() -> None:
    # Taggers from before there were features keep their bytes.
    assert "inputs" not in json.loads(card().to_json())
    assert Card.model_validate_json(features("mass").to_json()) == features("mass")


def test_what_a_tagger_does_not_need_may_differ() -> None:
    assert card().misfit(SkimSettings(images=SKIM.images, observables=("mass",))) is None
    assert features("mass").misfit(SkimSettings(images=None)) is None


@pytest.mark.parametrize(
    ("made", "settings", "reason"),
    [
        (card(), SkimSettings(images=None), "takes images"),
        (card(), SkimSettings(), "pixels=40"),
        (card(), SkimSettings(images=SKIM.images, jets=JetSettings(radius=0.8)), "radius=0.8"),
        (features("mass"), SkimSettings(jets=JetSettings(radius=0.8)), "radius=0.8"),
        (features("mass", "tau32"), SKIM, "heavy_tau32"),
    ],
)
def test_what_it_needs_may_not(made: Card, settings: SkimSettings, reason: str) -> None:
    assert reason in (made.misfit(settings) or "")


def test_packaged_taggers_fit_the_default_skim() -> None:
    for name in packaged_sets():
        for member in load_set(name).members:
            assert member.tagger.card.misfit(SkimSettings()) is None
