"""Numbers, names and conclusions in words: the same in the report, figures and terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tnt_coffea.accounting import Accounting
from tnt_coffea.config import SearchConfig, parameter_names
from tnt_coffea.reporting.figures import SUPERSCRIPTS
from tnt_coffea.results import SearchResult
from tnt_coffea.stats.abcd_results import AbcdLimit, AbcdResult
from tnt_coffea.stats.direct_results import DirectEstimate
from tnt_coffea.stats.limit_results import LimitResult
from tnt_coffea.stats.results import COMBINATION_NOTE, BumpHuntResult
from tnt_coffea.stats.scan_results import ScanResult
from tnt_coffea.stats.transfer_results import TransferEstimate
from tnt_coffea.working_points import Selection

if TYPE_CHECKING:
    from tnt_coffea.reporting.evaluation import Evaluation

__all__ = [
    "capitalised",
    "cautions",
    "chosen_by",
    "coverage",
    "cut_text",
    "data_facts",
    "duration",
    "gain",
    "headline",
    "main_set",
    "mass_name",
    "method_text",
    "nuisance_text",
    "odds",
    "p_text",
    "percent",
    "plot_label",
    "selection_text",
    "size_text",
    "title",
]

_MASS_NAMES = {"m_jj": "dijet mass", "m_jjj": "three-jet mass", "m_multijet": "mass of all jets"}
_TIMES = " \N{MULTIPLICATION SIGN} "
_POOR_FIT = 0.01
# One-sided 5, 3 and 2 standard deviations.
_FIVE, _THREE, _TWO = 2.87e-7, 1.35e-3, 2.28e-2


def p_text(p_value: float) -> str:
    """Return a p-value in two digits: '0.34', or a power of ten."""
    text = f"{p_value:.2g}"
    if "e" not in text:
        return text
    digits, exponent = text.split("e")
    return f"{digits}{_TIMES}10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def odds(p_value: float) -> str:
    """Return a p-value as a frequency in words: 'about 1 in 5.6 million'."""
    if p_value >= 0.095:
        return f"about {round(10 * p_value)} in 10"
    if p_value < 1e-12:
        return "less than 1 in a trillion"
    n = float(f"{1 / p_value:.2g}")
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if n >= size:
            return f"about 1 in {n / size:g}{word}"
    return f"about 1 in {n:,.0f}"


def percent(share: float) -> str:
    """Return a share as text: '3 %'."""
    return f"{100 * share:.3g} %"


def selection_text(selection: Selection) -> str:
    """Return a selection as text: '3 %', or the name of its cuts."""
    return selection if isinstance(selection, str) else percent(selection)


def chosen_by(selection: Selection, name: str) -> str:
    """Return in words the events that a selection by a tagger set keeps."""
    if isinstance(selection, str):
        return f"events that pass the cuts '{selection}' of {name}"
    return f"the {percent(selection)} of events selected by {name}"


def mass_name(variable: str) -> str:
    """Return the mass of a search in words, as in the middle of a sentence."""
    return _MASS_NAMES.get(variable, variable)


def capitalised(text: str) -> str:
    """Return a text as it begins a sentence; a column's name stays as it is."""
    return text if "_" in text.split()[0] else f"{text[0].upper()}{text[1:]}"


def main_set(names: Iterable[str], config: SearchConfig) -> str:
    """Return the tagger set that a search is about: that of the last method in the settings.

    Of a method with a set a window it is that of `search.window`, or the first.

    Parameters
    ----------
    names
        Of tagger sets, at least one; a set a window is called by the method and the window.
    config
        The settings.
    """
    found = list(names)
    for method in reversed(list(config.train.methods)):
        for name in sorted(found, key=lambda one: one != f"{method}-{config.search.window.name}"):
            if name == method or name.startswith(f"{method}-"):
                return name
    return found[0]


_KINDS = {
    "cwola": "CWoLa hunting",
    "feature": "one observable",
    "files": "taggers from files",
    "tag_n_train": "Tag N' Train",
}
CUTS = {
    "two_jets": "at least two jets",
    "trigger": "leading jet above the trigger's pT",
    "select": "own selection",
    "certified_runs": "certified runs",
    "hlt": "accepted by a trigger path",
}
"""Cuts in words, by their names."""


def cut_text(cut: str) -> str:
    """Return a cut in words."""
    return CUTS.get(cut, cut.replace("_", " ") if cut.islower() else cut)


