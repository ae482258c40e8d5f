"""Networks of the leading jets of an event, whichever of them the dijet is made of.

Both take the input `sequence`, (n, jet, 4): pT, eta, phi and mass, four zeros where there is no
jet. What is not there has no part: it is zero behind standardisation as well, and has no momentum.

Source: arXiv:2101.08320, sections 5.4 (sequences) and 4.1.3 (momenta).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.errors import TrainingError
from tnt_coffea.taggers import inputs
from tnt_coffea.taggers.inputs import Columns
from tnt_coffea.training import backend
from tnt_coffea.training.features import Standardisation, check_features
from tnt_coffea.training.networks import dense_head, input_tensor
from tnt_coffea.typing import Float32Array

__all__ = ["momentum_classifier", "sequence_classifier", "standardisation_of"]

_LEAST = 1.0
"""GeV below which pT and masses are alike: the mass of one particle alone is rounding."""
_FEATURES = ("log pT", "eta", "phi", "log mass")


def standardisation_of(
    jets: Float32Array, weights: Float32Array | None = None, *, most: int | None = None
) -> Standardisation:
    """Return mean and width of log pT, eta, phi and log mass over the jets that are there.

    Parameters
    ----------
    jets
        (event, jet, 4) of `taggers.inputs.Sequence`: pT [GeV], eta, phi, mass [GeV].
    weights
        (event,) weights; each jet has that of its event.
    most
        Leading jets of an event that count; all without it.

    Raises
    ------
    TrainingError
        There are no jets, or one of the four is the same for all of them or no number.

    Examples
    --------
    >>> jets = np.zeros((2, 3, 4), np.float32)
    >>> jets[:, 0] = [[np.e**5, 1.0, 0.5, np.e**3], [np.e**7, -1.0, 1.5, np.e**5]]
    >>> found = standardisation_of(jets)
    >>> found.mean.round(3).tolist(), found.scale.round(3).tolist()
    ([6.0, 0.0, 1.0, 4.0], [1.0, 1.0, 2.0, 1.0])
    """
    jets = jets[:, :most]
    there = jets[..., 0] > 0
    if not there.any():
        msg = (
            f"no jet in the sequences of {len(jets)} events to train on; lower skim.sequence.pt_min"
        )
        raise TrainingError(msg)
    values = _described(jets[there], np)
    check_features(values, [f"{name} of the jets in sequence" for name in _FEATURES])
    if weights is None:
        return Standardisation.of(values)
    return Standardisation.of(values, np.repeat(weights, there.sum(axis=1)))


def sequence_classifier(
    sequence: inputs.Sequence,
    standardisation: Standardisation,
    *,
    seed: int,
    most: int | None = None,
    cells: Sequence[int] = (64, 128),
    layers: Sequence[int] = (256, 256),
    output: str = "linear",
) -> Any:
    """Return a recurrent classifier of the jets: 215,553 parameters.

    Long short-term memories read the jets in descending pT; all but the last give one vector a
    jet, the last one vector an event, which dense layers turn into the score. The cells have ReLU
    in place of the hyperbolic tangent, the gates the logistic function.

    Parameters
    ----------
    sequence
        The jets.
    standardisation
        Of log pT, eta, phi and log mass, `standardisation_of`.
    seed
        Seed of the initial weights.
    most
        Leading jets that are read; all without it.
    cells
        Nodes of the recurrent layers.
    layers
        Nodes of the hidden layers behind them.
    output
        Activation of the output: linear gives the logarithm of the odds, sigmoid the probability.

    Returns
    -------
    keras.Model
        From `sequence` to (n,).

    Source: arXiv:2101.08320, section 5.4; Hochreiter and Schmidhuber, Neural Comput. 9 (1997)
    1735.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> jets = inputs.Sequence.of(testing.make_sample(10, sequence=10))
    >>> plain = Standardisation(np.zeros(4, np.float32), np.ones(4, np.float32))
    >>> sequence_classifier(jets, plain, seed=1).count_params()
    215553
    """
    keras = backend.keras()
    initial = backend.initialisers(seed)
    shown = input_tensor(sequence)
    jets = shown[:, :most]
    there = keras.ops.cast(jets[..., :1] > 0, "float32")
    value = there * standardisation.tensor(_described(jets, keras.ops))
    for number, nodes in enumerate(cells, start=1):
        value = keras.layers.LSTM(
            nodes,
            activation="relu",
            kernel_initializer=initial(),
            recurrent_initializer=keras.initializers.Orthogonal(
                seed=seeds.integer(seed, "recurrent", number)
            ),
            return_sequences=number < len(cells),
        )(value)
    head = dense_head(
        value,
        initial,
        layers=layers,
        dropout=0.0,
        seed=seed,
        activations=("relu",),
        output=output,
    )
    return keras.Model([shown], head)


def momentum_classifier(
    sequence: inputs.Sequence,
    mass: Columns,
    *,
    layers: Sequence[int],
    activations: Sequence[str],
    dropout: float,
    seed: int,
    most: int | None = None,
    output: str = "sigmoid",
) -> Any:
    """Return a classifier of the jets' four-momenta over the mass of them all.

    Parameters
    ----------
    sequence
        The jets.
    mass
        Column of that mass [GeV]; below 1 GeV it counts as 1 GeV.
    layers, activations, dropout, seed, output
        As in `networks.dense_classifier`.
    most
        Leading jets that are shown; all without it.

    Returns
    -------
    keras.Model
        From `sequence` and `features` to (n,).

    Source: arXiv:2101.08320, section 4.1.3: E, px, py and pz of ten jets, 40 numbers.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> sample = testing.make_sample(10, sequence=4)
    >>> jets, mass = inputs.Sequence.of(sample), Columns.of(("m_jj",), sample)
    >>> shape = {"layers": (8,), "activations": ("elu",), "dropout": 0.0}
    >>> momentum_classifier(jets, mass, seed=1, **shape).count_params()  # 16 x 8 + 8 + 8 + 1
    145
    """
    keras = backend.keras()
    initial = backend.initialisers(seed)
    shown, total = input_tensor(sequence), input_tensor(mass)
    jets = shown[:, :most]
    momenta = _momenta(jets, keras.ops) / keras.ops.maximum(total, _LEAST)[..., None]
    value = keras.layers.Flatten()(momenta)
    head = dense_head(
        value,
        initial,
        layers=layers,
        activations=activations,
        dropout=dropout,
        seed=seed,
        output=output,
    )
    return keras.Model([shown, total], head)


def _described(jets: Any, ops: Any) -> Any:
    # (..., 4): log pT, eta, phi, log mass.
    pt, eta, phi, mass = (jets[..., k] for k in range(4))
    log_pt, log_mass = (ops.log(ops.maximum(each, _LEAST)) for each in (pt, mass))
    return ops.stack([log_pt, eta, phi, log_mass], axis=-1)


def _momenta(jets: Any, ops: Any) -> Any:
    # (..., 4): E, px, py, pz [GeV]; zeros where there is no jet.
    pt, eta, phi, mass = (jets[..., k] for k in range(4))
    pz = pt * ops.sinh(eta)
    energy = ops.sqrt(ops.square(pt) + ops.square(pz) + ops.square(mass))
    return ops.stack([energy, pt * ops.cos(phi), pt * ops.sin(phi), pz], axis=-1)
