"""The result of a whole search: every test with how it was calibrated and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from tnt_coffea.displays import Displayed
from tnt_coffea.errors import StageError, reason
from tnt_coffea.search_folder import Trial
from tnt_coffea.stages import check_files
from tnt_coffea.stats import (
    AbcdLimit,
    AbcdRefusal,
    AbcdResult,
    BumpHuntResult,
    DirectEstimate,
    DirectLimit,
    DirectRefusal,
    Expectation,
    ExpectationScan,
    FitRefusal,
    GlobalPValue,
    ImpactRefusal,
    LimitRefusal,
    LimitResult,
    NuisanceImpact,
    NuisanceImpacts,
    ScanRefusal,
    ScanResult,
    TransferEstimate,
    TransferLimit,
    TransferRefusal,
    WindowTests,
)
from tnt_coffea.stats.results import Result
from tnt_coffea.storage import written

__all__ = ["BlindedSearch", "SearchResult"]


AbcdOutcome = Annotated[AbcdResult | AbcdRefusal, Field(discriminator="kind")]
DirectOutcome = Annotated[DirectEstimate | DirectRefusal, Field(discriminator="kind")]
LimitOutcome = Annotated[LimitResult | LimitRefusal, Field(discriminator="kind")]
TransferOutcome = Annotated[TransferEstimate | TransferRefusal, Field(discriminator="kind")]
ScanOutcome = Annotated[ScanResult | ScanRefusal, Field(discriminator="kind")]


@dataclass(frozen=True)
class SearchResult(Result):
    """p-values of a search and their provenance.

    Attributes
    ----------
    before
        Bump hunt on all dijets.
    after
        Bump hunt on the events that a tagger set selects, by the set's name.
    abcd
        ABCD estimate, or why there is none, by the set's name.
    direct
        Direct estimate from weighted simulation or a template, or why there is none, by each set
        that has either.
    transfer
        Transfer factor, or why there is none, by the set's name, where one was asked for.
    window
        Events in the windows of a method's tagger sets, at every selection, where that was asked
        for, by the method's name; of a method with one set, by that of the set.
    scans
        Scan over masses of all dijets, 'before', and of each set's selection, if one
        was asked for.
    overall
        Scan over all dijets and the selections of all tagger sets, with one global p-value for the
        choice of the most significant, or why there is none; None where there is one set only.
    limits
        Upper limits on the signal at the mass of the bump hunts, or why there is none, by
        the same names.
    limit_bands
        Asymptotic limits at the masses of the scans where they hold.
    impacts
        Of the nuisance parameters on each bump hunt's signal, where its shape is uncertain, or
        why there are none.
    refusals
        Tests that could not be made, and why: of these no result stands above.
    provenance
        Hashes of inputs (truth and dates excluded), of settings and taggers; versions; and by
        tagger set its `knowledge` beside the data: none, background or signal simulation.
    global_p
        p-value of the search over everything that was tested on these data when it was fitted; with
        the folder's list of tests, until now. None in results of older versions.
    trials
        All tests that were made on these data in the search's folder, the first one first; empty
        where nobody kept them. They are stored in `fits.json` there, not with the result.
    trial
        Which of them this result is, from 1; 0 where nobody kept them.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> hunt = stats.bump_hunt(stats.toy_spectrum(5000, 100), mass=3500, width=120, fit=fit)
    >>> result = SearchResult(before=hunt, after={}, abcd={}, provenance={})
    >>> print(result.summary().splitlines()[2])
      Z = 3.05, p = 0.00114 (asymptotic), signal 107.4 +- 33.2 events
    >>> SearchResult.from_dict(result.to_dict()) == result
    True
    """

    before: BumpHuntResult
    after: Mapping[str, BumpHuntResult]
    abcd: Mapping[str, AbcdOutcome]
    provenance: Mapping[str, Any]
    scans: Mapping[str, ScanResult] = field(default_factory=dict)
    limits: Mapping[str, LimitOutcome] = field(default_factory=dict)
    limit_bands: Mapping[str, tuple[LimitResult, ...]] = field(default_factory=dict)
    impacts: Mapping[str, tuple[NuisanceImpact, ...] | ImpactRefusal] = field(default_factory=dict)
    refusals: tuple[FitRefusal, ...] = ()
    overall: ScanOutcome | None = None
    direct: Mapping[str, DirectOutcome] = field(default_factory=dict)
    transfer: Mapping[str, TransferOutcome] = field(default_factory=dict)
    window: Mapping[str, WindowTests] = field(default_factory=dict)
    global_p: GlobalPValue | None = field(default=None, compare=False)
    trials: tuple[Trial, ...] = field(default=(), compare=False)
    trial: int = field(default=0, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values; the tests made beside it have a file of their own."""
        values = super().to_dict()
        left_out = {"trials", "trial"}
        optional = ("direct", "transfer", "window", "global_p")
        left_out |= {name for name in optional if not getattr(self, name)}
        return {name: value for name, value in values.items() if name not in left_out}

    __repr__ = Displayed.__repr__

    def _facts(self) -> dict[str, str]:
        hunts = {"all dijets": self.before}
        hunts |= {f"selection by {name}": hunt for name, hunt in self.after.items()}
        facts = {
            name: f"Z = {hunt.z:.2f}, p = {'at most ' if hunt.p_is_bound else ''}"
            f"{hunt.p_value:.2g} ({hunt.calibration}), signal {hunt.mu_hat:.1f} +- "
            f"{hunt.mu_uncertainty:.1f} events at {hunt.mass:g} GeV{_doubt(hunt.converged)}"
            for name, hunt in hunts.items()
        }
        facts |= {
            f"ABCD with {name}": f"Z = {test.z:.2f}, p = {'at most ' if test.p_is_bound else ''}"
            f"{test.p_value:.2g}, {test.a:g} events, "
            f"{test.expected:.1f} expected{_doubt(test.converged)}"
            if isinstance(test, AbcdResult)
            else f"refused: {test.reason}"
            for name, test in self.abcd.items()
        }
        facts |= {
            f"direct estimate with {name}": f"Z = {test.z:.2f}, p = {test.p_value:.2g}, "
            f"{test.observed:g} events, {test.predicted:.1f} +- {test.uncertainty:.1f} predicted"
            f"{_doubt(test.converged)}"
            if isinstance(test, DirectEstimate)
            else f"refused: {test.reason}"
            for name, test in self.direct.items()
        }
        facts |= {
            f"transfer factor with {name}": f"Z = {test.z:.2f}, p = "
            f"{'at most ' if test.p_is_bound else ''}{test.p_value:.2g}, {test.observed:g} events, "
            f"{test.predicted:.1f} ± {test.uncertainty:.1f} predicted{_doubt(test.converged)}"
            if isinstance(test, TransferEstimate)
            else f"refused: {test.reason}"
            for name, test in self.transfer.items()
        }
        for name, tests in self.window.items():
            number = len(tests.windows)
            for selection in tests.selections:
                test = tests.best(selection)
                low, high = test.result.window
                of = f"{name}, all dijets" if selection is None else f"{name} {test.selected}"
                facts[f"window test, {of}"] = (
                    f"Z = {test.z:.2f}, local Poisson p = {test.result.p_poisson:.2g}, "
                    f"{test.result.observed:g} events in {low:g}-{high:g} GeV, "
                    f"{test.result.expected:.1f} ± {test.result.uncertainty:.1f} expected"
                    + (f", most significant of {number} windows" if number > 1 else "")
                    + _doubt(test.result.converged)
                )
        facts |= {
            f"limit, {name}": f"{limit.observed:.4g} events, {limit.expected[2]:.4g} expected"
            f"{_doubt(limit.converged)}"
            if not isinstance(limit, LimitRefusal)
            else f"refused: {limit.reason}"
            for name, limit in {**self.limits, **self._count_limits()}.items()
        }
        for name, scan in self.scans.items():
            best = scan.best_point
            facts[f"scan, {name}"] = f"Z = {best.z:.2f} at {best.mass:g} GeV" + (
                ""
                if scan.p_global is None
                else f", global p = {'at most ' if scan.p_global_is_bound else ''}"
                f"{scan.p_global:.2g}"
            )
            facts[f"scan, {name}"] += _doubt(scan.converged)
        facts |= {f"{one.test}, {one.selection}": f"refused: {one.reason}" for one in self.refusals}
        if self.overall is not None:
            facts["all selections together"] = self.overall_text()
        if self.global_p is not None:
            facts["everything that was tested"] = self.global_p.text()
        if len(self.trials) > 1:
            facts["tests made on these data"] = f"{len(self.trials)}, this is number {self.trial}"
        return facts

    def _count_limits(self) -> dict[str, AbcdLimit | DirectLimit | TransferLimit | LimitRefusal]:
        tests: dict[str, AbcdResult | DirectEstimate | TransferEstimate] = {
            f"ABCD with {n}": test for n, test in self.abcd.items() if isinstance(test, AbcdResult)
        }
        tests |= {
            f"direct estimate with {n}": test
            for n, test in self.direct.items()
            if isinstance(test, DirectEstimate)
        }
        tests |= {
            f"transfer factor with {n}": test
            for n, test in self.transfer.items()
            if isinstance(test, TransferEstimate)
        }
        return {name: test.limit for name, test in tests.items() if test.limit is not None}

    def knowledge(self, name: str) -> str:
        """Return what the taggers of a set knew beside the data; empty where nobody said."""
        return _knowledge(self.provenance, name)

    def summary(self) -> str:
        """Return every test in a few lines of text."""
        blocks = [f"before selection\n{self.before.summary()}"]
        blocks += [
            f"after selection by {name}{self._known(name)}\n{r.summary()}"
            for name, r in self.after.items()
        ]
        of = (
            ("ABCD with", self.abcd),
            ("direct estimate with", self.direct),
            ("transfer factor with", self.transfer),
            ("windows of", self.window),
            ("scan,", self.scans),
        )
        blocks += [
            f"{what} {name}{self._known(name)}\n{found.summary()}"
            for what, tests in of
            for name, found in tests.items()
        ]
        if self.overall is not None:
            blocks.append(f"all selections together\n{self.overall.summary()}")
        blocks += [
            f"limit, {name}{self._known(name)}\n{r.summary()}" for name, r in self.limits.items()
        ]
        tests = {"before": self.before, **self.after}
        blocks += [
            f"impacts, {name}\n{self._impacts(found, tests[name]).summary()}"
            for name, found in self.impacts.items()
        ]
        blocks += [refusal.summary() for refusal in self.refusals]
        if self.global_p is not None:
            blocks.append(self.global_p.summary())
        if len(self.trials) > 1:
            blocks.append("\n".join(self.trial_lines()))
        return "\n\n".join(blocks)

    @staticmethod
    def _impacts(
        found: tuple[NuisanceImpact, ...] | ImpactRefusal, test: BumpHuntResult
    ) -> NuisanceImpacts | ImpactRefusal:
        if isinstance(found, ImpactRefusal):
            return found
        return NuisanceImpacts(test.mass, test.width, found)

    def _known(self, name: str) -> str:
        known = self.knowledge(name)
        return f" (knows beside the data: {known})" if known else ""

    def overall_text(self) -> str:
        """Return the test over all selections as text: its global p-value and what was tried."""
        scan = self.overall
        if scan is None:
            return ""
        if isinstance(scan, ScanRefusal):
            return f"refused: {scan.reason}"
        least, most = ("at most ", " or more") if scan.p_global_is_bound else ("", "")
        best = scan.best_point
        return (
            (
                "no global p"
                if scan.p_global is None
                else f"global p = {least}{scan.p_global:.2g} (Z = {scan.z_global:.2f}{most})"
            )
            + f" over {scan.tried}, most significant {best.selection} at {best.mass:g} GeV"
            + _doubt(scan.converged)
        )

    def trial_lines(self) -> list[str]:
        """Return the tests made on these data as lines of text: how many, then each of them."""
        count = f"{len(self.trials)} tests were made on these data" + (
            f"; this is number {self.trial}" if self.trial else ""
        )
        count += (
            "; that of a scan counts what the scan tried, the search's global p-value all of them"
        )
        return [count, *(self._trial_line(n) for n in range(1, len(self.trials) + 1))]

    def _trial_line(self, number: int) -> str:
        trial, first = self.trials[number - 1], self.trials[0]
        changes = ", ".join(
            _of_null_chains(now, before)
            if name == "fit.bump.null_chains"
            else f"{name} {now} instead of {before}"
            for name, (before, now) in trial.differs_from(first).items()
            if name != "histograms"
        )
        p_values = ", ".join(
            f"p = {p:.3g} ({name})" for name, p in trial.p_values.items() if p is not None
        )
        text = f"  {number}. {trial.test}{trial.of and ' of ' + trial.of}"
        text += f" with {changes}" if changes else ""
        return f"{text}: {p_values}" if p_values else text

    def save(self, path: str | Path) -> None:
        """Write the result as JSON; the same result gives the same bytes.

        Raises
        ------
        StorageError
            The file cannot be written.
        """
        with written(Path(path)) as partial:
            partial.write_text(json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> SearchResult:
        """Return the result in a JSON file, or in the folder of the stage `fit`.

        Raises
        ------
        StageError
            The file cannot be read, holds no result, or was changed since the stage `fit` made it.
        """
        return _loaded(cls, path)


@dataclass(frozen=True)
class BlindedSearch(Result):
    """What a search lets one expect, as long as nobody looks into the window.

    No number depends on the events whose mass lies in it: what was fitted are the sidebands.

    Attributes
    ----------
    window
        The range whose bins are hidden [GeV].
    fits
        Of all dijets, 'before', and of each tagger set's selection, by the set's name.
    scans
        The same over the masses of `fit.scan`, if there are any.
    provenance
        As of `SearchResult`.
    notes
        Tests that were asked for and left out, and why.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> found = stats.expectation(
    ...     stats.toy_spectrum(5000), mass=3500, width=120, fit=fit, window=(3300, 3700)
    ... )
    >>> result = BlindedSearch((3300, 3700), {"before": found}, {}, {})
    >>> print(result.summary().splitlines()[0])
    blinded: no number here depends on the events in 3300-3700 GeV
    >>> BlindedSearch.from_dict(result.to_dict()) == result
    True
    """

    window: tuple[float, float]
    fits: Mapping[str, Expectation]
    scans: Mapping[str, ExpectationScan]
    provenance: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    kind: Literal["blinded"] = field(default="blinded", kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        values = super().to_dict()
        return values if self.notes else {n: v for n, v in values.items() if n != "notes"}

    def knowledge(self, name: str) -> str:
        """Return what the taggers of a set knew beside the data; empty where nobody said."""
        return _knowledge(self.provenance, name)

    def summary(self) -> str:
        """Return all expectations in a few lines of text."""
        low, high = self.window
        blocks = [f"blinded: no number here depends on the events in {low:g}-{high:g} GeV"]
        blocks += [f"{self._selection(name)}\n{one.summary()}" for name, one in self.fits.items()]
        blocks += [
            f"masses, {self._selection(name)}\n{one.summary()}" for name, one in self.scans.items()
        ]
        blocks += [f"note: {note}" for note in self.notes]
        return "\n\n".join(blocks)

    def _selection(self, name: str) -> str:
        if name == "before":
            return "before selection"
        known = self.knowledge(name)
        return f"after selection by {name}" + (
            f" (knows beside the data: {known})" if known else ""
        )

    def save(self, path: str | Path) -> None:
        """Write the result as JSON; the same result gives the same bytes.

        Raises
        ------
        StorageError
            The file cannot be written.
        """
        with written(Path(path)) as partial:
            partial.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> BlindedSearch:
        """Return the result in a JSON file, or in the folder of the stage `fit`.

        Raises
        ------
        StageError
            The file cannot be read, holds no such result, or was changed since.
        """
        return _loaded(cls, path)


def _knowledge(provenance: Mapping[str, Any], name: str) -> str:
    known, name = provenance.get("knowledge", {}), name.partition(" ")[0]
    # A method with a set a window knows in all of them the same.
    own = [word for one, word in known.items() if one == name or one.startswith(f"{name}-")]
    return str(known.get(name, own[0] if own else ""))


R = TypeVar("R", SearchResult, BlindedSearch)


def _loaded(kind: type[R], path: str | Path) -> R:
    path = Path(path)
    path = path / "result.json" if path.is_dir() else path
    if not path.exists():
        msg = f"{path}: no result here; run `tnt-coffea fit` first"
        raise StageError(msg)
    check_files(path.parent)
    try:
        values = json.loads(path.read_text())
        blinded = isinstance(values, Mapping) and values.get("kind") == "blinded"
        if blinded and kind is SearchResult:
            msg = f"{path}: the fit is blinded: it holds no p-value and no observed limit"
            raise StageError(msg)
        result = kind.from_dict(values)
        result.summary()  # numbers that no test can have do not go together
    except (
        OSError,
        ValueError,
        RecursionError,
        ArithmeticError,
        LookupError,
        TypeError,
    ) as error:
        msg = f"{path}: not a readable result: {reason(error)}; run `tnt-coffea fit` again"
        raise StageError(msg) from error
    return result


def _doubt(converged: bool) -> str:
    return "" if converged else ", not converged"


def _of_null_chains(now: str | None, before: str | None) -> str:
    """Return in words which null chains a test had, and the first one: hashes, if any."""
    new, old = (digest[:8] if digest else "none" for digest in (now, before))
    return f"the null chains {new} instead of {old}"
