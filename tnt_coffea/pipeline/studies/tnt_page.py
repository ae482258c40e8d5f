"""Plots, tables and notes of study `tnt`, as arXiv:2002.12376 has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tnt_coffea.jets.dijets import JETS
from tnt_coffea.pipeline.studies.claims import Verdict
from tnt_coffea.pipeline.studies.numbers import Found, figures_table
from tnt_coffea.pipeline.studies.study import StudyTable
from tnt_coffea.pipeline.studies.tnt_blocks import (
    COUNTING,
    CUT,
    CUTS,
    FIRST,
    HIGHEST,
    HUNTED,
    INPUTS,
    MIDDLE,
    MJJ,
    MOST,
    PURE,
    SAME,
    SELECTIONS,
    SHARES,
    SHOWN,
    TNT,
    block_name,
    share_of,
    tnt_blocks,
    tnt_methods,
)
from tnt_coffea.pipeline.studies.tnt_claims import (
    BUMPS,
    SEARCHED,
    SHORT,
    UNTESTED,
    flatness,
    searched,
    shape_names,
    tnt_claims,
)
from tnt_coffea.reporting.figures import Plot
from tnt_coffea.reporting.study_figures import (
    Density,
    curve_bands,
    densities,
    mass_ratios,
    scan,
    study_plot,
)

__all__ = ["tnt_notes", "tnt_plots", "tnt_tables"]

_SUPERVISED = {0.003: "> 10", 0.001: "8"}
"""Z of the paper's supervised classifiers by share of signal, which no search of ours accepts."""
_COUNTED = {  # expected and observed at 10, 5, 3, 1 and 0.5 %
    FIRST: (("1.8", "2.1", "2.5", "2.9", "2.8"), ("1.4", "1.7", "2.0", "3.1", "2.3")),
    TNT: (("2.3", "3.9", "5.6", "> 10", "> 10"), ("2.1", "3.2", "5.1", "> 10", "> 10")),
}
"""Its significances by counting at 1 % of signal, table 1."""


def tnt_plots(found: Found) -> list[Plot]:
    """Return figures 2 to 7 of every way of training."""
    found, plots = found.of_all(one.name for one in tnt_blocks()), []
    for inputs, way in INPUTS.items():
        plots += [*_curves(found, inputs)] if way.curves else []
        plots += _of_middle(found, inputs)
    return plots


def _curves(found: Found, inputs: str) -> list[Plot]:
    """Return figure 2, with 9 % beside it the curves of appendix A."""
    plots = []
    known = found.figures(block_name(inputs, MOST))
    supervised = {
        f"{name}, trained with 9 %": known[name]
        for name in ("supervised", "supervised-both")
        if known
    }
    for share in SHARES:
        block = block_name(inputs, share)
        own = found.figures(block)
        if not own:
            continue
        curves = {name: own[name] for name in tnt_methods(inputs, share) if name in SHOWN}
        background = found.block(block)["background"]["mean"]
        panels = {"curves": (curves | ({} if share == MOST else supervised), "figure 2")}
        if share == MOST:
            of_jet = {name: own[name] for name in (FIRST, TNT, SAME)}
            panels = {
                "curves": ({n: one for n, one in curves.items() if n != SAME}, "figure 2"),
                "same-jet": (of_jet, "figure 7"),
            }
        for name, (shown, figure) in panels.items():
            labelled = {f"{n} ({_auc(one)})": one for n, one in shown.items()}
            plots.append(
                study_plot(
                    f"{name}-{block}",
                    f"{share:.1%} of signal, {INPUTS[inputs].title} ({figure})",
                    "Background rejection (left) and significance improvement (right) in the "
                    "window, as far as ten background events are left, with the AUC in the fit "
                    "range. Means and deviations.",
                    curve_bands(labelled, found.efficiencies, least=10 / background),
                    {},
                )
            )
    return plots


def _auc(figures: Mapping[str, Any]) -> str:
    return f"{figures['auc_fit']['mean']:.3f}"


