"""The answer to a box in the form of the LHC Olympics: a p-value, masses, a number of events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from tnt_coffea.config import SearchConfig, digest
from tnt_coffea.errors import StageError
from tnt_coffea.stats.p_values import significance
from tnt_coffea.stats.results import Result
from tnt_coffea.storage import written

__all__ = ["ALL_DIJETS", "CLAIM", "NO_CLAIM", "Answer", "Estimate", "write_answer"]

CLAIM = 3.0
"""Global significance from which a resonance is claimed: what the field calls evidence. Below it no
mass is given, for the largest fluctuation of a box without signal has one too."""
ALL_DIJETS = "all dijets"
"""What an answer calls the spectrum before any selection."""
NO_CLAIM = "no claim"
"""Why an answer without a claim has no masses."""


@dataclass(frozen=True)
class Estimate(Result):
    """A number with the half width of its central 68 %, or why there is none.

    Examples
    --------
    >>> print(Estimate(3823.0, 12.0)), print(Estimate(reason="no claim"))
    3823 ± 12
    none: no claim
    (None, None)
    """

    value: float | None = None
    uncertainty: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return f"none: {self.reason}"
        return f"{self.value:.0f} ± {self.uncertainty:.0f}"

    def pull(self, true: float) -> float | None:
        """Return (answer - true) / uncertainty; None without an answer.

        Examples
        --------
        >>> Estimate(3820.0, 10.0).pull(3800.0)
        2.0
        """
        if self.value is None or not self.uncertainty:
            return None
        return (self.value - true) / self.uncertainty


@dataclass(frozen=True)
class Answer(Result):
    """What a search says of a box, in the form that the LHC Olympics asked for.

    Attributes
    ----------
    p_value, z
        Of the box having no new particles, over all windows, selections and methods that were
        tried, and in standard deviations.
    at_most
        Whether the p-value is the most that it can be.
    calibration
        Where it comes from, in words.
    tried
        Searches of the same events that this answer was picked from.
    claim
        Whether a resonance is claimed: `z` is at least 3 and the fit of the excess converged.
    tagger_set, selection, knowledge
        The most significant test, and what its taggers knew beside the data.
    local_z
        Its significance.
    resonance_mass, heavy_mass, light_mass
        Of the new particles [GeV].
    events
        Signal events in the box before any selection.
    prongs
        Of either daughter, by simulated signals; None where they are not told apart.
    notes
        What a reader must know.

    Source
    ------
    arXiv:2101.08320, section 2.

    Examples
    --------
    >>> none = Estimate(reason="no claim")
    >>> found = Answer(0.4, 0.25, False, "toys", 1, False, "tnt", "0.03", "none", 1.2, none, none,
    ...     none, none)
    >>> print(found.summary().splitlines()[0])
    p = 0.4 (Z = 0.25; toys): no claim
    """

    p_value: float
    z: float
    at_most: bool
    calibration: str
    tried: int
    claim: bool
    tagger_set: str
    selection: str
    knowledge: str
    local_z: float
    resonance_mass: Estimate
    heavy_mass: Estimate
    light_mass: Estimate
    events: Estimate
    prongs: int | None = None
    notes: tuple[str, ...] = field(default=())

    def among(self, tried: int) -> Answer:
        """Return the answer where it is picked from so many searches of the same events.

        Its p-value counts them all (Bonferroni's inequality); masses go with the claim.

        Examples
        --------
        >>> mass, none = Estimate(3500.0, 10.0), Estimate(reason="no claim")
        >>> found = Answer(1e-3, 3.09, False, "toys", 1, True, "tnt", "0.03", "none", 4.0, mass,
        ...     none, none, none)
        >>> again = found.among(3)
        >>> again.p_value, again.claim, again.resonance_mass.reason
        (0.003, False, 'no claim')
        """
        if tried <= 1:
            return self
        p_value = min(1.0, self.p_value * tried)
        z = significance(p_value)
        text = f"{self.calibration}; times {tried} searches of these events"
        found = replace(
            self, p_value=p_value, z=z, at_most=True, calibration=text, tried=self.tried * tried
        )
        if not found.claim or z >= CLAIM:
            return found
        none = Estimate(reason=NO_CLAIM)
        return replace(
            found,
            claim=False,
            resonance_mass=none,
            heavy_mass=none,
            light_mass=none,
            events=none,
            prongs=None,
        )

    def summary(self) -> str:
        """Return the answer in a few lines of text."""
        most = "at most " if self.at_most else ""
        lines = [
            f"p = {most}{self.p_value:.2g} (Z = {self.z:.2f}; {self.calibration}): "
            + ("a new resonance" if self.claim else NO_CLAIM)
        ]
        if self.claim:
            known = {
                "resonance [GeV]": self.resonance_mass,
                "heavy daughter [GeV]": self.heavy_mass,
            }
            known |= {"light daughter [GeV]": self.light_mass, "signal events": self.events}
            lines += [f"  {name}: {one}" for name, one in known.items()]
            lines.append(f"  prongs of a daughter: {self.prongs or 'not told apart'}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def write_answer(out: str | Path, found: Answer, config: SearchConfig) -> tuple[Path, str]:
    """Write an answer with its settings to `answer/answer.json`, and return path and SHA-256.

    The hash is that of settings and answer: publish it, and the answer is committed to before
    anybody shows the truth.

    Raises
    ------
    StorageError
        The file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> none = Estimate(reason="no claim")
    >>> found = Answer(1.0, 0.0, False, "toys", 1, False, "tnt", "0.03", "none", 0.0, none, none,
    ...     none, none)
    >>> with TemporaryDirectory() as out:
    ...     path, sha256 = write_answer(out, found, SearchConfig())
    >>> path.name, len(sha256)
    ('answer.json', 64)
    """
    content = {"answer": found.to_dict(), "settings": config.model_dump(mode="json")}
    sha256 = digest(content)
    path = Path(out) / "answer" / "answer.json"
    if path.parent.is_file():
        msg = f"{path.parent}: is a file, and the answer's folder would be there"
        raise StageError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as partial:
        partial.write_text(json.dumps({**content, "sha256": sha256}, indent=1) + "\n")
    return path, sha256
