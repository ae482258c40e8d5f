"""The whole chain: from events to p-values and a report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tnt_coffea import pipeline
from tnt_coffea.config import SearchConfig
from tnt_coffea.execution import Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.results import SearchResult

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
    ...     outcome = run(Fileset.from_paths({"box": [table]}), config, out=out)  # doctest: +SKIP
    >>> print(outcome.result.summary())  # doctest: +SKIP
    """
    resources = resources or Resources()
    out = Path(out)
    with resources.open() as executor:
        shared = replace(resources, executor=executor)
        skimmed = pipeline.skim(fileset, config, out=out, resources=shared)
        taggers = pipeline.train(skimmed, config, out=out, resources=shared)
        histograms = pipeline.search(skimmed, taggers, config, out=out, resources=shared)
    with resources.announced("Fitting"):
        result = pipeline.fit(histograms, config, out=out)
    path = out / "report" / "report.html"
    seconds, start = pipeline.stage_seconds(out), time.monotonic()
    with resources.announced("Drawing the report"):
        evaluation = pipeline.report(
            result,
            path,
            config,
            histograms,
            skim=skimmed,
            taggers=taggers,
            references=pipeline.references_beside(out / "train"),
            seconds=seconds,
            folder=out,
        )
    return Outcome(result, evaluation, path, seconds | {"report": time.monotonic() - start})


def demo(
    config: SearchConfig, *, out: str | Path = pipeline.OUT, resources: Resources | None = None
) -> Outcome:
    """Generate events and search them; parameters and errors as `generate` and `run`.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig
    >>> config = SearchConfig.from_text("generate: {background: 2000, signal: 100}")
    >>> outcome = demo(config, out="demo")  # doctest: +SKIP
    >>> print(outcome.result.summary())  # doctest: +SKIP
    """
    resources = resources or Resources()
    with resources.open() as executor:
        shared = replace(resources, executor=executor)
        fileset = pipeline.generate(config, out=out, resources=shared)
        return run(fileset, config, out=out, resources=shared)