def _of_middle(found: Found, inputs: str) -> list[Plot]:
    """Return figures 3 to 6, of 1 % of signal."""
    title = INPUTS[inputs].title
    if "measured" not in found.block(block_name(inputs, MIDDLE)):
        return []
    ratios = {
        "estimated over true background": {
            name: _scanned(found, inputs, f"{name}/{{}}/ratio") for name in COUNTING
        }
    }
    plots = [
        study_plot(
            f"estimate-{inputs}",
            f"Background estimated from the two jets, {title} (figure 5)",
            "Product of the jets' efficiencies where the other jet is in its lowest 40 %, "
            "times all events of the fit range, over the true background; 1 % of signal. Dashed: "
            "1; the bands are deviations of the repetitions.",
            scan(ratios, x="share of events kept [%]", lines=dict.fromkeys(ratios, 1.0)),
            ratios,
        )
    ]
    measured = found.block(block_name(inputs, MIDDLE))["measured"]
    plots.append(
        study_plot(
            f"masses-{inputs}",
            f"Background's mass after a cut, {title} (figure 3)",
            "Share of the background that is kept, by mass, over its mean; 1 % of signal.",
            mass_ratios({name: measured[name]["flat"] for name in (TNT, MJJ)}),
            {},
        )
    )
    planes = {
        f"{name}, {kind}": Density.of(measured[name]["plane"][kind]["mean"], (1.0, 1.0))
        for name in (TNT, PURE)
        for kind in ("background", "signal")
        if "plane" in measured[name]
    }
    shapes = {
        f"{jet} jet, {name}": Density.of(of["shapes"][jet]["mean"], (HIGHEST, 1.0))
        for jet in JETS
        for name, of in (
            ("most anomalous 1 %", measured[TNT]["top"]),
            ("signal", measured["signal"]),
        )
        if "shapes" in of
    }
    pearson = ", ".join(
        f"{name} {found.measured(block_name(inputs, MIDDLE), f'{name}/pearson')}"
        for name in (TNT, PURE)
    )
    for name, panels, what, caption, axes in (
        (
            "planes",
            planes,
            "Scores of both jets (figure 4)",
            f"Quantiles of the first repetition. Pearson's coefficient on background: {pearson}.",
            ("score quantile, heavy jet", "score quantile, light jet"),
        ),
        (
            "shapes",
            shapes,
            "Mass and tau21 of the most anomalous events (figure 6)",
            f"Those of {TNT} beside the true signal, first repetition.",
            ("jet mass [GeV]", r"$\tau_{21}$"),
        ),
    ):
        if panels:
            figure = densities(panels, x=axes[0], y=axes[1])
            title_of = f"{what}, {title}"
            plots.append(study_plot(f"{name}-{inputs}", title_of, caption, figure, {}))
    return plots


def _scanned(found: Found, inputs: str, path: str) -> list[tuple[float, float, float]]:
    values = [
        (100 * one, found.measured(block_name(inputs, MIDDLE), path.format(f"{one:g}")))
        for one in SELECTIONS
    ]
    return [(x, value.mean, value.sd) for x, value in values if value.values]


def tnt_tables(found: Found) -> list[StudyTable]:
    """Return what falls short, tables 1 to 3, and the figures of every block."""
    asked = found.numbers["blocks"]
    found = found.of_all(one.name for one in tnt_blocks())
    tables = [_short_table(found)]
    for inputs, way in INPUTS.items():
        tables += [_counting_table(found, inputs), *_bump_tables(found, inputs)]
        tables += [_shapes_table(found, inputs), _flatness_table(found, inputs)]
        tables += [
            figures_table(
                found,
                block_name(inputs, share),
                title=f"{share:.1%} of signal, {way.title}",
                selections=() if share == MOST else (CUT,),
            )
            for share in (*SHARES, 0.0)
        ]
    refused = [
        (block.name, str(len(reasons)), reasons[0])
        for block in tnt_blocks()
        if block.name in asked and (reasons := found.refused(block.name))
    ]
    if refused:
        columns = ("block", "repetitions", "the first reason")
        tables.append(StudyTable("What was refused", columns, tuple(refused)))
    return tables


def _short_table(found: Found) -> StudyTable:
    """Return what is not confirmed, and what is not tested, with the experiment that would tell."""
    rows: list[tuple[str, ...]] = []
    for claim in tnt_claims(found):
        short = SHORT.get(claim.id.partition("-")[2])
        if claim.verdict is not Verdict.CONFIRMED and short is not None:
            rows.append((claim.id, claim.verdict.value, *short))
    rows += [(what, "not tested", *why) for what, *why in UNTESTED]
    columns = ("claim", "verdict", "likely reason", "what would tell")
    return StudyTable("What falls short of the paper", columns, tuple(rows))


