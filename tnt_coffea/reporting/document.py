"""The report: one HTML file that needs nothing else, and its plots beside it."""

from __future__ import annotations

import base64
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tnt_coffea.accounting import Accounting
from tnt_coffea.reporting.contents import ReportContents
from tnt_coffea.reporting.figures import Plot, Section
from tnt_coffea.reporting.plots import all_plots
from tnt_coffea.reporting.tables import (
    Step,
    correlation_rows,
    cutflow,
    evaluation_rows,
    event_rows,
    selection_flow,
    summary,
)
from tnt_coffea.reporting.wording import (
    cautions,
    coverage,
    duration,
    headline,
    percent,
)

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["write_report"]

# CSS pixels an inch of a figure takes at most: its text is then as large as the page's.
PIXELS_AN_INCH = 105


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
        saved = plot.save(path.parent / "plots")
        written += saved
        panels[plot.section.name].append(_panel(plot, saved[0]))
    views, provenance = contents.views, dict(contents.result.provenance)
    page = (
        _environment()
        .get_template("report.html")
        .render(
            headline=headline(contents.result, contents.config),
            cautions=cautions(contents.result, accounting),
            coverage=coverage(contents.result, contents.config),
            summary=summary(contents.result, contents.config),
            limit=contents.config.fit.limit,
            mass=contents.config.signal_mass,
            sections=Section,
            plots=panels,
            correlations=correlation_rows(views.correlations),
            shown=views.shown,
            events=event_rows(views.events),
            true_events=[i for i, true in enumerate(views.events_are_signal, start=1) if true],
            evaluation=views.evaluation,
            evaluated=evaluation_rows(views.evaluation),
            accounting=accounting,
            flows={stage: cutflow(account) for stage, account in accounting.items()},
            duplicates=contents.duplicates,
            selections=_selections(contents),
            search=contents.config.search,
            stage_seconds=contents.stage_seconds,
            settings=contents.config.to_yaml(),
            versions=_flat(_versions(provenance.pop("versions", {}))),
            provenance=_flat(provenance),
        )
    )
    path.write_text(page, encoding="utf-8")
    return [path, *written]


def _panel(plot: Plot, png: Path) -> dict[str, Any]:
    # As saved: the backend rounds the size to pixels.
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
    }


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


def _environment() -> Environment:
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
    }
    return environment


def _tight(text: str) -> str:
    """Return a text whose equations do not break over lines."""
    return text.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")


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
