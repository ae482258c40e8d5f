"""The demo without signal: what a search says where there is nothing.

    python benchmarks/control.py control-output

Seeds were fixed before the first run. Every p-value is printed; none is left out.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tnt_coffea import Resources, SearchConfig, demo

SEEDS = (101, 102, 103)


def rows(result: Any) -> list[tuple[str, float | None, float | None, str]]:
    """Return test, Z, p-value and remark of every test in a search's result."""
    hunts = {"bump hunt, all dijets": result.before}
    hunts |= {f"bump hunt, {name}": hunt for name, hunt in result.after.items()}
    found: list[tuple[str, float | None, float | None, str]] = [
        (name, hunt.z, hunt.p_value, hunt.calibration) for name, hunt in hunts.items()
    ]
    for name, test in result.abcd.items():
        refused = getattr(test, "reason", None)
        found.append(
            (f"ABCD, {name}", None, None, f"refused: {refused}")
            if refused
            else (f"ABCD, {name}", test.z, test.p_value, test.calibration)
        )
    return found


def main() -> None:
    """Run the three controls and print and store all their p-values."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    table = Table("seed", "test", "Z", "p-value", "calibration", title="Control without signal")
    record = {}
    for seed in SEEDS:
        default = SearchConfig(seed=seed)
        background_only = default.generate.model_copy(update={"signal": 0})
        config = default.model_copy(update={"generate": background_only})
        resources = Resources(executor="dask", workers=arguments.workers, progress=True)
        outcome = demo(config, out=arguments.out / f"seed-{seed}", resources=resources)
        record[seed] = rows(outcome.result)
        for name, z, p, remark in record[seed]:
            table.add_row(
                str(seed),
                name,
                "" if z is None else f"{z:.2f}",
                "" if p is None else f"{p:.3g}",
                remark,
            )
    Console(width=120).print(table)
    (arguments.out / "control.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
