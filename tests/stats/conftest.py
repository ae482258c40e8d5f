from __future__ import annotations

import faulthandler

import hist
import numpy as np
import pytest

from tnt_coffea.stats.background import dijet_function
from tnt_coffea.stats.signals import gaussian

EDGES = np.arange(2600.0, 7001.0, 20.0)
# ln p0, p2, p1, p3: a spectrum that falls as QCD does above 2.6 TeV.
TRUTH = np.array([0.0, 5.0, 10.0, 0.1])


@pytest.fixture(scope="session")
def falling_shape():
    expected = dijet_function(EDGES, 4).expected(TRUTH)
    return expected / expected.sum()


@pytest.fixture(scope="session")
def mass_histogram():
    def make(counts):
        histogram = hist.Hist(hist.axis.Variable(EDGES, name="m_jj"), storage=hist.storage.Weight())
        histogram.view().value = counts
        histogram.view().variance = counts
        return histogram

    return make


@pytest.fixture(scope="session")
def toy_spectrum(falling_shape, mass_histogram):
    def make(events, signal, seed, mass=3500.0, width=120.0):
        mean = events * falling_shape + signal * gaussian(EDGES, mass, width)
        return mass_histogram(np.random.default_rng(seed).poisson(mean).astype(float))

    return make


@pytest.fixture
def time_bound():
    """A test that hangs, even in compiled code, ends its process and says where it stood."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
