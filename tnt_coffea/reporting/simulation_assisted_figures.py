"""Figures of the simulation-assisted study: those of arXiv:2009.02205 and arXiv:2101.08320."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tnt_coffea.reporting.curves import rejection_scales
from tnt_coffea.reporting.figures import (
    BLUE,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    VIOLET,
    Plot,
    Section,
    new_figure,
    styled,
)
from tnt_coffea.reporting.study_figures import curve_bands

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "excesses",
    "features",
    "method_curves",
    "predictions",
    "share_scan",
    "simulation_assisted_plots",
    "spectra",
    "strength_scan",
    "supervised_curves",
    "weights",
]

_GREEN = "#2b8a57"
_DASHED, _DOTTED = (0, (4, 1.5)), (0, (1, 1.2))
_LOOKS: Mapping[str, tuple[str, Any, str]] = {
    "supervised": (_GREEN, "-", "supervised"),
    "optimal-cwola": (RED, "-", "optimal CWoLa"),
    "salad": (PURPLE, "-", "SALAD"),
    "sa-cwola": (ORANGE, "-", r"SA-CWoLa, $\lambda = 1$"),
    "sa-cwola-negative": (ORANGE, _DASHED, r"SA-CWoLa, negative form, $\lambda = 0.5$"),
    "cwola": (RED, _DOTTED, "CWoLa"),
    "data-vs-simulation": (BLUE, _DASHED, "data against simulation"),
    "autoencoder": (GREY, "-", "autoencoder"),
    "norm": (GREY, _DOTTED, "distance from the mean"),
    "tnt": (VIOLET, _DASHED, "Tag N' Train"),
    "salad-tnt": (VIOLET, "-", "Tag N' Train, weighted simulation"),
}
_FIGURE_4 = ("supervised", "optimal-cwola", "salad", "sa-cwola", "cwola", "data-vs-simulation")
_FEATURES = {
    "light_mass": "light jet's mass [GeV]",
    "mass_difference": "mass difference [GeV]",
    "heavy_tau21": r"$\tau_{21}$ of the heavy jet",
    "light_tau21": r"$\tau_{21}$ of the light jet",
}
_SAMPLES = {
    "data": (BLUE, "-"),
    "simulation": (RED, "-"),
    "weighted simulation": (ORANGE, _DASHED),
    "signal": (_GREEN, "-"),
}


def simulation_assisted_plots(numbers: Mapping[str, Any]) -> list[Plot]:
    """Return all figures of the study with captions.

    Parameters
    ----------
    numbers
        Of the study, as `study.json` has them.
    """
    curves = {**numbers["curves"], "supervised": numbers["supervised"]["all"]}
    repetitions = numbers["curves"]["salad"]["repetitions"]
    own = [name for name in _LOOKS if name not in _FIGURE_4]
    means = (
        f"Mean of {repetitions} repetitions of 1/eps_B (left) and eps_S/sqrt(eps_B) (right) at "
        "fixed signal efficiency (supervised: fewer); bands: standard deviation. Black: random."
    )

    def plot(name: str, title: str, caption: str, figure: Figure, data: Any) -> Plot:
        return Plot(name, title, caption, figure, data, Section.TRUTH, f"{title}: {caption}")

    return [
        plot(
            "features",
            "Features in the signal region (figure 3)",
            "Background of the data, simulation, weighted simulation and signal, each of area 1. "
            "Masses are shifted by 0.2 (heavy) and 0.1 (light) of m_jj.",
            features(numbers["features"]),
            numbers["features"],
        ),
        plot(
            "curves",
            "Methods of the paper (figures 4 and 11)",
            means,
            method_curves(curves, _FIGURE_4, numbers["efficiencies"]),
            {name: curves[name] for name in _FIGURE_4},
        ),
        plot(
            "further-curves",
            "Further methods (figure 42 of arXiv:2101.08320, and Tag N' Train)",
            f"{means} Tag N' Train is labelled by low tau21 of the other jet.",
            method_curves(curves, ["salad", "cwola", *own], numbers["efficiencies"]),
            {name: curves[name] for name in own},
        ),
        plot(
            "strength",
            "Scan over lambda (figure 5)",
            "SA-CWoLa. Left: AUC of signal over background, and of the signal region over the "
            "sidebands on background; right: significance improvement at eps_S = 0.5. Points: "
            "means, bars: standard deviations.",
            strength_scan(numbers["strengths"], numbers["efficiencies"]),
            numbers["strengths"],
        ),
        plot(
            "excess",
            "Fitted excess (figures 6 and 7)",
            "Against the share of the data that is kept: Z with signal as it is found (left), with "
            "the residual of background alone taken off, idealised (middle), and the pull of the "
            "fit without signal (right). Means and standard deviations of repetitions.",
            excesses(numbers["spectra"]),
            numbers["spectra"],
        ),
        plot(
            "spectra",
            "Spectra without signal (figures 8 and 9)",
            "All data, and what each method keeps, in bins of 80 GeV; grey: signal region. One "
            "repetition; p: goodness of the fit beside the signal region.",
            spectra(numbers["spectra"]["null"]),
            {name: one[0]["spectrum"] for name, one in numbers["spectra"]["null"].items()},
        ),
        plot(
            "supervised",
            "Supervised classifiers of each feature (figure 10)",
            "Background rejection of classifiers with labels, of one feature alone (left) and of "
            "all but one (right); green: all.",
            supervised_curves(numbers["supervised"], numbers["efficiencies"]),
            numbers["supervised"],
        ),
        plot(
            "weights",
            "Weights of the simulation (figure 40 of arXiv:2101.08320)",
            "Weights of simulated events in the signal region, each from networks of other folds.",
            weights(numbers["features"]["weights"]),
            numbers["weights"],
        ),
        plot(
            "shares",
            "SALAD against the share of signal (figure 41 left of arXiv:2101.08320)",
            "Significance improvement at eps_S = 0.5 against S/B in the signal region; means and "
            "standard deviations.",
            share_scan(numbers["shares"], numbers["efficiencies"]),
            numbers["shares"],
        ),
        plot(
            "prediction",
            "Background from simulation (figure 41 right of arXiv:2101.08320)",
            "Predicted over true background of the signal region without signal: weighted "
            "simulation after cuts on SALAD (the paper's weights, and the package's, which stop "
            "early), and simulation as it is, normalised to the sidebands, after cuts on SALAD and "
            "on data against simulation.",
            predictions(numbers["prediction"]),
            numbers["prediction"],
        ),
    ]


@styled
def features(values: Mapping[str, Any]) -> Figure:
    """Return histograms of the features.

    Parameters
    ----------
    values
        By feature its `edges` and the heights by sample.
    """
    figure = new_figure(7.6, 5.6)
    panels = figure.subplots(2, 2).ravel()
    for panel, (name, label) in zip(panels, _FEATURES.items(), strict=True):
        edges = np.array(values[name]["edges"])
        highest = 0.0
        for sample, (colour, line) in _SAMPLES.items():
            heights = np.array(values[name][sample])
            highest = max(highest, heights.max())
            panel.stairs(heights, edges, color=colour, ls=line, lw=1.5, label=sample)
        panel.set(xlabel=label, xlim=(edges[0], edges[-1]), ylim=(0, 1.1 * highest))
    for panel in panels[::2]:
        panel.set_ylabel("share of events")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def method_curves(
    curves: Mapping[str, Any], names: Sequence[str], efficiencies: Sequence[float]
) -> Figure:
    """Return rejection and significance improvement against signal efficiency.

    Parameters
    ----------
    curves
        By method its `rejection` and `improvement`.
    names
        The methods to show.
    efficiencies
        Signal efficiencies of the points.
    """
    return curve_bands({name: curves[name] for name in names}, efficiencies, _LOOKS)


@styled
def strength_scan(scan: Mapping[str, Any], efficiencies: Sequence[float]) -> Figure:
    """Return areas and significance improvement against lambda.

    Parameters
    ----------
    scan
        Its `values`, and `curves` by lambda.
    efficiencies
        Signal efficiencies of the curves' points.
    """
    figure = new_figure(7.6, 4.0)
    areas, improvement = figure.subplots(1, 2)
    strengths = scan["values"]
    curves = [scan["curves"][f"{strength:g}"] for strength in strengths]
    for key, colour, label in (
        ("auc", BLUE, "signal over background"),
        ("auc_regions", ORANGE, "SR over SB background"),
    ):
        means, deviations = ([one[key][kind] for one in curves] for kind in ("mean", "sd"))
        areas.errorbar(strengths, means, yerr=deviations, fmt="o-", color=colour, label=label)
    i = list(efficiencies).index(0.5)
    means, deviations = ([one["improvement"][kind][i] for one in curves] for kind in ("mean", "sd"))
    improvement.errorbar(strengths, means, yerr=deviations, fmt="o-", color=PURPLE)
    improvement.axhline(np.sqrt(0.5), color="black", lw=1, ls=(0, (2, 2)))
    areas.axhline(0.5, color="black", lw=1, ls=(0, (2, 2)))
    areas.set(xlabel=r"$\lambda$", ylabel="AUC", ylim=(0.4, 1))
    improvement.set(
        xlabel=r"$\lambda$", ylabel=r"improvement at $\epsilon_S = 0.5$", ylim=(0, None)
    )
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def excesses(values: Mapping[str, Any]) -> Figure:
    """Return the fitted excess against the share of the data that is kept.

    Parameters
    ----------
    values
        By `injected` and `null`, and by method, a list of cuts with their `tests`.
    """
    figure = new_figure(8.8, 4.0)
    panels = figure.subplots(1, 3)
    methods = ("salad", "sa-cwola", "sa-cwola-negative", "optimal-cwola")
    for panel, kind, key, label in (
        (panels[0], "injected", "z", "Z as found"),
        (panels[1], "injected", "corrected", "Z, corrected"),
        (panels[2], "null", "pull", "pull without signal"),
    ):
        for name in methods:
            colour, line, text = _LOOKS[name]
            points = [
                (one["cut"], [test[key] for test in one["tests"] if "refused" not in test])
                for one in values[kind][name]
            ]
            shown = [(cut, np.mean(found), np.std(found)) for cut, found in points if found]
            cuts, means, deviations = zip(*shown, strict=True)
            panel.errorbar(
                cuts, means, yerr=deviations, fmt="o", ls=line, color=colour, ms=3, label=text
            )
        panel.axhline(0, color="black", lw=1)
        panel.set(xscale="log", xlabel="share of the data kept", ylabel=label)
        panel.invert_xaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


@styled
def spectra(values: Mapping[str, Any]) -> Figure:
    """Return spectra of what each method keeps, without signal.

    Parameters
    ----------
    values
        By method a list of cuts, each with its `spectrum` in bins of 80 GeV from 2600 GeV.
    """
    figure = new_figure(8.8, 4.2)
    methods = ("cwola", "sa-cwola", "salad")
    panels = figure.subplots(1, len(methods), sharey=True)
    for panel, name in zip(panels, methods, strict=True):
        for one, colour in zip(values[name][:5], ("black", BLUE, RED, ORANGE, VIOLET), strict=True):
            counts = np.array(one["spectrum"])
            centres = 2600 + 80 * (np.arange(len(counts)) + 0.5)
            test = one["tests"][0]
            fit = "" if "refused" in test else f", p = {test['goodness']:.2g}"
            label = f"{one['cut']:.0%}{fit}"
            seen = counts > 0
            panel.errorbar(
                centres[seen],
                counts[seen],
                yerr=np.sqrt(counts[seen]),
                fmt="o",
                ms=2.5,
                lw=0.8,
                color=colour,
                label=label,
            )
        panel.axvspan(3300, 3700, color=GREY, alpha=0.2, lw=0)
        panel.set(yscale="log", xlabel="$m_{jj}$ [GeV]", title=_LOOKS[name][2])
        panel.legend(fontsize=7)
    panels[0].set_ylabel("events / 80 GeV")
    return figure


@styled
def supervised_curves(curves: Mapping[str, Any], efficiencies: Sequence[float]) -> Figure:
    """Return background rejection of supervised classifiers of some features.

    Parameters
    ----------
    curves
        By `all`, `only-FEATURE` and `without-FEATURE` the curves.
    efficiencies
        Signal efficiencies of the points.
    """
    figure = new_figure(8.0, 4.6)
    panels = figure.subplots(1, 2, sharey=True)
    eps = np.array(efficiencies)
    looks = ((BLUE, "-"), (ORANGE, "-"), (ORANGE, _DASHED), (BLUE, _DASHED))
    for panel, kind, title in zip(
        panels, ("only", "without"), ("one feature alone", "all but one"), strict=True
    ):
        panel.plot(eps, curves["all"]["rejection"]["mean"], color=_GREEN, lw=2, label="all")
        for (name, label), (colour, line) in zip(_FEATURES.items(), looks, strict=True):
            values = curves[f"{kind}-{name}"]["rejection"]["mean"]
            text = label.removesuffix(" [GeV]")
            panel.plot(eps, values, color=colour, ls=line, lw=1.8, label=text)
        panel.plot(eps, 1 / eps, color="black", lw=1, ls=(0, (2, 2)))
        rejection_scales(panel)
        panel.set_title(title)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


@styled
def weights(values: Mapping[str, Any]) -> Figure:
    """Return the distribution of the weights.

    Parameters
    ----------
    values
        `edges` of log10 w, and `events` in them.
    """
    figure = new_figure(5.0, 3.6)
    panel = figure.subplots()
    panel.stairs(values["events"], values["edges"], color=ORANGE, lw=1.6, fill=False)
    panel.set(yscale="log", xlabel=r"$\log_{10} w$", ylabel="simulated events", xlim=(-2, 2))
    panel.set_ylim(0.5, None)
    return figure


@styled
def share_scan(scan: Mapping[str, Any], efficiencies: Sequence[float]) -> Figure:
    """Return the significance improvement of SALAD against S/B.

    Parameters
    ----------
    scan
        Its `values` of S/B, and by method the `curves` in their order.
    efficiencies
        Signal efficiencies of the curves' points.
    """
    figure = new_figure(5.0, 3.8)
    panel = figure.subplots()
    i = list(efficiencies).index(0.5)
    for name in ("optimal-cwola", "salad", "data-vs-simulation"):
        colour, line, label = _LOOKS[name]
        means, deviations = (
            [one[name]["improvement"][kind][i] for one in scan["curves"]] for kind in ("mean", "sd")
        )
        panel.errorbar(
            scan["values"], means, yerr=deviations, fmt="o", ls=line, color=colour, label=label
        )
    panel.axhline(np.sqrt(0.5), color="black", lw=1, ls=(0, (2, 2)), label="random")
    panel.set(
        xscale="log", xlabel="S/B [%]", ylabel=r"improvement at $\epsilon_S = 0.5$", ylim=(0, None)
    )
    panel.set_xticks(scan["values"], [f"{100 * share:g}" for share in scan["values"]])
    panel.set_xticks([], minor=True)
    panel.legend()
    return figure


@styled
def predictions(values: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]) -> Figure:
    """Return predicted over true background against the efficiency.

    Parameters
    ----------
    values
        By method, repetition and cut: `cut`, `observed`, `weighted` and `unweighted` events.
    """
    figure = new_figure(5.4, 4.2)
    panel = figure.subplots()
    for name, key, colour, label in (
        ("salad", "weighted", ORANGE, "SALAD, weighted simulation"),
        ("salad, early", "weighted", PURPLE, "SALAD, weights that stop early"),
        ("salad", "unweighted", RED, "SALAD, simulation as it is"),
        ("data-vs-simulation", "unweighted", BLUE, "data against simulation, as it is"),
    ):
        cuts = [one["cut"] for one in values[name][0]]
        ratios = np.array([[one[key] / one["observed"] for one in own] for own in values[name]])
        panel.errorbar(
            cuts, ratios.mean(axis=0), yerr=ratios.std(axis=0), fmt="o-", color=colour, label=label
        )
    panel.axhline(1, color="black", lw=1)
    panel.set(xscale="log", xlabel="background efficiency", ylabel="predicted / true", ylim=(0, 2))
    panel.legend(fontsize=8)
    return figure
