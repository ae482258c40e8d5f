"""Settings of a search: one frozen model a stage, joined in `SearchConfig`.

A setting's unit stands in its description. What changes a stage's output is in
that stage's model and therefore in its digest; executor, paths and verbosity
are in none.
"""

from __future__ import annotations

from tnt_coffea.config.fits import (
    AbcdSettings,
    BackgroundFamily,
    BumpSettings,
    FitSettings,
    LimitSettings,
    SignalKind,
)
from tnt_coffea.config.generation import (
    DetectorSettings,
    GenerateSettings,
    ShowerSettings,
    SignalModel,
)
from tnt_coffea.config.jets import (
    EVENT_OBSERVABLES,
    JET_OBSERVABLES,
    Axes,
    ImageChannel,
    ImageSettings,
    JetAlgorithm,
    JetOrder,
    JetSettings,
    SubstructureSettings,
)
from tnt_coffea.config.networks import (
    AugmentationSettings,
    Autoencoder,
    AutoencoderSettings,
    ClassifierInput,
    ClassifierSettings,
    Network,
    OptimizerSettings,
)
from tnt_coffea.config.search_config import SearchConfig
from tnt_coffea.config.searches import SearchSettings
from tnt_coffea.config.settings import MassRange, Settings, digest
from tnt_coffea.config.skims import (
    JetsFrom,
    SkimSettings,
    SourceSettings,
    TableOrder,
    TablePreset,
    TableSettings,
)
from tnt_coffea.config.training import (
    CwolaSettings,
    FoldMode,
    FoldSettings,
    Initial,
    InitialSettings,
    Reweighting,
    Spacing,
    SupervisedSettings,
    TntSettings,
    TrainSettings,
    WindowScan,
)

__all__ = [
    "EVENT_OBSERVABLES",
    "JET_OBSERVABLES",
    "AbcdSettings",
    "AugmentationSettings",
    "Autoencoder",
    "AutoencoderSettings",
    "Axes",
    "BackgroundFamily",
    "BumpSettings",
    "ClassifierInput",
    "ClassifierSettings",
    "CwolaSettings",
    "DetectorSettings",
    "FitSettings",
    "FoldMode",
    "FoldSettings",
    "GenerateSettings",
    "ImageChannel",
    "ImageSettings",
    "Initial",
    "InitialSettings",
    "JetAlgorithm",
    "JetOrder",
    "JetSettings",
    "JetsFrom",
    "LimitSettings",
    "MassRange",
    "Network",
    "OptimizerSettings",
    "Reweighting",
    "SearchConfig",
    "SearchSettings",
    "Settings",
    "ShowerSettings",
    "SignalKind",
    "SignalModel",
    "SkimSettings",
    "SourceSettings",
    "Spacing",
    "SubstructureSettings",
    "SupervisedSettings",
    "TableOrder",
    "TablePreset",
    "TableSettings",
    "TntSettings",
    "TrainSettings",
    "WindowScan",
    "digest",
]
