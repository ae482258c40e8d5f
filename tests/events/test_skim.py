from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tnt_coffea.config import ImageSettings, SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.events.sample import Sample, flat_columns, sample_of
from tnt_coffea.events.skim import (
    FIELDS,
    content_of,
    entries,
    load,
    read_parts,
    weights_hash,
    write_part,
)


def sample(
    n: int = 40, seed: int = 0, pixels: int = 8, settings: SkimSettings | None = None
) -> Sample:
    import awkward as ak

    settings = settings or SkimSettings(images=ImageSettings(pixels=pixels))
    rng = np.random.default_rng(seed)
    columns = {
        "event_id": rng.integers(0, 2**64, n, dtype=np.uint64),
        "weight": np.ones(n),
        "label": rng.integers(0, 2, n).astype(np.int8),
        "m_jj": rng.uniform(2000, 6000, n),
    }
    for jet in ("heavy", "light"):
        columns |= {f"{jet}_{o}": rng.random(n).astype(np.float32) for o in settings.of_jet}
        counts = rng.integers(0, 6, n)
        index = [np.sort(rng.choice(pixels**2, k, replace=False)) for k in counts]
        columns[f"{jet}_image_index"] = ak.unflatten(
            np.concatenate(index).astype(np.uint16), counts
        )
        columns[f"{jet}_image_value"] = ak.unflatten(
            rng.random(counts.sum()).astype(np.float32), counts
        )
    columns |= {name: rng.random(n).astype(np.float32) for name in settings.of_event}
    return sample_of(columns, settings)


def test_content_of_parts_is_that_of_their_sample(tmp_path: Path) -> None:
    whole = sample(40)
    for name, rows in (("b", slice(0, 25)), ("a", slice(20, 40))):  # five are in both
        write_part(tmp_path / f"{name}.parquet", whole.select(np.arange(40)[rows]))
    paths = list(tmp_path.iterdir())
    content, ids = content_of(paths)
    together = read_parts(paths)
    assert content == together.content_hash() != whole.content_hash()
    assert np.array_equal(np.sort(ids), together.event_id)
    with pytest.raises(InputError, match="no part"):
        content_of([])


def test_hashes_change_with_every_weight(tmp_path: Path) -> None:
    whole, ones = sample(40), np.ones(40)

    def hashes(own: np.ndarray, **weights: np.ndarray) -> tuple[str, str]:
        made = replace(whole, weight=own)
        for name, rows in (("b", slice(0, 25)), ("a", slice(25, 40))):
            further = {variation: column[rows] for variation, column in weights.items()}
            write_part(tmp_path / f"{name}.parquet", made.select(np.arange(40)[rows]), further)
        paths = sorted(tmp_path.iterdir())
        assert weights_hash(paths) == weights_hash(reversed(paths))
        return content_of(paths)[0], weights_hash(paths)

    changed = ones.copy()
    changed[30] += 1e-15
    made = hashes(ones, pdf_0=ones, pdf_1=ones)
    assert hashes(ones, pdf_0=ones, pdf_1=ones) == made
    assert hashes(changed, pdf_0=ones, pdf_1=ones)[0] != made[0]
    for other in ({"pdf_0": ones, "pdf_1": changed}, {"pdf_0": ones}, {"pdf_0": ones, "up": ones}):
        content, of_weights = hashes(ones, **other)
        assert content == made[0]
        assert of_weights != made[1]
    write_part(tmp_path / "c.parquet", sample(5, seed=1), {"pdf_0": ones[:5]})
    with pytest.raises(InputError, match=r"c\.parquet: has other .* than a\.parquet: 'up' is in"):
        weights_hash(tmp_path.iterdir())


def test_round_trip_changes_nothing(tmp_path: Path) -> None:
    made = sample()
    write_part(tmp_path / "a.parquet", made)
    back = read_parts([tmp_path / "a.parquet"], truth=True)
    order = np.argsort(made.event_id)
    assert np.array_equal(back.event_id, made.event_id[order])
    assert np.array_equal(back.label, made.label[order])
    assert np.array_equal(back.m_jj, made.m_jj[order])
    assert np.array_equal(back.images("light"), made.images("light")[order])
    assert back.content_hash() == made.content_hash()
    assert back.settings == made.settings


