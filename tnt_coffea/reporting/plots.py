"""Every plot of a report, with its caption and the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tnt_coffea.errors import FitError
from tnt_coffea.reporting import (
    anomalous_jets,
    correlations,
    curves,
    direct_figures,
    jet_planes,
    mass_figures,
    mass_tau21,
    retrained_figures,
    score_planes,
    sculpting,
    topic_figures,
    transfer_figures,
    window_figures,
)
from tnt_coffea.reporting.figures import Plot, Section, stamp
from tnt_coffea.reporting.wording import (
    capitalised,
    chosen_by,
    mass_name,
    nuisance_text,
    p_text,
    percent,
    plot_label,
    selection_text,
)
from tnt_coffea.results import SearchResult
from tnt_coffea.stats.abcd_regions import closure_scan
from tnt_coffea.stats.direct_results import DirectEstimate
from tnt_coffea.stats.impact_results import ImpactRefusal
from tnt_coffea.stats.results import BumpHuntResult
from tnt_coffea.stats.transfer_results import TransferEstimate
from tnt_coffea.stats.validity import LEAST_BACKGROUND
from tnt_coffea.stats.window_results import WindowTests

if TYPE_CHECKING:
    from tnt_coffea.reporting.anomalous_jets import AnomalousEvent, JetImages
    from tnt_coffea.reporting.contents import ReportContents

__all__ = ["all_plots"]


def all_plots(contents: ReportContents) -> Iterator[Plot]:
    """Yield the plots that the contents allow, in the order of the report."""
    label = plot_label(contents.config, generated=contents.generated)
    for plot in _plots(contents):
        stamp(plot.figure, label)
        yield plot


def _plots(contents: ReportContents) -> Iterator[Plot]:
    yield from _spectra(contents)
    yield from _direct_estimates(contents)
    yield from _transfer_factors(contents)
    yield from _windows(contents)
    yield from _scans(contents)
    yield from _sculpting(contents)
    yield from _limits(contents.result)
    yield from map(retrained_figures.retrained_limit_plot, contents.retrained)
    yield from _impacts(contents.result)
    yield from _score_planes(contents)
    yield from _closures(contents)
    yield from _closures_by_efficiency(contents)
    yield from _correlations(contents)
    yield from _jets(contents)
    losses = curves.loss_curves(contents.histories)
    if losses is not None:
        yield Plot(
            "losses",
            "Losses of the training runs",
            "Loss per epoch of every training run; runs whose taggers score the same fold have one "
            "colour. Dots mark the epochs whose weights were kept.",
            losses,
            [[name, dict(history)] for name, history in contents.histories],
            Section.TRAINING,
            f"Training and validation losses per epoch of {len(contents.histories)} training runs.",
        )
    topics = topic_figures.topic_shapes(contents.histories)
    if topics is not None:
        learned = [(name, h) for name, h in contents.histories if "topics" in h]
        yield Plot(
            "topics",
            "Topics of jets",
            "Distributions of the topics that factorized topics learned, a line for every training "
            "run, beside those of all jets. Runs of other folds have learned the same where their "
            "lines lie on each other. A topic is no kind of jet: unless each has a bin of its own, "
            "other topics and fractions describe the same pairs.",
            topics,
            [[name, dict(history)] for name, history in learned],
            Section.TRAINING,
            f"Distributions of the topics of {len(learned)} training runs, and of the heavy and "
            "the light jets of the data.",
            topic_figures.topic_columns(learned),
        )
    yield from _truth_plots(contents)


def _spectra(contents: ReportContents) -> Iterator[Plot]:
    yield from _spectrum(contents, "before", "all dijets", contents.result.before)
    for name, hunt in contents.result.after.items():
        chosen = chosen_by(contents.config.fit.bump.selection, name)
        yield from _spectrum(contents, f"after-{name}", chosen, hunt)


_OF_SIMULATION = (
    "Selected data and simulation, weighted and as it is, in the signal region (shaded) "
    "and in the sidebands that the weights were trained in. The band is the whole "
    "uncertainty of the prediction. Below: data over weighted simulation. The bars are "
    "the validation windows, each predicted by weights of its own from what lies beside "
    "it: they make the closure's uncertainty."
)
_OF_TEMPLATE = (
    "Selected data and synthetic events of the template, in the signal region (shaded), where "
    "there are as many before the selection as a fit beside it expects, and in the validation "
    "windows. The band is the whole uncertainty of the prediction. Below: data over template. The "
    "bars are the validation windows, each with a template of its own, made of what lies beside "
    "it without the signal region: they make the closure's uncertainty."
)


def _direct_estimates(contents: ReportContents) -> Iterator[Plot]:
    for name, estimate in contents.result.direct.items():
        if not isinstance(estimate, DirectEstimate) or estimate.spectrum is None:
            continue
        chosen = chosen_by(contents.config.fit.direct_selection, name)
        title = f"{chosen[0].upper()}{chosen[1:]}"
        made = "a template" if estimate.template else "weighted simulation"
        yield Plot(
            f"direct-{name}",
            f"Direct estimate: {chosen}",
            _OF_TEMPLATE if estimate.template else _OF_SIMULATION,
            direct_figures.direct_spectrum(estimate, title),
            estimate.to_dict(),
            Section.MASS,
            f"Spectrum of {chosen} with {made}, and their ratio. In the signal region "
            f"{estimate.observed:g} events are seen and {estimate.predicted:.1f} ± "
            f"{estimate.uncertainty:.1f} predicted.",
            direct_figures.direct_columns(estimate.spectrum, template=estimate.template),
        )


_NARROW = (
    " Coefficients of the polynomial are at their bound (see the notes): the bands take them as "
    "exact and are too narrow, down to nothing where only those matter."
)


def _transfer_factors(contents: ReportContents) -> Iterator[Plot]:
    for name, found in contents.result.transfer.items():
        if not isinstance(found, TransferEstimate):
            continue
        chosen = chosen_by(contents.config.fit.transfer_selection, name)
        yield Plot(
            f"transfer-{name}",
            f"Transfer factor: {chosen}",
            "Events that pass, and what those that fail predict times a polynomial in the mass, "
            "fitted to the bins beside the signal (shaded: 2 widths about its mass). The band is "
            "the uncertainty of both; the line is the fit of background and signal to all bins. "
            "Below: pass over fail with the polynomial and its uncertainty."
            + (_NARROW if found.spectrum.at_bound else ""),
            transfer_figures.transfer_spectrum(found, f"{chosen[0].upper()}{chosen[1:]}"),
            found.to_dict(),
            Section.MASS,
            f"Spectrum of {chosen} with its prediction from the events that fail, and their ratio. "
            f"About the mass {found.observed:g} events pass and {found.predicted:.1f} ± "
            f"{found.uncertainty:.1f} are predicted.",
            transfer_figures.transfer_columns(found.spectrum),
        )


def _windows(contents: ReportContents) -> Iterator[Plot]:
    for method, tests in contents.result.window.items():
        windows, named = len(tests.windows), window_figures.window_name
        best = min(tests.tests, key=lambda test: test.result.p_poisson)
        low, high = best.result.window
        most = (
            f"{named(best.selection)} in {low:g}-{high:g} GeV, p = {p_text(best.result.p_poisson)}"
        )
        if windows > 1:
            yield Plot(
                f"window-p-values-{method}",
                f"p-value over the windows of {method}",
                "Poisson p-value of the events in each window, with the background that a fit to "
                "the bins beside it predicts there, by the share of events that the window's own "
                f"taggers select; at the window's centre. These are {len(tests.tests)} tests of "
                "overlapping windows and nested selections, and each p-value is local.",
                window_figures.window_p_values(tests, f"Windows of {method}"),
                tests.to_dict(),
                Section.MASS,
                f"Local p-values against the mass, a line a selection; most significant: {most}.",
                window_figures.window_columns(tests),
            )
        own = [test for test in tests.tests if test.taggers == best.taggers]
        yield Plot(
            f"window-spectra-{method}",
            f"Spectra beside {low:g}-{high:g} GeV, by selections of {best.taggers}",
            f"{capitalised(mass_name(contents.config.search.variable))} spectra after every "
            "selection, folds together, with the fits to the bins beside the window (shaded)"
            + (", for the window with the smallest p-value" if windows > 1 else "")
            + ". The lines inside the window are what the fits predict there; the p-values are "
            "those of the Poisson test.",
            window_figures.window_spectra(
                {named(test.selection): test.result for test in own}, best.taggers
            ),
            [test.to_dict() for test in own],
            Section.MASS,
            f"Spectra of {len(own)} selections with the fits beside one window; most "
            f"significant: {most}.",
            window_figures.window_columns(WindowTests(tuple(own))),
        )


def _spectrum(
    contents: ReportContents, stem: str, chosen: str, hunt: BumpHuntResult
) -> Iterator[Plot]:
    search = contents.config.search
    window, mass = search.window.edges, mass_name(search.variable)
    title = f"{chosen[0].upper()}{chosen[1:]}"
    several = len(hunt.channels) > 1
    summed = " The channels (folds) are summed for the eye; the fit has them apart."
    yield Plot(
        f"spectrum-{stem}",
        f"{capitalised(mass)}: {chosen}",
        f"{capitalised(mass)} spectrum with the background-only fit and the signal + background "
        "fit; the signal region is shaded. Below: signed root of each bin's deviance from the "
        "background-only fit, but for empty bins where less than one event is expected."
        f"{summed if several else ''}{_cut_off(hunt, window)}",
        mass_figures.mass_spectrum(hunt, window, title, search.variable),
        hunt.to_dict(),
        Section.MASS,
        columns=_bins(hunt),
        alt=f"Spectrum of {chosen} in the {mass} with a background-only and a signal plus "
        f"background fit, and pulls below. Z is {hunt.z:.2f}, the local p-value "
        f"{p_text(hunt.p_value)}, the fitted signal {hunt.mu_hat:.0f} events.",
    )
    if several:
        yield Plot(
            f"spectrum-{stem}-channels",
            f"{capitalised(mass)} by channel: {chosen}",
            "The spectra as they are fitted: each channel has its own background function, and "
            f"all share one signal strength.{_cut_off(hunt, window)}",
            mass_figures.channel_spectra(hunt, window, title, search.variable),
            hunt.to_dict(),
            Section.MASS,
            f"Spectra of {chosen} with their fits, one panel for each of the "
            f"{len(hunt.channels)} channels.",
        )


def _cut_off(hunt: BumpHuntResult, window: tuple[float, float]) -> str:
    high = hunt.fit_range[1]
    if mass_figures.last_seen(hunt, window) == high:
        return ""
    return f" The fit range ends at {high:g} GeV; no event lies beyond the plot."


def _bins(hunt: BumpHuntResult) -> dict[str, list[object]]:
    """Return the spectra and fits of all channels as columns of a table."""
    rows = [
        (channel.name, *numbers)
        for channel in hunt.channels
        for numbers in zip(
            channel.edges[:-1],
            channel.edges[1:],
            channel.observed,
            channel.background,
            channel.signal_plus_background,
            channel.pulls,
            strict=True,
        )
    ]
    names = (
        "channel",
        "low [GeV]",
        "high [GeV]",
        "observed",
        "background-only fit",
        "signal + background fit",
        "pull",
    )
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _sculpting(contents: ReportContents) -> Iterator[Plot]:
    search, selection = contents.config.search, contents.config.fit.bump.selection
    shapes = {}
    for name, histogram in contents.hists.items():
        (point,) = (p for p in contents.points[name] if p.selection == selection)
        shape = sculpting.sideband_shape(
            histogram, point, search.window.edges, search.fit_range.edges
        )
        if shape is not None:
            shapes[name] = shape
    if not shapes:
        return
    flat = "; ".join(f"{name}, p = {p_text(shape.p_value)}" for name, shape in shapes.items())
    yield Plot(
        "sculpting",
        "Sculpting of the sidebands",
        f"Above: {mass_name(search.variable)} spectra of all dijets and of the events selected "
        f"({selection_text(selection)}), each of unit area in the sidebands. Below: efficiency of "
        "the selection over its mean. An efficiency that depends on the mass bends the "
        "background's spectrum and can make an excess; the signal region is left out. The "
        "p-values are those of a constant efficiency. No truth is used.",
        sculpting.sideband_shapes(shapes, search.window.edges, search.variable),
        {name: shape.to_dict() for name, shape in shapes.items()},
        Section.MASS,
        f"Sideband spectra before and after the selections, and their ratios; constant: {flat}.",
        {
            "taggers": [name for name, shape in shapes.items() for _ in shape.edges],
            **{
                title: [value for shape in shapes.values() for value in column(shape)]
                for title, column in (
                    ("low [GeV]", lambda shape: [low for low, _ in shape.edges]),
                    ("high [GeV]", lambda shape: [high for _, high in shape.edges]),
                    ("all dijets", lambda shape: shape.before),
                    ("selected", lambda shape: shape.after),
                    ("efficiency / mean", lambda shape: shape.ratio),
                    ("uncertainty", lambda shape: shape.uncertainty),
                )
            },
        },
    )


def _scans(contents: ReportContents) -> Iterator[Plot]:
    scans = contents.result.scans or contents.scans
    if not scans:
        return
    with_toys = any(scan.toys for scan in scans.values())
    last = (
        "Dashed: what background-only toys of the whole last scan reach somewhere with the "
        "probability of 1, 2, 3 standard deviations."
        if with_toys
        else "Only the mass that the settings name was fixed beforehand; the p-values are local, "
        "and fit.scan.masses gives a global one. Taggers that learned from the signal region are "
        "least sensitive elsewhere."
    )
    shown = [point for scan in scans.values() for point in scan.points]
    sparse = any(point.sparse and not point.toys for point in shown)
    calibrated = any(point.toys for point in shown)
    open_points = (
        f" Open points: fewer than {LEAST_BACKGROUND:g} background events within two "
        "widths, where the formula is not reliable; a test of one mass takes toys there by default."
        if sparse
        else ""
    )
    points = {name: scan.best_point for name, scan in scans.items()}
    best = [f"{name} at {point.mass:g} GeV, Z {point.z:.2f}" for name, point in points.items()]
    yield Plot(
        "scan",
        "Local p-value over the mass",
        f"{'P' if calibrated else 'Asymptotic p'}-value of a bump hunt at every mass, before and "
        "after each selection; 0.5 where the fit finds no signal"
        + (
            ", and 1 where few events made toys decide instead of the asymptotic formula"
            if calibrated
            else ""
        )
        + f".{open_points} Dotted: local standard deviations. {last}",
        mass_figures.local_p_values(scans, "Scan over the resonance mass"),
        {name: scan.to_dict() for name, scan in scans.items()},
        Section.MASS,
        f"Local p-values against the mass; most significant: {'; '.join(best)}.",
        {
            "spectrum": [name for name, scan in scans.items() for _ in scan.points],
            **{
                title: [getattr(point, key) for point in shown]
                for title, key in (
                    ("mass [GeV]", "mass"),
                    ("local p-value", "p_local"),
                    ("Z", "z"),
                    ("calibration", "calibration"),
                    ("signal events", "mu_hat"),
                )
            },
        },
    )


def _score_planes(contents: ReportContents) -> Iterator[Plot]:
    search = contents.config.search
    views = {}
    for name, histogram in contents.hists.items():
        views[name] = view = score_planes.plane_view(
            histogram,
            contents.points[name],
            search.background_quantile,
            search.window.edges,
            search.fit_range.edges,
        )
        yield Plot(
            f"plane-{name}",
            f"Score plane of {name}",
            "Events by the score quantiles of both jets, over what independent and flat quantiles "
            "would give; white where no event is. Solid lines: the selections, both quantiles "
            "above the threshold X (mean of the folds). Dotted line: both jets background-like.",
            score_planes.score_plane_panels(view, name),
            view.to_dict(),
            Section.SCORES,
            "Two maps of events over the expectation of independent scores, by the quantiles of "
            f"the {' and the '.join(view.axes)}: in the sidebands and in the signal region.",
        )
    if views:
        yield Plot(
            "scores",
            "Score quantiles of either jet",
            "Distributions of the score quantiles, over flat ones: solid in the signal region, "
            "dotted in the sidebands. All events of the fit range together are flat by "
            "construction; a signal has high quantiles in the signal region. No truth is used.",
            score_planes.score_distributions(views),
            {name: score_planes.score_spectra(view) for name, view in views.items()},
            Section.SCORES,
            "Distributions of the heavy and the light jet's score quantile in the signal region "
            f"and in the sidebands, by {', '.join(views)}.",
        )


def _closures(contents: ReportContents) -> Iterator[Plot]:
    search = contents.config.search
    for name, estimate in contents.result.abcd.items():
        if estimate.closure is None or not estimate.closure.regions:
            continue
        yield Plot(
            f"closure-{name}",
            f"ABCD closure with {name}",
            "A D / (B C) in the sidebands, where no signal is expected: 1 if the scores of the "
            "two jets are independent, and the factor on B C / D in the signal region. The spread "
            f"between regions beyond their statistics is {percent(estimate.closure.spread)}; "
            "regions without enough events are hatched.",
            score_planes.closure_by_mass(
                estimate.closure, search.window.edges, name, search.variable
            ),
            estimate.closure.to_dict(),
            Section.SCORES,
            f"Closure factor against the {mass_name(search.variable)}; in the sidebands it is "
            f"{estimate.closure.kappa:.2f} ± {estimate.closure.uncertainty:.2f} altogether.",
        )


def _closures_by_efficiency(contents: ReportContents) -> Iterator[Plot]:
    search = contents.config.search
    for name, histogram in contents.hists.items():
        try:
            scan = closure_scan(
                histogram,
                contents.points[name],
                search.background_quantile,
                search.fit_range.edges,
                search.window.edges,
                search.closure_quantiles,
            )
        except FitError:
            # No selection is tight enough for four regions; the table has the refusal.
            continue
        yield Plot(
            f"closure-efficiency-{name}",
            f"ABCD closure by selection with {name}",
            "A D / (B C) in the sidebands for selections down to a tenth of a per cent, and the "
            "observed over the predicted events in the signal region: 1 for independent scores "
            "and no signal. The prediction has the closure factor of its own selection. A "
            "triangle at the edge is a point beyond it. A dotted line is a selection without an "
            "estimate, because a region has too few events.",
            score_planes.closure_by_efficiency(scan, name),
            scan.to_dict(),
            Section.SCORES,
            "ABCD closure against the efficiency of the selection, in the sidebands and in the "
            "signal region.",
        )


def _correlations(contents: ReportContents) -> Iterator[Plot]:
    by_set, search = contents.views.correlations, contents.config.search
    if by_set:
        yield Plot(
            "score-correlations",
            "Correlation of the two jets' scores",
            "Spearman's rank correlation of the heavy and the light jet's quantiles in slices of "
            f"{search.variable}, with statistical uncertainties; the bands are all events of the "
            "sidebands, where signal is rare. ABCD needs it to be near 0; a signal makes it rise "
            "in the signal region, and so does any other dependence. No truth is used.",
            correlations.correlation_by_mass(by_set, search.window.edges, search.variable),
            {name: correlation.to_dict() for name, correlation in by_set.items()},
            Section.SCORES,
            "Rank correlation of the two scores against the mass, by tagger set; the "
            "numbers by region are in the table.",
        )


def _jets(contents: ReportContents) -> Iterator[Plot]:
    views, taggers = contents.views, contents.views.shown
    if views.images is not None:
        yield from _images(views.images, views.events, taggers)
    if views.shapes is not None:
        yield Plot(
            "jet-shapes",
            "Jet mass and N-subjettiness ratio of the most anomalous events",
            f"Mass against τ21 of the jets of the {percent(views.shapes.top)} of events that "
            f"{taggers} ranks highest, over all events of the fit range. A low τ21 means "
            "two prongs.",
            mass_tau21.jet_shape_panels(views.shapes),
            views.shapes.to_dict(),
            Section.JETS,
            "Scatter of jet mass against tau21, heavy and light jets: the most anomalous events "
            "over the density of all.",
        )
    if views.planes is not None:
        low, high = views.planes.window
        yield Plot(
            "jet-planes",
            "Both jets of the most anomalous events in the signal region",
            f"One jet's mass, τ21 and τ32 over the other's, of the events in {low:g}-{high:g} GeV: "
            f"in red those among the {percent(views.planes.top)} of all events that {taggers} "
            "ranks highest. Decays into two particles of fixed masses are clusters.",
            jet_planes.jet_plane_panels(views.planes),
            views.planes.to_dict(),
            Section.JETS,
            f"Three scatters of heavy against light jet: {len(views.planes.anomalous['mass'])} "
            "anomalous events over the density of the signal region.",
        )


def _images(means: JetImages, events: tuple[AnomalousEvent, ...], taggers: str) -> Iterator[Plot]:
    top = percent(means.top)
    yield Plot(
        "mean-images",
        "Mean jet images",
        "Mean images of the heavier and the lighter jet of an event: all events of the fit range "
        f"above, below the {top} that {taggers} ranks highest. Jets are centred, turned "
        "and reflected; the colour scale is logarithmic and shared; pixels below its end are "
        "white.",
        anomalous_jets.mean_image_panels(means),
        means.to_dict(),
        Section.JETS,
        "Four mean jet images: heavy and light jets, of all events and of the most anomalous.",
    )
    yield Plot(
        "anomalous-events",
        "The most anomalous events",
        f"Heavy (left) and light (right) jet of the {len(events)} events that {taggers} ranks "
        "highest, with m_jj and the masses of both jets; the first row repeats the mean images "
        f"of all events and of the top {top}. The table has the numbers.",
        anomalous_jets.anomalous_event_panels(events, means),
        [event.to_dict() for event in events],
        Section.JETS,
        f"Images of both jets of the {len(events)} most anomalous events, below the mean images.",
    )


def _truth_plots(contents: ReportContents) -> Iterator[Plot]:
    views = contents.views
    if views.evaluation is None:
        return
    data = views.evaluation.to_dict()
    yield Plot(
        "roc",
        "ROC curves",
        "Left: signal against background efficiency from out-of-fold quantiles in the fit range, "
        "'both jets' by the lower one of the two. Right: the same as background rejection, "
        "where at least ten background events are left.",
        curves.roc_curves(views.evaluation),
        data,
        Section.TRUTH,
        "ROC curves of every tagger set and jet; the areas are in the table.",
    )
    yield Plot(
        "improvement",
        "Significance improvement",
        "Factor by which a selection on both jets raises S / sqrt(B) in the signal region; bands "
        "and bars are binomial uncertainties. Stars: the largest value of all cuts whose "
        "background efficiency is known to 20 %.",
        curves.significance_improvement(views.evaluation),
        data,
        Section.TRUTH,
        "Significance improvement against signal efficiency; the working points are in the table.",
    )
    if views.shapes is not None and views.true_shapes is not None:
        top = percent(views.shapes.top)
        yield Plot(
            "jet-shapes-truth",
            "Jet mass and N-subjettiness ratio beside the truth",
            f"Left: the jets of the {top} of events that {views.shown} ranks highest, "
            "signal and background apart. Right: all background events of the fit "
            "range in grey, and the smallest areas that hold 68 % and 90 % of the signal.",
            mass_tau21.true_shape_panels(views.shapes, views.true_shapes),
            views.shapes.to_dict() | views.true_shapes.to_dict(),
            Section.TRUTH,
            f"Jet mass against tau21 by truth: {int(views.true_shapes.anomalous_is_signal.sum())} "
            f"of the {len(views.true_shapes.anomalous_is_signal)} most anomalous events are "
            "signal.",
        )


def _limits(result: SearchResult) -> Iterator[Plot]:
    """Yield a figure of the limits over the masses of every scan."""
    for name, band in result.limit_bands.items():
        # A line needs two masses.
        if len(band) < 2:
            continue
        chosen = _chosen(name)
        left_out = len(result.scans[name].points) - len(band) if name in result.scans else 0
        few = f" {left_out} masses of the scan, where they do not hold, are left out."
        yield Plot(
            f"limits-{name}",
            f"Upper limits over the mass: {chosen}",
            "CLs upper limits on the signal by the asymptotic formulae, with the bands of one and "
            f"two standard deviations that background alone would give.{few if left_out else ''}",
            mass_figures.brazil_band(band, f"Upper limits, {chosen}"),
            [limit.to_dict() for limit in band],
            Section.MASS,
            f"Observed and expected upper limits on the signal in {chosen} at {len(band)} masses "
            f"from {band[0].mass:g} to {band[-1].mass:g} GeV.",
        )


def _impacts(result: SearchResult) -> Iterator[Plot]:
    """Yield a figure of the nuisance parameters of every bump hunt that has some."""
    for name, rows in result.impacts.items():
        if isinstance(rows, ImpactRefusal):  # among the notes of the tests
            continue
        chosen = _chosen(name)
        largest = max(rows, key=lambda row: max(abs(row.up), abs(row.down)))
        yield Plot(
            f"impacts-{name}",
            f"Impacts on the signal: {chosen}",
            "Points: best value and uncertainty of every nuisance parameter. Bars: change of the "
            "signal where it is held one of these uncertainties above or below, all else fitted "
            "again; outlines: one uncertainty of its constraint.",
            mass_figures.impacts(rows, f"Impacts, {chosen}"),
            [row.to_dict() for row in rows],
            Section.MASS,
            f"Pulls and impacts of {len(rows)} nuisance parameters in {chosen}; the largest impact "
            f"is that of the {nuisance_text(largest.name)}, {largest.up:+.1f} and "
            f"{largest.down:+.1f} events.",
        )


def _chosen(name: str) -> str:
    return "all dijets" if name == "before" else f"the selection by {name}"