def _counting_table(found: Found, inputs: str) -> StudyTable:
    """Return table 1."""
    block = block_name(inputs, MIDDLE)
    columns = ["kept"]
    for name in COUNTING:
        columns += [f"{name}, {kind}, {of}" for kind in ("expected", "found") for of in _OF]
    rows = []
    for i, one in enumerate(SELECTIONS):
        row = [f"{one:.1%}"]
        for name in COUNTING:
            for key, papers in zip(("expected", "z"), _COUNTED[name], strict=True):
                paper = papers[i] if i < len(papers) else "-"
                row += [paper, str(found.measured(block, f"{name}/{one:g}/{key}"))]
        rows.append(tuple(row))
    title = f"Counting, 1 % of signal, {INPUTS[inputs].title} (table 1; {_sizes(found, block)})"
    return StudyTable(title, tuple(columns), tuple(rows))


_OF = ("paper", "ours")


def _sizes(found: Found, block: str) -> str:
    events = searched(found, block.partition("-")[0], share_of(block))
    return f"paper {SEARCHED:,} events searched, ours {events:,.0f}" if events else "refused"


def _bump_tables(found: Found, inputs: str) -> list[StudyTable]:
    """Return tables 2 and 3."""
    tables = []
    for number, (share, published) in enumerate(BUMPS.items(), 2):
        block = block_name(inputs, share)
        rows = []
        for name, paper in published.items():
            of = ("", "before") if name == "before" else (name, CUT)
            ours = found.z(block, *of), found.measured(block, f"cubic/{name}")
            rows.append((name, f"{paper:g}", *map(str, ours)))
        rows.append(("supervised", _SUPERVISED[share], "-", "-"))
        title = (
            f"Bump hunt at {CUT:.0%}, {share:.1%} of signal, {INPUTS[inputs].title} "
            f"(table {number}; {_sizes(found, block)})"
        )
        columns = ("selection", "Z, paper", "Z, ours", "Z, ours, the paper's cubic")
        tables.append(StudyTable(title, columns, tuple(rows)))
    return tables


def _shapes_table(found: Found, inputs: str) -> StudyTable:
    tops = {
        "signal": "signal",
        "background": "background",
        **{name: f"{name}/top" for name in (FIRST, TNT, MJJ)},
    }
    rows = tuple(
        (
            name,
            *(str(found.measured(block_name(inputs, MIDDLE), f"{of}/{s}")) for s in shape_names()),
        )
        for name, of in tops.items()
    )
    title = f"Medians of the most anomalous 1 %, 1 % of signal, {INPUTS[inputs].title} (figure 6)"
    return StudyTable(title, ("", *shape_names()), rows)


def _flatness_table(found: Found, inputs: str) -> StudyTable:
    rows = tuple(
        (name, *(f"{one.median:.2g}" for one in flatness(found, inputs, name))) for name in HUNTED
    )
    title = f"Median p of a flat share kept, 1 % of signal, {INPUTS[inputs].title} (figure 3)"
    return StudyTable(title, ("method", *(f"{one:.0%} of background" for one in CUTS)), rows)


def tnt_notes(found: Found) -> list[str]:
    """Return where the study departs from the paper."""
    return [
        "The paper trains on 200,000 events for the autoencoders and for each of three iterations "
        "and searches 300,000. In the split four fifths of the events do that and one is searched: "
        "of a million, 200,000 each. In cross-validation every event is searched, by taggers of "
        "the other fold; images have a tenth of the events, and so has 9 % of signal.",
        "tnt, tnt-2 and tnt-3 are the iterations; TNT is the third, as in the paper.",
        "The first tagger of trees is an autoencoder of their two features with one latent number, "
        "that of images has principal components, 16 of them.",
        "CWoLa hunting has the features of the trees in every row; the paper's classifiers have "
        "images (section 3.2).",
        "Background-rich events are weighted in the jet's mass, the package's default; the paper's "
        "are not (tnt-none: the first iteration without).",
        "Curves, SIC and AUC are of the window or the fit range, the paper's of all events.",
    ]
