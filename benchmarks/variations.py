"""What systematic variations of a simulated signal cost: processor time against that without any.

    python benchmarks/variations.py signal.h5 [--events 2000]

Events of an LHC Olympics file are searched from particles by the packaged taggers `rnd-3500/tnt`,
images and all. Every row is the time of all steps but reading, and its ratio
to the first row; then that of the steps up to images and observables alone, as in a skim.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from tnt_coffea import SearchConfig, taggers
from tnt_coffea.config import SystematicsSettings
from tnt_coffea.events import source_of
from tnt_coffea.processors import SignalProcessor
from tnt_coffea.processors.signals import varied_events


def corrections(path: Path) -> None:
    """Write a correction of 2 % for all jets."""
    import correctionlib.schemav2 as schema

    two = schema.Correction(
        name="two",
        version=1,
        inputs=[schema.Variable(name="JetPt", type="real")],
        output=schema.Variable(name="uncertainty", type="real"),
        data=schema.Binning(
            nodetype="binning", input="JetPt", edges=[0.0, 1e5], content=[0.02], flow="clamp"
        ),
    )
    made = schema.CorrectionSet(schema_version=2, corrections=[two])
    path.write_text(made.model_dump_json(exclude_unset=True))


def rows(file: str) -> dict[str, dict[str, Any]]:
    """Return the systematics of every row."""
    scale = {"jet_energy_scale": {"file": file, "correction": "two"}}
    pair = {"up": "1.1 * weight", "down": "0.9 * weight"}
    pairs = {
        f"{kind}_{n}": {"file": file, "correction": "two", "kind": kind}
        for kind in ("energy_scale", "mass_scale")
        for n in (1, 2)
    }
    return {
        "nominal": {},
        "nominal again": {},
        "one pair of weights": {"weights": {"pileup": pair}},
        "100 members": {
            "weights": {"pdf": {"members": [f"{1 + i / 100} * weight" for i in range(100)],
                                "rule": "hessian"}}
        },
        "one pair of energies": {"jets": scale},
        "one pair of masses": {"jets": {"jet_mass_scale": scale["jet_energy_scale"]}},
        "two pairs of each": {"jets": pairs},
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("events", type=Path)
    parser.add_argument("--events", dest="n", type=int, default=2000)
    given = parser.parse_args()
    source = source_of(given.events)
    metadata = {"dataset": "signal", "role": "signal:m3500", "filename": str(given.events)}
    tagger_set = taggers.load_set("rnd-3500/tnt")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "jets.json")
        corrections(file)
        first = skimmed = 0.0
        print(f"{'variations':<22}{'s':>8}{'ratio':>8}{'skim s':>10}{'ratio':>8}{'filled':>8}")
        for name, values in rows(str(file)).items():
            config = SearchConfig().model_copy(
                update={"systematics": SystematicsSettings.model_validate(values)}
            )
            processor = SignalProcessor(config, tagger_set)
            if not first:  # sessions opened, modules imported
                processor.process(source.load(given.events, 0, 20, metadata))
            events = source.load(given.events, 0, given.n, metadata)
            start = time.process_time()
            output = processor.process(events)
            took = time.process_time() - start
            start = time.process_time()
            varied_events(events, config.skim, processor.corrections)
            alone = time.process_time() - start
            first, skimmed = first or took, skimmed or alone
            filled = len(output["signals"]["tnt"]["m3500"].filled)
            print(
                f"{name:<22}{took:>8.2f}{took / first:>8.2f}{alone:>10.2f}{alone / skimmed:>8.2f}"
                f"{filled:>8}"
            )


if __name__ == "__main__":
    main()