_NUISANCES = {
    parameter_names.SIGNAL_SCALE: "mass scale of the signal",
    parameter_names.SIGNAL_WIDTH: "mass resolution of the signal",
    parameter_names.STATISTICS: "simulated signal events",
    parameter_names.TAGGER: "signal efficiency of the taggers",
    parameter_names.TRIGGER: "trigger efficiency",
    parameter_names.FUNCTION: "choice of the background function",
    "pdf": "parton distribution functions",
    "fsr": "final-state radiation",
    "isr": "initial-state radiation",
    "jes": "jet energy scale",
    "jer": "jet energy resolution",
    "jms": "jet mass scale",
    "jmr": "jet mass resolution",
}
_NUMBERED = re.compile(rf"({parameter_names.TRIGGER})_(\d+)")
_SPACES = str.maketrans("-_", "  ")
_OF_BACKGROUND = re.compile(r"phi_(.+)_(\d+)")


def nuisance_text(name: str) -> str:
    """Return a nuisance parameter in words, as the field calls it.

    Names of a user's own that are in capitals stay as they are, as `lumi_13TeV` does.

    Examples
    --------
    >>> nuisance_text("jet_energy_scale"), nuisance_text("phi_fold_0_1")
    ('jet energy scale', 'background parameter 2, fold 0')
    """
    if name in _NUISANCES:
        return _NUISANCES[name]
    if found := _NUMBERED.fullmatch(name):
        return f"{_NUISANCES[found[1]]}, direction {int(found[2]) + 1}"
    if found := _OF_BACKGROUND.fullmatch(name):
        where = "" if found[1] == "all" else f", {found[1].translate(_SPACES)}"
        return f"background parameter {int(found[2]) + 1}{where}"
    return name.replace("_", " ") if name.islower() else name


def title(config: SearchConfig, sets: Iterable[str]) -> str:
    """Return the title of a report, that of the settings or one made from the tagger sets."""
    by = ", ".join(sets)
    variable = config.search.variable
    made = "Dijet search" if variable == "m_jj" else f"Search in the {mass_name(variable)}"
    return config.report.title or f"{made}{f' with {by}' if by else ''}"


def method_text(name: str, config: SearchConfig) -> str:
    """Return a tagger set with the kind of its method, where the settings have it."""
    for own, method in config.train.methods.items():
        if name == own or name.startswith(f"{own}-"):
            kind = _KINDS.get(method.kind, method.kind.replace("_", " "))
            return name if kind == name else f"{name} ({kind})"
    return name


def data_facts(config: SearchConfig, *, generated: bool) -> dict[str, str]:
    """Return experiment, energy and luminosity as text by their names, those that are known."""
    report, data = config.report, config.data
    status = report.label or ("Simulation" if generated else None)
    facts = {
        "experiment": " ".join(filter(None, (report.experiment, status))),
        "√s": f"{data.sqrt_s:g} TeV",
        "luminosity": f"{data.luminosity:g} fb⁻¹" if data.luminosity else "",
    }
    return {name: text for name, text in facts.items() if text}


def plot_label(config: SearchConfig, *, generated: bool) -> str:
    """Return what is written over every plot: 'CMS Preliminary, 138 fb⁻¹ (13 TeV)'."""
    facts = data_facts(config, generated=generated)
    energy = f"({facts['√s']})"
    if "luminosity" in facts:
        energy = f"{facts['luminosity']} {energy}".strip()
    between = ", " if "luminosity" in facts else " "
    return between.join(filter(None, (facts.get("experiment", ""), energy)))


def size_text(size: int | None) -> str:
    """Return a size in bytes as text: '12.3 MB'."""
    if size is None:
        return "size unknown"
    for power, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= power:
            return f"{size / power:.3g} {unit}"
    return f"{size} B"


