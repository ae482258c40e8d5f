"""How spectra are fitted: range, bins, background functions, the signal's shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Self

import numpy as np

from tnt_coffea.errors import FitError
from tnt_coffea.stats.background import MAX_PARAMETERS, MIN_PARAMETERS, SQRT_S, check_sqrt_s
from tnt_coffea.stats.families import Family, added_family, family_named
from tnt_coffea.stats.mass_templates import MassTemplates
from tnt_coffea.stats.signals import (
    DEFAULT_TAILS,
    TEMPLATE,
    Signal,
    SignalShape,
    TemplateShape,
    norm_factors,
)
from tnt_coffea.stats.trigger import TriggerEfficiency
from tnt_coffea.stats.validity import SIDEBAND_WIDTHS

__all__ = ["SpectrumFit"]


@dataclass(frozen=True)
class SpectrumFit:
    """Range and bins of a fit, the background functions it may take, and the signal's shape.

    `dataclasses.replace(fit, family="exponential")` is the same fit with one thing changed.

    Attributes
    ----------
    range
        Lower and upper edge of the fit [GeV], edges of the histogram.
    bin_width
        Bins of the fit [GeV]; None keeps the histogram's.
    edges
        Edges of the bins of the fit [GeV], edges of the histogram, from one end of the range to
        the other; instead of `bin_width`.
    family
        Family of the background functions: a key of `families.FAMILIES`, the name of an entry
        point `tnt_coffea.families`, or a `Family`, which is known by its name from then on.
    min_parameters, max_parameters
        Range of the background function's parameters, normalisation included. Starting
        from 2, the choice keeps a power law where the data cannot yet tell it from
        the truth: on spectra of 60 and 1200 events from a four-parameter truth 8 and
        9 % of background-only toys then pass a 5 % test; starting from 3, 5 and 4 %.
    f_test
        p-value of the likelihood-ratio test below which a parameter is added. The signal is
        fitted as well; toys keep the functions.
    envelope
        Further families whose functions compete with those of `family`.
    shape, tails, scale_uncertainty, width_uncertainty
        The signal, as in `signals.SignalShape`. With uncertainties the signal can
        move towards a fluctuation, and only toys give a valid p-value.
    shares
        Share of the signal in each channel; by default that of its events.
    sqrt_s
        Centre-of-mass energy, for functions of m_jj / sqrt(s) [GeV].
    trigger
        Efficiency of the trigger, by which background and signal are multiplied: fitted signals
        are then events before it. None: all events pass.
    spurious
        Whether a spurious signal, on functions that describe the data better, is a nuisance
        parameter; else it is only told.
    systematics
        Uncertainties of the signal's norm by name, as of `signals.norm_factors`: a relative
        uncertainty (log-normal), or relative changes at -1 and +1 standard deviation. Each is a
        nuisance parameter of all channels.
    templates
        The signal as histograms, instead of `shape`; its shares and uncertainties are theirs.

    Raises
    ------
    FitError
        The range does not rise, the bins have no width, there is no such family, it has no
        such numbers of parameters, or the energy is none.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> fit.family, fit.min_parameters
    ('dijet', 3)
    >>> fit.with_family('exponential').family
    'exponential'
    """

    range: tuple[float, float]
    _: KW_ONLY
    bin_width: float | None = None
    edges: tuple[float, ...] | None = None
    family: str = "dijet"
    min_parameters: int = 3
    max_parameters: int = 6
    f_test: float = 0.05
    envelope: tuple[str, ...] = ()
    shape: str = "gaussian"
    tails: tuple[float, float, float, float] = DEFAULT_TAILS
    scale_uncertainty: float = 0.0
    width_uncertainty: float = 0.0
    shares: Mapping[str, float] | None = None
    sqrt_s: float = SQRT_S
    trigger: TriggerEfficiency | None = None
    spurious: bool = True
    systematics: Mapping[str, float | tuple[float, float]] | None = None
    templates: MassTemplates | None = None

    def __post_init__(self) -> None:
        low, high = self.range
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            msg = f"the fit range must rise, got {low:g} to {high:g} GeV"
            raise FitError(msg)
        if self.bin_width is not None and not 0 < self.bin_width < np.inf:
            msg = (
                f"the bins of a fit need a width above 0, got bin_width = {self.bin_width:g} GeV: "
                "give one that divides the fit range, or None for the histogram's own bins"
            )
            raise FitError(msg)
        if isinstance(self.family, Family):
            object.__setattr__(self, "family", added_family(self.family))
        self._check_edges()
        most = max(MAX_PARAMETERS, family_named(self.family).orders[-1])
        if not MIN_PARAMETERS <= self.min_parameters <= self.max_parameters <= most:
            msg = (
                f"parameters must satisfy {MIN_PARAMETERS} <= min <= max <= {most}, got "
                f"{self.min_parameters} and {self.max_parameters}"
            )
            raise FitError(msg)
        for name in self.families:
            if not self.orders(name):
                msg = (
                    f"functions of '{name}' have {family_named(name).orders[0]} to "
                    f"{family_named(name).orders[-1]} parameters, fewer than min_parameters = "
                    f"{self.min_parameters}"
                )
                raise FitError(msg)
        if not 0 < self.f_test < 1:
            msg = f"f_test must lie in (0, 1), got {self.f_test}"
            raise FitError(msg)
        check_sqrt_s(self.sqrt_s)
        _check_trigger(self.trigger)
        _check_spurious(self.spurious)
        norm_factors(self.systematics or {})
        self._check_templates()

    def _check_templates(self) -> None:
        if self.templates is None:
            return
        _check_kind_of_templates(self.templates)
        uncertain = self.scale_uncertainty or self.width_uncertainty
        if uncertain or self.shape not in {"gaussian", TEMPLATE} or self.shares is not None:
            msg = (
                "a signal template has its own shape, shares and variations: leave out shape, "
                "shares, scale_uncertainty and width_uncertainty"
            )
            raise FitError(msg)

    def _check_edges(self) -> None:
        edges = self.edges
        if edges is None:
            return
        if self.bin_width is not None:
            msg = "bins of a fit have either edges or bin_width: give one of them"
            raise FitError(msg)
        if not (len(edges) > 1 and np.isfinite(edges).all() and np.all(np.diff(edges) > 0)):
            msg = f"the edges of a fit must be rising numbers, two or more, got {list(edges)}"
            raise FitError(msg)

    @property
    def families(self) -> tuple[str, ...]:
        """The families whose functions may compete."""
        return tuple(dict.fromkeys((self.family, *self.envelope)))

    def orders(self, family: str) -> list[int]:
        """Return the numbers of parameters that a family's functions may take.

        A family that exists in more parameters only takes its fewest.
        """
        known = family_named(family).orders
        low, high = self.min_parameters, self.max_parameters
        return [n for n in known if low <= n <= high] or [n for n in known if n > high][:1]

    def with_family(self, family: str) -> Self:
        """Return the same fit with functions of one family, of no more parameters than it has.

        Raises
        ------
        FitError
            There is no such family.
        """
        most = min(self.max_parameters, family_named(family).orders[-1])
        fewest = min(self.min_parameters, most)
        return replace(self, family=family, envelope=(), min_parameters=fewest, max_parameters=most)

    def signal(self, mass: float, width: float) -> Signal:
        """Return the signal of a mass and a Gaussian width [GeV].

        Raises
        ------
        FitError
            There is no such signal.
        """
        norms = norm_factors(self.systematics or {})
        if self.templates is not None:
            return TemplateShape(mass, width, self.templates.at(mass), norms)
        return SignalShape(
            mass,
            width,
            self.shape,
            self.tails,
            self.scale_uncertainty,
            self.width_uncertainty,
            norms,
        )

    def check_inside(self, *masses: float) -> None:
        """Refuse masses outside the range.

        Raises
        ------
        FitError
            A mass [GeV] lies there.
        """
        low, high = self.range
        for mass in masses:
            if not low < mass < high:
                msg = (
                    f"mass {mass:g} GeV lies outside the fit range {low:g}-{high:g} GeV: the "
                    "background under the signal would be extrapolated"
                )
                raise FitError(msg)

    def has_sidebands(self, signal: Signal) -> bool:
        """Return whether three widths of spectrum lie on both sides of a signal."""
        reach = SIDEBAND_WIDTHS * signal.width
        return self.range[0] <= signal.mass - reach and signal.mass + reach <= self.range[1]

    def check_sidebands(self, *signals: Signal) -> None:
        """Refuse signals without three widths of spectrum on both sides.

        Raises
        ------
        FitError
            There is such a signal, or one outside the range.

        Examples
        --------
        >>> fit = SpectrumFit((2600, 7000), bin_width=40)
        >>> fit.check_sidebands(fit.signal(2640, 120))
        Traceback (most recent call last):
        tnt_coffea.errors.FitError: a signal at 2640 GeV of width 120 GeV has no whole sidebands, \
