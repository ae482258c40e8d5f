"""Published studies, repeated: numbers, figures, and a table of claims with verdicts.

| study | of |
|---|---|
| `gaussian` | arXiv:2009.02205, section III: SALAD and SA-CWoLa against their closed forms |
| `simulation-assisted` | arXiv:2009.02205, section IV; arXiv:2101.08320, sections 4.4 and 4.5 |
| `cwola-against-autoencoder` | arXiv:2101.08320, section 4.2 |
| `tnt` | arXiv:2002.12376, sections 4.1 and 4.2, appendix A: Tag N' Train's own paper |
| `topics` | arXiv:2101.08320, section 5.2: figure 48, areas, and toys whose topics are known |
| `null` | of none: whether the p-values of every method are uniform where there is nothing |
| `sensitivity` | of none: figures against the number of signal events, beside published ones |
| `olympics` | arXiv:2101.08320: methods on every black box, blind; figure 51 |

All but the first two and the last are files in `experiments/`, an `Experiment` each, which `run`
repeats. Each leaves a folder with `study.json`, `study.md` and figures, goes on where it was
killed, and is read again while its settings stay the same.
"""

from __future__ import annotations

from tnt_coffea.pipeline.studies.claims import Claim, Verdict, claims_table
from tnt_coffea.pipeline.studies.engine import experiment_named, experiment_names, run
from tnt_coffea.pipeline.studies.events import Pool
from tnt_coffea.pipeline.studies.experiment import Block, Experiment, Injection, Within
from tnt_coffea.pipeline.studies.gaussian_study import gaussian
from tnt_coffea.pipeline.studies.numbers import Found, figures_table
from tnt_coffea.pipeline.studies.olympics_entries import ENTRIES, Entry
from tnt_coffea.pipeline.studies.olympics_page import leaderboard
from tnt_coffea.pipeline.studies.olympics_study import olympics
from tnt_coffea.pipeline.studies.simulation_assisted_study import simulation_assisted
from tnt_coffea.pipeline.studies.study import STUDIES, Study, StudyResult, StudyTable, Training

__all__ = [
    "ENTRIES",
    "STUDIES",
    "Block",
    "Claim",
    "Entry",
    "Experiment",
    "Found",
    "Injection",
    "Pool",
    "Study",
    "StudyResult",
    "StudyTable",
    "Training",
    "Verdict",
    "Within",
    "claims_table",
    "experiment_named",
    "experiment_names",
    "figures_table",
    "gaussian",
    "leaderboard",
    "olympics",
    "run",
    "simulation_assisted",
]
