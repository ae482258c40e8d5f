"""The LHC Olympics, repeated: methods search every box blind, answer, and are judged after.

OUT/
  olympics/            study.json, study.md, leaderboard.md, answers.json, figures, trainings/
  olympics-boxes/      generated boxes, and one skim a box
  events/              generated simulation and priors, for all studies there
  olympics-searches/   the searches, BOX/METHOD/MASS
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import NoneType
from typing import Any

from tnt_coffea import generator, seeds
from tnt_coffea.config import GenerateSettings, SearchConfig, digest
from tnt_coffea.errors import ConfigError, StageError
from tnt_coffea.events.roles import SIMULATION, prior
from tnt_coffea.execution import Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.pipeline.answering import SIMULATED
from tnt_coffea.pipeline.answers import CLAIM, Answer
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.folders import one_writer
from tnt_coffea.pipeline.generation import generate
from tnt_coffea.pipeline.null_chains import NullChains
from tnt_coffea.pipeline.skimming import skim
from tnt_coffea.pipeline.studies import olympics_entries as entered
from tnt_coffea.pipeline.studies.events import generated
from tnt_coffea.pipeline.studies.olympics_entries import BOXES, PULLS_BY, Entry
from tnt_coffea.pipeline.studies.olympics_page import (
    calibration_of,
    leaderboard,
    olympics_claims,
    olympics_plots,
    olympics_tables,
)
from tnt_coffea.pipeline.studies.olympics_search import Searching, box_answer
from tnt_coffea.pipeline.studies.olympics_verdicts import false_claims, judged, pulls_of
from tnt_coffea.pipeline.studies.study import (
    STUDIES,
    Study,
    StudyResult,
    Training,
    kept_training,
    machine,
)
from tnt_coffea.products import Skim
from tnt_coffea.stats.results import NULL_CHAINS
from tnt_coffea.storage import stored, written

__all__ = ["olympics"]

CODE = 2
"""Who changes what the same settings give raises it."""
_SCALES = 0.0005, 10.0
_NAME = "olympics"
_INJECTED, _NULL = "injected-", "null-"


@one_writer
def olympics(
    boxes: Mapping[str, str | Path] | None = None,
    *,
    out: str | Path = STUDIES,
    scale: float = 1.0,
    methods: Sequence[str] = (),
    entries: Mapping[str, Entry] | None = None,
    simulation: Sequence[str | Path] = (),
    priors: Mapping[str, Sequence[str | Path]] | None = None,
    null_chains: Mapping[str, str | Path] | None = None,
    pulls: int = 0,
    nulls: int = 0,
    simulated: int = SIMULATED,
    seed: int = 1,
    resources: Resources | None = None,
) -> StudyResult:
    """Search the boxes of the LHC Olympics blind with many methods, answer, and judge the answers.

    All answers are written, with the SHA-256 of answers and settings, before any key is read.
    Without keys the study ends with the answers. A complete study of the same configuration is
    read; a killed one goes on, and one with further methods searches with these alone.

    Parameters
    ----------
    boxes
        Files by name, searched instead of generated boxes; the key of each is a `key.json` beside
        it, if there is one.
    out
        Folder of studies.
    scale
        Events of a generated box over a million; S / sqrt(B) stays.
    methods
        Names of entries; all that take part by default without it.
    entries
        Instead of `ENTRIES`.
    simulation, priors
        Files of simulated background, and of signals by name, for entries that learn from them;
        beside generated boxes they are generated where neither is given (`BESIDE`).
    null_chains
        Files of `tnt-coffea null-chains` by the name of an entry, made with the settings of its
        searches of these boxes: they calibrate its p-values in m_jj.
    pulls
        Boxes of known truth, of 10,000 events, whose answers test the uncertainties.
    nulls
        Boxes as these without signal, whose claims are false.
    simulated
        Signal events that are simulated for a claim, twice; 0: none, and no number of events.
    seed
        Root of all random numbers, those of blind boxes too.
    resources
        The workers; two processes without it.

    Raises
    ------
    ConfigError
        A number is out of range, a method is not known, or none can search; or a key is that of
        other events than its box has, or beside two boxes.
    StageError
        The folder holds a study of another configuration.

    Examples
    --------
    >>> olympics(scale=100)
    Traceback (most recent call last):
    tnt_coffea.errors.ConfigError: scale of the Olympics is 100, expected 0.0005 to 10
    """
    began = time.monotonic()
    resources = resources or Resources(executor="futures", workers=2)
    check_types(boxes=(boxes, Mapping, NoneType), resources=(resources, Resources))
    _check(scale, pulls, nulls, simulated, seed, boxes)
    entered.entries_named(tuple(null_chains or ()), entries)
    known = entered.entries_named(methods, entries)
    # A further method reads the skim of the others, unless it needs more than they do.
    settings = entered.skim_settings(entered.entries_named((), entries) | known)
    generates_beside = boxes is None and not simulation and not priors
    left_out: dict[str, str] = {}
    for name, entry in known.items():
        config = entered.configured(name, entry, entry.variables[0], settings, seed)
        reason = entered.missing(
            config,
            simulation=bool(simulation) or generates_beside,
            priors=bool(priors) or generates_beside,
        )
        left_out |= {name: reason} if reason else {}
    taking_part = {name: one for name, one in known.items() if name not in left_out}
    if not taking_part:
        msg = "no method can search: " + "; ".join(f"{n} needs {r}" for n, r in left_out.items())
        raise ConfigError(msg)
    out = Path(out)
    decisive: dict[str, Any] = {
        "code": CODE,
        "scale": scale if boxes is None else "files",
        "seed": seed,
        "simulated": simulated,
    }
    known_events = _begun(out, decisive, generates=boxes is None or pulls + nulls > 0)
    files = _files(boxes, out, scale, (pulls, nulls), seed, resources)
    beside: dict[str, Sequence[str | Path]]
    beside = {prior(name): paths for name, paths in (priors or {}).items()}
    beside |= {SIMULATION: simulation} if simulation else {}
    if generates_beside:
        beside |= generated(entered.BESIDE, out=out, scale=scale, seed=seed, resources=resources)
    by = _pulls_by(taking_part)
    of_pulls = entered.configured(by, taking_part[by], "m_jj", settings, seed)
    reads_beside = entered.missing(of_pulls, simulation=False, priors=False)
    folders, skims = {}, {}
    for name, path in files.items():
        own = {} if _is_ours(name) and not reads_beside else beside
        folders[name] = _skim_folder(out, name, path, settings, own)
        skims[name] = _skimmed(path, settings, own, folders[name], resources)
    contents = {n: dict(one.contents) for n, one in skims.items() if not _is_ours(n)}
    decisive = decisive | {"contents": contents}
    study = Study(_NAME, out, decisive)
    if not known_events:
        study.stage.begin()
    chains = {n: NullChains.load(p).to_dict() for n, p in (null_chains or {}).items()}
    asked_of = {name: [_digest(entry), chains.get(name)] for name, entry in taking_part.items()}
    asked = {"entries": digest(asked_of)[:16], "pulls": pulls, "nulls": nulls}
    standing = study.standing()
    if standing is not None and asked.items() <= standing.settings.items():
        return standing
    trainings = _trainings(taking_part, settings, skims, decisive, null_chains or {})
    places = {name: str(folder) for name, folder in folders.items()}
    searching = Searching(str((out / f"{_NAME}-searches").absolute()), places, simulated)
    outcomes, cpu_seconds = study.trained(searching, trainings, resources)
    earlier = _earlier(study, skims, taking_part)
    tried = {box: len({*taking_part, *earlier.get(box, ())}) for box in skims}
    answers = _answers(tried, trainings, outcomes)
    for box, outcomes_of in earlier.items():
        answers[box] |= {name: _values(one, tried[box]) for name, one in outcomes_of.items()}
    read_before = _keys_were_read(study)
    sha256 = _commit(study, {**decisive, **asked}, answers)
    # From here on the truth may be read.
    keys = {name: _key(path, skims[name]) for name, path in files.items()}
    verdicts, truths = judged(answers, keys)
    numbers: dict[str, Any] = {
        "knowledge": _knowledge(taking_part, earlier, entries, settings, seed),
        "left_out": left_out,
        "answers": {n: one for n, one in answers.items() if not _is_ours(n)},
        "limits": _limits(trainings, outcomes),
        "verdicts": {n: one for n, one in verdicts.items() if not _is_ours(n)},
        "truths": {n: one for n, one in truths.items() if not _is_ours(n)},
        "pulls": pulls_of({n: one for n, one in verdicts.items() if n.startswith(_INJECTED)}),
        "nulls": false_claims({n: one for n, one in verdicts.items() if n.startswith(_NULL)}),
        "calibrated": _calibrated(answers),
        "sha256": sha256,
        "tried": {n: number for n, number in tried.items() if not _is_ours(n)},
        "keys_were_read": read_before,
    }
    given = [word for _ in simulation for word in ("--simulation", "FILE")]
    given += [
        word
        for option, names in (("--prior", priors), ("--null-chains", null_chains))
        for name in names or ()
        for word in (option, f"{name}=FILE")
    ]
    result = StudyResult(
        f"The LHC Olympics: {len(numbers['knowledge'])} methods on {len(numbers['answers'])} boxes",
        _command(boxes, scale, methods, given, (pulls, nulls), simulated, seed),
        {
            "of": "arXiv:2101.08320",
            **asked,
            **{f"{name} events": len(one) for name, one in skims.items() if not _is_ours(name)},
            **{name: decisive[name] for name in ("scale", "seed", "simulated")},
        },
        {name: version(name) for name in ("tnt-coffea", "numpy", "scipy")},
        numbers,
        tuple(olympics_claims(numbers)),
        tuple(_notes(numbers, scale if boxes is None else None)),
        cpu_seconds,
        time.monotonic() - began,
        machine(),
    )
    with written(study.folder / "leaderboard.md") as path:
        path.write_text(leaderboard(result.to_dict()))
    study.write(result, olympics_plots(numbers), olympics_tables(numbers))
    return result


def _check(
    scale: float,
    pulls: int,
    nulls: int,
    simulated: int,
    seed: int,
    boxes: Mapping[str, Any] | None,
) -> None:
    low, high = _SCALES
    for name, value, holds, expected in (
        ("scale", scale, low <= scale <= high, f"{low:g} to {high:g}"),
        ("pulls", pulls, pulls >= 0, "at least 0"),
        ("nulls", nulls, nulls >= 0, "at least 0"),
        ("simulated", simulated, simulated >= 0, "at least 0"),
        ("seed", seed, seed >= 0, "at least 0"),
    ):
        if not holds:
            msg = f"{name} of the Olympics is {value}, expected {expected}"
            raise ConfigError(msg)
    if boxes is not None and not boxes:
        msg = "no box is given: name files, or leave boxes out, and they are generated"
        raise ConfigError(msg)
    names = list(boxes or ())
    if wrong := [n for n in names if _is_ours(n) or "/" in n or "--" in n or not n]:
        ours = f"{_INJECTED} or {_NULL}"
        msg = f"{wrong[0]!r} cannot name a box: no '/' or '--', and not beginning with {ours}"
        raise ConfigError(msg)
    of_key: dict[Path, str] = {}
    for name, path in (boxes or {}).items():
        key = Path(path).parent.resolve() / generator.KEY
        other = of_key.setdefault(key, name)
        if other != name and key.exists():
            msg = f"{key}: lies beside both {other} and {name}; give each box a folder of its own"
            raise ConfigError(msg)


def _is_ours(box: str) -> bool:
    """Tell boxes that test the answers, with a signal of known truth or none, from all others."""
    return box.startswith((_INJECTED, _NULL))


def _files(
    boxes: Mapping[str, str | Path] | None,
    out: Path,
    scale: float,
    ours: tuple[int, int],
    seed: int,
    resources: Resources,
) -> dict[str, Path]:
    """Return the file of every box, generated where none is given."""
    made: dict[str, GenerateSettings] = {}
    if boxes is None:
        made = {name: entered.box_settings(name, scale) for name in BOXES}
    made |= {
        f"{_INJECTED}{i + 1:02d}": entered.injected_settings(i + 1, seed) for i in range(ours[0])
    }
    made |= {f"{_NULL}{i + 1:02d}": entered.null_settings() for i in range(ours[1])}
    found = {name: Path(path) for name, path in (boxes or {}).items()}
    for name, settings in made.items():
        own = seeds.integer(seed, _NAME, name)
        config = SearchConfig.model_validate({"seed": own, "generate": settings.model_dump()})
        stem = f"{name}-{settings.background + settings.signal}-{own}"
        fileset = generate(config, out=_boxes(out) / stem, resources=resources)
        [found[name]] = [path for paths in fileset.files.values() for path in paths]
    return found


def _boxes(out: Path) -> Path:
    return out / f"{_NAME}-boxes"


def _begun(out: Path, decisive: Mapping[str, Any], *, generates: bool) -> bool:
    """Refuse a folder with a study of another scale or seed before hours of generation.

    Its settings are noted before there are events. Returns whether there were some already.
    """
    contents = Study(_NAME, out, decisive).stage.noted().get("contents") or {}
    stage = Study(_NAME, out, {**decisive, "contents": contents}).stage
    stage.finished()
    if generates and not contents:
        stage.begin()
    return bool(contents)


def _key(path: Path, dijets: Skim) -> generator.Key | None:
    """Return the key beside a box; None where there is none.

    Raises
    ------
    ConfigError
        It is the key of other events.
    """
    place = path.with_name(generator.KEY)
    if not place.exists():
        return None
    key, events = generator.read_key(place), dijets.accounts["data"].events
    if key.events != events:
        msg = f"{place}: is the key of {key.events} events, and {path.name} has {events}"
        raise ConfigError(msg)
    return key


def _skim_folder(
    out: Path, box: str, path: Path, settings: Mapping[str, Any], beside: Collection[str]
) -> Path:
    """Return where the dijets of a box are; generated ones go by number of events and seed."""
    columns = digest(json.loads(json.dumps([dict(settings), sorted(beside)])))[:8]
    made = path.is_relative_to(_boxes(out))
    stem = path.relative_to(_boxes(out)).parts[0] if made else box
    return (_boxes(out) / f"{stem}-dijets-{columns}" / "skim").absolute()


def _skimmed(
    path: Path,
    settings: Mapping[str, Any],
    beside: Mapping[str, Sequence[str | Path]],
    folder: Path,
    resources: Resources,
) -> Skim:
    """Return the dijets of a box, with those of simulation and priors beside them by role."""
    paths: dict[str, Sequence[str | Path]] = {"data": [path]}
    paths |= {role.replace(":", "-"): own for role, own in beside.items()}
    roles = {role.replace(":", "-"): role for role in beside}
    config = SearchConfig.model_validate({"skim": dict(settings)})
    fileset = Fileset.from_paths(paths, roles=roles)
    return skim(fileset, config, out=folder.parent, resources=resources)


def _digest(entry: Entry) -> str:
    values = [dict(entry.method), dict(entry.builds_on), list(entry.variables)]
    return digest(json.loads(json.dumps(values)))


def _trainings(
    entries: Mapping[str, Entry],
    settings: Mapping[str, Any],
    skims: Mapping[str, Skim],
    decisive: Mapping[str, Any],
    null_chains: Mapping[str, str | Path],
) -> list[Training]:
    """Return the search of every box by every entry; those of boxes of ours by one of them."""
    by = _pulls_by(entries)
    found = []
    for box, dijets in skims.items():
        for name, entry in entries.items():
            if _is_ours(box) and name != by:
                continue
            seed = seeds.integer(decisive["seed"], _NAME, box, name)
            table = None if _is_ours(box) else null_chains.get(name)
            configs = {
                variable: entered.configured(
                    *(name, entry, variable, settings, seed),
                    str(Path(table).absolute()) if table and variable == "m_jj" else None,
                ).model_dump(mode="json")
                for variable in entry.variables
            }
            chosen = {
                "code": CODE,
                "box": box,
                "contents": dict(dijets.contents),
                "entry": name,
                "configs": configs,
                "builds_on": list(entry.builds_on),
                "simulated": decisive["simulated"],
            }
            if table is not None:
                chosen["null_chains"] = digest(NullChains.load(table).to_dict())
            found.append(Training(f"{box}--{name}", chosen))
    return found


def _pulls_by(entries: Collection[str]) -> str:
    """Return who answers boxes of known truth."""
    return PULLS_BY if PULLS_BY in entries else next(iter(entries))


def _earlier(
    study: Study, boxes: Collection[str], taking_part: Collection[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what entries of earlier runs in this folder found, by box: no answer is taken back."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path in sorted((study.folder / "trainings").glob("*--*.json")):
        box, _, name = path.stem.partition("--")
        if box in boxes and not _is_ours(box) and name not in taking_part:
            kept = kept_training(path)
            lost = {"answers": {"m_jj": {"refused": f"{path.name} is damaged"}}}
            found.setdefault(box, {})[name] = lost if kept is None else kept["outcome"]
    return found


def _knowledge(
    taking_part: Mapping[str, Entry],
    earlier: Mapping[str, Collection[str]],
    entries: Mapping[str, Entry] | None,
    settings: Mapping[str, Any],
    seed: int,
) -> dict[str, str]:
    """Return what methods know; of earlier ones of another package, that it is not given again."""
    before = dict.fromkeys(name for own in earlier.values() for name in own)
    known = {**entered.ENTRIES, **(entries or {}), **taking_part}
    return {
        name: entered.knowledge(
            entered.configured(name, known[name], known[name].variables[0], settings, seed)
        )
        if name in known
        else "not given again"
        for name in (*taking_part, *before)
    }


def _keys_were_read(study: Study) -> bool:
    """Tell whether an earlier run in this folder has seen the truth of a box."""
    if not (study.folder / "study.json").exists():
        return False
    try:
        numbers = StudyResult.load(study.folder).numbers
    except StageError:  # whatever it said, its keys were read
        return True
    return bool(numbers.get("truths") or numbers.get("keys_were_read"))


def _answers(
    tried: Mapping[str, int],
    trainings: Sequence[Training],
    outcomes: Mapping[str, dict[str, Any]],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return answers by box and method; those of several methods count each other's trials."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for one in trainings:
        box, name = one.settings["box"], one.settings["entry"]
        own = found.setdefault(box, {})
        own[name] = _values(outcomes[one.name], 1 if _is_ours(box) else tried[box])
    return found


def _values(outcome: dict[str, Any], tried: int) -> dict[str, Any]:
    made = box_answer(outcome, tried)
    return made.to_dict() if isinstance(made, Answer) else {"refused": made}


def _limits(
    trainings: Sequence[Training], outcomes: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the upper limits by box, method and mass that was searched."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for one in trainings:
        box, name = one.settings["box"], one.settings["entry"]
        if not _is_ours(box):
            made = outcomes[one.name]["answers"]
            own = {variable: each["limit"] for variable, each in made.items() if "limit" in each}
            found.setdefault(box, {})[name] = own
    return found


def _calibrated(answers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Return the entries all of whose answers on the boxes rest on null chains."""
    rest: dict[str, bool] = {}
    for box, by_entry in answers.items():
        for name, one in by_entry.items() if not _is_ours(box) else ():
            rest[name] = rest.get(name, True) and f"({NULL_CHAINS})" in one.get("calibration", "")
    return [name for name, all_do in rest.items() if all_do]


