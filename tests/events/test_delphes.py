from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema, DelphesSchema

from tnt_coffea.errors import InputError
from tnt_coffea.events import (
    JetsFrom,
    SourceSettings,
    delphes,
    jets_of,
    particles_of,
    source_of,
    trees,
)

pytestmark = pytest.mark.filterwarnings("ignore:Found duplicate branch", "ignore:Skipping")
TOWERS = ("EFlowPhoton", "EFlowNeutralHadron")


class OldDelphesSchema(DelphesSchema):
    """coffea's own schema asks for the mass of tracks, which old files do not have."""

    mixins = DelphesSchema.mixins | {"Track": "NanoCollection", "EFlowTrack": "NanoCollection"}


def made(**changes: Any) -> Any:
    """Events of one track, one filled tower and one empty tower, as a newer Delphes has them."""
    columns = {
        "EFlowTrack/EFlowTrack.PT": [[40.0], [60.0]],
        "EFlowTrack/EFlowTrack.Eta": [[0.5], [-0.5]],
        "EFlowTrack/EFlowTrack.Phi": [[1.0], [2.0]],
        "EFlowTrack/EFlowTrack.Mass": [[0.13957], [0.49368]],
        "Event/Event.Number": [[0], [1]],
        "Event/Event.Weight": [[0.25], [4.0]],
    }
    for name in TOWERS:
        columns |= {
            f"{name}/{name}.ET": [[20.0, 0.0], [30.0, 0.0]],
            f"{name}/{name}.Eta": [[1.0, 999.9], [2.0, -999.9]],
            f"{name}/{name}.Phi": [[0.1, 0.0], [0.2, 0.0]],
        }
    columns = {n: c for n, c in (columns | changes).items() if c is not None}
    arrays = {
        n: ak.values_astype(ak.Array(c), np.int64 if n.endswith("Number") else np.float32)
        for n, c in columns.items()
    }
    return trees.nano_events(arrays, Path("made"), 0, 2, {})


def test_tracks_photons_and_hadrons_are_the_files_own(
    root_files: dict[str, Path], loaded: Any
) -> None:
    path = root_files["delphes"]
    particles = particles_of(loaded(path))
    with uproot.open(path) as file:
        names = ("EFlowTrack.PT", "EFlowPhoton.ET", "EFlowNeutralHadron.ET")
        momenta = [file["Delphes"][name].array() for name in names]
    expected = ak.concatenate([pt[pt > 0] for pt in momenta], axis=1)
    assert particles.p4.pt.tolist() == expected.tolist()
    assert ak.max(abs(particles.p4.eta)) < 5.5
    assert ak.all(particles.p4.mass == 0)
    assert particles.weight.tolist() == [1.0] * 10
    assert particles.numbers["event"].tolist() == list(range(10))


def test_an_event_without_a_weight_has_one_and_numbers_are_of_all() -> None:
    weight = "Event/Event.Weight"
    assert particles_of(made()).weight.tolist() == [0.25, 4.0]
    assert particles_of(made(**{weight: ak.Array([[], []])})).weight.tolist() == [1.0, 1.0]
    assert particles_of(made(**{weight: [[0.25], []]})).weight.tolist() == [0.25, 1.0]
    with pytest.raises(InputError, match=r"event 1 of these entries has no Event\.Number, and"):
        particles_of(made(**{"Event/Event.Number": [[5], []]}))


@pytest.mark.parametrize(
    "schema", [OldDelphesSchema, pytest.param(BaseSchema, marks=pytest.mark.slow)]
)
def test_every_schema_gives_the_same_particles(
    root_files: dict[str, Path], loaded: Any, under_schema: Any, schema: Any
) -> None:
    path = root_files["delphes"]
    ours, theirs = particles_of(loaded(path)), particles_of(under_schema(path, "Delphes", schema))
    assert np.array_equal(ours.event_id, theirs.event_id)
    assert ak.array_equal(ours.p4, theirs.p4)
    assert np.array_equal(ours.weight, theirs.weight)
    assert np.array_equal(ours.numbers["event"], theirs.numbers["event"])


def test_newer_tracks_have_their_mass_and_towers_none() -> None:
    particles = particles_of(made())
    assert particles.p4.pt.tolist() == [[40.0, 20.0, 20.0], [60.0, 30.0, 30.0]]
    assert particles.p4.mass[:, 0].tolist() == pytest.approx([0.13957, 0.49368])
    assert ak.all(particles.p4.mass[:, 1:] == 0)
    assert particles.weight.tolist() == [0.25, 4.0]


def test_events_without_their_own_record_have_weight_one() -> None:
    changes = {"Event/Event.Number": None, "Event/Event.Weight": None}
    particles = particles_of(made(**changes))
    assert particles.weight.tolist() == [1.0, 1.0]
    assert particles.numbers == {}


def test_number_has_no_part_in_the_identity() -> None:
    # It starts again in every file of a sample.
    ids = particles_of(made()).event_id
    again = particles_of(made(**{"Event/Event.Number": [[7], [7]]})).event_id
    assert np.array_equal(ids, again)


def test_the_files_jets_are_not_taken(root_files: dict[str, Path], loaded: Any) -> None:
    assert source_of(root_files["delphes"]) is delphes
    events = loaded(root_files["delphes"])
    assert jets_of(events) is None
    with pytest.raises(InputError, match="cluster the particles"):
        jets_of(events, SourceSettings(jets=JetsFrom.FILE))
