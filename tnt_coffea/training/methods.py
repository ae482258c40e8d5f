"""The trainings themselves: a sample of one jet in, an ONNX model and its losses out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import Autoencoder, AutoencoderSettings, OptimizerSettings, TntSettings
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.identity import uniform
from tnt_coffea.events.skim import Sample
from tnt_coffea.training import export, fitting, networks
from tnt_coffea.training.labels import Labels
from tnt_coffea.training.linear import principal_components

__all__ = ["PIXEL_SCALE", "Trained", "autoencoder", "tnt_classifier"]

PIXEL_SCALE = 100.0
"""Factor on the autoencoder's input: a filled pixel is then of order one."""

_FEWEST = 10  # jets of a class with which an epoch can be chosen at all

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trained:
    """What a training gives.

    Attributes
    ----------
    model
        onnx.ModelProto, complete but for its card.
    summary
        Figures for the card.
    history
        Everything worth a plot, as JSON values.
    """

    model: Any
    summary: dict[str, float]
    history: dict[str, Any]


def autoencoder(
    sample: Sample,
    jet: str,
    settings: AutoencoderSettings,
    optimizer: OptimizerSettings,
    seed: int,
) -> Trained:
    """Return an autoencoder of one jet's images, trained on every event given.

    Parameters
    ----------
    sample
        Events to train on; nothing of it but the images, ids and weights is read.
    jet
        `heavy` or `light`.
    settings, optimizer
        Kind and size, and how the convolutional kind is fitted.
    seed
        Seed of this training.

    Raises
    ------
    ConfigError
        The images do not sum to one.
    TrainingError
        There are too few events, or the loss is not finite.

    Source: arXiv:2002.12376, section 3.1; the linear kind is the stronger first
    tagger on small samples.
    """
    if not sample.image_settings.normalise:
        msg = (
            "autoencoders compare images that sum to one, but the skim was made with "
            "skim.images.normalise: false; make the skim with true"
        )
        raise ConfigError(msg)
    if settings.kind is Autoencoder.LINEAR:
        return _linear(sample, jet, settings.latent)
    network = networks.convolutional_autoencoder(
        pixels=sample.image_settings.pixels,
        latent=settings.latent,
        pixel_scale=PIXEL_SCALE,
        seed=seed,
    )
    kept_back = _validation(sample, np.ones(len(sample), dtype=np.bool_), optimizer, seed)
    rows = np.arange(len(sample))
    history = fitting.fit(
        network,
        fitting.reconstruction_loss,
        *(
            _jets(sample, jet, rows[part], np.zeros(len(sample)), sample.weight)
            for part in (~kept_back, kept_back)
        ),
        optimizer=optimizer,
        epochs=settings.epochs,
        seed=seed,
    )
    return Trained(export.convolutional_model(network), history.summary(), history.to_dict())


def tnt_classifier(
    sample: Sample,
    jet: str,
    labels: Labels,
    settings: TntSettings,
    optimizer: OptimizerSettings,
    seed: int,
) -> Trained:
    """Return a classifier of one jet's images, signal-rich against background-rich.

    Parameters
    ----------
    sample
        Events to train on; those without a label are passed over.
    jet
        `heavy` or `light`: the jet that did **not** give the labels.
    labels
        (event,) masks from the other jet.
    settings, optimizer
        Epochs and pixel scale, and how the network is fitted.
    seed
        Seed of this training.

    Raises
    ------
    TrainingError
        A class has too few jets, or the loss is not finite.

    Source: arXiv:2002.12376, sections 2 and 3.2.
    """
    kinds = {
        "signal-rich": labels.signal_rich,
        "background-rich": labels.background_rich,
    }
    kept_back = np.zeros(len(sample), dtype=np.bool_)
    for name, mask in kinds.items():
        if mask.sum() < _FEWEST:
            msg = (
                f"{mask.sum()} {name} jets, at least {_FEWEST} are needed: use more events, a "
                "larger share (train.tnt) or a wider window (search.window)"
            )
            raise TrainingError(msg)
        kept_back |= _validation(sample, mask, optimizer, seed)
    labelled = labels.signal_rich | labels.background_rich
    network = networks.jet_classifier(
        pixels=sample.image_settings.pixels,
        channels=sample.images(jet, np.arange(0)).shape[1],
        pixel_scale=settings.pixel_scale,
        seed=seed,
    )
    targets = labels.signal_rich.astype(np.float64)
    history = fitting.fit(
        network,
        fitting.likelihood_loss,
        *(
            _jets(
                sample,
                jet,
                np.flatnonzero(part),
                targets,
                _balanced(sample.weight, labels.signal_rich, part),
            )
            for part in (labelled & ~kept_back, labelled & kept_back)
        ),
        optimizer=optimizer,
        epochs=settings.epochs,
        seed=seed,
    )
    counts = {name: int(mask.sum()) for name, mask in kinds.items()}
    return Trained(export.classifier_model(network), history.summary(), history.to_dict() | counts)


def _linear(sample: Sample, jet: str, latent: int) -> Trained:
    components = principal_components(_images(sample, jet), sample.weight, latent)
    summary = {
        "loss": components.mean_squared_error,
        "explained_variance": float(components.variances.sum() / components.total_variance),
    }
    history = summary | {"variances": components.variances.tolist()}
    return Trained(export.linear_model(components), summary, history)


def _images(sample: Sample, jet: str) -> Callable[[Int64Array], Float32Array]:
    return lambda rows: sample.images(jet, rows)


def _validation(
    sample: Sample, mask: npt.NDArray[np.bool_], optimizer: OptimizerSettings, seed: int
) -> npt.NDArray[np.bool_]:
    # The lowest numbers, not those below the share: a class of ten jets then has
    # one for validation and not, every third time, none.
    rows = np.flatnonzero(mask)
    order = np.lexsort((sample.event_id[rows], uniform(sample.event_id[rows], seed, "validation")))
    out = np.zeros(len(sample), dtype=np.bool_)
    out[rows[order[: max(1, round(optimizer.validation * len(rows)))]]] = True
    return out


def _jets(
    sample: Sample,
    jet: str,
    rows: Int64Array,
    targets: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
) -> fitting.Jets:
    chosen = weights[rows]
    if len(rows) and chosen.sum() <= 0:
        msg = f"the weights of {len(rows)} jets sum to {chosen.sum()}, expected more than 0"
        raise TrainingError(msg)
    mean = chosen.mean() if len(rows) else 1.0
    return fitting.Jets(
        images=_images(sample, jet),
        rows=rows,
        targets=targets[rows].astype(np.float32),
        weights=(chosen / mean).astype(np.float32),
    )


def _balanced(
    weight: npt.NDArray[np.float64],
    signal_rich: npt.NDArray[np.bool_],
    part: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    # Signal-rich and background-rich jets of a part get the same sum of weights.
    out = np.zeros(len(weight))
    for chosen in (part & signal_rich, part & ~signal_rich):
        out[chosen] = weight[chosen] / weight[chosen].sum()
    return out
