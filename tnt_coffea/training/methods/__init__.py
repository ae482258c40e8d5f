"""The package's methods, one file each; a new one is a file here, found by its name.

| `kind` | trains | what it learns from |
|---|---|---|
| `autoencoder` | each jet | all jets: what is rare is reconstructed badly |
| `feature`, `event_feature` | each jet or the event | nothing: an observable, as it is |
| `files` | each jet or the event | nothing: taggers from files |
| `tag_n_train` | each jet | events that the other jet's tagger ranks highest and lowest |
| `same_jet` | each jet | the same with the jet's own tagger, a test that has to fail |
| `cwola`, `cwola_per_jet` | the event, or each jet | a window in mass against its sidebands |
| `template_classifier` | the event | the window against events made of its sidebands |
| `vrnn`, `vrnn_per_jet` | the event, or each jet | constituents in order: what surprises little |
| `anode` | the event | densities of features in a window in mass and beside it |
| `buhulaspa` | the event | features beside the mass: a number that what is rare is far along |
| `gan_ae` | the event | features: reconstructions that a discriminator takes for events |
| `factorized_topics` | the event | pairs of masses: topics of jets, all but the common one's pair |
| `best_of`, `best_of_per_jet` | the event, or each jet | nothing: the best of other methods |
| `gis` | the event | density of features at a mass and at those around it |
| `lda` | the event | splittings in a window in mass: the rarer of two themes |
| `particle_graph` | the event | constituents: what is rare is reconstructed badly |
| `particle_graph_per_jet` | each jet | likewise |
| `pca` | the event | quantiles of features: distances in their principal components |
| `regularized_likelihood` | the event | a manifold of the features, and the density on it |
| `ucluster` | the event | clusters of events, in a window in mass and beside it |
| `sa_cwola` | the event | as `cwola`, and simulation in which it must not tell them |
| `dctr` | the event | data against simulation beside the window: weights, no score |
| `salad` | the event | data of the window against weighted simulation |
| `salad_tag_n_train` | each jet | tagged data of the window against tagged, weighted simulation |
| `paws` | the event | a class of simulated signals, of which the window chooses one |
| `quak`, `quak_loss` | the event | background and simulated signals, a network each: their losses |
| `quak_plane` | the event, on two axes | likewise |
| `data_vs_simulation` | the event | data against simulation in the window |
| `deep_ensemble` | the event | an image and a table: simulated background and signal |
| `lstm` | the event | the leading jets in order: simulated background and signal |
| `feature_autoencoder` | the event | features: what is rare is reconstructed badly |
| `feature_autoencoder_per_jet` | each jet | likewise |
| `norm`, `event_norm` | each jet or the event | features: their distance from the mean |
| `random`, `event_random` | each jet or the event | nothing: a hash, known in every plot |
| `supervised`, `pure_cwola` | each jet | the truth: references, never in a search |
| `supervised_both_jets` | the event | the truth likewise |
| `optimal_cwola` | the event | the truth: the window against background of the window |
| `optimal_cwola_per_jet` | each jet | likewise |
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import isabstract, isclass
from pkgutil import iter_modules

from tnt_coffea.training.method import Method

__all__ = ["METHODS"]


def _methods() -> dict[str, type[Method]]:
    found = {}
    for module in sorted(info.name for info in iter_modules(__path__)):
        for item in vars(import_module(f"{__name__}.{module}")).values():
            if not (isclass(item) and issubclass(item, Method)) or isabstract(item):
                continue
            if item.__module__ == f"{__name__}.{module}" and not item.__name__.startswith("_"):
                found[str(item.model_fields["kind"].default)] = item
    return found


METHODS: Mapping[str, type[Method]] = _methods()
"""Classes of the package's methods by their `kind`."""
