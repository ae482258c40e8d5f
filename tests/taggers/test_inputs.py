from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tnt_coffea.config import JetSettings, SkimSettings, SubstructureSettings
from tnt_coffea.errors import ConfigError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers import Card, load_set, packaged_sets
from tnt_coffea.taggers.inputs import Columns, Constituents, Images, readers

from .conftest import SKIM, card


def columns(*names: str, **changes: Any) -> Card:
    return card(inputs=(Columns(columns=names),), **changes)


def constituents(**changes: Any) -> Card:
    shown = Constituents(jets=("heavy",), most=8, centre=True, rotate=True, flip=True)
    return card(inputs=(shown,), skim=SkimSettings(images=None, constituents=8), **changes)


def test_columns_are_read_in_the_cards_order(sample: Sample) -> None:
    rows, names = np.array([5, 2, 9]), ("heavy_tau21", "light_mass", "m_jj")
    (made,) = (read(rows) for read in readers((Columns.of(names, sample),), sample).values())
    expected = [sample.columns[name][rows] for name in names]
    assert made.dtype == np.float32
    assert made.tolist() == np.stack(expected, axis=1).astype(np.float32).tolist()


def test_an_event_is_seen_by_both_images(sample: Sample) -> None:
    rows, images = np.arange(4), Images.of("event", sample)
    made = images.reader(sample)(rows)
    assert made.shape == (4, *images.shape) == (4, 2, 6, 6)
    for channel, jet in enumerate(("heavy", "light")):
        assert np.array_equal(made[:, channel], sample.images(jet, rows)[:, 0])


def test_a_tagger_may_be_shown_several_inputs_by_name(sample: Sample) -> None:
    shown = (Images.of("heavy", sample), Columns.of(("heavy_mass",), sample))
    made = {name: read(np.arange(3)).shape for name, read in readers(shown, sample).items()}
    assert made == {"image": (3, 1, 6, 6), "features": (3, 1)}
    assert Card.model_validate_json(card(inputs=shown).to_json()) == card(inputs=shown)


def test_a_column_that_is_not_there_is_refused_with_those_there_are(sample: Sample) -> None:
    with pytest.raises(ConfigError, match=r"holds no 'heavy_tau32', only .*heavy_mass.*skim\.obs"):
        Columns.of(("heavy_mass", "heavy_tau32"), sample)
    # What no skim could hold is not to be added to one.
    with pytest.raises(ConfigError, match=r"holds no 'tau99', only .*m_jj$"):
        Columns.of(("heavy_mass", "tau99"), sample)


@pytest.mark.parametrize(
    "inputs",
    [
        (),
        ({"kind": "tracks"},),
        ({"kind": "columns", "columns": ()},),
        ({"kind": "images", "jets": (), "images": SKIM.images},),
        ({"kind": "columns", "columns": ("m_jj",), "images": SKIM.images},),
    ],
)
def test_a_card_needs_inputs_that_are_complete(inputs: Any) -> None:
    with pytest.raises(ValidationError, match="inputs"):
        card(inputs=inputs)


def test_cards_survive_json() -> None:
    for made in (card(), columns("heavy_mass", "m_jj"), constituents()):
        assert Card.model_validate_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, "none"),
        ({"simulation": "0" * 64}, "background simulation"),
        ({"simulation": "0" * 64, "priors": {"x": "0" * 64}}, "signal simulation"),
    ],
)
def test_a_card_says_what_its_method_knows(known: dict[str, Any], expected: str) -> None:
    assert card(**known).knowledge == expected


def test_what_a_tagger_does_not_need_may_differ() -> None:
    assert card().misfit(SkimSettings(images=SKIM.images, observables=("mass",))) is None
    assert columns("heavy_mass").misfit(SkimSettings(images=None)) is None
    assert constituents().misfit(SkimSettings(constituents=8)) is None
    assert constituents().misfit(SkimSettings(constituents=8, images={"pixels": 20})) is None


@pytest.mark.parametrize(
    ("made", "settings", "reason"),
    [
        (card(), SkimSettings(images=None), "takes images"),
        (card(), SkimSettings(), "pixels=40"),
        (card(), SkimSettings(images=SKIM.images, jets=JetSettings(radius=0.8)), "radius=0.8"),
        (columns("heavy_mass"), SkimSettings(jets=JetSettings(radius=0.8)), "radius=0.8"),
        (columns("heavy_mass", "heavy_tau32"), SKIM, "heavy_tau32"),
        (
            columns("heavy_tau21"),
            SkimSettings(substructure=SubstructureSettings(soft_drop_beta=2.0)),
            "soft_drop_beta=2.0",
        ),
        (constituents(), SkimSettings(), "set skim.constituents to 8"),
        (constituents(), SkimSettings(constituents=9), "made with 8, but these are made with 9"),
        (constituents(), SkimSettings(constituents=8, images={"rotate": False}), "rotate"),
    ],
)
def test_what_it_needs_may_not(made: Card, settings: SkimSettings, reason: str) -> None:
    assert reason in (made.misfit(settings) or "")


def test_packaged_taggers_fit_the_default_skim() -> None:
    for name in packaged_sets():
        for member in load_set(name).members:
            assert member.tagger.card.misfit(SkimSettings()) is None
