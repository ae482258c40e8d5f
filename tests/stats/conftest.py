from __future__ import annotations

import faulthandler

import hist
import numpy as np
import pytest

from tnt_coffea import stats
from tnt_coffea.stats.background import dijet_function
from tnt_coffea.stats.toys import TRUTH

EDGES = np.arange(2600.0, 7001.0, 20.0)


@pytest.fixture(scope="session")
def falling_shape():
    expected = dijet_function(EDGES, 4).expected(np.array(TRUTH))
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
def toy_spectrum():
    def make(events, signal, seed, **where):
        return stats.toy_spectrum(events, signal, seed=seed, **where)

    return make


@pytest.fixture
def time_bound():
    """A test that hangs, even in compiled code, ends its process and says where it stood."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
