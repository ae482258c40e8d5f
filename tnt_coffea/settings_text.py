"""Settings as YAML text: where each one stands, and what each one means."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from tnt_coffea.errors import ConfigError, fault

__all__ = ["SettingsText", "commented"]

Path = tuple[str | int, ...]
WIDTH = 100
MOST_CHARACTERS, MOST_OF_ONE = 1_000_000, 10_000
"""Of a text, and of a name or value in it."""
MOST_VALUES, DEEPEST = 50_000, 30
"""Names and values of a text where every alias is written out, and the levels they nest in."""
LARGEST = 2**63
"""Integers are below it, as those of C are."""
_EXPECTED = {
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "settings by name",
    "float_type": "a number",
    "int_type": "a whole number",
    "bool_type": "true or false",
}
"""What a setting may be, by the error of pydantic that it is not."""


@dataclass(frozen=True)
class SettingsText:
    """Parsed YAML that still knows its lines.

    Attributes
    ----------
    name
        The file, for messages.
    values
        Settings by name.
    lines
        Line of every setting, from 1.
    """

    name: str
    values: Mapping[str, Any]
    lines: Mapping[Path, int]

    @classmethod
    def parsed(cls, text: str, name: str) -> SettingsText:
        """Return the settings in a text.

        Raises
        ------
        ConfigError
            The text is not YAML, not settings by name, gives one of them twice, or is larger or
            deeper than settings are.
        """
        try:
            _check_size(text, name)
            values = yaml.safe_load(text)
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{name}:{mark.line + 1}" if mark else name
            problem = getattr(error, "problem", None) or str(error).replace("\n", " ")
            msg = f"{where}: not valid YAML: {problem}"
            raise ConfigError(msg) from error
        except ValueError as error:  # a date or number that only looks like one
            msg = f"{name}: not valid YAML: {error}"
            raise ConfigError(msg) from error
        if values is not None and not isinstance(values, dict):
            msg = f"{name}:1: expected settings by name, found {type(values).__name__}"
            raise ConfigError(msg)
        lines: dict[Path, int] = {}
        for path, line in _places(root):
            if path in lines:
                msg = (
                    f"{name}:{line}: {_dotted(path)} was given in line {lines[path]} already; "
                    "keep one of the two"
                )
                raise ConfigError(msg)
            lines[path] = line
        made = cls(name, values or {}, lines)
        for path, value in _integers(made.values):
            if abs(value) >= LARGEST:
                msg = f"{name}:{made._line(path)}: {_dotted(path)} is an integer beyond 2^63"
                raise ConfigError(msg)
        return made

    def complaint(
        self,
        error: ValidationError,
        default: BaseModel,
        further: Iterable[str] = (),
        listed: str = "",
    ) -> ConfigError:
        """Return all faults of the settings, each with its line, as one error.

        Parameters
        ----------
        error
            Of the settings' validation.
        default
            The settings there are, for names that are nearly right.
        further
            Names of settings that are not among the defaults.
        listed
            Where all of them are listed, if not by the command for settings of a search.
        """
        known = [*further, *(_dotted(path) for path in _names(default.model_dump()))]
        found = []
        for _, same in groupby(error.errors(), lambda e: (self._written(e), id(e["input"]))):
            items = list(same)
            if len(items) > 1 and all(item["type"] in _EXPECTED for item in items):
                words = dict.fromkeys(_EXPECTED[item["type"]] for item in items)
                items = [{**items[0], "type": "", "msg": f"expected {' or '.join(words)}"}]
            found += [self._complaint(item, known, listed) for item in items]
        return ConfigError("; ".join(found))

    def _complaint(self, item: Any, known: list[str], listed: str) -> str:
        path = self._written(item)
        message = fault(item)
        # A rule over several settings complains above them, and starts with a setting's name.
        named = tuple(message.split(" ")[0].split("."))
        if named in self.lines or not path:
            return f"{self.name}:{self._line(named)}: {message}"
        where = f"{self.name}:{self._line(path)}"
        if item["type"] == "extra_forbidden":
            # A name of one network may not be that of another.
            others = [name for name in known if name != _dotted(path)]
            near = difflib.get_close_matches(_dotted(path), others, n=1, cutoff=0.8)
            lists = "methods show KIND" if path[:2] == ("train", "methods") else "config show"
            all_of_them = listed or f"`tnt-coffea {lists}` lists them all"
            hint = f"did you mean {near[0]}?" if near else all_of_them
            return f"{where}: {_dotted(path)} is not a setting; {hint}"
        if item["type"] == "union_tag_invalid":
            setting = (*path, item["ctx"]["discriminator"].strip("'"))
            known_ones = item["ctx"]["expected_tags"].replace("'", "")
            at, tag = f"{self.name}:{self._line(setting)}", item["ctx"]["tag"]
            return f"{at}: {_dotted(setting)}: '{tag}' is unknown; choose one of {known_ones}"
        if item["type"] == "union_tag_not_found":
            setting = (*path, item["ctx"]["discriminator"].strip("'"))
            return f"{where}: {_dotted(setting)} is missing; it says whose settings these are"
        if item["type"] in ("tuple_type", "list_type"):
            message = "expected a list"
            if isinstance(item["input"], str | int | float):
                listed = yaml.safe_dump([item["input"]], default_flow_style=True, width=LARGEST)
                return f"{where}: {_dotted(path)}: {message}: write {_cut(listed.strip())}"
            message += f" (got {_cut(repr(item['input']))})"
        return f"{where}: {_dotted(path)}: {message}"

    def _written(self, item: Any) -> Path:
        """Return a place without what only pydantic adds: tags of unions, '[key]', '[list]'."""
        path: Path = ()
        value: Any = self.values
        for number, part in enumerate(item["loc"], 1):
            listed = isinstance(value, list) and isinstance(part, int)
            if listed or (isinstance(value, Mapping) and part in value):
                path, value = (*path, part), value[part]
            elif not path or (item["type"] == "missing" and number == len(item["loc"])):
                path = (*path, part)
        return path

    def _line(self, path: Path) -> int:
        known = (self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines)
        return next(known, 1)


def _check_size(text: str, name: str) -> None:
    """Refuse a text whose settings would take memory or time without end.

    Raises
    ------
    ConfigError
        It is too long, nests too deep, refers to itself, or holds a number of many digits.
    """
    if len(text) > MOST_CHARACTERS:
        msg = f"{name}: settings have at most {MOST_CHARACTERS} characters, and this is longer"
        raise ConfigError(msg)
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    values = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        where = f"{name}:{event.start_mark.line + 1 if event.start_mark else 1}"
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == own for own, _ in opened):
                msg = f"{where}: *{anchor} is inside of what it stands for"
                raise ConfigError(msg)
            values += sizes.get(str(anchor), 0)
        elif isinstance(event, yaml.CollectionEndEvent):
            own, before = opened.pop()
            if own is not None:
                sizes[own] = values - before
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append((anchor, values))
            elif anchor is not None:
                sizes[anchor] = 1
            values += 1
            if len(getattr(event, "value", "")) > MOST_OF_ONE:
                msg = f"{where}: a name or value of more than {MOST_OF_ONE} characters"
                raise ConfigError(msg)
        if len(opened) > DEEPEST or values > MOST_VALUES:
            msg = (
                f"{where}: more than {DEEPEST} levels or {MOST_VALUES} values (those that an alias "
                "repeats count as well): settings are smaller"
            )
            raise ConfigError(msg)


def _integers(value: Any, path: Path = ()) -> Iterator[tuple[Path, int]]:
    if isinstance(value, int):
        yield path, value
    elif isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, one in items:
            yield from _integers(one, (*path, key if isinstance(key, int) else str(key)))


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}..."


def _places(node: Any, prefix: Path = ()) -> Iterator[tuple[Path, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*prefix, str(key.value))
            yield path, key.start_mark.line + 1
            yield from _places(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            path = (*prefix, number)
            yield path, item.start_mark.line + 1
            yield from _places(item, path)


def _names(values: Mapping[str, Any], prefix: Path = ()) -> Iterator[Path]:
    for name, value in values.items():
        yield (*prefix, name)
        if isinstance(value, dict):
            yield from _names(value, (*prefix, name))


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


def commented(settings: BaseModel, indent: int = 0) -> str:
    """Return settings as YAML, each with what it means and its unit in a comment.

    Parameters
    ----------
    settings
        A model whose fields have descriptions.
    indent
        Spaces before every line.
    """
    margin, lines = " " * indent, []
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            lines += ["" if not indent else None, *_section(name, value, indent, info.description)]
        elif _holds_models(value):
            lines.append(_line(f"{margin}{name}:", info.description or ""))
            for key, item in value.items():
                lines += _section(key, item, indent + 2)
        else:
            plain = settings.model_dump(mode="json", include={name}).get(name, value)
            fixed = get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1
            note = info.description or ("tells which settings these are" if fixed else "")
            lines.append(_line(f"{margin}{name}: {json.dumps(plain)}", note))
    return "\n".join(line for line in lines if line is not None).lstrip("\n") + "\n"


def _section(name: str, value: BaseModel, indent: int, note: str | None = None) -> list[str]:
    """Return a model under its name, as lines."""
    note = note or (type(value).__doc__ or "").partition("\n")[0].rstrip(".")
    return [_line(f"{' ' * indent}{name}:", note), commented(value, indent + 2).rstrip("\n")]


def _holds_models(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(item, BaseModel) for item in value.values())
    )


def _line(setting: str, note: str) -> str:
    if not note:
        return setting
    on_one = f"{setting}  # {note}"
    if len(on_one) <= WIDTH:
        return on_one
    margin = " " * (len(setting) - len(setting.lstrip()))
    return f"{margin}# {note}\n{setting}"