def duration(seconds: float) -> str:
    """Return a time span as text: '4.2 s', '3 min 20 s', '1 h 05 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def headline(result: SearchResult, config: SearchConfig) -> tuple[str, str, str]:
    """Return the search in three sentences: before, after, and what the numbers mean."""
    before = result.before
    first = (
        f"Before any selection, the bump hunt at {config.search.variable} = {before.mass:g} GeV "
        f"gives a local p-value of {p_text(before.p_value)} (Z = {before.z:.2f}): "
        f"{_verdict(before.p_value)}."
    )
    return first, _after(result, config), _meaning(result)


def coverage(result: SearchResult, config: SearchConfig) -> list[str]:
    """Return the meaning of the p-values in plain words, and the limits of that meaning.

    Parameters
    ----------
    result
        The search.
    config
        The settings that it was made with.
    """
    before = result.before
    tests = {"in all dijets": before}
    tests |= {f"with {name}": hunt for name, hunt in result.after.items()}
    chances = "; ".join(f"{where}, {odds(hunt.p_value)}" for where, hunt in tests.items())
    notes = [
        "How often background alone would give an excess at least this large here, if the "
        f"background function is right: {chances}. This is not the chance that there is no signal."
    ]
    if any(hunt.calibration == "asymptotic" for hunt in tests.values()):
        notes.append(
            "Asymptotic means that the large-sample form of the test statistic was taken "
            "(arXiv:1007.1727) and not checked with toys in this search; with few events under the "
            "peak it is approximate, and tiny values hold to their order of magnitude at best."
        )
    notes.append(
        f"Look-elsewhere: the p-values are for a mass of {before.mass:g} GeV and a width of "
        f"{before.width:g} GeV{_when_fixed(result)}. Other masses and widths that "
        f"might have been tried are not accounted for, nor that {len(tests)} "
        f"{'spectrum was' if len(tests) == 1 else 'spectra were'} tested and the best can be "
        "picked."
    )
    if result.overall is not None:
        notes.append(
            f"All selections together: {result.overall_text()}. It counts what is named here, with "
            "the events that the selections share, and no other test on these data."
            if isinstance(result.overall, ScanResult)
            else f"All selections together: {result.overall_text()}."
        )
    if result.global_p is not None:
        notes.append(f"Everything that was tested: {result.global_p.text()}.")
    guided = [name for name in result.after if result.knowledge(name) == "signal simulation"]
    if guided:
        notes.append(
            f"Simulated signals trained {', '.join(guided)}: such taggers look for signals like "
            "these, and a search with them is one for these models. Other signals may be missed."
        )
    if any(COMBINATION_NOTE in hunt.notes for hunt in result.after.values()):
        notes.append(
            "Folds: each fold's taggers were trained on the other folds, so the folds are not "
            "independent. Their combination was not calibrated with background-only searches that "
            "train anew, which is the test to ask for before quoting a significance."
        )
    notes.append(
        "Systematic uncertainties: the background's parameters float in the fits; ABCD and direct "
        "estimates have a closure uncertainty. Jet energy scale and resolution, the signal's "
        "shape, and a selection that bends the background's spectrum are not covered."
    )
    return notes


def _when_fixed(result: SearchResult) -> str:
    """Return what is known of when mass and width were fixed."""
    if result.trial == 1:
        return ", fixed before the data were looked at"
    if result.trial > 1:
        return (
            f", fixed after other tests: this is number {result.trial} of the {len(result.trials)} "
            "that were made on these data"
        )
    return ""


def cautions(
    result: SearchResult,
    accounting: Mapping[str, Accounting],
    of_training: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Return the reasons to doubt the numbers: fits in trouble, poor fits, lost events.

    Parameters
    ----------
    result
        The search.
    accounting
        Where every event went, by stage.
    of_training
        What the training said against the tagger sets, by their name.
    """
    warnings = [
        f"Training of {name}: {one}." for name, some in (of_training or {}).items() for one in some
    ]
    tests = {"all dijets": result.before}
    tests |= {name: test for name, test in result.after.items()}
    for name, test in tests.items():
        if not test.converged:
            warnings.append(f"The bump hunt on {name} did not pass its own checks; see its notes.")
        warnings += [
            f"The background-only fit to {name}, channel {channel.name}, describes the data "
            f"poorly (goodness of fit p {'≤' if channel.goodness_is_bound else '='} "
            f"{p_text(channel.goodness_of_fit)}); a signal can "
            "cause that, and so can a wrong background function."
            for channel in test.channels
            if channel.goodness_of_fit < _POOR_FIT
        ]
    warnings += [
        f"The {one.test} {on} was refused: {one.reason}."
        for one in result.refusals
        for on in ["of all dijets" if one.selection == "before" else f"with {one.selection}"]
    ]
    warnings += [
        f"The ABCD test with {name} did not pass its own checks; see its notes."
        for name, test in result.abcd.items()
        if isinstance(test, AbcdResult) and not test.converged
    ]
    warnings += [
        f"The direct estimate with {name} did not pass its own checks; see its notes."
        for name, test in result.direct.items()
        if isinstance(test, DirectEstimate) and not test.converged
    ]
    warnings += [
        f"The transfer factor with {name} did not pass its own checks; see its notes."
        for name, test in result.transfer.items()
        if isinstance(test, TransferEstimate) and not test.converged
    ]
    warnings += [
        f"A fit beside the windows of {name} did not converge; see the table of its tests."
        for name, tests in result.window.items()
        if not tests.converged
    ]
    warnings += [
        f"The upper limit of ABCD with {name} is not converged; its notes say why."
        for name, test in result.abcd.items()
        if isinstance(test, AbcdResult)
        and isinstance(test.limit, AbcdLimit)
        and not test.limit.converged
    ]
    warnings += [
        f"The upper limit {'on all dijets' if name == 'before' else f'with {name}'} is not "
        "converged; its notes say why."
        for name, limit in result.limits.items()
        if isinstance(limit, LimitResult) and not limit.converged
    ]
    warnings += [
        f"Stage {stage}: {account.n_lost:,} of {account.events:,} events were lost to bad files."
        for stage, account in accounting.items()
        if account.n_lost
    ]
    warnings += [
        f"Stage {stage}: {len(account.unopened)} bad files were left out, all their events with "
        f"them: {', '.join(account.unopened[:3])}"
        f"{', ...' if len(account.unopened) > 3 else '.'}"
        for stage, account in accounting.items()
        if account.unopened
    ]
    return warnings


