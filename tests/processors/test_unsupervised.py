"""The unsupervised methods of the LHC Olympics on either road of a search, and on a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tnt_coffea as tnt
from tnt_coffea import Fileset, Resources, SearchConfig
from tnt_coffea.products import Histograms
from tnt_coffea.testing import make_sample

RESOURCES = Resources(executor="iterative", progress=False)
SLICES = "{bins: 2, knots: 6, members: 1}"
FEATURES = f"""
    pca: {{kind: pca, features: [mass, tau21]}}
    gis: {{kind: gis, density: {SLICES}, decorrelate: true}}
    anode: {{kind: anode, density: {{model: slicing, bins: 2, knots: 6, members: 1}}}}
"""
KERAS = """
    buhulaspa: {kind: buhulaspa, epochs: 2, features: [mass, tau21]}
    gan_ae: {kind: gan_ae, cycles: 1, latent: 2, features: [mass, tau21, pt]}
    manifold: {kind: regularized_likelihood, features: [mass, tau21], manifold: 2,
      flow: {epochs: 2, layers: 2}, density: {epochs: 2, averaged: 1, blocks: 2}}
"""
ANY = """
    norm: {kind: event_norm, features: [mass, tau21]}
    pca: {kind: pca, features: [mass, tau21, pt], score: projection}
"""
CONSTITUENTS = """
    vrnn: {kind: vrnn, epochs: 6, optimizer: {batch: 25, learning_rate: 0.01}}
    graph: {kind: particle_graph, epochs: 1}
    ucluster: {kind: ucluster, sideband: 2, clusters: 3, focal_epochs: 1, epochs: 1}
"""
SETTINGS = """
seed: 5
skim:
  images: null
  observables: [pt, eta, phi, mass, tau21]
  constituents: 10
  aligned: 6
  splittings: {{most: 10, branches: all, mass_min: 30}}
search: {{window: {{low: 3400, high: 3600}}, efficiencies: [0.3]}}
fit: {{bump: {{efficiency: 0.3}}, abcd: {{efficiency: 0.3}}}}
train:
  methods:
    feature: {{kind: event_feature, feature: heavy_mass, decorrelate: true}}
{methods}
"""


def searched(files: Fileset, config: SearchConfig, out: Path) -> tuple[Histograms, Histograms]:
    """Return the histograms of the skim and those of the files themselves."""
    skim = tnt.skim(files, config, out=out, resources=RESOURCES)
    taggers = tnt.train(skim, config, out=out, resources=RESOURCES)
    first = tnt.search(skim, taggers, config, out=out / "first", resources=RESOURCES)
    return first, tnt.search(files, taggers, config, out=out / "second", resources=RESOURCES)


def same(first: Histograms, second: Histograms) -> bool:
    assert set(first.hists) == set(second.hists)
    filled = [h.sum(flow=True).value > 0 for h in first.hists.values()]
    return all(filled) and all(
        np.array_equal(h.view(flow=True), second.hists[name].view(flow=True))
        for name, h in first.hists.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("methods", [ANY, KERAS + CONSTITUENTS], ids=["numpy", "keras"])
def test_particles_and_their_skim_are_searched_alike(
    methods: str, events_file: Path, tmp_path: Path
) -> None:
    config = SearchConfig.from_text(SETTINGS.format(methods=methods))
    first, second = searched(Fileset.from_paths({"data": [events_file]}), config, tmp_path)
    assert set(first.hists) == {"feature", *config.train.methods}
    assert same(first, second)


TABLE = """
seed: 5
skim: {{images: null}}
search: {{window: {{low: 3400, high: 3600}}, efficiencies: [0.3]}}
fit: {{bump: {{efficiency: 0.3}}, abcd: {{efficiency: 0.3}}}}
train:
  methods:
{methods}
"""


@pytest.mark.slow
@pytest.mark.parametrize("methods", [FEATURES, KERAS], ids=["numpy", "keras"])
def test_methods_of_features_take_a_table(methods: str, tmp_path: Path) -> None:
    sample = make_sample(1600, 0.1)
    columns = {name: values for name, values in sample.columns.items() if name != "label"}
    names = [name for name in columns if name.startswith(("heavy_", "light_", "m_jj"))]
    path = tmp_path / "table.parquet"
    pd.DataFrame({name: columns[name] for name in names}).to_parquet(path)
    config = SearchConfig.from_text(TABLE.format(methods=methods))
    first, second = searched(Fileset.from_paths({"data": [path]}), config, tmp_path)
    assert set(first.hists) == set(config.train.methods)
    assert same(first, second)
