"""The whole chain: from events to p-values and a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tnt_coffea import pipeline
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import StageError
from tnt_coffea.execution import Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.results import SearchResult
from tnt_coffea.search_folder import noted_sources

if TYPE_CHECKING:
    from tnt_coffea.reporting import Evaluation

__all__ = ["Outcome", "demo", "run"]


@dataclass(frozen=True)
class Outcome:
    """What the whole chain gives.

    Attributes
    ----------
    result
        p-values and provenance.
    evaluation
        Taggers against truth, where the labels are known.
    report
        The HTML report.
    seconds
        Stage times.
    """

    result: SearchResult
    evaluation: Evaluation | None
    report: Path
    seconds: Mapping[str, float]


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
    _check(config, out, resources)
    with _shared(resources) as shared:
        skimmed = pipeline.skim(fileset, config, out=out, resources=shared)
        taggers = pipeline.train(skimmed, config, out=out, resources=shared)
        histograms = pipeline.search(skimmed, taggers, config, out=out, resources=shared)
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
    with _shared(resources) as shared:
        fileset = pipeline.generate(config, out=out, resources=shared)
        return run(fileset, config, out=out, resources=shared)


def _check(config: SearchConfig, out: Path, resources: Resources) -> None:
    """Refuse, before anything is done, what would end in the middle.

    Raises
    ------
    StageError
        The folder was searched with taggers from elsewhere.
    ConfigError
        The methods do not suit the other settings.
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
    if not (out / "train" / "manifest.json").exists():
        from tnt_coffea.training import steps_of
        from tnt_coffea.training.backend import versions

        versions(*(name for wave in steps_of(config) for s in wave for name in s.method.libraries))


@dataclass(frozen=True)
class _Shared(Resources):
    """Resources whose executor is opened by the first stage that needs one, for all of them."""

    stack: ExitStack = field(default_factory=ExitStack, repr=False, compare=False)
    opened: list[Any] = field(default_factory=list, repr=False, compare=False)

    def open(self) -> AbstractContextManager[Any]:
        """Return a context that gives the executor, and leaves it open."""
        if not self.opened:
            self.opened.append(self.stack.enter_context(super().open()))
        return nullcontext(self.opened[0])


@contextmanager
def _shared(resources: Resources) -> Iterator[Resources]:
    if isinstance(resources, _Shared):
        yield resources
        return
    with ExitStack() as stack:
        own = {each.name: getattr(resources, each.name) for each in fields(Resources)}
        yield _Shared(**own, stack=stack)