def _commit(study: Study, settings: Mapping[str, Any], answers: Mapping[str, Any]) -> str:
    """Write answers and settings with their SHA-256, which is returned."""
    content = json.loads(json.dumps({"settings": dict(settings), "answers": dict(answers)}))
    sha256 = digest(content)
    with stored(study.folder), written(study.folder / "answers.json") as path:
        path.write_text(json.dumps({**content, "sha256": sha256}, indent=1) + "\n")
    return sha256


def _command(
    boxes: Mapping[str, str | Path] | None,
    scale: float,
    methods: Sequence[str],
    given: Sequence[str],
    ours: tuple[int, int],
    simulated: int,
    seed: int,
) -> str:
    words = ["tnt-coffea", "study", _NAME]
    words += ["--scale", f"{scale:g}"] if boxes is None else []
    words += [word for name in boxes or () for word in ("--box", f"{name}=FILE")]
    words += [word for name in methods for word in ("--method", name)]
    words += given
    for option, number in zip(("--pulls", "--nulls"), ours, strict=True):
        words += [option, str(number)] if number else []
    words += ["--simulated", str(simulated)] if simulated != SIMULATED else []
    return shlex.join([*words, "--seed", str(seed)])


def _notes(numbers: Mapping[str, Any], scale: float | None) -> list[str]:
    tried = max(numbers["tried"].values())
    when = "before any key was read (answers.json)"
    if numbers["keys_were_read"]:
        when = "(answers.json); an earlier run in this folder has read the keys before"
    notes = [
        f"Answers and settings were written with SHA-256 {numbers['sha256']} {when}.",
        "p-values count all windows, masses, selections and the methods of a box, at most "
        f"{tried}, as a sum of probabilities; a resonance is claimed from Z = {CLAIM:g} on.",
        calibration_of(numbers),
        "A resonance counts as found within 200 GeV of the true one, or three of its "
        "uncertainties; a claim elsewhere, or where nothing is, as false.",
        "Masses from 3 to 4.95 TeV are tested; a drawn box may have its resonance beyond.",
        "The number of events is that of the most significant selection, which fluctuates upwards.",
    ]
    if scale is None:
        return notes
    size = round(scale * entered.EVENTS)
    return [
        *notes,
        f"Boxes have {size} events. S/sqrt(B) is that of the Olympics: the signal is sqrt(scale) "
        "times theirs, so S/B is 1/sqrt(scale) times theirs; the share of a blind box is drawn.",
        "Events are generated (PYTHIA 8 and a parametric detector): those of the Olympics are "
        "others, and so are the backgrounds that published answers stand beside.",
    ]
