"""The report: one HTML file that needs nothing else, and its plots beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tnt_coffea.accounting import Accounting
from tnt_coffea.reporting.contents import ReportContents
from tnt_coffea.reporting.plots import Plot, all_plots
from tnt_coffea.reporting.tables import evaluation_rows, summary
from tnt_coffea.reporting.wording import (
    cautions,
    duration,
    headline,
    percent,
    set_name,
)

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["write_report"]

# Inches from which a figure is too broad for a phone, and scrolls there.
BROAD = 8.0


def write_report(path: Path, contents: ReportContents) -> list[Path]:
    """Write a report and return its files, the HTML first.

    Parameters
    ----------
    path
        The HTML file; plots go to `plots/` beside it as PNG, PDF, and numbers in JSON.
        Other files there are left alone.
    contents
        What the report is about. The same contents give the same bytes.

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
    panels: list[dict[str, Any]] = []
    for plot in all_plots(contents):
        saved = plot.save(path.parent / "plots")
        written += saved
        panels.append(_panel(plot, saved[0]))
    page = (
        _environment()
        .get_template("report.html")
        .render(
            headline=headline(contents.result, contents.config),
            cautions=cautions(contents.result, accounting),
            summary=summary(contents.result, contents.config),
            search_plots=[panel for panel in panels if not panel["truth"]],
            truth_plots=[panel for panel in panels if panel["truth"]],
            evaluation=contents.evaluation,
            evaluated=evaluation_rows(contents.evaluation),
            accounting=accounting,
            stage_seconds=contents.stage_seconds,
            settings=contents.config.to_yaml(),
            provenance=_flat(contents.result.provenance),
        )
    )
    path.write_text(page, encoding="utf-8")
    return [path, *written]


def _panel(plot: Plot, png: Path) -> dict[str, Any]:
    return {
        "name": plot.name,
        "title": plot.title,
        "caption": plot.caption,
        "truth": plot.truth,
        "broad": bool(plot.figure.get_figwidth() > BROAD),
        "png": base64.b64encode(png.read_bytes()).decode(),
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
    environment.filters |= {"percent": percent, "set_name": set_name, "duration": duration}
    return environment


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
