"""The contract of every method and of every network, on planted signals."""

from __future__ import annotations

from typing import get_args

import pytest

from tnt_coffea.errors import TntCoffeaError
from tnt_coffea.events.sample import Sample
from tnt_coffea.testing import make_sample, method_contract, train
from tnt_coffea.training.classifiers import (
    AnyClassifier,
    Convolutional,
    Dense,
    Momenta,
    ParticleFlow,
)
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.training.method import TrainedOn
from tnt_coffea.training.methods import METHODS
from tnt_coffea.training.methods.anode import Anode
from tnt_coffea.training.methods.autoencoder import Autoencoder
from tnt_coffea.training.methods.best_of import BestOf, BestOfPerJet
from tnt_coffea.training.methods.buhulaspa import Buhulaspa
from tnt_coffea.training.methods.cwola import CwolaPerJet
from tnt_coffea.training.methods.data_vs_simulation import DataVsSimulation
from tnt_coffea.training.methods.dctr import Dctr
from tnt_coffea.training.methods.deep_ensemble import DeepEnsemble
from tnt_coffea.training.methods.factorized_topics import FactorizedTopics
from tnt_coffea.training.methods.feature import EventFeature
from tnt_coffea.training.methods.feature_autoencoder import (
    FeatureAutoencoder,
    FeatureAutoencoderPerJet,
)
from tnt_coffea.training.methods.files import Files
from tnt_coffea.training.methods.gan_ae import GanAe
from tnt_coffea.training.methods.gis import Gis
from tnt_coffea.training.methods.lda import Lda
from tnt_coffea.training.methods.lot import EventRandom, Random
from tnt_coffea.training.methods.lstm import Lstm
from tnt_coffea.training.methods.norm import EventNorm, Norm
from tnt_coffea.training.methods.particle_graph import ParticleGraph, ParticleGraphPerJet
from tnt_coffea.training.methods.paws import Paws
from tnt_coffea.training.methods.pca import Pca
from tnt_coffea.training.methods.quak import Quak, QuakLoss, QuakPlane
from tnt_coffea.training.methods.references import (
    OptimalCwola,
    OptimalCwolaPerJet,
    PureCwola,
    Supervised,
    SupervisedBothJets,
)
from tnt_coffea.training.methods.regularized_likelihood import RegularizedLikelihood
from tnt_coffea.training.methods.sa_cwola import SaCwola
from tnt_coffea.training.methods.salad import Salad
from tnt_coffea.training.methods.salad_tag_n_train import SaladTagNTrain
from tnt_coffea.training.methods.tag_n_train import SameJet
from tnt_coffea.training.methods.template_classifier import TemplateClassifier
from tnt_coffea.training.methods.ucluster import Ucluster
from tnt_coffea.training.methods.vrnn import Vrnn, VrnnPerJet

from .conftest import FIRST, TREES, config_for, cwola, tnt

FAST = OptimizerSettings(batch=50, learning_rate=0.005)
AUGMENTED = {"rotation": 180.0, "reflection": True, "pt_smearing": 0.1}


def slow(method):
    return pytest.param(method, marks=pytest.mark.slow)


RATIO = Dense(
    features=("mass / m_jj", "tau21"),
    layers=(8,),
    epochs=2,
    optimizer=OptimizerSettings(batch=50, learning_rate=0.005, keep="last"),
)
DCTR = Dctr(classifier=RATIO, validation=False)

TEMPLATE = TemplateClassifier(template={"by": "morphing", "oversampling": 2}, classifier=TREES)
TEMPLATE_NETWORK = Dense(features=("mass / m_jj", "tau21"), layers=(8,), epochs=6, optimizer=FAST)

SLICING = {"bins": 6, "knots": 12, "members": 2}
THEMES = Lda(
    vocabulary={"basis": "mass", "mass_bins": 4, "drop_bins": 10},
    alpha_ratio=(0.1,),
    alpha_sum=(0.3, 1.0),
    held_back=0.2,
    inference={"epochs": 5, "starts": 1},
)
FLOW = {"model": "autoregressive", "blocks": 3, "hidden": 16, "epochs": 6, "averaged": 3}
FLOW |= {"optimizer": {"batch": 50, "learning_rate": 0.005, "keep": "last"}}