def numbered(made: Sample, *names: str) -> Sample:
    numbers = {name: np.arange(len(made), dtype=np.uint64) + 2**40 for name in names}
    return replace(made, numbers=numbers)


def test_numbers_of_the_experiment_are_read_where_asked_for(tmp_path: Path) -> None:
    made = numbered(sample(), "run", "luminosityBlock", "event")
    write_part(tmp_path / "a.parquet", made)
    assert read_parts([tmp_path / "a.parquet"]).numbers == {}
    back = read_parts([tmp_path / "a.parquet"], numbers=True)
    assert list(back.numbers) == ["run", "luminosityBlock", "event"]
    order = np.argsort(made.event_id)
    assert np.array_equal(back.numbers["event"], made.numbers["event"][order])
    assert np.array_equal(back.select(order[:3]).numbers["run"], back.numbers["run"][order[:3]])
    assert back.content_hash() == sample().content_hash()


def test_numbers_that_a_part_lacks_are_left_out(tmp_path: Path) -> None:
    write_part(tmp_path / "a.parquet", numbered(sample(seed=1), "run", "event"))
    write_part(tmp_path / "b.parquet", numbered(sample(seed=2), "event"))
    back = read_parts(tmp_path.iterdir(), numbers=True)
    assert list(back.numbers) == ["event"]
    assert len(back.numbers["event"]) == len(back) == 80


def test_content_does_not_depend_on_parts_or_their_order(tmp_path: Path) -> None:
    made = sample()
    for name, rows in (("x", slice(25, 40)), ("y", slice(0, 25))):
        write_part(tmp_path / f"{name}.parquet", made.select(np.arange(40)[rows]))
    both = read_parts(tmp_path.glob("*.parquet"))
    assert both.content_hash() == made.content_hash()
    assert np.all(np.diff(both.event_id.astype(float)) > 0)


def test_labels_are_not_read_unless_asked_for_and_are_in_no_hash(tmp_path: Path) -> None:
    made = sample()
    write_part(tmp_path / "a.parquet", made)
    assert set(read_parts([tmp_path / "a.parquet"]).label.tolist()) == {-1}
    flipped = sample_of(
        {
            "event_id": made.event_id,
            "weight": made.weight,
            "label": 1 - made.label,
            **made.columns,
            **made.lists,
        },
        made.settings,
    )
    assert flipped.content_hash() == made.content_hash()


@pytest.mark.parametrize("name", ["m_jj", "heavy_mass"])
def test_any_other_change_is_in_the_hash(name: str) -> None:
    made = sample()
    before = made.content_hash()
    made.columns[name][7] += 1
    assert made.content_hash() != before


def test_columns_hold_no_nulls(tmp_path: Path) -> None:
    write_part(tmp_path / "a.parquet", sample())
    table = pq.read_table(tmp_path / "a.parquet")
    assert all(table.column(name).null_count == 0 for name in table.column_names)


def test_nano_events_of_a_range(tmp_path: Path) -> None:
    made = sample()
    write_part(tmp_path / "a.parquet", made)
    assert entries(tmp_path / "a.parquet") == 40
    events = load(tmp_path / "a.parquet", 10, 30, {"dataset": "data"})
    part = sample_of(events, made.settings)
    assert part.content_hash() == made.select(np.arange(10, 30)).content_hash()


