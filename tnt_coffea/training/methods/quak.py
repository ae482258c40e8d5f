"""QUAK: an autoencoder of the background and one of each simulated signal, and their losses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tnt_coffea.config.settings import Positive
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.roles import prior_name
from tnt_coffea.events.sample import Sample
from tnt_coffea.training import backend
from tnt_coffea.training.features import FeatureSet, Standardisation, check_features
from tnt_coffea.training.fitting import History, OptimizerSettings
from tnt_coffea.training.flow_autoencoder import Activation, FlowAutoencoder, flow_loss, scaled
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer, TrainedOn
from tnt_coffea.training.networks import input_tensor
from tnt_coffea.training.quantile_knots import QuantileKnots
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels, check_weights, validation_mask
from tnt_coffea.typing import Float32Array

__all__ = [
    "BACKGROUND",
    "LossPlane",
    "LossRanks",
    "Quak",
    "QuakLoss",
    "QuakMethod",
    "QuakPlane",
]

BACKGROUND = "background"
"""What the network of the background is called among those of the priors."""
_FEWEST = 100
_BATCH = 4096
_BEYOND = 2.0**-12
"""What a rank gains beyond the losses trained on, at most."""

Nodes = Annotated[int, Field(ge=1)]


class QuakMethod(Method):
    """What the methods of QUAK share: one autoencoder of the background, one of each prior.

    All are shown features in the units of the background. The loss of an event is the sum of its
    squared errors, without the divergence.

    Examples
    --------
    >>> QuakLoss(activation="linear", flows=0).networks("event", ())
    ('background',)
    """

    features: tuple[str, ...] = Field(
        ("mass", "n_constituents", "tau1_width", "tau21", "tau32", "tau43"),
        min_length=1,
        description="columns or expressions of them",
    )
    sample: TrainedOn = Field(
        TrainedOn.DATA,
        description="what the background is learned from: data, or simulation of the background",
    )
    layers: tuple[Nodes, ...] = Field(
        (50, 30, 20), description="nodes of the encoder's hidden layers; the decoder's are mirrored"
    )
    activation: Activation = Field(
        "leaky_relu", description="leaky_relu, or linear: that of the authors' code is the latter"
    )
    latent: int = Field(4, ge=1, description="size of the latent space")
    flows: int = Field(2, ge=0, description="blocks of the flow in the latent space; 0: none")
    flow_nodes: int = Field(24, ge=1, description="nodes of the hidden layer of a block")
    beta: Positive = Field(
        0.1,
        description="weight of the divergence beside the summed squared error; with the paper's "
        "10 every event is reconstructed as the mean",
    )
    epochs: int = Field(100, ge=1, description="most epochs of a network")
    optimizer: OptimizerSettings = Field(
        OptimizerSettings(
            learning_rate=5e-3, beta1=0.9, beta2=0.999, decay=0.0, batch=800, patience=10
        ),
        description="Adam, and when a network stops",
    )

    @property
    def passes(self) -> int:
        """Most epochs, each of all networks."""
        return self.epochs

    def trained_on(self, events: Mapping[str, int], scope: Scope) -> int:
        """Return the events of the networks that the scope has."""
        own = {_network(role): number for role, number in events.items()}
        priors = tuple(name for name in own if name != BACKGROUND)
        return sum(own[name] for name in self.networks(scope, priors))

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns."""
        FeatureSet.of(self.features, "event", sample)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of the networks that the score is made of."""
        background = self.sample.events(job)
        plane = LossPlane.of(self, background, job)
        columns = input_tensor(plane.features.input)
        losses = plane.tensor(columns)
        outputs = [self.score(plane, background, losses, job.scope)]
        ops = backend.keras().ops
        outputs += [ops.stack(list(losses.values()), axis=1)] if len(losses) > 1 else []
        return Scorer(
            backend.keras().Model([columns], outputs if len(outputs) > 1 else outputs[0]),
            (plane.features.input,),
            plane.history(),
            plane.summary(),
            seconds=plane.seconds(),
        )

    def networks(self, scope: Scope, priors: tuple[str, ...]) -> tuple[str, ...]:
        """Return which networks a score is made of: `background`, `prior NAME`."""
        return (BACKGROUND, *priors)

    @abstractmethod
    def score(
        self, plane: LossPlane, background: Sample, losses: Mapping[str, Any], scope: Scope
    ) -> Any:
        """Return the score (n,) of losses (n,) by network."""


@dataclass(frozen=True)
class LossPlane:
    """Trained networks by name, with the features that all are shown.

    Attributes
    ----------
    features
        Features of the event.
    standard
        Their mean and width on background.
    networks
        Of the background, and of each prior by its name.
    fits
        Losses of every training.
    explained
        R^2 of each network on events of its own that it was not trained on.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> sample = testing.make_sample(200)
    >>> method = QuakLoss(features=("mass", "tau21"), layers=(4,), latent=1, flows=0, epochs=1)
    >>> plane = LossPlane.of(method, sample, Job(sample, "event", 1))
    >>> plane.losses(sample).shape
    (200, 1)
    """

    features: FeatureSet
    standard: Standardisation
    networks: Mapping[str, FlowAutoencoder]
    fits: Mapping[str, History]
    explained: Mapping[str, float]

    @classmethod
    def of(cls, method: QuakMethod, background: Sample, job: Job) -> LossPlane:
        """Return the networks of a job.

        Parameters
        ----------
        method
            Its settings.
        background
            Events of the job that are background, nearly all of them.
        job
            Priors, scope and seed.

        Raises
        ------
        TrainingError
            There are too few events of a kind, weights are negative, or a feature is constant on
            background or not finite.
        """
        features = FeatureSet.of(method.features, "event", background)
        shown = features.values(background)
        check_weights(background.weight, "a loss")
        _check_number(background, BACKGROUND)
        check_features(shown, features.names)
        standard = Standardisation.of(shown, background.weight)
        reads = method.reads
        priors = {
            f"prior {name}": job.priors[name]
            for name in (sorted(job.priors) if reads.priors else ())
            if reads.prior(name)
        }
        for name, sample in priors.items():
            _check_prior(name, features, sample)
        samples = {BACKGROUND: background, **priors}
        networks, fits, explained = {}, {}, {}
        for name in method.networks(job.scope, tuple(priors)):
            sample, seed = samples[name], job.seed_of("network", name)
            network = FlowAutoencoder.of(
                len(features),
                layers=method.layers,
                latent=method.latent,
                flows=method.flows,
                nodes=method.flow_nodes,
                activation=method.activation,
                seed=seed,
            )
            columns = input_tensor(features.input)
            every = np.ones(len(sample), dtype=np.bool_)
            fits[name] = job.fit(
                network.trained(columns, scaled(standard, features.tensor(columns)), seed),
                features.input,
                WeakLabels((SampleClass(name, sample, every, 0.0),)),
                epochs=method.epochs,
                optimizer=method.optimizer,
                loss=flow_loss(method.beta),
                seed=seed,
            )
            held = validation_mask(sample.event_id, every, method.optimizer.validation, seed)
            values = features.values(sample.select(held))
            explained[name] = network.explained(standard.applied(values))
            networks[name] = network
        return cls(features, standard, networks, fits, explained)

    def tensor(self, columns: Any) -> dict[str, Any]:
        """Return the loss (n,) of every network, of a Keras tensor of columns."""
        x = scaled(self.standard, self.features.tensor(columns))
        return {name: network.error(x) for name, network in self.networks.items()}

    def losses(self, sample: Sample) -> Float32Array:
        """Return the (event, network) losses of a sample."""
        columns = input_tensor(self.features.input)
        ops = backend.keras().ops
        model = backend.keras().Model(
            [columns], ops.stack(list(self.tensor(columns).values()), axis=1)
        )
        values = self.features.input.read(sample)
        found: Float32Array = model.predict([values], batch_size=_BATCH, verbose=0)
        return found

    def history(self) -> dict[str, Any]:
        """Return the losses of the first network, those of the others by name, and every R^2."""
        (_, first), *others = self.fits.items()
        more = {f"of {name}": own.to_dict() for name, own in others}
        return first.to_dict() | more | {"explained": dict(self.explained)}

    def summary(self) -> dict[str, float]:
        """Return figures for the card: of the first network, and every R^2."""
        first = next(iter(self.fits.values()))
        return first.summary() | {f"r2 {name}": value for name, value in self.explained.items()}

    def seconds(self) -> tuple[float, ...]:
        """Return the wall time of every epoch, summed over the networks."""
        every = [own.seconds for own in self.fits.values()]
        longest = max(len(own) for own in every)
        return tuple(sum(own[i] for own in every if i < len(own)) for i in range(longest))


def _network(role: str) -> str:
    """Return the name of the network that learns events of a role."""
    name = prior_name(role)
    return BACKGROUND if name is None else f"prior {name}"


def _check_number(sample: Sample, what: str) -> None:
    if len(sample) < _FEWEST:
        msg = (
            f"{len(sample)} events of {what} to train on, at least {_FEWEST} are needed: use more "
            "events"
        )
        raise TrainingError(msg)


def _check_prior(name: str, features: FeatureSet, sample: Sample) -> None:
    _check_number(sample, name)
    check_weights(sample.weight, "a loss", f" of {name}")
    for feature, column in zip(features.names, features.values(sample).T, strict=True):
        wrong = int((~np.isfinite(column)).sum())
        if wrong:
            msg = f"feature {feature} is not finite for {wrong} of {len(column)} events of {name}"
            raise TrainingError(msg)


@dataclass(frozen=True)
class LossRanks:
    """Ranks of losses among those of background, which go on beyond them.

    Attributes
    ----------
    knots
        Ranks of the losses trained on, one map a network.
    least, most
        (network,) float32, their extremes: ranks grow slowly beyond, so that events there differ.

    Examples
    --------
    >>> losses = np.array([[1.0], [2.0], [4.0]], np.float32)
    >>> knots = QuantileKnots.of(losses, names=("loss",))
    >>> ranks = LossRanks(knots, losses.min(axis=0), losses.max(axis=0))
    >>> shown = backend.keras().ops.convert_to_tensor(np.array([1.0, 3.0, 4.0, 8.0], np.float32))
    >>> [f"{rank:.4f}" for rank in backend.array(ranks.tensor({"loss": shown})["loss"])]
    ['0.1667', '0.6667', '0.8333', '0.8335']
    """

    knots: QuantileKnots
    least: Float32Array
    most: Float32Array

    @classmethod
    def of(cls, plane: LossPlane, background: Sample) -> LossRanks:
        """Return those among the events of a sample.

        Raises
        ------
        TrainingError
            A network has one loss for all of them.
        """
        losses = plane.losses(background)
        names = [f"loss of {name}" for name in plane.networks]
        knots = QuantileKnots.of(losses, background.weight, names=names)
        return cls(knots, losses.min(axis=0), losses.max(axis=0))

    def tensor(self, losses: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rank (n,) of each loss; a little below 0 and above 1 beyond the knots."""
        ops = backend.keras().ops
        values = ops.stack(list(losses.values()), axis=1)
        over = ops.maximum(values - self.most, 0.0)
        under = ops.maximum(ops.subtract(self.least, values), 0.0)
        further = over / (over + self.most) - under / (under + self.least + 1e-6)
        ranks = self.knots.tensor(values) + _BEYOND * further
        return {name: ranks[:, i] for i, name in enumerate(losses)}


