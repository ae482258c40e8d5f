"""Placeholder."""

from __future__ import annotations

from tnt_coffea.pipeline.studies.events import Pool
from tnt_coffea.pipeline.studies.experiment import Block, Experiment, Injection

_FEATURES = ("mass", "tau21")


def _claims(found):
    return ()


EXPERIMENT = Experiment(
    name="cwola-against-autoencoder",
    title="CWoLa against an autoencoder",
    source="arXiv:2101.08320, section 4.2",
    pools={"background": Pool("rnd-background", 500_000), "signal": Pool("signal-500-500", 50_000)},
    settings={
        "skim": {"images": None, "observables": _FEATURES},
        "search": {"efficiencies": (0.1, 0.03)},
    },
    blocks=(Block("injected", {"norm": {"kind": "norm"}}, Injection(share=0.02)),),
    claims=_claims,
)
