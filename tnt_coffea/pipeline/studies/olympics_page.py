"""What the study of the LHC Olympics shows: claims, tables, figures and the leaderboard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tnt_coffea.pipeline.answers import Answer, Estimate
from tnt_coffea.pipeline.studies.claims import Claim, Verdict, compared, worst
from tnt_coffea.pipeline.studies.olympics_published import PublishedAnswer, published_answers
from tnt_coffea.pipeline.studies.olympics_verdicts import (
    FALSE,
    FOUND,
    PULLED,
    REFUSED,
    UNKNOWN,
)
from tnt_coffea.pipeline.studies.study import StudyTable
from tnt_coffea.reporting.figures import Plot
from tnt_coffea.reporting.olympics_figures import Panel, Row, answers_figure, verdicts_figure
from tnt_coffea.reporting.study_figures import study_plot

__all__ = [
    "calibration_of",
    "leaderboard",
    "olympics_claims",
    "olympics_plots",
    "olympics_tables",
]

_SOURCE = "arXiv:2101.08320, section 6.1"
FEWEST_PULLS = 20
"""Boxes of known truth that have to be found before their pulls decide: the deviation of so many
pulls is known to a sixth."""
_ASKED = {
    "resonance_mass": "resonance mass [GeV]",
    "heavy_mass": "mass of the heavier daughter [GeV]",
    "light_mass": "mass of the lighter daughter [GeV]",
    "events": "signal events before any selection",
}
_OF_PUBLISHED = {
    "resonance_mass": "mass",
    "heavy_mass": "heavy",
    "light_mass": "light",
    "events": "events",
}


def _counted(
    numbers: Mapping[str, Any], box: str, verdict: str, *, agnostic: bool = False
) -> list[str]:
    """Return the methods with a verdict on a box; those that know nothing else where asked."""
    own: Mapping[str, Any] = numbers["verdicts"].get(box, {})
    known: Mapping[str, str] = numbers["knowledge"]
    return [
        name
        for name, one in own.items()
        if one["verdict"] == verdict and (not agnostic or known.get(name) == "none")
    ]


def _unjudged(numbers: Mapping[str, Any], box: str) -> str:
    """Return why nothing can be said of a box; empty where it can."""
    if box not in numbers["truths"]:
        return "no key"
    own: Mapping[str, Any] = numbers["verdicts"].get(box, {})
    return "" if any(one["verdict"] != REFUSED for one in own.values()) else "no answer"


def _named(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _rate_of_false(numbers: Mapping[str, Any]) -> str:
    """Return how often boxes without signal have a claim."""
    return "false claims in boxes of 10,000 events without signal: " + (
        "; ".join(
            f"{name} alone {one['false']} of {one['boxes']}, a rate of at most "
            f"{one['at_most']:.2g} (95 %)"
            for name, one in numbers.get("nulls", {}).items()
        )
        or "not run (--nulls)"
    )


def _most(numbers: Mapping[str, Any], box: str) -> str:
    """Return the upper limits of the most significant answer to a box."""
    p_values = {name: one.p_value for name, one in _answers(numbers, box).items()}
    if not p_values:
        return ""
    name = min(p_values, key=lambda one: p_values[one])
    limits: Mapping[str, Any] = numbers.get("limits", {}).get(box, {}).get(name, {})
    texts = (
        f"{variable}: none ({one['reason']})"
        if "reason" in one
        else f"{one['observed']:.0f} (expected {one['expected']:.0f}) of a peak in {variable} at "
        f"{one['mass']:.0f} GeV"
        for variable, one in limits.items()
    )
    said = "; ".join(texts)
    return said and f"events before any selection at most (95 % CL, {name}): {said}"


def olympics_claims(numbers: Mapping[str, Any]) -> Iterator[Claim]:
    """Yield the claims with their verdicts; undecided where no key was read, or none answered.

    Examples
    --------
    >>> numbers = {"answers": {}, "verdicts": {}, "truths": {}, "knowledge": {}, "pulls": {}}
    >>> [claim.verdict.value for claim in olympics_claims(numbers)]
    ['undecided', 'undecided', 'undecided', 'undecided']
    """
    for box, name, published, rule, holds, more, reason in (
        (
            "blackbox-1",
            "box-1",
            "target: found without priors; four of nine blind answers of 2020 have the mass within "
            "200 GeV or their error",
            "at least one method without priors finds it",
            bool(_counted(numbers, "blackbox-1", FOUND, agnostic=True)),
            "",
            "",
        ),
        (
            "blackbox-2",
            "box-2",
            "target: no claim; in 2020 four of a resonance that is not there",
            "no method claims",
            not _counted(numbers, "blackbox-2", FALSE),
            "",
            _rate_of_false(numbers),
        ),
        (
            "blackbox-3",
            "box-3",
            "target: found; in 2020 by nobody",
            "at least one method finds it; of searches in m_jj and in m_jjj the better one counts, "
            "times two",
            bool(_counted(numbers, "blackbox-3", FOUND)),
            _most(numbers, "blackbox-3"),
            "the limits are those of all dijets, as the share of an unknown signal that is "
            "selected is not known: the background under the peak makes them; 37.5 % of these "
            "resonances decay to two jets and peak in m_jj, the others in m_jjj",
        ),
    ):
        unjudged = _unjudged(numbers, box)
        ours = "; ".join(
            f"{verdict}: {_named(_counted(numbers, box, verdict))}" for verdict in (FOUND, FALSE)
        )
        yield Claim(
            name,
            _SOURCE,
            published,
            rule,
            "; ".join(filter(None, (unjudged or ours, more))),
            Verdict.UNDECIDED if unjudged else Verdict.of(holds),
            reason,
        )
    pulls: Mapping[str, Any] = numbers["pulls"].get("pulls", {})
    found = numbers["pulls"].get("found", 0)
    verdicts, texts = [], []
    for name, one in pulls.items():
        texts.append(f"{name} {one['mean']:.2f} ± {one['sd']:.2f} ({one['n']})")
        if one["n"] < FEWEST_PULLS:
            verdicts.append(Verdict.UNDECIDED)
            continue
        # Twice the errors of mean and deviation; a wider interval than the pulls need is no fault.
        error = one["sd"] / np.sqrt(one["n"])
        verdicts.append(compared(0.5 - abs(one["mean"]), error))
        verdicts.append(compared(1.5 - one["sd"], one["sd"] / np.sqrt(2 * one["n"])))
    yield Claim(
        "pulls",
        "targets of this project",
        "none",
        "mean of every pull within 0.5 of 0, deviation below 1.5, both beyond twice the error; "
        f"undecided with fewer than {FEWEST_PULLS} pulls of any",
        "; ".join(texts) or ("no box found" if numbers["pulls"] else "not run (--pulls)"),
        worst(verdicts) if verdicts else Verdict.UNDECIDED,
        f"{found} injected boxes were found" if texts and found < FEWEST_PULLS else "",
    )


def _answers(numbers: Mapping[str, Any], box: str) -> dict[str, Answer]:
    return {
        name: Answer.from_dict(dict(values))
        for name, values in numbers["answers"].get(box, {}).items()
        if "refused" not in values
    }


def _cell(numbers: Mapping[str, Any], box: str, name: str) -> str:
    """Return a verdict with its significance, and pulls where it is right."""
    values = numbers["answers"].get(box, {}).get(name)
    if values is None:
        return "-"
    one = numbers["verdicts"][box][name]
    if one["verdict"] == REFUSED:
        return REFUSED
    answer = Answer.from_dict(dict(values))
    text = f"{one['verdict']}, Z {answer.z:.1f}"
    if one["verdict"] in (FALSE, UNKNOWN):
        text += f", {answer.resonance_mass} GeV"
    if one["pulls"]:
        text += "; pulls " + ", ".join(f"{pull:+.1f}" for pull in one["pulls"].values())
    return text


def olympics_tables(numbers: Mapping[str, Any]) -> list[StudyTable]:
    """Return methods x boxes, every claim in full, published answers, and the pulls.

    Examples
    --------
    >>> numbers = {"answers": {}, "verdicts": {}, "truths": {}, "knowledge": {}, "pulls": {},
    ...     "left_out": {}}
    >>> [table.title for table in olympics_tables(numbers)][0]
    'Methods and boxes'
    """
    boxes = list(numbers["answers"])
    known: Mapping[str, str] = numbers["knowledge"]
    first = StudyTable(
        "Methods and boxes",
        ("method", "knows", *boxes),
        (
            *((name, known[name], *(_cell(numbers, box, name) for box in boxes)) for name in known),
            *(
                (name, f"not run: needs {reason}", *("-" for _ in boxes))
                for name, reason in numbers["left_out"].items()
            ),
        ),
    )
    rows = []
    for box in boxes:
        truth = numbers["truths"].get(box)
        if truth is not None:
            true = (truth.get(name) for name in PULLED.values())
            cells = ("-" if one is None else f"{one:g}" for one in true)
            rows.append((box, "truth", "", *cells, str(truth.get("prongs", "-"))))
        rows += [
            (
                box,
                name,
                f"{answer.p_value:.2g}",
                *(_estimate(getattr(answer, asked)) for asked in _ASKED),
                str(answer.prongs or "-"),
            )
            for name, answer in _answers(numbers, box).items()
            if answer.claim
        ]
    tables = [
        first,
        StudyTable(
            "Claims in the challenge's form",
            ("box", "method", "p, at most", *_ASKED.values(), "prongs"),
            tuple(rows),
        ),
        StudyTable(
            "Published answers (arXiv:2101.08320)",
            ("box", "method", "section", "blind", "verdict", *_ASKED.values(), "said"),
            tuple(_published_row(one) for box in boxes for one in published_answers(box)),
        ),
    ]
    if pulls := numbers["pulls"].get("pulls"):
        found = numbers["pulls"]
        tables.append(
            StudyTable(
                f"Pulls of {found['boxes']} injected boxes, {found['found']} found, "
                f"{found['false']} false",
                ("of", "mean", "deviation", "answers"),
                tuple(
                    (name, f"{one['mean']:+.2f}", f"{one['sd']:.2f}", str(one["n"]))
                    for name, one in pulls.items()
                ),
            )
        )
    return tables


def _estimate(one: Estimate) -> str:
    return "-" if one.value is None else str(one)


def _published_row(one: PublishedAnswer) -> tuple[str, ...]:
    numbers = []
    for asked in _ASKED:
        value = getattr(one, _OF_PUBLISHED[asked])
        numbers.append(
            "-" if value is None else f"{value[0]:g}" + (f" ± {value[1]:g}" if value[1] else "")
        )
    blind = "yes" if one.blind else "no"
    return (one.box, one.name, one.section, blind, one.verdict, *numbers, one.said)


def olympics_plots(numbers: Mapping[str, Any]) -> list[Plot]:
    """Return methods x boxes, and the answers to each box with a claim beside published ones."""
    boxes = list(numbers["answers"])
    fields: dict[str, dict[str, tuple[str, str]]] = {}
    for name in numbers["knowledge"]:
        for box in boxes:
            one = numbers["verdicts"][box].get(name, {"verdict": ""})
            values = numbers["answers"][box].get(name, {})
            text = f"Z = {values['z']:.1f}" if "z" in values else ""
            fields.setdefault(name, {})[box] = (one["verdict"], text)
    for box in boxes:
        for answer in published_answers(box, blind=True):
            fields.setdefault(f"{answer.name} (2020)", {})[box] = (answer.verdict, "")
    plots = [
        study_plot(
            "verdicts",
            "Methods and boxes",
            "Found, false or nothing, with the significance over all that was tried. "
            "Rows of 2020 are blind answers of the LHC Olympics, on other events.",
            verdicts_figure(fields),
            {name: {box: list(one) for box, one in own.items()} for name, own in fields.items()},
        )
    ]
    for box in boxes:
        panels = _panels(numbers, box)
        if not any(panel.ours for panel in panels):
            continue
        plots.append(
            study_plot(
                f"answers-{box}",
                f"Answers to {box}",
                "Claims (blue) and published answers (grey) with their uncertainties, the truth "
                "(red), and pulls, as in figure 51 of arXiv:2101.08320.",
                answers_figure(panels),
                {panel.title: [list(row) for row in panel.ours] for panel in panels},
            )
        )
    return plots


def _panels(numbers: Mapping[str, Any], box: str) -> list[Panel]:
    truth: Mapping[str, Any] = numbers["truths"].get(box, {})
    found = []
    for asked, title in _ASKED.items():
        ours: list[Row] = []
        for name, answer in _answers(numbers, box).items():
            one: Estimate = getattr(answer, asked)
            if answer.claim and one.value is not None:
                ours.append((name, one.value, one.uncertainty))
        published: list[Row] = []
        for other in published_answers(box):
            value = getattr(other, _OF_PUBLISHED[asked])
            if value is not None:
                published.append((f"{other.name} (2020)", *value))
        found.append(Panel(title, truth.get(PULLED[asked]), ours, published))
    return found


def calibration_of(numbers: Mapping[str, Any]) -> str:
    """Return whose p-values hold for taggers that are trained anew, in a sentence.

    Examples
    --------
    >>> calibration_of({"calibrated": ["gis"]})
    'p-values not calibrated for retraining, but those of gis in m_jj (null chains).'
    """
    none = "p-values not calibrated for retraining"
    names = ", ".join(numbers.get("calibrated", ()))
    if not names:
        return f"{none}: no table of null chains was given; in k-fold searches they are too small."
    return f"{none}, but those of {names} in m_jj (null chains)."


def leaderboard(study: Mapping[str, Any]) -> str:
    """Return the leaderboard's page as Markdown, from the values of a `study.json`.

    Parameters
    ----------
    study
        As `StudyResult.to_dict` gives them.

    Examples
    --------
    >>> numbers = {"answers": {"blackbox-1": {"pca": {"refused": "few events"}}}, "truths": {},
    ...     "verdicts": {"blackbox-1": {"pca": {"verdict": "refused", "pulls": {}}}},
    ...     "knowledge": {"pca": "none"}, "left_out": {}, "sha256": "ab"}
    >>> page = leaderboard({"command": "tnt-coffea study olympics", "numbers": numbers})
    >>> page.splitlines()[0], "| pca | none | 0 | 0 | refused |" in page
    ('# Leaderboard of the LHC Olympics', True)
    """
    numbers = study["numbers"]
    boxes = list(numbers["answers"])
    before = "before a key was read"
    if numbers.get("keys_were_read"):
        before = "after an earlier run in this folder had read keys"
    lines = [
        "# Leaderboard of the LHC Olympics",
        "",
        "Every method of this table searched every box blind; answers were written (SHA-256",
        f"`{numbers['sha256']}`) {before}. Found minus false claims decide the order.",
        "",
        f"    {study['command']}",
        "",
        *_table(numbers, boxes),
        "",
        f"**{calibration_of(numbers)}**",
        "",
        "found, false or nothing; Z of a bound on the p-value over all windows, masses, selections",
        "and methods, not over retraining; pulls of the masses of resonance, heavier and lighter",
        "daughter and of the number of events, where each was given. Rows of 2020 answer the real",
        f"boxes, of a million events{_of_ours(study)}.",
    ]
    return "\n".join(lines) + "\n"


def _of_ours(study: Mapping[str, Any]) -> str:
    asked: Mapping[str, Any] = study.get("settings", {})
    sizes = {value for name, value in asked.items() if name.endswith(" events")}
    return f"; ours are generated, of {', '.join(map(str, sorted(sizes)))}" if sizes else ""


def _true(truth: Mapping[str, Any] | None) -> str:
    if truth is None:
        return "-"
    if not truth["signal"]:
        return "no signal"
    return f"{truth['signal']} events at {truth['resonance_mass']:g} GeV"


def _table(numbers: Mapping[str, Any], boxes: list[str]) -> Iterator[str]:
    """Yield the lines of the table of methods and boxes, the best first, published rows last."""
    yield f"| method | knows | found | false | {' | '.join(boxes)} |"
    yield f"|{'---|' * (4 + len(boxes))}"
    known: Mapping[str, str] = numbers["knowledge"]
    truths = " | ".join(_true(numbers["truths"].get(box)) for box in boxes)
    yield f"| *truth* | | | | {truths} |"

    def count(name: str, verdict: str) -> int:
        return sum(numbers["verdicts"][b].get(name, {}).get("verdict") == verdict for b in boxes)

    def order(name: str) -> tuple[int, int, str]:
        return count(name, FALSE) - count(name, FOUND), count(name, FALSE), name

    for name in sorted(known, key=order):
        cells = " | ".join(_cell(numbers, box, name) for box in boxes)
        yield f"| {name} | {known[name]} | {count(name, FOUND)} | {count(name, FALSE)} | {cells} |"
    for name in dict.fromkeys(
        answer.name for box in boxes for answer in published_answers(box, blind=True)
    ):
        of_boxes = {
            box: next((a for a in published_answers(box, blind=True) if a.name == name), None)
            for box in boxes
        }
        said = ["-" if one is None else one.verdict for one in of_boxes.values()]
        numbers_of = (str(said.count(verdict)) for verdict in (FOUND, FALSE))
        yield f"| *{name} (2020)* | | {' | '.join(numbers_of)} | {' | '.join(said)} |"