@pytest.mark.parametrize(
    "start", [9_990, *(pytest.param(start, marks=pytest.mark.slow) for start in (0, 10_000))]
)
def test_a_range_unpacks_the_row_groups_that_hold_it_alone(tmp_path: Path, start: int) -> None:
    part = tmp_path / "a.parquet"
    made = sample(n=20_001, settings=SkimSettings(images=None, observables=("mass",)))
    write_part(part, made)
    with part.open("r+b") as file:  # the last of three row groups can be read no more
        file.seek(pq.ParquetFile(part).metadata.row_group(2).column(0).data_page_offset)
        file.write(bytes(40))
    events = load(part, start, start + 20, {"filename": str(part)})
    assert np.array_equal(np.asarray(events.event_id), made.event_id[start : start + 20])
    with pytest.raises(InputError, match="not a readable part"):
        load(part, 19_990, 20_001, {"filename": str(part)})


def test_parts_of_different_settings_do_not_mix(tmp_path: Path) -> None:
    write_part(tmp_path / "a.parquet", sample())
    write_part(tmp_path / "b.parquet", sample(pixels=10))
    with pytest.raises(InputError, match="different settings"):
        read_parts(tmp_path.glob("*.parquet"))


def test_parquet_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_part(path, sample())
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"tnt_coffea.schema": "0"}), path)
    with pytest.raises(InputError, match="schema 0"):
        read_parts([path])


def test_damaged_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_part(path, sample())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=str(path)):
        read_parts([path])


FEATURES = SkimSettings(observables=("mass", "tau32_beta2", "delta_eta", "m_jjj"), images=None)


def test_columns_follow_the_settings(tmp_path: Path) -> None:
    made = sample(settings=FEATURES)
    names = ["m_jj", "heavy_mass", "heavy_tau32_beta2", "light_mass", "light_tau32_beta2"]
    assert list(flat_columns(FEATURES)) == [*names, "delta_eta", "m_jjj"]
    assert list(made.columns) == list(flat_columns(FEATURES))
    assert made.lists == {}
    write_part(tmp_path / "a.parquet", made)
    stored = pq.read_schema(tmp_path / "a.parquet").names
    assert sorted(stored) == sorted(["event_id", "weight", "label", *flat_columns(FEATURES)])
    back = read_parts([tmp_path / "a.parquet"])
    assert back.settings == FEATURES
    assert back.content_hash() == made.content_hash()
    events = load(tmp_path / "a.parquet", 0, 40, {"dataset": "data"})
    assert set(events.fields) >= FIELDS
    assert sample_of(events, FEATURES).content_hash() == made.content_hash()


def test_every_column_of_the_settings_is_in_the_hash() -> None:
    made = sample(settings=FEATURES)
    before = made.content_hash()
    made.columns["delta_eta"][3] += 1
    assert made.content_hash() != before


def test_images_that_were_not_made_are_refused() -> None:
    with pytest.raises(InputError, match="the skim holds no images"):
        sample(settings=FEATURES).images("heavy")


def test_settings_written_in_a_skim_are_complete_and_come_back() -> None:
    asked = SkimSettings(
        aligned=20,
        sequence={},
        splittings={},
        event_image={},
        select="numpy:isfinite",
        filters={"flags": ["Flag_goodVertices"]},
        mass_shift={"light": 0.1},
    )
    left_out = {"select", "filters", "mass_shift", "aligned"}
    for settings, unused in ((SkimSettings(), left_out), (asked, set())):
        values = settings.model_dump(mode="json")
        assert values.keys() == set(SkimSettings.model_fields) - unused
        assert SkimSettings.model_validate(values) == settings
    assert flat_columns(SkimSettings())[:3] == ("m_jj", "heavy_pt", "heavy_eta")


def test_images_of_two_channels_come_back(tmp_path: Path) -> None:
    settings = SkimSettings(images=ImageSettings(pixels=6, channels=("pt", "multiplicity")))
    made = sample(settings=settings)
    write_part(tmp_path / "a.parquet", made)
    back = read_parts([tmp_path / "a.parquet"])
    images = back.images("heavy")
    assert images.shape == (40, 2, 6, 6)
    assert np.array_equal(images, made.images("heavy")[np.argsort(made.event_id)])
    rows = np.array([3, 1])
    assert np.array_equal(back.sparse_images("heavy", rows).dense(), images[rows])
