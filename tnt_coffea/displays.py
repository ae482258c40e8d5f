"""What an object shows of itself at a prompt and in a notebook: a few facts, not its content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from html import escape
from typing import Any, cast

__all__ = ["Displayed", "brief", "html_table"]

_LONGEST = 60
_MOST = 6


class Displayed:
    """Base of dataclasses that show a few facts: text at a prompt, a table in a notebook.

    Without facts of its own a class shows its fields, long ones by their lengths.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Spectrum(Displayed):
    ...     name: str
    ...     counts: tuple[float, ...]
    >>> Spectrum("all", tuple(range(1000)))
    Spectrum(name='all', counts=1000 values)
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__repr__" not in cls.__dict__:  # a dataclass writes one where the class has none
            cls.__repr__ = cls.__repr__  # type: ignore[method-assign]

    def _facts(self) -> dict[str, str]:
        """Return what is shown, as text by its name."""
        own = fields(cast("Any", self))
        return {one.name: brief(getattr(self, one.name)) for one in own if one.repr}

    def __repr__(self) -> str:
        name, facts = type(self).__name__, self._facts()
        line = f"{name}({', '.join(f'{what}={text}' for what, text in facts.items())})"
        if len(line) <= 100 and type(self)._facts is Displayed._facts:
            return line
        return "\n".join([name, *(f"  {what}: {text}" for what, text in facts.items())])

    def _repr_html_(self) -> str:
        return html_table(type(self).__name__, self._facts())


def html_table(title: str, facts: Mapping[str, str], folded: str = "") -> str:
    """Return facts as an HTML table under a title, all of it escaped.

    Parameters
    ----------
    title
        What the object is.
    facts
        Text by name.
    folded
        Text that is shown when it is asked for.

    Examples
    --------
    >>> html_table("Skim", {"dijets": "10"}).count("<tr>")
    1
    """
    left = "style='text-align:left;vertical-align:top'"
    rows = "".join(
        f"<tr><th {left}>{escape(what)}</th><td {left}>{escape(text)}</td></tr>"
        for what, text in facts.items()
    )
    more = f"<details><summary>all</summary><pre>{escape(folded)}</pre></details>" if folded else ""
    caption = f"<caption {left}><b>{escape(title)}</b></caption>" if title else ""
    return f"<table>{caption}{rows}</table>{more}"


def brief(value: Any) -> str:
    """Return any value in a few words: long lists by their lengths, mappings by their names.

    Examples
    --------
    >>> brief((1.0, 2.5)), brief([0.0] * 300), brief({"a": 1, "b": 2}), brief(0.123456789)
    ('(1, 2.5)', '300 values', "'a', 'b'", '0.123457')
    """
    match value:
        case bool() | None | int():
            return str(value)
        case float():
            return f"{value:.6g}"
        case str():
            return repr(value if len(value) <= _LONGEST else f"{value[: _LONGEST - 3]}...")
        case Mapping():
            return _listed([repr(name) for name in value]) or "{}"
        case Sequence() | Set():
            text = f"({', '.join(map(brief, value))})" if len(value) <= _MOST else ""
            return text if 0 < len(text) <= _LONGEST else f"{len(value)} values"
        case _ if is_dataclass(value) or hasattr(value, "model_fields"):
            return type(value).__name__
        case _:
            text = " ".join(str(value).split())
            return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more
