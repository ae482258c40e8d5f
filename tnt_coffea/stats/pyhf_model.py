"""pyhf models: its numpy backend, smooth backgrounds and movable signals as modifiers.

pyhf keeps its tensor library and minimiser in global state; `numpy_backend`
borrows both and gives them back. pyhf is imported when a model is built, because
it takes seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.config.parameter_names import SPURIOUS, TRIGGER
from tnt_coffea.errors import FitError
from tnt_coffea.stats.background import Background
from tnt_coffea.stats.likelihood import Channel, nuisance_names
from tnt_coffea.stats.signals import Template

__all__ = [
    "SHAPE_PARAMETERS",
    "joined_data",
    "nuisance_positions",
    "numpy_backend",
    "smooth_model",
]

Array = NDArray[np.float64]

_SMOOTH = "smooth"
_SHAPE = "signal_shape"
_FACTOR = "constrained_factor"
SHAPE_PARAMETERS = "shape"
"""Name of the nuisance parameters of the signal's shape in the pyhf model."""

# Minuit stops at an estimated distance of 0.002 times this, in 2 ln L.
_TOLERANCE = 1e-3
# Whitened parameters need no bounds, and Minuit is better without.
_NO_BOUND = (-float("inf"), float("inf"))
# A steep function may underflow in the tail.
_TINY = 1e-100
_NUISANCE_BOUND = (-10.0, 10.0)


@contextmanager
def numpy_backend() -> Iterator[None]:
    """Give pyhf its numpy backend with a precise Minuit for the time of a `with` block."""
    import pyhf

    before = pyhf.get_backend()
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=_TOLERANCE))
    # It reports every failed attempt as an error; a second one mostly succeeds, and the
    # result says by which minimiser.
    log = logging.getLogger("pyhf.optimize.mixins")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        # Trial steps of a minimiser may overflow; what it returns is checked.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            yield
    finally:
        log.setLevel(level)
        pyhf.set_backend(*before)


def joined_data(model: Any, counts: Mapping[str, Any], at: Array | None = None) -> list[float]:
    """Return counts by channel, and the auxiliary data, in the order of a pyhf model.

    Parameters
    ----------
    model
        `pyhf.Model`.
    counts
        Events per bin by channel.
    at
        All parameters, which the auxiliary measurements give exactly; None: they give what
        the model says.
    """
    observed = [float(n) for name in model.config.channels for n in counts[name]]
    measured = model.config.auxdata if at is None else model.expected_auxdata(at)
    return [*observed, *map(float, measured)]


def nuisance_positions(model: Any) -> list[int]:
    """Return where the parameters of `nuisance_names` stand in a model of `smooth_model`."""
    slices = [
        model.config.par_slice(name)
        for name in (SHAPE_PARAMETERS, SPURIOUS, TRIGGER)
        if name in model.config.par_map
    ]
    return [position for part in slices for position in range(part.start, part.stop)]


def smooth_model(channels: Sequence[Channel], scale: float, most: float) -> Any:
    """Return a pyhf model of channels with smooth backgrounds and one signal strength.

    Parameters
    ----------
    channels
        Signals and whitened backgrounds; phi = 0 is a background's nominal expectation.
    scale
        Signal events at mu = 1.
    most
        Upper bound of mu.

    Notes
    -----
    The background is a modifier of our own, type 'smooth', which multiplies a bin's
    nominal expectation by expected(phi) / expected(0); uncertainties of the signal's
    position and width are one of type 'signal_shape', which adds what the shift
    changes, with unit normal constraints. The spurious signal is a sample of its own, times
    its nuisance parameter, and the trigger's efficiency a factor on all samples: both of type
    'constrained_factor'. Such a model is not schema-valid HistFactory, hence validate=False.
    """
    import pyhf

    # What all channels must share is checked here.
    nuisance_names(channels)
    specification = [
        {"name": channel.name, "samples": _samples(channel, scale)} for channel in channels
    ]
    settings = {"name": "mu", "inits": [1.0], "bounds": [[0.0, most]]}
    with numpy_backend():
        return pyhf.Model(
            {"channels": specification, "parameters": [settings]},
            modifier_set={
                **pyhf.modifiers.histfactory_set,
                _SMOOTH: (_SmoothBuilder, _SmoothApplier),
                _SHAPE: (_ShapeBuilder, _ShapeApplier),
                _FACTOR: (_FactorBuilder, _FactorApplier),
            },
            validate=False,
            poi_name="mu",
        )


def _nominal(background: Background) -> Array:
    """Return the expectation at phi = 0, above 0 so that it can be multiplied."""
    return np.maximum(background.expected(np.zeros(background.parameters)), _TINY)


def _samples(channel: Channel, scale: float) -> list[dict[str, Any]]:
    everything = _efficiency_modifiers(channel.factors)
    phi = {"name": f"phi_{channel.name}", "type": _SMOOTH, "data": channel.background}
    mu: dict[str, Any] = {"name": "mu", "type": "normfactor", "data": None}
    signals = [("signal", scale, mu)]
    if channel.spurious:
        theta = {"name": SPURIOUS, "type": _FACTOR, "data": (1, _itself)}
        signals.append((SPURIOUS, channel.spurious, theta))
    return [
        *(
            {
                "name": name,
                "data": (events * channel.signal).tolist(),
                "modifiers": [times, *_shape_modifiers(channel, events), *everything],
            }
            for name, events, times in signals
        ),
        {
            "name": "background",
            "data": _nominal(channel.background).tolist(),
            "modifiers": [phi, *everything],
        },
    ]


