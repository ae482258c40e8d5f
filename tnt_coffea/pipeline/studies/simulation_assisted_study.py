"""The simulation-assisted study: its events, its training blocks, and where it is written."""

from __future__ import annotations

import functools
import shlex
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tnt_coffea.errors import ConfigError
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.folders import one_writer
from tnt_coffea.pipeline.studies.events import Pool, generated, skimmed
from tnt_coffea.pipeline.studies.gaussian_example import EFFICIENCIES
from tnt_coffea.pipeline.studies.simulation_assisted_claims import simulation_assisted_claims
from tnt_coffea.pipeline.studies.simulation_assisted_example import (
    CUTS,
    MORE,
    SHARES,
    SIGNAL,
    STRENGTHS,
    Block,
    Events,
    Keep,
    signal_events,
    train_block,
)
from tnt_coffea.pipeline.studies.study import (
    STUDIES,
    Study,
    StudyResult,
    StudyTable,
    Training,
    machine,
)
from tnt_coffea.reporting.simulation_assisted_figures import simulation_assisted_plots
from tnt_coffea.training.objectives import LARGEST_LOGIT

__all__ = ["simulation_assisted"]

NAME = "simulation-assisted"
CODE = 1
"""Who changes what the same settings give raises it."""
EVENTS = 1_000_000
"""Events of the paper, of data and of simulation."""
POOL = 100_000
"""Signal events of the paper."""
POOLS = {
    "background": Pool("rnd-background", EVENTS),
    "simulation": Pool("simulation", EVENTS),
    SIGNAL: Pool("rnd-signal", POOL, least=15_000),
    MORE: Pool("rnd-background", EVENTS, optional=True),
}
_LEAST_SCALE = 0.01
_SKIM = {
    "images": None,
    "observables": ("mass", "tau21"),
    "mass_shift": {"heavy": 0.2, "light": 0.1},
}
_SHOWN = (0.1, 0.2, 0.5, 0.8)


@one_writer
def simulation_assisted(
    files: Mapping[str, Sequence[str | Path]] | None = None,
    *,
    out: str | Path = STUDIES,
    scale: float = 0.1,
    repetitions: int = 20,
    keep: str = Keep.SIGNIFICANCE,
    inner: int = 2,
    seed: int = 1,
    epochs: int | None = None,
    resources: Resources | None = None,
) -> StudyResult:
    """Repeat the physics example of arXiv:2009.02205, and figures 40 to 42 of arXiv:2101.08320.

    A complete study of the same configuration is read; a killed one goes on, and one with more
    repetitions trains those that are missing.

    Parameters
    ----------
    files
        Events by `background`, `simulation`, `signal` and, for optimal CWoLa, `more-background`;
        generated without it.
    out
        The study goes into its subfolder `simulation-assisted`, what is skimmed into
        `simulation-assisted-events`, what is generated into `events`.
    scale
        Generated events over those of the paper, a million of data and of simulation.
    repetitions
        Injections, each with trainings of its own; of null blocks, scans and supervised a quarter.
    keep
        What of the paper's 1000 signal events stays: `significance` (S/sqrt(B)) or `sb` (S/B).
    inner
        Inner folds of the methods that label or weight events.
    seed
        Root of all random numbers.
    epochs
        Of every network, for trials; the paper's without it.
    resources
        The workers; two processes without it.

    Raises
    ------
    ConfigError
        A number is out of range, files of a role are missing, or signal events are too few.
    StageError
        The folder holds a study of another configuration.

    Examples
    --------
    >>> simulation_assisted(repetitions=1)
    Traceback (most recent call last):
    tnt_coffea.errors.ConfigError: repetitions of the study is 1, expected at least 2
    """
    began = time.monotonic()
    resources = resources or Resources(executor="futures", workers=2)
    check_types(resources=(resources, Resources))
    _check(scale, repetitions, inner, seed)
    kept = Keep(keep)
    beside = Path(out) / f"{NAME}-events"
    if files is None:
        files = generated(POOLS, out=Path(out), scale=scale, seed=seed, resources=resources)
    skim = skimmed(files, POOLS, _SKIM, out=beside, resources=resources)
    events = Events.of(skim)
    signal = signal_events(events, kept)
    decisive: dict[str, Any] = {
        "code": CODE,
        "contents": dict(skim.contents),
        "events": {
            "background": len(events.background),
            "simulation": len(events.simulation),
            "signal": len(events.signal),
            "more background": 0 if events.more is None else len(events.more),
            "background in the window": events.in_window,
        },
        "keep": kept.value,
        "signal in the window": signal,
        "inner": inner,
        "seed": seed,
        **({} if epochs is None else {"epochs": epochs}),
    }
    study = Study(NAME, Path(out), decisive)
    standing = study.standing()
    if standing is not None and standing.settings["repetitions"] == repetitions:
        return standing
    trainings = _trainings(decisive, repetitions, signal, events.in_window)
    outcomes, cpu_seconds = study.trained(
        functools.partial(train_block, skim), trainings, resources
    )
    numbers = _numbers(outcomes, trainings, signal, events.in_window)
    command = ["tnt-coffea", "study", NAME]
    command += [word for role, paths in files.items() if paths for word in (f"--{role}", "FILES")]
    command += ["--repetitions", str(repetitions), "--keep", kept]
    result = StudyResult(
        "The physics example of simulation-assisted methods",
        shlex.join([*command, "--inner", str(inner), "--seed", str(seed)]),
        {"repetitions": repetitions}
        | {f"{name} events": n for name, n in decisive["events"].items()}
        | {
            name: value
            for name, value in decisive.items()
            if name not in ("contents", "code", "events")
        },
        {name: version(name) for name in ("tnt-coffea", "numpy", "scipy", "keras")},
        numbers,
        simulation_assisted_claims(numbers),
        _notes(numbers, events),
        cpu_seconds,
        time.monotonic() - began,
        machine(),
    )
    study.write(result, simulation_assisted_plots(numbers), [_table(numbers)])
    return result


