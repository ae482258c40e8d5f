"""Jets of a source, varied after they were made."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import vector

from tnt_coffea.config import JetSettings
from tnt_coffea.errors import ConfigError
from tnt_coffea.jets.clustering import find_clusters
from tnt_coffea.jets.dijets import select_dijets
from tnt_coffea.jets.varied import leading_clusters, scaled_clusters, scaled_jets


def stored(constituents: bool) -> ak.Array:
    """Three events of two, three and no jets, their substructure beside them."""
    jets = {
        "pt": ak.Array([[1300.0, 1250.0], [900.0, 890.0, 880.0], []]),
        "eta": ak.Array([[0.2, -0.6], [0.1, 0.2, 0.3], []]),
        "phi": ak.Array([[0.2, 3.1], [0.0, 2.0, -2.0], []]),
        "mass": ak.Array([[80.0, 310.0], [50.0, 60.0, 70.0], []]),
        "tau21": ak.Array([[0.5, 0.3], [0.1, 0.2, 0.3], []]),
        "soft_drop_mass": ak.Array([[70.0, 300.0], [40.0, 50.0, 60.0], []]),
    }
    found = vector.zip(jets)
    if not constituents:
        return found
    one = vector.zip(
        {name: ak.singletons(jets[name], axis=1) for name in ("pt", "eta", "phi", "mass")}
    )
    return ak.with_field(found, one, "constituents")


@pytest.mark.parametrize("constituents", [False, True])
def test_jets_of_a_source_are_scaled_with_what_has_a_unit(constituents: bool) -> None:
    energy, mass = np.array([1.0, 1.1, 1.0, 1.0, 1.2]), np.array([1.0, 1.0, 2.0, 1.0, 1.0])
    scaled = scaled_jets(stored(constituents), energy, mass)
    assert scaled.pt.to_list() == [[1300.0, pytest.approx(1375)], [900, 890, 1056], []]
    assert ak.flatten(scaled.mass).to_list() == pytest.approx([80, 341, 100, 60, 84])
    assert ak.flatten(scaled.soft_drop_mass).to_list() == pytest.approx([70, 330, 80, 50, 72])
    assert scaled.tau21.to_list() == stored(constituents).tau21.to_list()
    if constituents:
        pt = ak.flatten(scaled.constituents.pt, axis=None).to_list()
        assert pt == pytest.approx([1300, 1375, 900, 890, 1056])
        assert ak.flatten(scaled.mass_factor).to_list() == mass.tolist()
    dijets, cuts = select_dijets(scaled, JetSettings(order="pt"))
    assert cuts["two_jets"].tolist() == [True, True, False]
    assert dijets.pt.to_list() == [[pytest.approx(1375), 1300], [1056, 900]]


def test_objects_of_several_jets_have_no_variations_of_masses() -> None:
    settings = JetSettings(object_radius=1.5)
    clusters = find_clusters(stored(constituents=False), settings, 10)
    ones = np.ones(len(clusters.sizes))
    same = leading_clusters(scaled_clusters(clusters, ones, ones), settings, 2)
    assert same.p4.tolist() == clusters.p4.tolist()
    with pytest.raises(ConfigError, match="variations of jet masses are of single jets"):
        leading_clusters(scaled_clusters(clusters, ones, 1.1 * ones), settings, 2)
