"""Methods of training, by name; a new one is a module here and a line below."""

from __future__ import annotations

from collections.abc import Mapping

from tnt_coffea.errors import ConfigError
from tnt_coffea.training.methods.cwola import CwolaHunting, CwolaPerJet
from tnt_coffea.training.methods.interface import Job, Labelling, Method, Scope
from tnt_coffea.training.methods.references import PureCwola, Supervised, SupervisedBothJets
from tnt_coffea.training.methods.tag_n_train import SameJet, TagNTrain
from tnt_coffea.training.methods.unsupervised import Autoencoders

__all__ = ["METHODS", "Job", "Labelling", "Method", "Scope", "method_of"]

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Autoencoders(),
        TagNTrain(),
        SameJet(),
        CwolaHunting(),
        CwolaPerJet(),
        PureCwola(),
        Supervised(),
        SupervisedBothJets(),
    )
}


def method_of(name: str) -> Method:
    """Return the method of a name.

    Raises
    ------
    ConfigError
        There is none.
    """
    if name not in METHODS:
        msg = f"train.methods: no method '{name}'; known are {', '.join(METHODS)}"
        raise ConfigError(msg)
    return METHODS[name]
