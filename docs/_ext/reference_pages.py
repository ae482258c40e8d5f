"""The settings and the command line as reference pages, written from the code at build time.

A page says where with a line `<!-- generated: settings -->`, `<!-- generated: command line -->` or
`<!-- generated: exit codes -->`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin

import annotated_types
import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

GENERATED = ["how-to/errors", "reference/command-line", "reference/settings"]
LIMITS = {
    annotated_types.Gt: ("gt", "> {}"),
    annotated_types.Ge: ("ge", "≥ {}"),
    annotated_types.Lt: ("lt", "< {}"),
    annotated_types.Le: ("le", "≤ {}"),
    annotated_types.MinLen: ("min_length", "at least {} of them"),
}


def setup(app: Any) -> dict[str, bool]:
    """Fill the pages when Sphinx reads them, which it does in each build."""
    app.connect("source-read", _fill)
    app.connect("env-get-outdated", lambda *_: GENERATED)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _fill(app: Any, docname: str, source: list[str]) -> None:
    pages = {"settings": settings, "command line": command_line, "exit codes": exit_codes}
    for name, written in pages.items():
        mark = f"<!-- generated: {name} -->"
        if mark in source[0]:
            source[0] = source[0].replace(mark, "\n".join(written()))


def settings() -> Iterator[str]:
    """Give the settings as Markdown: a section a stage, a table a model."""
    from tnt_coffea.config import SearchConfig, method_kinds
    from tnt_coffea.training.classifiers import Convolutional, Dense, ParticleFlow, Trees

    plain = {n: f for n, f in SearchConfig.model_fields.items() if _model(f) is None}
    yield from _table("", plain)
    for name, field in SearchConfig.model_fields.items():
        if _model(field) is not None:
            yield from _model_section(name, _model(field), 2)
    yield from ["", "## Methods", "", "What `train.methods.NAME` may hold, by its `kind`.", ""]
    for kind, method in sorted(method_kinds().items()):
        yield from _model_section(f"kind: {kind}", method, 3)
    yield from ["", "## Classifiers", "", "What `classifier` of a method may hold.", ""]
    for network in (Convolutional, Dense, Trees, ParticleFlow):
        yield from _model_section(f"network: {network().network}", network, 3)


def _model_section(path: str, model: type[BaseModel], level: int) -> Iterator[str]:
    text = inspect.cleandoc(model.__doc__ or "").partition("\nExamples\n")[0]
    yield from ["", f"{'#' * level} `{path}`", "", _paragraph(text), ""]
    fields = model.model_fields
    yield from _table(path, {n: f for n, f in fields.items() if not _is_section(f)})
    for name, field in fields.items():
        if _is_section(field):
            yield from _model_section(f"{path}.{name}", _model(field), level + 1)


def _model(field: FieldInfo) -> Any:
    kinds = get_args(field.annotation) or (field.annotation,)
    models = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
    return models[0] if models and get_origin(field.annotation) is not tuple else None


def _is_section(field: FieldInfo) -> bool:
    # A range is one value to a reader: {low: 3300, high: 3700}.
    model = _model(field)
    return model is not None and set(model.model_fields) != {"low", "high"}


def _table(path: str, fields: dict[str, FieldInfo]) -> Iterator[str]:
    if not fields:
        return
    yield from ["| setting | default | takes | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        meaning = field.description or (_model(field) and _model(field).__doc__) or ""
        cells = (f"`{name}`", f"`{_value(field)}`", _takes(field), _cell(meaning))
        yield f"| {' | '.join(cells)} |"


def _value(field: FieldInfo) -> str:
    if field.is_required():
        return "(needed)"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return ", ".join(f"{name}: {item:g}" for name, item in value.model_dump().items())
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return (
        {True: "true", False: "false", None: "null"}.get(value, str(value))
        if isinstance(value, bool | None)
        else str(value)
    )


def _takes(field: FieldInfo) -> str:
    limits = [_limit(item) for item in field.metadata]
    return _cell(", ".join([_kind(field.annotation), *filter(None, limits)]))


def _kind(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *metadata = get_args(kind)
        found = [_limit(item) for part in metadata for item in getattr(part, "metadata", [part])]
        return ", ".join([_kind(inner), *filter(None, found)])
    if origin in (tuple, list):
        return f"list of {_kind(get_args(kind)[0])}"
    if origin is Union or type(kind).__name__ == "UnionType":
        return " or ".join(_kind(item) for item in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(f"`{item.value}`" for item in kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "`low`, `high`"
    known = {float: "number", int: "integer", bool: "`true` or `false`", str: "text"}
    return known.get(
        kind, "nothing" if kind is type(None) else str(getattr(kind, "__name__", kind))
    )


def _limit(item: Any) -> str:
    for kind, (attribute, text) in LIMITS.items():
        if isinstance(item, kind):
            return text.format(f"{getattr(item, attribute):g}")
    return ""


def command_line() -> Iterator[str]:
    """Give the commands as Markdown, in the order of the help."""
    from tnt_coffea.cli import main

    yield from _command(click.Context(main, info_name="tnt-coffea"), 2)


def _command(context: click.Context, level: int) -> Iterator[str]:
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from ["", f"{'#' * level} `{context.command_path}`", ""]
    yield from [_help(command.help or ""), "", "```text", usage, "```", ""]
    rows = [_option(p, context) for p in command.params if isinstance(p, click.Option)]
    rows = [row for row in rows if row]
    if rows:
        yield from ["| option | meaning |", "|---|---|", *rows, ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from _command(
                    click.Context(inner, info_name=name, parent=context), min(level + 1, 4)
                )


def exit_codes() -> Iterator[str]:
    """Give the exit codes as a Markdown table, from the errors themselves."""
    from tnt_coffea.errors import TntCoffeaError

    kinds = sorted(TntCoffeaError.__subclasses__(), key=lambda kind: kind.exit_code)
    yield from ["| exit code | exception | when |", "|---|---|---|"]
    yield "| 0 | | all went well |"
    yield "| 1 | | something unexpected; please report it |"
    for kind in kinds:
        meaning = str(kind.__doc__).partition("\n")[0]
        yield f"| {kind.exit_code} | `{kind.__name__}` | {_cell(meaning)} |"
    yield "| 130 | | interrupted by Ctrl-C; it says whether the same command goes on |"


def _option(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    if record is None:
        return ""
    names, text = record
    names = names.replace("INTEGER RANGE", "N")
    return f"| `{_cell(names)}` | {_cell(text)} |"


def _help(text: str) -> str:
    # \b marks a paragraph that click leaves as it is: an example.
    paragraphs = []
    for block in text.strip().split("\n\n"):
        if block.startswith("\b"):
            lines = block.removeprefix("\b").strip("\n").splitlines()
            paragraphs += ["```text", *lines, "```"]
        else:
            paragraphs.append(_paragraph(block))
        paragraphs.append("")
    return "\n".join(paragraphs)


def _paragraph(text: str | None) -> str:
    return _escaped(" ".join((text or "").split()))


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", "\\|")


def _escaped(text: str) -> str:
    return text.replace("<", "\\<").replace("[", "\\[").replace("+-", "±")