def _check(scale: float, repetitions: int, inner: int, seed: int) -> None:
    for name, value, holds, expected in (
        ("repetitions", repetitions, repetitions >= 2, "at least 2"),
        ("scale", scale, _LEAST_SCALE <= scale <= 10, f"{_LEAST_SCALE} to 10"),
        ("inner", inner, 2 <= inner <= 20, "2 to 20"),
        ("seed", seed, seed >= 0, "at least 0"),
    ):
        if not holds:
            msg = f"{name} of the study is {value}, expected {expected}"
            raise ConfigError(msg)


def _trainings(
    decisive: Mapping[str, Any], repetitions: int, signal: int, background: int
) -> list[Training]:
    """Return the blocks, the longest first; of others than the injected ones there are fewer."""
    few = max(2, repetitions // 4)
    common = {
        "contents": decisive["contents"],
        "code": CODE,
        "seed": decisive["seed"],
        "inner": decisive["inner"],
        "epochs": decisive.get("epochs"),
    }
    wanted = [("", Block.INJECTED, signal, repetitions), ("", Block.NULL, 0, few)]
    wanted += [("", Block.EARLY, 0, few)]
    wanted += [("", Block.STRENGTH, signal, few), ("", Block.SUPERVISED, 0, few)]
    wanted += [(f"-{s:g}", Block.SHARE, round(s * background), few) for s in SHARES]
    return [
        Training(
            f"{block}{suffix}-{repetition}",
            common | {"block": block.value, "signal": n, "repetition": repetition},
        )
        for suffix, block, n, number in wanted
        for repetition in range(number)
    ]


def _numbers(
    outcomes: Mapping[str, Mapping[str, Any]],
    trainings: Sequence[Training],
    signal: int,
    background: int,
) -> dict[str, Any]:
    """Return every number of the study, JSON values."""

    def of(block: Block, signal: int | None = None) -> list[Mapping[str, Any]]:
        return [
            outcomes[one.name]
            for one in trainings
            if one.settings["block"] == block and signal in (None, one.settings["signal"])
        ]

    injected, null = of(Block.INJECTED), of(Block.NULL)
    return {
        "efficiencies": list(EFFICIENCIES),
        "cuts": list(CUTS),
        "signal": signal,
        "background": background,
        "curves": _curves(injected),
        "null_curves": _curves(null),
        "supervised": _curves(of(Block.SUPERVISED)),
        "strengths": {
            "values": list(STRENGTHS),
            "curves": _improvements(_curves(of(Block.STRENGTH))),
        },
        "shares": {
            "values": list(SHARES),
            "curves": [
                _improvements(_curves(of(Block.SHARE, round(s * background)))) for s in SHARES
            ],
        },
        "spectra": {"injected": _spectra(injected), "null": _spectra(null)},
        "prediction": {
            **{name: [one["prediction"][name] for one in null] for name in null[0]["prediction"]},
            "salad, early": [one["prediction"]["salad"] for one in of(Block.EARLY)],
        },
        "closure": [one["closure"] for one in null],
        "weights": [one["weights"] for one in (*injected, *null)],
        "largest_log_odds": [one["largest_log_odds"] for one in (*injected, *null)],
        "injected_events": [one["injected"] for one in injected],
        "features": injected[0]["features"],
    }


def _curves(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return each method's areas and curves over the repetitions."""
    return {name: _curve([one["curves"][name] for one in blocks]) for name in blocks[0]["curves"]}


def _improvements(curves: Mapping[str, Any]) -> dict[str, Any]:
    """Return the curves of a scan without what no figure of it shows."""
    return {
        name: {key: value for key, value in curve.items() if key != "rejection"}
        for name, curve in curves.items()
    }


def _curve(repetitions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    passed = np.array([one["passed"] for one in repetitions])
    areas = {
        key: {
            "mean": float(np.mean(values)),
            "sd": float(np.std(values, ddof=1)),
            "repetitions": values,
        }
        for key in ("auc", "auc_regions")
        for values in [[float(one[key]) for one in repetitions]]
    }
    curves = {
        key: {
            "mean": values.mean(axis=0).tolist(),
            "sd": values.std(axis=0, ddof=1).tolist(),
            "median": np.median(values, axis=0).tolist(),
        }
        for key, values in (
            ("rejection", 1 / passed),
            ("improvement", np.array(EFFICIENCIES) / np.sqrt(passed)),
        )
    }
    return {"repetitions": len(repetitions), **areas, **curves}


def _spectra(blocks: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return for each method and cut the tests of all repetitions, and one spectrum."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in blocks[0]["spectra"]:
        of_cuts = zip(*(one["spectra"][name] for one in blocks), strict=True)
        found[name] = [
            {
                "cut": tests[0]["cut"],
                "spectrum": tests[0]["spectrum"],
                "refused": sum("refused" in one for one in tests),
                "tests": [
                    {
                        key: float(f"{value:.3g}") if isinstance(value, float) else value
                        for key, value in one.items()
                        if key not in ("cut", "spectrum", "background")
                    }
                    for one in tests
                ],
            }
            for tests in of_cuts
        ]
    return found


def _notes(numbers: Mapping[str, Any], events: Events) -> tuple[str, ...]:
    share = numbers["signal"] / numbers["background"]
    half = numbers["signal"] / np.sqrt(2 * numbers["background"])
    notes = [
        f"{numbers['signal']} signal events are injected in the signal region (S/B {share:.2%}; "
        f"S/sqrt(B) {half:.2f} in the half that trains), and as they come in the sidebands too. "
        "The paper: 1000 in the training half, 1.65 % and 4.06; its captions also speak of 500.",
        "Sidebands 3.0-3.3 and 3.7-4.0 TeV, as in the authors' code; the text says 3.1-3.9 TeV "
        "for CWoLa. Fit in bins of 20 GeV from 2.6 to 5 TeV: 30 bins of 80 GeV have no edges at "
        "3.3 and 3.7 TeV.",
        "Two outer folds; tested on background of the data out of fold and on signal that was not "
        "injected. Curves are means of the folds. Fits use one training a fold, the paper the "
        "mean of five.",
        f"A fold has {numbers['background'] // 2} background events to test on; a curve whose cut "
        "leaves none stops at one, eps_B = 1/N. More than that is not measured.",
        "Rules of below-counting were written when six repetitions were seen, all others before.",
        "The corrected excess takes off what the fit finds in background alone after the same "
        "cut: it needs the truth.",
    ]
    largest = max(numbers["largest_log_odds"])
    if largest > LARGEST_LOGIT:
        notes.append(
            f"SA-CWoLa's negative form: a logarithm of the odds reaches {largest:.0f}, beyond "
            f"{LARGEST_LOGIT:g}: its loss has no minimum everywhere."
        )
    if events.more is None:
        notes.append(
            "Optimal CWoLa halves the data: it has half of the signal that the others have."
        )
    elif len(events.more) < 0.8 * len(events.background):
        notes.append(
            f"Optimal CWoLa's signal-free class has {len(events.more)} events beside "
            f"{len(events.background)} of the data."
        )
    return tuple(notes)


def _table(numbers: Mapping[str, Any]) -> StudyTable:
    """Return a row a method: areas and significance improvement."""
    places = [numbers["efficiencies"].index(eps) for eps in _SHOWN]
    rows = []
    for name, curve in {**numbers["curves"], **numbers["supervised"]}.items():
        sic = curve["improvement"]
        rows.append(
            (
                f"supervised, {name}" if name in numbers["supervised"] else name,
                str(curve["repetitions"]),
                *(f"{sic['mean'][i]:.2f} ± {sic['sd'][i]:.2f}" for i in places),
                *(
                    f"{curve[key]['mean']:.3f} ± {curve[key]['sd']:.3f}"
                    for key in ("auc", "auc_regions")
                ),
            )
        )
    columns = (
        "method",
        "repetitions",
        *(f"SIC at eps_S = {eps:g}" for eps in _SHOWN),
        "AUC",
        "AUC(SR, SB)",
    )
    return StudyTable("Significance improvement and areas", columns, tuple(rows))