def _shape_modifiers(channel: Channel, events: float) -> list[dict[str, Any]]:
    if not channel.shape_nuisances:
        return []
    return [{"name": SHAPE_PARAMETERS, "type": _SHAPE, "data": (channel.template, events)}]


def _efficiency_modifiers(factors: Array | None) -> list[dict[str, Any]]:
    if factors is None:
        return []

    def efficiency(epsilon: Array) -> Array:
        return np.asarray(np.exp(factors @ epsilon))

    return [{"name": TRIGGER, "type": _FACTOR, "data": (factors.shape[1], efficiency)}]


def _itself(theta: Array) -> Array:
    return theta


class _Builder:
    """Collects which bins of which sample each modifier covers."""

    is_shared = False

    def __init__(self, config: Any) -> None:
        self.config = config
        self.required_parsets: dict[str, list[dict[str, Any]]] = {}
        self._places: dict[str, list[tuple[str, str, Any]]] = {}

    def append(self, key: str, channel: str, sample: str, modifier: Any, _: Any) -> None:
        if not modifier:
            return
        self._places.setdefault(key, []).append((channel, sample, modifier["data"]))
        self.required_parsets[modifier["name"]] = [self.parameters(modifier["data"])]

    def parameters(self, data: Any) -> dict[str, Any]:
        raise NotImplementedError

    def finalize(self) -> dict[str, list[tuple[str, str, Any]]]:
        return self._places


class _SmoothBuilder(_Builder):
    def parameters(self, data: Background) -> dict[str, Any]:
        start = data.movable(np.zeros(data.parameters))
        return _parameter_set("unconstrained", data.parameters) | {"inits": tuple(start.tolist())}


class _ShapeBuilder(_Builder):
    is_shared = True

    def parameters(self, data: tuple[Template, float]) -> dict[str, Any]:
        return _constrained(len(data[0].shape.nuisances))


class _FactorBuilder(_Builder):
    is_shared = True

    def parameters(self, data: tuple[int, Callable[[Array], Array]]) -> dict[str, Any]:
        return _constrained(data[0])


def _constrained(size: int) -> dict[str, Any]:
    return _parameter_set("constrained_by_normal", size) | {
        "auxdata": (0.0,) * size,
        "sigmas": (1.0,) * size,
        "bounds": (_NUISANCE_BOUND,) * size,
    }


def _parameter_set(kind: str, size: int) -> dict[str, Any]:
    return {
        "paramset_type": kind,
        "n_parameters": size,
        "is_scalar": False,
        "inits": (0.0,) * size,
        "bounds": (_NO_BOUND,) * size,
        "fixed": False,
    }


class _Applier:
    """Finds the bins of every modifier in the model's arrays."""

    def __init__(
        self,
        modifiers: Sequence[tuple[str, str]],
        pdfconfig: Any,
        builder_data: Mapping[str, list[tuple[str, str, Any]]],
        batch_size: int | None = None,
    ) -> None:
        if batch_size is not None:
            msg = "smooth backgrounds are not batched: build the model without batch_size"
            raise FitError(msg)
        sizes = [pdfconfig.channel_nbins[name] for name in pdfconfig.channels]
        first = dict(zip(pdfconfig.channels, np.cumsum([0, *sizes]), strict=False))
        self._shape = (len(modifiers), len(pdfconfig.samples), 1, sum(sizes))
        self._parts = []
        for row, (name, kind) in enumerate(modifiers):
            for channel, sample, data in builder_data[f"{kind}/{name}"]:
                bins = slice(first[channel], first[channel] + pdfconfig.channel_nbins[channel])
                place = (row, pdfconfig.samples.index(sample), 0, bins)
                self._parts.append((place, pdfconfig.par_slice(name), *self.prepared(data)))

    def prepared(self, data: Any) -> tuple[Any, Any]:
        raise NotImplementedError


class _SmoothApplier(_Applier):
    """Multiplies nominal expectations by expected(phi) / expected(0)."""

    name = _SMOOTH
    op_code = "multiplication"

    def prepared(self, data: Background) -> tuple[Background, Array]:
        return data, _nominal(data)

    def apply(self, pars: Array) -> Array | None:
        if not self._parts:
            return None
        factors = np.ones(self._shape)
        for place, parameters, family, nominal in self._parts:
            factors[place] = family.expected(np.asarray(pars)[parameters]) / nominal
        return factors


class _ShapeApplier(_Applier):
    """Adds what moving and stretching the signal changes in every bin."""

    name = _SHAPE
    op_code = "addition"

    def prepared(self, data: tuple[Template, float]) -> tuple[Any, Array]:
        template, scale = data

        def signal(alpha: Array) -> Array:
            return np.asarray(scale * template.varied(alpha[None])[0][0])

        return signal, signal(np.zeros(len(template.shape.nuisances)))

    def apply(self, pars: Array) -> Array | None:
        if not self._parts:
            return None
        added = np.zeros(self._shape)
        for place, parameters, signal, nominal in self._parts:
            added[place] = signal(np.asarray(pars)[parameters]) - nominal
        return added


class _FactorApplier(_Applier):
    """Multiplies by a function of parameters with constraints."""

    name = _FACTOR
    op_code = "multiplication"

    def prepared(
        self, data: tuple[int, Callable[[Array], Array]]
    ) -> tuple[Callable[[Array], Array], None]:
        return data[1], None

    def apply(self, pars: Array) -> Array | None:
        if not self._parts:
            return None
        factors = np.ones(self._shape)
        for place, parameters, factor, _ in self._parts:
            factors[place] = factor(np.asarray(pars)[parameters])
        return factors
