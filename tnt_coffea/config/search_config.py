"""All settings of a search, one section a stage and one of the data, and their YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from tnt_coffea.config.data import DataSettings
from tnt_coffea.config.fits import FitSettings
from tnt_coffea.config.generation import GenerateSettings
from tnt_coffea.config.masses import check_masses, check_template_masses
from tnt_coffea.config.methods import method_kinds
from tnt_coffea.config.presets import preset_text
from tnt_coffea.config.reports import ReportSettings
from tnt_coffea.config.searches import SearchSettings
from tnt_coffea.config.settings import Settings
from tnt_coffea.config.skims import SkimSettings
from tnt_coffea.config.systematics import SystematicsSettings
from tnt_coffea.config.training import TrainSettings
from tnt_coffea.errors import ConfigError, reason
from tnt_coffea.settings_text import MOST_CHARACTERS, SettingsText, commented

__all__ = ["SearchConfig"]


class SearchConfig(Settings):
    """Everything a search is made of, one section a stage and one of the data.

    Examples
    --------
    >>> config = SearchConfig.from_text("search: {window: {low: 3000, high: 4000}}")
    >>> config.search.window.edges, list(config.train.methods)
    ((3000.0, 4000.0), ['autoencoder', 'tnt'])
    >>> SearchConfig.from_text(config.to_yaml()) == config
    True
    """

    seed: int = Field(1, ge=0, lt=2**63, description="the one root of all random numbers")
    data: DataSettings = DataSettings()
    generate: GenerateSettings = GenerateSettings()
    skim: SkimSettings = SkimSettings()
    search: SearchSettings = SearchSettings()
    # Left out of what is stored where nothing is set: reports from before it have the same key.
    systematics: SystematicsSettings = Field(
        SystematicsSettings(), exclude_if=lambda own: own == SystematicsSettings()
    )
    train: TrainSettings = Field(default_factory=TrainSettings)
    fit: FitSettings = FitSettings()
    report: ReportSettings = ReportSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        search = self.search
        fit = self.fit
        for name, test in (("bump", fit.bump), ("abcd", fit.abcd), ("direct", fit.direct)):
            wanted = None if test.cut is not None else test.efficiency
            if wanted is not None and wanted not in search.efficiencies:
                msg = (
                    f"fit.{name}.efficiency is {test.efficiency}, which is not among "
                    f"search.efficiencies {list(search.efficiencies)}"
                )
                raise ValueError(msg)
            if test.cut is not None and test.cut not in search.cuts:
                msg = f"fit.{name}.cut is {test.cut!r}, which is not among search.cuts " + (
                    str(sorted(search.cuts)) if search.cuts else "(there are none)"
                )
                raise ValueError(msg)
        if self.fit.abcd.cut is not None:
            cut = search.cuts[self.fit.abcd.cut]
            if max(cut.heavy, cut.light) > 1 - search.background_quantile:
                msg = (
                    f"fit.abcd.cut {self.fit.abcd.cut!r} passes {max(cut.heavy, cut.light):g} of "
                    "the events on one jet, some of them below search.background_quantile "
                    f"{search.background_quantile:g}: a jet cannot pass and be low"
                )
                raise ValueError(msg)
        if self.fit.limit.efficiencies and self.data.luminosity is None:
            msg = (
                "fit.limit.efficiencies are for cross sections, which need the luminosity of the "
                "data: write data: {luminosity: ...} [1/fb], or leave the efficiencies out"
            )
            raise ValueError(msg)
        if fit.limit.retrain.cross_sections and self.data.luminosity is None:
            msg = (
                "fit.limit.retrain.cross_sections need the luminosity of the data: write data: "
                "{luminosity: ...} [1/fb], or give strengths in events"
            )
            raise ValueError(msg)
        if fit.signal is not None and fit.signal.names:
            if self.data.luminosity is None:
                msg = (
                    "fit.signal.names are scaled to the luminosity of the data: write data: "
                    "{luminosity: ...} [1/fb], or leave fit.signal out"
                )
                raise ValueError(msg)
            varied = {*self.systematics.jets, *self.systematics.weights}
            if both := sorted(varied & set(fit.systematics)):
                msg = (
                    f"fit.systematics has {', '.join(both)}, which is a variation of the signal "
                    "(systematics) as well: leave one out"
                )
                raise ValueError(msg)
        check_masses(search, self.fit)
        tested = (self.signal_mass, *self.fit.scan.masses)
        check_template_masses(self.systematics, self.fit, tested)
        return self

    @property
    def signal_mass(self) -> float:
        """Mean of the signal that bump hunt and limit test: `fit.bump.mass`, or the window's [GeV].

        Examples
        --------
        >>> SearchConfig.from_text("search: {window: {low: 3800, high: 4200}}").signal_mass
        4000.0
        """
        low, high = self.search.window.edges
        return (low + high) / 2 if self.fit.bump.mass is None else self.fit.bump.mass

    @property
    def fit_settings(self) -> FitSettings:
        """The settings of the fits, with the signal's mass in their place of it."""
        bump = self.fit.bump.model_copy(update={"mass": self.signal_mass})
        return self.fit.model_copy(update={"bump": bump})

    @classmethod
    def from_yaml(cls, path: str | Path, rest: Self | None = None) -> Self:
        """Return the configuration in a YAML file.

        Parameters
        ----------
        path
            The file.
        rest
            Where what the file leaves out is taken from; the defaults without it. Methods, cuts
            and other settings by names of one's own are taken whole.

        Raises
        ------
        ConfigError
            The file cannot be read, is not YAML, or holds a wrong setting; the line is named.
        """
        path = Path(path)
        try:
            with path.open(encoding="utf-8") as file:
                text = file.read(MOST_CHARACTERS + 1)
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{path}: cannot read the configuration: {reason(error)}"
            raise ConfigError(msg) from error
        return cls.from_text(text, str(path), rest)

    @classmethod
    def from_text(cls, text: str, name: str = "settings", rest: Self | None = None) -> Self:
        """Return the configuration in YAML text; errors as `from_yaml`, under the name given.

        Examples
        --------
        >>> first = SearchConfig.from_text("{seed: 3, fit: {bump: {width: 80, cut: null}}}")
        >>> SearchConfig.from_text("fit: {bump: {mass: 3400}}", rest=first).changed()
        {'seed': 3, 'fit.bump.mass': 3400.0, 'fit.bump.width': 80.0}
        """
        settings = SettingsText.parsed(text, name)
        values = settings.values if rest is None else _filled(settings.values, rest)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise settings.complaint(error, cls(), _settings_of_methods(settings.values)) from error

    @classmethod
    def preset(cls, name: str) -> Self:
        """Return a configuration that comes with the package; its file has comments.

        Parameters
        ----------
        name
            `olympics-cwola`, `olympics-tag-n-train`: CWoLa hunting and Tag N' Train as in
            arXiv:2101.08320, sections 4.1 and 4.3; `quick`: both with boosted trees on two
            features of either jet, of which the package has null chains.

        Raises
        ------
        ConfigError
            There is none of that name.

        Examples
        --------
        >>> config = SearchConfig.preset("olympics-cwola")
        >>> config.train.windows.value, config.search.efficiencies
        ('cwola', (0.1, 0.01, 0.002))
        """
        return cls.from_text(preset_text(name), f"preset {name}")

    def to_yaml(self) -> str:
        """Return the configuration as YAML text, every setting with its meaning beside it."""
        return commented(self)


