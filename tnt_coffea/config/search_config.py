"""All settings of a search, one section a stage, and their YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from tnt_coffea.config.fits import FitSettings
from tnt_coffea.config.generation import GenerateSettings
from tnt_coffea.config.searches import SearchSettings
from tnt_coffea.config.settings import Settings
from tnt_coffea.config.skims import SkimSettings
from tnt_coffea.config.training import TrainSettings
from tnt_coffea.errors import ConfigError
from tnt_coffea.settings_text import SettingsText, commented

__all__ = ["SearchConfig"]


class SearchConfig(Settings):
    """Everything a search is made of, one section a stage.

    Examples
    --------
    >>> config = SearchConfig.from_text("search: {window: {low: 3000, high: 4000}}")
    >>> config.search.window.edges, list(config.train.methods)
    ((3000.0, 4000.0), ['autoencoder', 'tnt'])
    >>> SearchConfig.from_text(config.to_yaml()) == config
    True
    """

    seed: int = Field(1, ge=0, description="the one root of all random numbers")
    generate: GenerateSettings = GenerateSettings()
    skim: SkimSettings = SkimSettings()
    search: SearchSettings = SearchSettings()
    train: TrainSettings = Field(default_factory=TrainSettings)
    fit: FitSettings = FitSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = self.search.efficiencies
        for name, wanted in (
            ("fit.bump.efficiency", self.fit.bump.efficiency),
            ("fit.abcd.efficiency", self.fit.abcd.efficiency),
        ):
            if wanted not in known:
                msg = f"{name} is {wanted}, which is not among search.efficiencies {list(known)}"
                raise ValueError(msg)
        if self.fit.bump.bin_width % self.search.bin_width:
            msg = (
                f"fit.bump.bin_width ({self.fit.bump.bin_width} GeV) must be a multiple of "
                f"search.bin_width ({self.search.bin_width} GeV)"
            )
            raise ValueError(msg)
        return self

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Return the configuration in a YAML file; what it leaves out keeps its default.

        Raises
        ------
        ConfigError
            The file cannot be read, is not YAML, or holds a wrong setting; the line is named.
        """
        path = Path(path)
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            msg = f"{path}: cannot read the configuration: {reason}"
            raise ConfigError(msg) from error
        return cls.from_text(text, str(path))

    @classmethod
    def from_text(cls, text: str, name: str = "settings") -> Self:
        """Return the configuration in YAML text; errors as `from_yaml`, under the name given."""
        settings = SettingsText.parsed(text, name)
        try:
            return cls.model_validate(settings.values)
        except ValidationError as error:
            raise settings.complaint(error, cls()) from error

    def to_yaml(self) -> str:
        """Return the configuration as YAML text, every setting with its meaning beside it."""
        return commented(self)
