"""The whole chain: from events to p-values and a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tnt_coffea import pipeline
from tnt_coffea.config import SearchConfig
from tnt_coffea.displays import Displayed
from tnt_coffea.errors import StageError
from tnt_coffea.execution import Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.results import BlindedSearch, SearchResult
from tnt_coffea.search_folder import noted_sources

if TYPE_CHECKING:
    from tnt_coffea.reporting import Evaluation

__all__ = ["Outcome", "check", "demo", "run"]


@dataclass(frozen=True)
class Outcome(Displayed):
    """What the whole chain gives.

    Attributes
    ----------
    result
        p-values and provenance; with `fit.blind` what is expected instead.
    evaluation
        Taggers against truth, where the labels are known.
    report
        The HTML report.
    seconds
        Stage times.
    """

    result: SearchResult | BlindedSearch
    evaluation: Evaluation | None
    report: Path
    seconds: Mapping[str, float]

    def _facts(self) -> dict[str, str]:
        return {**self.result._facts(), "report": str(self.report)}


@pipeline.one_writer
def run(
    fileset: Fileset,
    config: SearchConfig,
    *,
    out: str | Path = pipeline.OUT,
    resources: Resources | None = None,
) -> Outcome:
    """Run the whole chain from events to p-values and a report.

    Parameters
    ----------
    fileset
        Files of any source with particles.
    config
        The search.
    out
        Its folder, one subfolder a stage.
    resources
        What may be used.

    Raises
    ------
    TntCoffeaError
        As the stages.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from tnt_coffea import Fileset, SearchConfig, testing
    >>> text = "{train: {methods: {mass: {kind: feature}}}, fit: {limit: {enabled: false}}}"
    >>> config, sample = SearchConfig.from_text(text), testing.make_sample(2000)
    >>> names = ["m_jj", "heavy_mass", "light_mass"]
    >>> values = np.stack([sample.columns[name] for name in names], axis=1)
    >>> with TemporaryDirectory() as out:
    ...     table = Path(out, "box.csv")
    ...     np.savetxt(table, values, delimiter=",", header=",".join(names), comments="")
    ...     outcome = run(Fileset.from_paths({"box": [table]}), config, out=out)
    >>> outcome.result.before.z > 5, sorted(outcome.seconds)
    (True, ['fit', 'report', 'search', 'skim', 'train'])
    """
    resources = resources or Resources()
    out = Path(out)
    check(config, out, resources, fileset)
    with resources.shared() as shared:
        skimmed = pipeline.skim(fileset, config, out=out, resources=shared)
        taggers = pipeline.train(skimmed, config, out=out, resources=shared)
        histograms = pipeline.search(skimmed, taggers, config, out=out, resources=shared)
    if config.fit.blind:
        with resources.announced("Fitting the sidebands"):
            hidden = pipeline.blind_fit(histograms, config, out=out)
        page = pipeline.blind_report(hidden, config, out=out, resources=resources)
        return Outcome(hidden, None, page, pipeline.stage_seconds(out))
    with resources.announced("Fitting"):
        result = pipeline.fit(histograms, config, out=out)
    path, evaluation = pipeline.report_once(
        result,
        config,
        histograms,
        out=out,
        skim=skimmed,
        taggers=taggers,
        references=pipeline.references_beside(out / "train"),
        resources=resources,
    )
    return Outcome(result, evaluation, path, pipeline.stage_seconds(out))


@pipeline.one_writer
def demo(
    config: SearchConfig, *, out: str | Path = pipeline.OUT, resources: Resources | None = None
) -> Outcome:
    """Generate events and search them; parameters and errors as `generate` and `run`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import SearchConfig
    >>> text = "{generate: {background: 400, signal: 100}, train: {methods: {m: {kind: feature}}}}"
    >>> with TemporaryDirectory() as out:
    ...     outcome = demo(SearchConfig.from_text(text), out=out)
    >>> outcome.result.before.converged, sorted(outcome.seconds)[:2]
    (True, ['fit', 'generate'])
    """
    resources = resources or Resources()
    check(config, Path(out), resources)
    with resources.shared() as shared:
        fileset = pipeline.generate(config, out=out, resources=shared)
        return run(fileset, config, out=out, resources=shared)


def check(
    config: SearchConfig, out: Path, resources: Resources, fileset: Fileset | None = None
) -> None:
    """Refuse, before anything is done, what would end in the middle.

    Parameters
    ----------
    config
        The search.
    out
        Its folder.
    resources
        What may be used.
    fileset
        Files to search; without them events would be generated first.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import SearchConfig
    >>> with TemporaryDirectory() as folder:
    ...     check(SearchConfig(), Path(folder), Resources())

    Raises
    ------
    StageError
        The folder was searched with taggers from elsewhere.
    ConfigError, FitError, InputError
        The methods do not suit the other settings, or need files of a role that is not given; or
        the fits need a signal or a file that is not there.
    MissingExtraError
        A method's library is not installed, and the taggers are not there yet.
    """
    taggers = noted_sources(out).get("taggers")
    if taggers is not None and not resources.overwrite:
        msg = (
            f"{out}: was searched with the taggers {taggers}, and `run` trains its own: use `fit` "
            "and `report` here, or choose another output folder (--overwrite searches it again)"
        )
        raise StageError(msg)
    signals = Fileset({}) if fileset is None else fileset.of_signals()
    masses = pipeline.signal_masses(signals, config) if signals.files else {}
    pipeline.check_fit(config, masses)
    if not (out / "train" / "manifest.json").exists():
        from tnt_coffea.training import steps_of
        from tnt_coffea.training.backend import versions

        read = None if fileset is None else fileset.read_with(config.skim)
        roles = {"data"} if read is None else {read.role(name) for name in read.files}
        known = config.skim.table is None and (read is None or read.columns_known)
        pipeline.check_training(config, sorted(roles), config.skim if known else None)
        versions(*(name for wave in steps_of(config) for s in wave for name in s.method.libraries))