_OVERRIDES = {"efficiency": "cut", "bin_width": "edges"}
"""A setting, and the one that overrides it where both are set."""


def _filled(given: Mapping[str, Any], rest: Settings) -> dict[str, Any]:
    """Return the settings given, with what they leave out as in the rest, as JSON values."""
    values = rest.model_dump(mode="json")
    fields = type(rest).model_fields
    for name, one in given.items():
        inner = getattr(rest, name) if name in fields else None
        if isinstance(inner, Settings) and isinstance(one, Mapping):
            values[name] = _filled(one, inner)
        else:
            values[name] = one
        other = _OVERRIDES.get(name, "")
        if name in fields and other in fields and other not in given:
            values[other] = fields[other].default
    return values


def _settings_of_methods(values: Mapping[str, Any]) -> list[str]:
    """Return the names of all settings of the methods in a file, for names nearly right."""
    train = values.get("train")
    methods = train.get("methods") if isinstance(train, Mapping) else None
    names: list[str] = []
    for name, method in methods.items() if isinstance(methods, Mapping) else ():
        kind = method_kinds().get(str(method.get("kind"))) if isinstance(method, Mapping) else None
        for field, info in kind.model_fields.items() if kind else ():
            place = f"train.methods.{name}.{field}"
            inner = getattr(type(info.default), "model_fields", {})
            names += [place, *(f"{place}.{item}" for item in inner)]
    return names