def _nearest(ranks: Mapping[str, Any]) -> Any:
    """Return one less the least rank by any of the priors."""
    ops = backend.keras().ops
    first, *others = (1.0 - rank for name, rank in ranks.items() if name != BACKGROUND)
    for other in others:
        first = ops.maximum(first, other)
    return first


class Quak(QuakMethod):
    """Lower of two ranks of an event: of its background loss, and of how well a prior describes it.

    The score is min(rank(L_background), max_k(1 - rank(L_k))), ranks among background, k the
    simulated signals: a path from the corner of least signal loss and largest background loss,
    chosen without truth. Without a prior it is the background loss alone (1-D QUAK). Assumes that
    a signal is badly described by the background's network and, where priors are given, better
    than background by that of one of them.

    Source: arXiv:2011.03550; arXiv:2101.08320, section 5.3.

    Examples
    --------
    >>> Quak().reads.without_priors, Quak(priors=("two-prong",)).reads.priors
    (True, ('two-prong',))
    """

    kind: Literal["quak"] = "quak"
    priors: tuple[str, ...] | None = Field(
        None,
        description="simulated signals by name, [] for none; null: all that are given with "
        "--prior, which may be none",
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "background loss and, with priors, closeness to one of them"

    @property
    def reads(self) -> Reads:
        """The background, and the priors that are given or named."""
        priors = True if self.priors is None else self.priors
        return replace(self.sample.reads, priors=priors, without_priors=self.priors is None)

    def score(
        self, plane: LossPlane, background: Sample, losses: Mapping[str, Any], scope: Scope
    ) -> Any:
        """Return the lower of the two ranks, or the background loss."""
        if len(losses) == 1:
            return losses[BACKGROUND]
        ranks = LossRanks.of(plane, background).tensor(losses)
        return backend.keras().ops.minimum(ranks[BACKGROUND], _nearest(ranks))


class QuakPlane(Quak):
    """The two ranks of QUAK as two scores, which a search cuts as those of two jets.

    The axis of the heavy jet has the background loss, that of the light one max_k(1 - rank(L_k)).
    Both above one X is a cut on the score of `quak`; `search.cuts` and the ABCD estimate take the
    plane as it is. It needs a prior.

    Source: arXiv:2011.03550; arXiv:2101.08320, section 5.3.

    Examples
    --------
    >>> QuakPlane().scopes, QuakPlane().reads.without_priors
    (('background', 'signal'), False)
    """

    kind: Literal["quak_plane"] = "quak_plane"  # type: ignore[assignment]

    scopes: ClassVar[tuple[Scope, ...]] = ("background", "signal")

    @model_validator(mode="after")
    def _has_a_prior(self) -> Self:
        if self.priors == ():
            msg = "priors: a plane has a simulated signal at least; without one take kind: quak"
            raise ValueError(msg)
        return self

    @property
    def reads(self) -> Reads:
        """The background, and the priors that are given or named, one at least."""
        return replace(super().reads, without_priors=False)

    def networks(self, scope: Scope, priors: tuple[str, ...]) -> tuple[str, ...]:
        """Return the background's network for one axis, those of the priors for the other."""
        return (BACKGROUND,) if scope == "background" else priors

    def score(
        self, plane: LossPlane, background: Sample, losses: Mapping[str, Any], scope: Scope
    ) -> Any:
        """Return the background loss, or how well one of the priors describes the event."""
        if scope == "background":
            return losses[BACKGROUND]
        return _nearest(LossRanks.of(plane, background).tensor(losses))


class QuakLoss(QuakMethod):
    """Loss of one network of QUAK: that of the background, or minus that of one simulated signal.

    Two of them draw the plane of losses.

    Source: arXiv:2011.03550; arXiv:2101.08320, section 5.3.

    Examples
    --------
    >>> QuakLoss().reads.priors, QuakLoss(of="two-prong").reads.priors
    ((), ('two-prong',))
    """

    kind: Literal["quak_loss"] = "quak_loss"
    of: str = Field("background", description="background, or the name of a simulated signal")

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "background loss, or minus the loss of a simulated signal"

    @property
    def reads(self) -> Reads:
        """The background, whose units all losses have, and the simulated signal."""
        return replace(self.sample.reads, priors=() if self.of == BACKGROUND else (self.of,))

    def networks(self, scope: Scope, priors: tuple[str, ...]) -> tuple[str, ...]:
        """Return the one network."""
        return priors or (BACKGROUND,)

    def score(
        self, plane: LossPlane, background: Sample, losses: Mapping[str, Any], scope: Scope
    ) -> Any:
        """Return the loss, or minus that of a signal."""
        (loss,) = losses.values()
        return loss if self.of == BACKGROUND else -loss
