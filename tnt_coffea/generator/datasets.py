"""Data sets with names: those of the LHC Olympics and their kin, each one entry of a table.

Numbers of events are the originals'; `scaled` makes fewer. What the originals do
not state was chosen here, and the entry says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tnt_coffea.config import DetectorSettings, GenerateSettings, ShowerSettings, SignalModel
from tnt_coffea.config.signal_points import point_named
from tnt_coffea.errors import ConfigError

__all__ = ["DATASETS", "Dataset", "dataset_named", "scaled"]

_MILLION = 1_000_000
_PRIOR = "prior-"
_OF_PRONGS = {2: SignalModel.TWO_PRONG, 3: SignalModel.THREE_PRONG}

# arXiv:2101.08320, table 1, columns BB1 and BB3; column R&D is the default.
_BOX_1_SHOWER = ShowerSettings(
    tune=3,
    pdf=12,
    alpha_s=0.118,
    renorm_factor=0.5,
    factor_factor=1.5,
    time_pt_max_match=2,
    space_pt_max_match=2,
)
_BOX_3_SHOWER = ShowerSettings(
    tune=10,
    pdf=5,
    alpha_s=0.16,
    renorm_factor=2.0,
    factor_factor=0.5,
    time_pt_max_match=1,
    space_pt_max_match=1,
)
# For Herwig++, which is not PYTHIA: less radiation shifts multiplicity and jet masses.
_OTHER_SHOWER = ShowerSettings(alpha_s=0.118)
# Box 2's stand-in has the parton densities that Herwig++ has by default, MRST LO**, too.
_BOX_2_SHOWER = ShowerSettings(alpha_s=0.118, pdf=4)

# Box 3's showers make a fifth more candidates than others; of 23 bits its events took
# 2.25 kB. 18 bits lose 4e-6 of a number, a ten-thousandth of a track's resolution. The
# boxes share it, so that it tells nothing; other data sets keep every bit, because
# taggers trained on them exist.
_BOX_BITS = 18

# The boxes' formulae were not published, only that tracking efficiency, tracking
# resolution and, by 10 %, the HCAL's resolution differ (sections 2.2 to 2.4).
_BOX_1_DETECTOR = DetectorSettings(track_efficiency=0.98, track_resolution=1.1, hcal_resolution=1.1)
_BOX_2_DETECTOR = DetectorSettings(
    track_efficiency=0.96, track_resolution=1.05, hcal_resolution=0.9
)
_BOX_3_DETECTOR = DetectorSettings(
    track_efficiency=0.97, track_resolution=1.2, hcal_resolution=1.05
)


@dataclass(frozen=True)
class Dataset:
    """Settings with a name.

    Attributes
    ----------
    settings
        of the whole data set, at the original's size
    about
        one line
    source
        where the numbers are from, and what is of our choice
    """

    settings: GenerateSettings
    about: str
    source: str


DATASETS: Mapping[str, Dataset] = {
    "rnd-background": Dataset(
        GenerateSettings(background=_MILLION, signal=0),
        "QCD dijets of the research-and-development data",
        "arXiv:2101.08320, section 2.1 and table 1",
    ),
    "rnd-signal": Dataset(
        GenerateSettings(background=0, signal=100_000),
        "W' -> X Y, X and Y -> qq: 3.5 TeV, 500 GeV, 100 GeV",
        "arXiv:2101.08320, section 2.1; X and Y are a W and a Z of these masses",
    ),
    "rnd-signal-3prong": Dataset(
        GenerateSettings(background=0, signal=100_000, model=SignalModel.THREE_PRONG),
        "W' -> X Y, X and Y -> qqq: 3.5 TeV, 500 GeV, 100 GeV",
        "the Olympics' second signal; fermions that decay by three-body phase space, our choice",
    ),
    "signal-500-500": Dataset(
        GenerateSettings(background=0, signal=100_000, light_mass=500.0),
        "as rnd-signal, both daughters 500 GeV",
        "arXiv:2101.08320, section 4.2.1",
    ),
    "prior-2prong": Dataset(
        GenerateSettings(
            background=0,
            signal=100_000,
            resonance_mass=4500.0,
            heavy_mass=500.0,
            light_mass=150.0,
        ),
        "W' -> X Y, X and Y -> qq: 4.5 TeV, 500 GeV, 150 GeV; a prior signal of QUAK",
        "arXiv:2101.08320, section 5.3; X and Y are a W and a Z of these masses",
    ),
    "prior-3prong": Dataset(
        GenerateSettings(
            background=0,
            signal=100_000,
            model=SignalModel.THREE_PRONG,
            resonance_mass=5000.0,
            heavy_mass=500.0,
            light_mass=500.0,
        ),
        "W' -> X Y, X and Y -> qqq: 5 TeV, both 500 GeV; a prior signal of QUAK",
        "arXiv:2101.08320, section 5.3; fermions that decay by three-body phase space, our choice",
    ),
    "blackbox-1": Dataset(
        GenerateSettings(
            background=_MILLION - 834,
            signal=834,
            resonance_mass=3823.0,
            heavy_mass=732.0,
            light_mass=378.0,
            hidden=True,
            mantissa_bits=_BOX_BITS,
            shower=_BOX_1_SHOWER,
            detector=_BOX_1_DETECTOR,
        ),
        "834 of W' -> X Y: 3823 GeV, 732 GeV, 378 GeV; a power shower",
        "arXiv:2101.08320, section 2.2 and table 1; the detector's factors are our choice",
    ),
    "blackbox-2": Dataset(
        GenerateSettings(
            background=_MILLION,
            signal=0,
            hidden=True,
            mantissa_bits=_BOX_BITS,
            shower=_BOX_2_SHOWER,
            detector=_BOX_2_DETECTOR,
        ),
        "no signal",
        "arXiv:2101.08320, section 2.3; there Herwig++, here alpha_s 0.118 and MRST LO**",
    ),
    "blackbox-3": Dataset(
        GenerateSettings(
            background=_MILLION - 3200,
            signal=3200,
            model=SignalModel.GRAVITON,
            resonance_mass=4200.0,
            heavy_mass=2217.0,
            dijet_share=1200 / 3200,
            hidden=True,
            mantissa_bits=_BOX_BITS,
            shower=_BOX_3_SHOWER,
            detector=_BOX_3_DETECTOR,
        ),
        "graviton of 4.2 TeV: 1200 -> gg, 2000 -> R g with R -> gg, 2217 GeV",
        "arXiv:2101.08320, section 2.4 and table 1; R is a colour octet, "
        "the detector's factors are our choice",
    ),
    "simulation": Dataset(
        GenerateSettings(background=_MILLION, signal=0, shower=_OTHER_SHOWER),
        "QCD dijets of another shower: the mismodelled background of SALAD and SA-CWoLa",
        "PRD 104 (2021) 035003, section IV; there Herwig++, here alpha_s 0.118. Boosted trees tell "
        "it from rnd-background in 3.3-3.7 TeV with an AUC of 0.595 +- 0.004 (100,000 events of "
        "either), the authors' Herwig++ with 0.588 (benchmarks/simulation_distance.py)",
    ),
    "blackbox": Dataset(
        GenerateSettings(
            background=_MILLION, signal=0, hidden=True, blind=True, mantissa_bits=_BOX_BITS
        ),
        "drawn from the seed: signal or none, masses, prongs, shower, detector (--blind)",
        "the prior is in generator/blind.py",
    ),
}


def dataset_named(name: str) -> Dataset:
    """Return the data set of that name, or a point of the class of prior signals.

    Raises
    ------
    ConfigError
        No data set has this name.

    Examples
    --------
    >>> settings = dataset_named("prior-x300-y80-3prong").settings
    >>> settings.heavy_mass, settings.light_mass, settings.model.value, settings.resonance_mass
    (300.0, 80.0, 'three-prong', 3500.0)
    """
    if name in DATASETS:
        return DATASETS[name]
    try:
        point = point_named(name.removeprefix(_PRIOR))
    except ConfigError as error:
        reason = f": {error}" if name.startswith(_PRIOR) else ""
        msg = (
            f"no data set is called {name!r}{reason}; known ones are {', '.join(DATASETS)}, and "
            f"those like {_PRIOR}x500-y100-2prong (masses of X and Y in GeV, 2 or 3 prongs)"
        )
        raise ConfigError(msg) from error
    settings = GenerateSettings(
        background=0,
        signal=1000,
        model=_OF_PRONGS[point.prongs],
        heavy_mass=point.heavy_mass,
        light_mass=point.light_mass,
    )
    about = f"W' -> X Y: 3.5 TeV, {point.heavy_mass:g} GeV, {point.light_mass:g} GeV"
    return Dataset(settings, f"{about}; a point of the class of PAWS", "arXiv:2405.08889")


def scaled(settings: GenerateSettings, events: int) -> GenerateSettings:
    """Return settings for so many events in all, signal and background in proportion.

    Raises
    ------
    ConfigError
        The settings ask for no event.
    """
    whole = settings.background + settings.signal
    if not whole:
        msg = "the data set has no events; set background or signal"
        raise ConfigError(msg)
    signal = round(events * settings.signal / whole)
    return settings.model_copy(update={"background": events - signal, "signal": signal})
