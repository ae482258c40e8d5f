"""Every plot of a report, with its caption and the numbers behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tnt_coffea.reporting import anomalous_jets, curves, mass_spectra, planes
from tnt_coffea.reporting.wording import percent, set_name, with_article
from tnt_coffea.stats.bump_results import BumpHuntResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tnt_coffea.reporting.contents import ReportContents

__all__ = ["Plot", "all_plots"]


@dataclass(frozen=True, eq=False)
class Plot:
    """A figure, what it shows, and its numbers.

    Attributes
    ----------
    name
        Stem of its files.
    title
        What it shows, in a few words.
    caption
        How to read it.
    figure
        The figure.
    data
        Its numbers, JSON values.
    truth
        Whether it needed the truth.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    data: Any
    truth: bool = False

    def save(self, folder: Path) -> list[Path]:
        """Write PNG, PDF and JSON into a folder; the same plot gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.{suffix}" for suffix in ("png", "pdf", "json")]
        self.figure.savefig(paths[0], metadata={"Software": None})
        # The layout is found once: it takes longer than the drawing.
        self.figure.set_layout_engine("none")
        self.figure.savefig(paths[1], metadata={"CreationDate": None})
        paths[2].write_text(json.dumps(self.data, sort_keys=True, allow_nan=False) + "\n")
        return paths


def all_plots(contents: ReportContents) -> Iterator[Plot]:
    """Yield the plots that the contents allow, in the order of the report."""
    yield from _spectra(contents)
    yield from _score_planes(contents)
    yield from _closures(contents)
    if contents.images is not None:
        top = percent(contents.images.top)
        yield Plot(
            "mean-images",
            "Mean jet images",
            "Mean images of the heavier and the lighter jet of an event: all events above, below "
            f"the {top} that Tag N' Train ranks most anomalous. Jets are centred, turned and "
            "reflected; the colour scale is logarithmic and shared, and pixels below its end "
            "have the darkest colour.",
            anomalous_jets.mean_image_panels(contents.images),
            contents.images.to_dict(),
        )
    losses = curves.loss_curves(contents.histories)
    if losses is not None:
        yield Plot(
            "losses",
            "Losses of the trainings",
            "Loss per epoch of every training, one colour a training; a dot marks the epoch whose "
            "weights were kept.",
            losses,
            [[name, dict(history)] for name, history in contents.histories],
        )
    yield from _truth_plots(contents)


def _spectra(contents: ReportContents) -> Iterator[Plot]:
    share = percent(contents.config.fit.bump.efficiency)
    yield from _spectrum(contents, "before", "all dijets", contents.result.before)
    for name, found in contents.result.after.items():
        chosen = f"the {share} most anomalous to {with_article(name)}"
        yield from _spectrum(contents, f"after-{name}", chosen, found)


def _spectrum(
    contents: ReportContents, stem: str, chosen: str, found: BumpHuntResult
) -> Iterator[Plot]:
    window = _range(contents.config.search.window)
    title = f"{chosen[0].upper()}{chosen[1:]}"
    several = len(found.channels) > 1
    summed = " The channels (folds) are summed for the eye; the fit has them apart."
    yield Plot(
        f"spectrum-{stem}",
        f"Dijet mass: {chosen}",
        "Dijet mass spectrum with the fit of background alone and of a signal on background; "
        "the window is shaded. Below: signed root of each bin's deviance from the "
        f"background-only fit.{summed if several else ''}",
        mass_spectra.mass_spectrum(found, window, title),
        found.to_dict(),
    )
    if several:
        yield Plot(
            f"spectrum-{stem}-channels",
            f"Dijet mass by channel: {chosen}",
            "The spectra as they are fitted: each channel has its own background function, and "
            "all share one signal strength.",
            mass_spectra.channel_spectra(found, window, title),
            found.to_dict(),
        )


def _score_planes(contents: ReportContents) -> Iterator[Plot]:
    search = contents.config.search
    for name, histogram in contents.hists.items():
        view = planes.plane_view(
            histogram,
            contents.thresholds[name],
            search.background_quantile,
            _range(search.window),
            _range(search.fit_range),
        )
        yield Plot(
            f"plane-{name}",
            f"Score plane of {with_article(name)}",
            "Events by the quantiles of both jets, over what independent and flat quantiles "
            "would give; white where no event is. Solid corners: both jets above the X (mean of "
            "the folds) of each selection; dotted: both jets low.",
            planes.score_plane_panels(view, set_name(name)),
            view.to_dict(),
        )


def _closures(contents: ReportContents) -> Iterator[Plot]:
    for name, found in contents.result.abcd.items():
        if found.closure is None or not found.closure.regions:
            continue
        yield Plot(
            f"closure-{name}",
            f"ABCD closure with {with_article(name)}",
            "A D / (B C) beside the window, where no signal is expected: 1 if the scores of the "
            "two jets are independent, and the factor on B C / D inside the window. The spread "
            f"between regions beyond their statistics is {percent(found.closure.spread)}; "
            "regions without enough events are hatched.",
            planes.closure_by_mass(
                found.closure, _range(contents.config.search.window), set_name(name)
            ),
            found.closure.to_dict(),
        )


def _truth_plots(contents: ReportContents) -> Iterator[Plot]:
    if contents.evaluation is None:
        return
    data = contents.evaluation.to_dict()
    yield Plot(
        "roc",
        "ROC curves",
        "Left: signal against background efficiency from out-of-fold quantiles in the fit range, "
        "'both jets' by the lower one of the two. Right: the same as background rejection, "
        "where at least ten background events are left.",
        curves.roc_curves(contents.evaluation),
        data,
        truth=True,
    )
    yield Plot(
        "improvement",
        "Significance improvement",
        "Factor by which a selection on both jets raises S / sqrt(B) in the window; bands and "
        "bars are binomial uncertainties.",
        curves.significance_improvement(contents.evaluation),
        data,
        truth=True,
    )


def _range(values: Any) -> tuple[float, float]:
    return values.low, values.high
