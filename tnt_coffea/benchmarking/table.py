"""The benchmark as text: the same table for the terminal and for the record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tnt_coffea.benchmarking.report import BenchmarkReport, FileTimes, Linearity, ScoringTimes

__all__ = ["markdown"]

_NAMES = {
    "binding": "FastJet's binding alone",
    "loaded": "file to columns",
    "particles": "file to particles",
    "dijets": "file to dijets with constituents",
    "images": "file to two images",
    "subjettiness": "file to tau1 to tau4",
    "pixels": "our images alone",
    "literal": "literal script, value by value from a frame",
    "literal by rows": "the same, a pandas series an event",
    "literal on numpy": "the same on numpy rows",
    "energyflow": "EnergyFlow's pixelate alone",
    "native": "C++ FastJet",
}


def markdown(report: BenchmarkReport) -> str:
    """Return the report as Markdown: ratios first, then rates, profile, memory and fit."""
    sections = [
        f"{report.date}. {report.machine.summary()}",
        _table(("figure", "file", "value", "target", ""), _ratio_rows(report)),
        *(_file(times) for times in report.files),
    ]
    if report.scoring is not None:
        sections.append(_scoring(report.scoring))
    if report.peak_memory:
        rows = [(f"{n:,}", f"{peak:.0f}") for n, peak in report.peak_memory.items()]
        sections.append("Inference worker\n\n" + _table(("events", "peak memory [MiB]"), rows))
    if report.linearity is not None:
        sections.append(_linearity(report.linearity))
    return "\n\n".join(sections) + "\n"


def _ratio_rows(report: BenchmarkReport) -> Iterator[tuple[str, ...]]:
    for file, ratio in report.ratios():
        target = ""
        if ratio.target is not None:
            target = f"{'at most' if ratio.at_most else 'at least'} {ratio.target:g}"
        verdict = {True: "met", False: "**not met**", None: ""}[ratio.met]
        yield ratio.name, file, f"{ratio.value:.3g}", target, verdict


def _file(file: FileTimes) -> str:
    rates = (
        (_NAMES[name], f"{timing.events:,}", f"{timing.rate:,.0f}", f"{1e3 * timing.per_event:.3f}")
        for name, timing in file.times.items()
    )
    steps = ((step, f"{milliseconds:.3f}") for step, milliseconds in file.profile())
    return (
        f"{file.file}\n\n"
        + _table(("work", "events", "events/s", "CPU ms/event"), rates)
        + "\n\n"
        + _table(("step of the road", "CPU ms/event"), steps)
    )


def _scoring(scoring: ScoringTimes) -> str:
    rows = [
        ("from the skim", "", f"{scoring.scored.rate:,.0f}"),
        ("ONNX Runtime alone, in turns", str(scoring.best_batch), f"{scoring.bare.rate:,.0f}"),
    ]
    rows += [
        ("ONNX Runtime alone", str(batch), f"{timing.rate:,.0f}")
        for batch, timing in scoring.by_batch.items()
    ]
    return "Taggers of both jets\n\n" + _table(("", "batch", "events/s"), rows)


def _linearity(fit: Linearity) -> str:
    rows = (
        (f"{n:,}", f"{seconds:.2f}", f"{1e3 * seconds / n:.3f}")
        for n, seconds in zip(fit.events, fit.seconds, strict=True)
    )
    table = _table(("events", "CPU s, file to two images", "ms/event"), rows)
    return (
        f"{table}\n\nseconds = c events^{fit.exponent:.3f}; largest distance from a straight line "
        f"{100 * fit.spread:.1f} %"
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
