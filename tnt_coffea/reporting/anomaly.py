"""Which events are the most anomalous."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import InputError, TaggerError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers import Ranks

__all__ = ["most_anomalous", "most_anomalous_share"]

Rows = npt.NDArray[np.intp]


def most_anomalous(sample: Sample, ranks: Ranks, count: int) -> Rows:
    """Return the rows of the most anomalous events, the most anomalous one first.

    Parameters
    ----------
    sample
        Dijets; labels are not used.
    ranks
        Their quantiles; events go by the lower one of the two jets, equal ones by id.
    count
        How many; fewer if there are fewer events.

    Raises
    ------
    InputError
        There is no event.
    TaggerError
        The ranks are not those of this sample.
    """
    if not len(sample):
        msg = "no event to show in the report: does the skim hold any in the fit range?"
        raise InputError(msg)
    if len(ranks.fold) != len(sample):
        msg = (
            f"ranks of {len(ranks.fold)} events for a sample of {len(sample)}; rank the sample "
            "that is reported"
        )
        raise TaggerError(msg)
    return np.argsort(-ranks.both, kind="stable")[:count]


def most_anomalous_share(sample: Sample, ranks: Ranks, top: float) -> Rows:
    """Return the rows of the most anomalous events, the most anomalous one first.

    Parameters
    ----------
    sample, ranks
        As for `most_anomalous`.
    top
        Share of events called most anomalous; at least one event is.
    """
    return most_anomalous(sample, ranks, max(1, round(top * len(sample))))
