"""Settings as YAML text: where each one stands, and what each one means."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from tnt_coffea.errors import ConfigError

__all__ = ["SettingsText", "commented"]

Path = tuple[str | int, ...]
WIDTH = 100


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
            The text is not YAML, not settings by name, or gives one of them twice.
        """
        try:
            values = yaml.safe_load(text)
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{name}:{mark.line + 1}" if mark else name
            problem = getattr(error, "problem", None) or str(error).replace("\n", " ")
            msg = f"{where}: not valid YAML: {problem}"
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
        return cls(name, values or {}, lines)

    def complaint(
        self, error: ValidationError, default: BaseModel, further: Iterable[str] = ()
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
        """
        known = [*further, *(_dotted(path) for path in _names(default.model_dump()))]
        return ConfigError("; ".join(self._complaint(item, known) for item in error.errors()))

    def _complaint(self, item: Any, known: list[str]) -> str:
        path = self._written(item["loc"])
        message = str(item["msg"]).removeprefix("Value error, ")
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
            hint = f"did you mean {near[0]}?" if near else f"`tnt-coffea {lists}` lists them all"
            return f"{where}: {_dotted(path)} is not a setting; {hint}"
        if item["type"] in ("value_error", "missing"):
            return f"{where}: {_dotted(path)}: {message}"
        return f"{where}: {_dotted(path)}: {message} (got {item['input']!r})"

    def _written(self, place: tuple[str | int, ...]) -> Path:
        """Return a place without what only pydantic adds: tags of unions, '[key]'."""
        path: Path = ()
        for number, part in enumerate(place):
            last = number == len(place) - 1
            if (*path, part) in self.lines or (last and part != "[key]") or not path:
                path = (*path, part)
        return path

    def _line(self, path: Path) -> int:
        known = (self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines)
        return next(known, 1)


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
            plain = settings.model_dump(mode="json", include={name}).get(name)
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
