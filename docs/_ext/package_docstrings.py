"""What this package's docstrings need beside napoleon.

- `Returns` sections that are prose: napoleon takes each of their lines for a type. Where
  nothing in one is indented there is no type, and the section becomes one `:returns:` field.
- Closing lines `Source: ...`: they belong to the function, not to the section above them.
- Tables, which are written as Markdown has them, so that they read well in the code.
- Types of arrays: `float64 array` instead of numpy's full name for it.
- Several attributes of one description (`a, b, c, d`), whose first names Sphinx takes for a type.
"""

from __future__ import annotations

import re
from typing import Any, get_type_hints

from docutils import nodes
from sphinx import addnodes
from sphinx.util.typing import stringify_annotation

HEADINGS = {"Returns", "Yields"}
_ARRAY = re.compile(
    r"~?(?:numpy\.)?ndarray\[~?tuple\[~?(?:typing\.)?Any, (?:\.\.\.|…)\], "
    r"~?(?:numpy\.)?dtype\[~?(?:(?:numpy|typing)\.)?(\w+)\]\]"
)
_SEVERAL = re.compile(r":ivar (\w+(?:, \w+)+):(.*)")
_ARRAY_LIKE = re.compile(r"~?[\w.]*_Buffer \| .*_NestedSequence\[.*\]")


def setup(app: Any) -> dict[str, bool]:
    """Run before napoleon, after it, and before the types are written down."""
    app.connect("autodoc-process-docstring", _before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=600)
    app.connect("object-description-transform", _types_of_parameters, priority=400)
    app.connect("doctree-read", _names_apart)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _before_napoleon(app: Any, what: str, name: str, obj: Any, options: Any, lines: Any) -> None:
    lines[:] = sources_apart(prose_returns(tables(lines)))


def _after_napoleon(app: Any, what: str, name: str, obj: Any, options: Any, lines: Any) -> None:
    lines[:] = [
        short_types(line) if line.startswith(":vartype") else line
        for line in attributes_together(lines, obj)
    ]


def attributes_together(lines: list[str], obj: Any) -> list[str]:
    """Return a docstring's lines with attributes of one description as one word, and their type."""
    out: list[str] = []
    for line in lines:
        several = _SEVERAL.match(line)
        if several is None:
            out.append(line)
            continue
        names = several[1].split(", ")
        word = r",\ ".join(names)
        kinds = {stringify_annotation(_types(obj).get(name, "")) for name in names}
        out += [f":vartype {word}: {kind}" for kind in kinds if len(kinds) == 1 and kind]
        out.append(f":ivar {word}:{several[2]}")
    return out


def _types(obj: Any) -> dict[str, Any]:
    try:
        return get_type_hints(obj)
    except (NameError, TypeError):  # names that only a type checker imports
        return {}


def _names_apart(app: Any, doctree: nodes.document) -> None:
    for name in doctree.findall(addnodes.literal_strong):
        if "," in name.astext():
            text = nodes.Text(name.astext().replace(",", ", "))
            name.replace(name.children[0], text)


def _types_of_parameters(app: Any, domain: str, kind: str, content: Any) -> None:
    for types in app.env.current_document.autodoc_annotations.values():
        types.update({name: short_types(text) for name, text in types.items()})


def prose_returns(lines: list[str]) -> list[str]:
    """Return a docstring's lines with prose `Returns` sections as fields."""
    out: list[str] = []
    at = 0
    while at < len(lines):
        if lines[at] not in HEADINGS or at + 1 >= len(lines) or set(lines[at + 1]) != {"-"}:
            out.append(lines[at])
            at += 1
            continue
        end = _end(lines, at + 2)
        body = lines[at + 2 : end]
        if any(line.startswith(" ") for line in body):
            out += lines[at:end]
        else:
            text = [line for line in body if line]
            # Two empty lines end the section before it, for napoleon.
            out += ["", "", f":returns: {text[0]}", *(f"    {line}" for line in text[1:]), ""]
        at = end
    return out


def _end(lines: list[str], start: int) -> int:
    # The section ends with the paragraph: what follows a blank line ("Source: ...")
    # belongs to the function again.
    for at in range(start, len(lines)):
        if not lines[at] and not (at + 1 < len(lines) and lines[at + 1].startswith(" ")):
            return at
    return len(lines)


def sources_apart(lines: list[str]) -> list[str]:
    """Return a docstring's lines with a section's end before `Source: ...`."""
    out: list[str] = []
    for line in lines:
        out += ["", line] if line.startswith("Source: ") else [line]
    return out


def tables(lines: list[str]) -> list[str]:
    """Return a docstring's lines with Markdown tables as list tables."""
    out: list[str] = []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if after.startswith("|---"):
            out += [".. list-table::", "   :header-rows: 1", ""]
        if line.startswith("|---"):
            continue
        if line.startswith("| "):
            out += [f"   {'  -' if i else '* -'} {cell}" for i, cell in enumerate(cells)]
        else:
            out.append(line)
    return out


def short_types(text: str) -> str:
    """Return a type as text with arrays in words."""
    text = _ARRAY_LIKE.sub("array-like", text)
    return _ARRAY.sub(lambda m: "array" if m[1] == "Any" else f"{m[1].rstrip('_')} array", text)
