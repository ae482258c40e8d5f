"""Settings of a search: one frozen model a stage and one of the data, joined in `SearchConfig`.

A setting's unit stands in its description. What changes a stage's output is in
that stage's model and therefore in its digest; executor, paths and verbosity
are in none.
"""

from __future__ import annotations

from tnt_coffea.config.data import DataSettings
from tnt_coffea.config.differences import differences
from tnt_coffea.config.fits import (
    AbcdSettings,
    BackgroundFamily,
    BumpSettings,
    DirectSettings,
    FitSettings,
    LimitSettings,
    RetrainSettings,
    SignalKind,
    SignalTemplateSettings,
    TaggerEfficiencySettings,
    TransferSettings,
    TriggerSettings,
    TurnOn,
    WindowSettings,
)
from tnt_coffea.config.generation import (
    DetectorSettings,
    GenerateSettings,
    ShowerSettings,
    SignalModel,
)
from tnt_coffea.config.jets import (
    ENERGY_FLOW_GRAPHS,
    EVENT_OBSERVABLES,
    JET_OBSERVABLES,
    OBSERVABLE_GROUPS,
    Axes,
    Branches,
    EventImageSettings,
    ImageChannel,
    ImageSettings,
    JetAlgorithm,
    JetOrder,
    JetSettings,
    SequenceSettings,
    SplittingSettings,
    SubstructureSettings,
    ungrouped,
)
from tnt_coffea.config.methods import (
    ENTRY_POINTS,
    MethodSettings,
    method_kinds,
    training_order,
)
from tnt_coffea.config.presets import preset_names, preset_text
from tnt_coffea.config.reports import ReportSettings
from tnt_coffea.config.search_config import SearchConfig
from tnt_coffea.config.searches import JetShares, SearchSettings
from tnt_coffea.config.settings import MassRange, Settings, digest
from tnt_coffea.config.skims import (
    EventFilterSettings,
    JetsFrom,
    MassShiftSettings,
    SelectSettings,
    SkimSettings,
    SourceSettings,
    TableOrder,
    TablePreset,
    TableSettings,
)
from tnt_coffea.config.systematics import (
    NOMINAL,
    CorrectionSettings,
    JetVariationKind,
    JetVariationSettings,
    MembersRule,
    SignalSettings,
    SystematicsSettings,
    WeightVariationSettings,
)
from tnt_coffea.config.training import (
    Combination,
    FoldMode,
    FoldSettings,
    TrainSettings,
    WindowScan,
)

__all__ = [
    "ENERGY_FLOW_GRAPHS",
    "ENTRY_POINTS",
    "EVENT_OBSERVABLES",
    "JET_OBSERVABLES",
    "NOMINAL",
    "OBSERVABLE_GROUPS",
    "AbcdSettings",
    "Axes",
    "BackgroundFamily",
    "Branches",
    "BumpSettings",
    "Combination",
    "CorrectionSettings",
    "DataSettings",
    "DetectorSettings",
    "DirectSettings",
    "EventFilterSettings",
    "EventImageSettings",
    "FitSettings",
    "FoldMode",
    "FoldSettings",
    "GenerateSettings",
    "ImageChannel",
    "ImageSettings",
    "JetAlgorithm",
    "JetOrder",
    "JetSettings",
    "JetShares",
    "JetVariationKind",
    "JetVariationSettings",
    "JetsFrom",
    "LimitSettings",
    "MassRange",
    "MassShiftSettings",
    "MembersRule",
    "MethodSettings",
    "ReportSettings",
    "RetrainSettings",
    "SearchConfig",
    "SearchSettings",
    "SelectSettings",
    "SequenceSettings",
    "Settings",
    "ShowerSettings",
    "SignalKind",
    "SignalModel",
    "SignalSettings",
    "SignalTemplateSettings",
    "SkimSettings",
    "SourceSettings",
    "SplittingSettings",
    "SubstructureSettings",
    "SystematicsSettings",
    "TableOrder",
    "TablePreset",
    "TableSettings",
    "TaggerEfficiencySettings",
    "TrainSettings",
    "TransferSettings",
    "TriggerSettings",
    "TurnOn",
    "WeightVariationSettings",
    "WindowScan",
    "WindowSettings",
    "differences",
    "digest",
    "method_kinds",
    "preset_names",
    "preset_text",
    "training_order",
    "ungrouped",
]