def gain(result: SearchResult, evaluation: Evaluation | None) -> str:
    """Return what the fits find of the true signal, and what that means for their Z."""
    if evaluation is None:
        return ""
    before = result.before
    text = (
        f"The fit to all dijets finds {before.mu_hat:.0f} ± {before.mu_uncertainty:.0f} of "
        f"{evaluation.signal:,.0f} true signal events. "
    )
    if abs(before.mu_hat - evaluation.signal) > 2 * before.mu_uncertainty:
        text += (
            "These differ: the signal's shape in the fit is not that of the signal, or the "
            "background function takes a part of it. Z of all dijets is then too small, and the "
            "ratio of two Z says more about the fits than about the selection. "
        )
    return (
        f"{text}The gain that the selection itself makes is ε_S/√ε_B; a ratio of two Z beyond it "
        "flatters the taggers."
    )


def _verdict(p_value: float) -> str:
    if p_value < _FIVE:
        return "an excess beyond five standard deviations"
    if p_value < _THREE:
        return "an excess beyond three standard deviations"
    return "a mild excess" if p_value < _TWO else "background alone explains the data"


def _after(result: SearchResult, config: SearchConfig) -> str:
    selection = config.fit.bump.selection
    kept = (
        f"events that pass the taggers' cuts '{selection}'"
        if isinstance(selection, str)
        else f"{percent(selection)} of events that the taggers rank highest"
    )
    if not result.after:
        refused = any(one.test == "bump hunt" for one in result.refusals)
        return (
            "No spectrum of a selection by a tagger could be fitted."
            if refused
            else "No selection by a tagger was tested."
        )
    main = main_set(result.after, config)
    sets = sorted(result.after.items(), key=lambda item: item[0] != main)
    parts = [
        f"{p_text(hunt.p_value)} (Z = {hunt.z:.2f}, {hunt.mu_hat:.0f} ± "
        f"{hunt.mu_uncertainty:.0f} signal events) with {name}{_known(result, name)}"
        for name, hunt in sets
    ]
    return (
        f"In the {kept} it is "
        f"{' and '.join(parts)}: {_verdict(sets[0][1].p_value)}"
        f"{f' with {sets[0][0]}' if len(sets) > 1 else ''}."
        f"{_beside_before(result.before, sets[0][0], sets[0][1])}"
    )


def _known(result: SearchResult, name: str) -> str:
    known = result.knowledge(name)
    return f" (simulation used: {known})" if known else ""


def _beside_before(before: BumpHuntResult, name: str, after: BumpHuntResult) -> str:
    """Return what a selection made of an excess that was there without it."""
    if _level(before.p_value) <= _level(after.p_value) or _level(before.p_value) < 1:
        return ""
    return (
        f" All dijets show the larger excess (Z = {before.z:.2f}): the selection by {name} did not "
        "enrich it, as it would a signal that its taggers find."
    )


def _level(p_value: float) -> int:
    return sum(p_value < threshold for threshold in (_TWO, _THREE, _FIVE))


def _meaning(result: SearchResult) -> str:
    tests = (result.before, *result.after.values())
    origins = {
        "toys": "from {} toys",
        "null chains": "from {} whole searches of background with taggers trained anew",
    }
    calibrations = {origins.get(test.calibration, "asymptotic").format(test.toys) for test in tests}
    meaning = (
        "A local p-value is the chance that background alone gives at least such an excess at "
        f"this one mass, chosen beforehand; these are {' or '.join(sorted(calibrations))}"
    )
    overall = result.overall if isinstance(result.overall, ScanResult) else None
    tried = "" if overall is None else f" ({overall.tried})"
    if result.global_p is not None:
        least = "at most " if result.global_p.is_bound else ""
        number = result.global_p.tests + result.global_p.other_tests
        meaning += (
            f"; with all {number} tests made on these data counted{tried}, the search has a global "
            f"p-value of {least}{p_text(result.global_p.p_value)}"
        )
    elif overall is not None and overall.p_global is not None:
        least = "at most " if overall.p_global_is_bound else ""
        meaning += (
            f"; one as significant as the best of all{tried} comes with a "
            f"global p-value of {least}{p_text(overall.p_global)}"
        )
    if any(COMBINATION_NOTE in test.notes for test in result.after.values()):
        return (
            f"{meaning}, and because the combination of the cross-validation folds has not been "
            "calibrated with background-only searches that train the taggers anew, a small value "
            "after the selection says where to look and is not yet evidence."
        )
    return f"{meaning}."
