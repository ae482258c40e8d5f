"""Commands about methods: which there are, what one can be set to, a new one."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import click

from tnt_coffea.errors import ConfigError

if TYPE_CHECKING:
    from tnt_coffea.config import MethodSettings

__all__ = ["methods"]

_METHOD = '''"""$title: say in one line what it learns, and from what."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tnt_coffea.events.sample import Sample
from tnt_coffea.training import FeatureSet, Graph, Job, Method, Scope, Scorer, Standardisation

__all__ = ["$cls"]


class $cls(Method):
    """Squared distance of a jet's features from their mean, in units of their widths.

    Assumes that jets unlike the others are anomalous. Source: your paper.
    """

    kind: Literal["$name"] = "$name"
    features: tuple[str, ...] = Field(
        ("mass", "tau21"), min_length=1, description="columns or expressions of them"
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("heavy", "light")
    orientation: ClassVar[str] = "distance"

    @property
    def is_random(self) -> bool:
        """Return False: members with other seeds would be the same."""
        return False

    @property
    def libraries(self) -> tuple[str, ...]:
        """Return the packages whose versions belong on the card."""
        return ("numpy", "onnx")

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns."""
        FeatureSet.of(self.features, scope, sample)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of one jet, from the events that the folds leave."""
        features = FeatureSet.of(self.features, job.scope, job.data)
        centred = Standardisation.of(features.values(job.data), job.data.weight)

        graph = Graph(features.input)
        value = features.add(graph, "features")
        value = graph.ops.subtract(value, graph.constant(centred.mean))
        value = graph.ops.multiply(value, graph.constant(centred.scale))
        square = graph.ops.multiply(value, value)
        score = graph.add("ReduceSum", square, graph.constant([1]), keepdims=0)

        def predict(inputs: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
            values = centred.applied(features.computed(inputs["features"]))
            return (values**2).sum(axis=1)

        return Scorer(graph.model(score), (features.input,), predict=predict)
'''
_TEST = """from $name import $cls

from tnt_coffea.testing import method_contract


def test_${name}_keeps_what_every_method_keeps(tmp_path):
    method_contract($cls(), tmp_path)
"""


@click.group()
def methods() -> None:
    """List methods of training, show their settings, or begin a new one."""


@methods.command("list")
def list_() -> None:
    """List the methods by their kind: the package's and those that other packages add."""
    from rich import box
    from rich.table import Table

    from tnt_coffea.config import method_kinds
    from tnt_coffea.reporting import wide_console

    table = Table(box=box.SIMPLE_HEAD)
    for name in ("kind", "trains", "simulation used", "what it is", "from"):
        table.add_column(name, overflow="fold")
    for kind, method in sorted(method_kinds().items()):
        own = method.__module__.startswith("tnt_coffea.training.methods.")
        table.add_row(
            kind,
            ", ".join(getattr(method, "scopes", ())),
            _knowledge(method),
            _summary(method),
            "" if own else method.__module__.partition(".")[0],
        )
    wide_console().print(table)


@methods.command()
@click.argument("kind")
def show(kind: str) -> None:
    """Print what a KIND of method is, and its settings as they are written."""
    from pydantic import ValidationError

    from tnt_coffea.config import method_kinds
    from tnt_coffea.settings_text import commented

    kinds = method_kinds()
    if kind not in kinds:
        msg = f"no method of kind '{kind}'; known are {', '.join(sorted(kinds))}"
        raise ConfigError(msg)
    method = kinds[kind]
    required = _required(method)
    text = inspect.cleandoc(method.__doc__ or "").partition("\nExamples\n")[0]
    click.echo(f"{text.rstrip()}\n\nsimulation used: {_knowledge(method)}\n")
    try:
        example = method(**dict.fromkeys(required, "NAME"))
    except ValidationError:
        for name, field in method.model_fields.items():
            click.echo(f"{name}:  # {field.description or ''}")
        return
    click.echo("train:\n  methods:\n    my_name:")
    click.echo(commented(example, indent=6), nl=False)
    if required:
        click.echo(f"\nto be given: {', '.join(required)}")


@methods.command()
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where the two files go (here).",
)
def new(name: str, folder: Path) -> None:
    """Write NAME.py, a method that works, and test_NAME.py, a test that passes."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        msg = f"{name!r} cannot name a method: use small letters, digits and '_'"
        raise ConfigError(msg)
    words = {
        "name": name,
        "cls": "".join(part.capitalize() for part in name.split("_")),
        "title": name.replace("_", " ").capitalize(),
    }
    files = {folder / f"{name}.py": _METHOD, folder / f"test_{name}.py": _TEST}
    there = [path for path in files if path.exists()]
    if there:
        msg = f"{there[0]}: is there already; choose another name or folder"
        raise ConfigError(msg)
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(words))
        click.echo(f"written: {path}")
    click.echo(
        f"try it: python -m pytest {folder / f'test_{name}.py'}; where the file goes then: "
        "docs/how-to/own-method.md"
    )


def _required(method: type[MethodSettings]) -> list[str]:
    return [name for name, field in method.model_fields.items() if field.is_required()]


def _knowledge(method: type[MethodSettings]) -> str:
    """Return what a kind of method knows beside the data, at its default settings."""
    from pydantic import ValidationError

    if method.__name__ == "Files":
        return "that of its files"
    try:
        made: Any = method(**dict.fromkeys(_required(method), "NAME"))
    except ValidationError:
        return "by its settings"
    known = made.reads.knowledge
    handed_on = ", or that of `after`" if made.builds_on() and known == "none" else ""
    return f"{known}{handed_on}{', and the truth' if made.reads.truth else ''}"


def _summary(method: type) -> str:
    return (method.__doc__ or "").strip().partition("\n")[0].rstrip(".")
