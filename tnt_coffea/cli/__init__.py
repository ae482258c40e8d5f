"""The command line: a thin echo of the functions in `chain`, `pipeline` and `inspection`.

A new command is one function in the module of its group, and a name in the list below.
"""

from __future__ import annotations

import logging

import click

from tnt_coffea.cli.chains import demo, run
from tnt_coffea.cli.evaluation import answer, characterise, compare, evaluate, models
from tnt_coffea.cli.files import convert, inspect
from tnt_coffea.cli.fits import fit
from tnt_coffea.cli.generation import generate
from tnt_coffea.cli.group import Commands, completion
from tnt_coffea.cli.methods import methods
from tnt_coffea.cli.null_chains import null_chains
from tnt_coffea.cli.scores import efficiency, score
from tnt_coffea.cli.settings import config
from tnt_coffea.cli.steps import report, search, skim, train
from tnt_coffea.cli.studies import study

__all__ = ["main"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--verbose", "-v", is_flag=True, help="Say what every pass over events costs.")
@click.version_option(package_name="tnt-coffea")
def main(debug: bool, verbose: bool) -> None:
    """Search dijet events for new physics without a signal model, by Tag N' Train.

    `demo` makes events and searches them; `run` searches your files. Both consist of the
    stages generate, skim, train, search, fit and report, which can be run one by one.
    """
    if verbose:
        log = logging.getLogger("tnt_coffea")
        log.setLevel(logging.INFO)
        if not log.handlers:
            log.addHandler(logging.StreamHandler())


main.add_section("Whole searches", [demo, run, null_chains])
main.add_section("Stages", [generate, skim, train, search, fit, report])
main.add_section(
    "Looking and preparing",
    [
        score,
        efficiency,
        evaluate,
        characterise,
        answer,
        compare,
        inspect,
        convert,
        config,
        methods,
        models,
        completion,
    ],
)
main.add_section("Published studies", [study])
main.keeping |= {
    one.name for one in (demo, run, null_chains, generate, skim, train, search, study, answer)
}
