"""The report: one HTML file that needs nothing else, and its plots beside it."""

from __future__ import annotations

import base64
import json
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tnt_coffea.accounting import Accounting
from tnt_coffea.events.roles import SIMULATION, is_signal
from tnt_coffea.reporting.contents import ReportContents
from tnt_coffea.reporting.figures import Plot, Section
from tnt_coffea.reporting.plots import all_plots
from tnt_coffea.reporting.summary import summary
from tnt_coffea.reporting.tables import (
    Step,
    correlation_rows,
    cutflow,
    evaluation_rows,
    event_rows,
    fitted_rows,
    metric_rows,
    selection_flow,
    weight_rows,
)
from tnt_coffea.reporting.wording import (
    cautions,
    coverage,
    cut_text,
    data_facts,
    duration,
    gain,
    headline,
    mass_name,
    method_text,
    percent,
    size_text,
    title,
)
from tnt_coffea.results import SearchResult
from tnt_coffea.storage import stored

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["page_environment", "panel_of", "write_report"]

# CSS pixels an inch of a figure takes at most: its text is then as large as the page's.
PIXELS_AN_INCH = 105
_MOST_NAMES = 6


def write_report(path: Path, contents: ReportContents) -> list[Path]:
    """Write a report and return its files, the HTML first.

    Parameters
    ----------
    path
        The HTML file; plots go to `plots/` beside it as PNG, PDF, and numbers in JSON.
        Other files there are left alone.
    contents
        The search and its views. The same contents give the same bytes.

    Raises
    ------
    FitError
        A search histogram lacks an axis or an edge.
    ExecutionError
        An account of events does not balance.
    """
    accounting = {
        stage: Accounting.from_dict(values) for stage, values in contents.accounting.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    panels: dict[str, list[dict[str, Any]]] = {section.name: [] for section in Section}
    for plot in all_plots(contents):
        with stored(path.parent / "plots" / plot.name):
            saved = plot.save(path.parent / "plots")
        written += saved
        panels[plot.section.name].append(panel_of(plot, saved))
    views, provenance = contents.views, dict(contents.result.provenance)
    page = (
        page_environment()
        .get_template("report.html")
        .render(
            title=title(contents.config, contents.hists),
            searched=_searched(contents),
            trials=_trials(contents.result),
            headline=headline(contents.result, contents.config),
            cautions=cautions(contents.result, accounting, contents.warnings),
            coverage=coverage(contents.result, contents.config),
            summary=summary(contents.result, contents.config),
            limit=contents.config.fit.limit,
            mass=contents.result.before.mass,
            sections=Section,
            plots=panels,
            correlations=correlation_rows(views.correlations),
            shown=views.shown,
            events=event_rows(views.events),
            true_events=[i for i, true in enumerate(views.events_are_signal, start=1) if true],
            evaluation=views.evaluation,
            evaluated=evaluation_rows(views.evaluation),
            gain=gain(contents.result, views.evaluation),
            fitted=fitted_rows(
                contents.result, views.evaluation, contents.config.fit.bump.selection
            ),
            accounting=accounting,
            weights=weight_rows(contents.histories),
            flows={stage: cutflow(account) for stage, account in accounting.items()},
            duplicates=contents.duplicates,
            selections=_selections(contents),
            search=contents.config.search,
            stage_seconds=contents.stage_seconds,
            metrics=metric_rows(contents.metrics),
            settings=contents.config.to_yaml(),
            versions=_flat(_versions(provenance.pop("versions", {}))),
            provenance=_flat(provenance),
        )
    )
    with stored(path):
        path.write_text(page, encoding="utf-8")
    return [path, *written]


def panel_of(plot: Plot, saved: Sequence[Path]) -> dict[str, Any]:
    """Return a plot as a page shows it, from the files that it was saved in."""
    # As saved: the backend rounds the size to pixels.
    png = saved[0]
    width, height = (int.from_bytes(png.read_bytes()[i : i + 4]) for i in (16, 20))
    return {
        "name": plot.name,
        "title": plot.title,
        "caption": plot.caption,
        "alt": plot.alt,
        "width": width,
        "height": height,
        "shown": round(plot.figure.get_figwidth() * PIXELS_AN_INCH),
        "png": base64.b64encode(png.read_bytes()).decode(),
        "files": {path.suffix[1:].upper(): path.name for path in saved},
    }


def _searched(contents: ReportContents) -> list[tuple[str, str]]:
    """Return what was searched, when and with what, as rows of a table."""
    config, facts = contents.config, []
    for one in contents.files:
        role = "data" if one.role == "data" else f"{one.role}, {_purpose(one.role, contents)}"
        names = ", ".join(one.names[:_MOST_NAMES])
        more = len(one.names) - _MOST_NAMES
        names += f" and {more:,} more" if more > 0 else ""
        hashed = "SHA-256" if len(one.names) == 1 else f"{len(one.names):,} files, SHA-256"
        facts.append((role, f"{names} ({size_text(one.size)}, {hashed} {one.sha256[:12]}…)"))
    for account in contents.accounting.values():
        facts.append(
            ("events", f"{account['selected']:,} dijets of {account['events']:,} events read")
        )
        break
    facts += data_facts(config, generated=contents.generated).items()
    region, fit_range = config.search.window.name, config.search.fit_range.name
    facts.append(
        (
            "searched for",
            f"a resonance at {contents.result.before.mass:g} GeV in the "
            f"{mass_name(config.search.variable)}, signal region {region} GeV, fit range "
            f"{fit_range} GeV",
        )
    )
    if contents.hists:
        facts.append(("methods", "; ".join(method_text(n, config) for n in contents.hists)))
    facts.append(("seed", str(contents.result.provenance.get("seed", config.seed))))
    if contents.date:
        facts.append(("fitted", contents.date))
    facts.append(("version", f"tnt_coffea {version('tnt-coffea')}"))
    return facts


def _purpose(role: str, contents: ReportContents) -> str:
    if is_signal(role):
        return "for templates of a signal"
    weighted = role == SIMULATION and contents.result.direct
    return "for training and direct estimates" if weighted else "for training only"


def _trials(result: SearchResult) -> list[str]:
    """Return the tests made on these data as text, where there was more than one."""
    return result.trial_lines() if len(result.trials) > 1 else []


def _selections(contents: ReportContents) -> dict[str, tuple[tuple[Step, ...], ...]]:
    search = contents.config.search
    return {
        name: selection_flow(
            histogram, contents.points[name], search.fit_range.edges, search.window.edges
        )
        for name, histogram in contents.hists.items()
    }


def _versions(recorded: Mapping[str, str]) -> dict[str, str]:
    return {
        **recorded,
        **{f"{name} (plots)": version(name) for name in ("matplotlib", "mplhep")},
        "python (report)": platform.python_version(),
    }


def page_environment() -> Environment:
    """Return what renders the pages, with their filters."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files("tnt_coffea.reporting")
    environment = Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": duration,
        "percent": percent,
        "tight": _tight,
        "cut": cut_text,
        "subscripts": _subscripts,
    }
    return environment


def _tight(text: str) -> str:
    """Return a text whose equations do not break over lines."""
    return text.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")


def _subscripts(text: str) -> Markup:
    """Return ε_S and ε_B with their letters below the line."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"_([SB])", r"<sub>\1</sub>", str(escape(text))))


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in sorted(values.items()):
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{key} / ")
        elif isinstance(value, list | tuple):
            rows += [(key, item if isinstance(item, str) else json.dumps(item)) for item in value]
        else:
            rows.append((key, str(value)))
    return rows