ADAM = {"batch": 50, "learning_rate": 0.005}
MANIFOLD = RegularizedLikelihood(
    features=("mass", "tau21"),
    manifold=2,
    flow={"layers": 2, "hidden": 8, "epochs": 6, "optimizer": ADAM},
    density={"blocks": 2, "hidden": 8, "epochs": 4, "averaged": 2, "optimizer": ADAM},
)
CLUSTERS = {"clusters": 6, "embedding": 4, "focal_epochs": 3, "epochs": 3}
CLUSTERS |= {"optimizer": {"batch": 100, "learning_rate": 0.01, "keep": "last"}}
GAN_AE = GanAe(
    features=("mass", "tau21"),
    layers=(8,),
    latent=2,
    discriminator=(8,),
    epsilon=2.0,
    cycles=3,
    discriminator_epochs=1,
    optimizer={"batch": 200, "learning_rate": 0.01},
)
SEQUENCES = {"epochs": 5}
SEQUENCES |= {"optimizer": {"batch": 50, "learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999}}
QUAK = {"features": ("mass", "tau21"), "layers": (16,), "latent": 1, "flows": 1, "epochs": 4}
QUAK |= {"beta": 3.0, "optimizer": {"batch": 50, "learning_rate": 0.01}}
PAWS = {"features": ("tau21",), "layers": (16,), "epochs": 10, "pairs": 2000}
PAWS |= {"points": {"two-prong": {"heavy_mass": 500, "light_mass": 100}}}
PAWS |= {"optimizer": {"batch": 50, "learning_rate": 0.005, "keep": "last"}}
PLANTED = {
    "lstm": {"sequence": 4, "constituents": None, "events": 1200},
    **{
        kind: {"events": 1200, "signal_share": 0.04} for kind in ("quak", "quak_plane", "quak_loss")
    },
    "vrnn": {"aligned": 5},
    "vrnn_per_jet": {"aligned": 5},
    "lda": {"splittings": 6, "signal_share": 0.04},
    "gan_ae": {"events": 1200},
    "deep_ensemble": {"event_image": 8},
}
"""What the planted events of a method are, where they are not those of all others."""
LATENT = Buhulaspa(
    features=("tau21",), layers=(16,), epochs=8, optimizer=FAST.model_dump() | {"kind": "adam"}
)

BOOSTED = DeepEnsemble(features=("mass / m_jj", "tau21"), image=False, trees=30)
RESIDUAL = BOOSTED.model_copy(
    update={
        "image": True,
        "blocks": (1,),
        "width": 4,
        "epochs": 2,
        "optimizer": OptimizerSettings(batch=100, learning_rate=0.01, one_cycle=True, keep="last"),
    }
)
MEMORY = {"batch": 50, "learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999}

CHOICE = {
    "first": FIRST,
    "tnt": tnt(),
    "cwola": cwola(),
    "noise": EventRandom(),
    "template": TEMPLATE,
}
"""What `best_of` and `best_of_per_jet` choose from."""

METHOD_SETTINGS = [
    Autoencoder(),
    FIRST,
    EventFeature(feature="heavy_tau21 + light_tau21", descending=True),
    tnt(),
    # test_methods.py trains with these settings.
    slow(tnt(mass_window=False, reweight="none", soft_labels=True)),
    slow(tnt(shared=True)),
    slow(SameJet(after="first", signal_rich=0.3, classifier=TREES)),
    cwola(),
    slow(CwolaPerJet(classifier=TREES, sideband=1.0)),
    slow(TEMPLATE),
    slow(TEMPLATE.model_copy(update={"classifier": TEMPLATE_NETWORK})),
    slow(
        tnt(
            template={"by": "morphing", "sideband": 1.75},
            reweight="none",
            signal_rich=0.5,
            background_rich=0.4,
        )
    ),
    slow(Supervised(classifier=TREES)),
    slow(SupervisedBothJets(classifier=TREES)),
    slow(PureCwola(after="first", classifier=TREES)),
    slow(DCTR),
    slow(Salad(after="dctr", classifier=TREES)),
    SaCwola(classifier=TREES),
    slow(SaCwola(form="negative", strength=0.5, classifier=RATIO)),
    # With more of the simulation's loss so few events teach the network nothing (AUC 0.58).
    slow(SaCwola(strength=0.1, classifier=Momenta(layers=(16,), epochs=15, optimizer=FAST))),
    slow(
        SaladTagNTrain(after="first", signal_rich=0.4, sideband=1.5, ratio=RATIO, classifier=TREES)
    ),
    slow(OptimalCwola(classifier=TREES)),
    slow(OptimalCwolaPerJet(classifier=TREES)),
    slow(DataVsSimulation(classifier=TREES)),
    slow(BOOSTED),
    slow(RESIDUAL),
    slow(BestOf(of=("noise", "cwola"), sideband=1.0)),
    slow(BestOf(of=("cwola", "template"), template=TEMPLATE.template)),
    slow(BestOfPerJet(of=("first", "tnt"), sideband=1.0)),
    Norm(),
    slow(EventNorm(features=("mass", "tau21", "mass_difference"))),
    Random(),
    EventRandom(features=("mass", "tau21")),
    slow(FeatureAutoencoder(layers=(8,), epochs=3, optimizer=FAST)),
    slow(FeatureAutoencoder(pure=True, mass_window=True, epochs=8, optimizer=FAST)),
    slow(
        FeatureAutoencoderPerJet(layers=(8,), latent=1, epochs=2, most_events=500, optimizer=FAST)
    ),
    slow(GAN_AE),
    slow(GAN_AE.model_copy(update={"sample": TrainedOn.SIMULATION})),
    slow(Gis(density=SLICING)),
    slow(Pca(features=("mass", "tau21"))),
    slow(Pca(features=("mass", "tau21"), sample="simulation")),
    slow(FactorizedTopics(bins=20, starts=3, steps=500)),
    slow(
        FactorizedTopics(
            loss="frobenius", pairs="unlike", bins=20, slices=2, slice_by="heavy_pt", starts=3
        )
    ),
    slow(THEMES),
    Anode(density={"model": "slicing", "bins": 2, "knots": 15, "members": 2}),
    slow(Ucluster(**CLUSTERS)),
    slow(Anode(beside="sidebands", sideband=1.0, density=FLOW)),
    slow(MANIFOLD),
    slow(ParticleGraph(epochs=2, optimizer=FAST)),
    slow(ParticleGraph(sample="simulation", epochs=3, optimizer=FAST)),
    slow(ParticleGraphPerJet(loss="chamfer", shared=True, epochs=3, optimizer=FAST)),
    slow(Vrnn(**SEQUENCES)),
    slow(VrnnPerJet(**SEQUENCES)),
    slow(LATENT),
    Paws(**PAWS),
    slow(Paws(**PAWS, sample="simulation")),
    slow(Lstm(cells=(4,), layers=(8,), epochs=3, optimizer=MEMORY)),
    slow(Quak(**QUAK)),
    slow(Quak(priors=("two-prong",), sample="simulation", **QUAK)),
    slow(QuakPlane(**QUAK | {"epochs": 15})),
    slow(QuakLoss(of="two-prong", **QUAK | {"epochs": 15})),
    slow(Autoencoder(network="dense", networks=2, keep=(1.0, 0.5), epochs=4, optimizer=FAST)),
    slow(Autoencoder(network="convolutional", epochs=6, optimizer=FAST)),
    slow(Autoencoder(network="variational", epochs=6, optimizer=FAST)),
]
"""One of every kind but `files`, which needs some."""

NETWORKS = [
    slow(TREES),  # as `cwola` among the methods
    slow(
        TREES.model_copy(
            update={"features": ("mass", "tau21", "tau21 / mass"), "feature_share": 0.6}
        )
    ),
    Dense(
        features=("mass / m_jj", "tau21"),
        layers=(8, 8),
        epochs=4,
        clip=3.0,
        initial_biases=(0.04, 0.01),
        optimizer=FAST,
    ),
    slow(ParticleFlow(epochs=6, optimizer=FAST)),
    slow(Momenta(layers=(16,), epochs=4, optimizer=FAST)),
    slow(Convolutional(epochs=6, optimizer=FAST)),
    slow(
        Convolutional(
            features=("tau21",), augmentation=AUGMENTED, epochs=6, optimizer=FAST, pixel_scale=50
        )
    ),
]


def plain(cases):
    return [case.values[0] if hasattr(case, "values") else case for case in cases]


def test_no_method_and_no_network_is_missing_here():
    assert {method.kind for method in plain(METHOD_SETTINGS)} | {"files"} == set(METHODS)
    union, _ = get_args(AnyClassifier)
    networks = {kind.model_fields["network"].default for kind in get_args(union)}
    assert {each.network for each in plain(NETWORKS)} == networks


@pytest.mark.parametrize("method", METHOD_SETTINGS, ids=lambda method: method.kind)
def test_methods_keep_the_contract(method, tmp_path):
    beside = {"dctr": DCTR} if "dctr" in method.builds_on() else {}
    if isinstance(method, BestOf):
        beside = {name: CHOICE[name] for name in ("first", *method.of)}
    planted = PLANTED.get(method.kind, {})
    if isinstance(getattr(method, "classifier", None), Momenta):
        planted = planted | {"sequence": 4}
    learns = not isinstance(method, Random)
    method_contract(method, tmp_path, beside=beside, learns=learns, **planted)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.network)
def test_networks_keep_the_contract(network, tmp_path):
    planted = {"sequence": 4} if isinstance(network, Momenta) else {}
    method_contract(cwola(classifier=network), tmp_path, **planted)


def refusal(method, sample, scope):
    try:
        method.check(sample, scope)
    except TntCoffeaError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_inputs_are_checked_without_events_as_with_them():
    lists = {"constituents": 5, "aligned": 5, "splittings": 5, "sequence": 4, "event_image": 8}
    refused = set()
    for sample in (make_sample(20, **lists), make_sample(20)):
        empty = Sample.empty(sample.settings)
        for method in plain(METHOD_SETTINGS):
            for scope in method.scopes:
                expected = refusal(method, sample, scope)
                assert refusal(method, empty, scope) == expected
                refused |= {method.kind} if expected else set()
    assert {"lstm", "vrnn"} <= refused < set(METHODS)


def test_files_keep_the_contract(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    sample = make_sample(100, seed=9, constituents=8)
    elsewhere = train(sample, config_for({"first": FIRST}), tmp_path / "elsewhere")["first"]
    files = {item.scope: item.path for item in elsewhere}
    method_contract(Files(**files), tmp_path / "contract")