3 widths (360 GeV) on both sides, in the fit range 2600-7000 GeV: masses of 2960 to 6640 GeV have
        """
        self.check_inside(*(signal.mass for signal in signals))
        low, high = self.range
        for signal in signals:
            if self.has_sidebands(signal):
                continue
            reach = SIDEBAND_WIDTHS * signal.width
            known = f"masses of {low + reach:g} to {high - reach:g} GeV have"
            advice = known if low + reach <= high - reach else "widen it"
            msg = (
                f"a signal at {signal.mass:g} GeV of width {signal.width:g} GeV has no whole "
                f"sidebands, {SIDEBAND_WIDTHS:g} widths ({reach:g} GeV) on both sides, in the fit "
                f"range {low:g}-{high:g} GeV: {advice}"
            )
            raise FitError(msg)


def _check_spurious(spurious: object) -> None:
    if not isinstance(spurious, bool):
        msg = f"spurious is True or False, got {spurious!r}"
        raise FitError(msg)


def _check_kind_of_templates(templates: object) -> None:
    if not isinstance(templates, MassTemplates):
        msg = f"templates of a signal are MassTemplates, got {type(templates).__name__}"
        raise FitError(msg)


def _check_trigger(trigger: object) -> None:
    if not isinstance(trigger, TriggerEfficiency | None):
        msg = (
            f"the trigger of a fit is a {type(trigger).__name__}, expected a TriggerEfficiency: "
            "TriggerEfficiency.of_function(turn_on=2450, width=150)"
        )
        raise FitError(msg)
