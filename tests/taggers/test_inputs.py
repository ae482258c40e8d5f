from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tnt_coffea.config import JetSettings, SkimSettings, SubstructureSettings, ungrouped
from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers import Card, load_set, packaged_sets
from tnt_coffea.taggers.inputs import (
    Aligned,
    Columns,
    Constituents,
    EventImage,
    Images,
    Sequence,
    Splittings,
    readers,
)
from tnt_coffea.testing import make_sample

from .conftest import SKIM, card


def columns(*names: str, **changes: Any) -> Card:
    return card(inputs=(Columns(columns=names),), **changes)


def constituents(**changes: Any) -> Card:
    shown = Constituents(jets=("heavy",), most=8, centre=True, rotate=True, flip=True)
    return card(inputs=(shown,), skim=SkimSettings(images=None, constituents=8), **changes)


ON_REQUEST = {
    "aligned": Aligned(jets=("heavy", "light"), most=20),
    "splittings": Splittings(jets=("light",), splittings={"most": 6}),
    "sequence": Sequence(sequence={"radius": 0.4, "jets": 5}),
    "event_image": EventImage(event_image={"pixels": 16}),
}


def on_request(name: str) -> Card:
    return card(inputs=(ON_REQUEST[name],), skim=SkimSettings(images=None))


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


def test_lists_of_jets_and_events_are_read_by_row() -> None:
    sample = make_sample(50, aligned=7, splittings=6, sequence=5, event_image=16)
    of_jets = (Splittings.of("event", sample), Aligned.of("event", sample))
    shown = (*of_jets, Sequence.of(sample), EventImage.of(sample))
    rows = np.array([7, 3, 7])
    for each, (name, read) in zip(shown, readers(shown, sample).items(), strict=True):
        made = read(rows)
        assert (each.name, made.dtype, made.shape) == (name, np.float32, (3, *each.shape))
        assert np.array_equal(made, each.read(sample)[rows])
        assert np.array_equal(made[0], made[2])
        assert not np.array_equal(made[0], made[1])
    for input_ in of_jets:
        both = input_.read(sample)
        for number, jet in enumerate(("heavy", "light")):
            one = type(input_).of(jet, sample).read(sample)
            assert np.array_equal(one[:, 0], both[:, number])


def test_planted_aligned_jets_are_as_a_skim_has_them() -> None:
    shown = Aligned.of("event", make_sample(300, aligned=6))
    made = shown.read(make_sample(300, aligned=6))
    number = (made[..., 0] > 0).sum(axis=2)
    assert set(np.unique(number)) == {0, 3, 4, 5, 6}
    assert (np.diff((made[..., 0] > 0).astype(int), axis=2) <= 0).all()
    assert (made[:, :, 0, 1] == 0).all()
    plain = make_sample(300)
    for name, column in make_sample(300, aligned=6).columns.items():
        if name.startswith(("m_jj", "heavy")):
            assert np.array_equal(plain.columns[name], column), name


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("aligned", lambda sample: Aligned.of("heavy", sample)),
        ("splittings", lambda sample: Splittings.of("heavy", sample)),
        ("sequence", Sequence.of),
        ("event_image", EventImage.of),
    ],
)
def test_a_sample_without_them_is_refused(name: str, of: Any, sample: Sample) -> None:
    with pytest.raises(InputError, match=rf"holds no {name}.* \(skim\.{name} is null\).*set skim"):
        of(sample)


def test_a_column_that_is_not_there_is_refused_with_those_there_are(sample: Sample) -> None:
    with pytest.raises(ConfigError, match=r"holds no 'heavy_tau32', only .*heavy_mass.*skim\.obs"):
        Columns.of(("heavy_mass", "heavy_tau32"), sample)
    # What no skim could hold is not to be added to one.
    with pytest.raises(ConfigError, match=r"holds no 'tau99', only .*m_jj$"):
        Columns.of(("heavy_mass", "tau99"), sample)
    flow = ungrouped(["energy_flow"])
    many = tuple(f"{jet}_{name}" for jet in ("heavy", "light") for name in flow)
    with pytest.raises(
        ConfigError, match=r"no 'energy_flow' \(106 columns, the first '\w+'\), only .*; add it to"
    ):
        Columns.of(many, sample)


def test_a_column_that_a_table_lacks_is_named_in_it() -> None:
    jets = {"mass": [500.0]}
    of_a_table = Sample.from_columns([3500.0], heavy=jets, light=jets)
    with pytest.raises(ConfigError, match=r"no 'heavy_tau21', only .* in skim\.table$"):
        Columns.of(("heavy_tau21",), of_a_table)
    assert "name them in skim.table" in columns("heavy_tau21").misfit(of_a_table.settings)


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
    lists = (on_request(name) for name in ON_REQUEST)
    for made in (card(), columns("heavy_mass", "m_jj"), constituents(), *lists):
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
    asked = {"aligned": 20, "splittings": {"most": 6}, "event_image": {"pixels": 16}}
    skim = SkimSettings(**asked, sequence={"radius": 0.4, "jets": 5}, images=None)
    assert [on_request(name).misfit(skim) for name in ON_REQUEST] == [None] * 4


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
        (on_request("aligned"), SKIM, "set skim.aligned to 20 and make the skim again"),
        (on_request("aligned"), SkimSettings(aligned=9), "made with 20, but these are made with 9"),
        (on_request("aligned"), SkimSettings(constituents=20), "set skim.aligned to 20"),
        (on_request("splittings"), SKIM, "set skim.splittings to {most: 6, branches: all, mass"),
        (on_request("splittings"), SkimSettings(splittings={"most": 7}), "most=6"),
        (on_request("sequence"), SKIM, "set skim.sequence to {radius: 0.4, jets: 5, pt_min: 20"),
        (on_request("sequence"), SkimSettings(sequence={"jets": 5}), "radius=0.4"),
        (on_request("event_image"), SKIM, "set skim.event_image to {pixels: 16, eta_max: 5.0}"),
        (on_request("event_image"), SkimSettings(event_image={"pixels": 17}), "pixels=16"),
    ],
)
def test_what_it_needs_may_not(made: Card, settings: SkimSettings, reason: str) -> None:
    assert reason in (made.misfit(settings) or "")


def test_packaged_taggers_fit_the_default_skim() -> None:
    for name in packaged_sets():
        for member in load_set(name).members:
            assert member.tagger.card.misfit(SkimSettings()) is None
