"""The stage `search`: from tagger sets to histograms."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tnt_coffea.accounting import Accounting
from tnt_coffea.config import NOMINAL, SearchConfig
from tnt_coffea.errors import (
    InputError,
    LeakError,
    StageError,
    TaggerError,
    TrainingError,
)
from tnt_coffea.events.roles import DATA, SIMULATION, is_signal, prior, signal_name
from tnt_coffea.events.sample import UNIT, Sample
from tnt_coffea.execution import OnError, Resources
from tnt_coffea.execution import run as run_pass
from tnt_coffea.filesets import UNREADABLE, Fileset
from tnt_coffea.jets.corrections import JetCorrections
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.folders import (
    OUT,
    begun,
    done,
    kept_items,
    note_metrics,
    one_writer,
    search_stage,
    variations_digest,
)
from tnt_coffea.pipeline.skimming import check_dijets, signal_masses
from tnt_coffea.pipeline.template_events import predicts, template_events
from tnt_coffea.products import Histograms, Skim, Taggers, as_skim
from tnt_coffea.stats import WeightedSimulation
from tnt_coffea.stats.signal_histogram import SignalHistogram

if TYPE_CHECKING:
    from tnt_coffea.processors import SearchProcessor

__all__ = ["search", "searched_files"]


def searched_files(
    source: Skim | Sample | Fileset, config: SearchConfig, roles: tuple[str, ...] = ()
) -> tuple[Skim | Fileset, Fileset]:
    """Return a source as a pass reads it, and its files, of the data alone or of more roles.

    The files of dijets in memory are there as long as the skim that is returned.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig, testing
    >>> skim, files = searched_files(testing.make_sample(20), SearchConfig())
    >>> len(files.items(1000))
    1
    """
    if isinstance(source, Fileset):
        read = source.read_with(config.skim)
        files = (read.of_roles(*roles) if SIMULATION in roles else read.searched).noted()
        return files, files
    skim = as_skim(source)
    return skim, skim.fileset(*roles)


@one_writer
def search(
    source: Skim | Sample | Fileset,
    taggers: Taggers,
    config: SearchConfig,
    *,
    out: str | Path = OUT,
    resources: Resources | None = None,
) -> Histograms:
    """Return the histograms of mass against both jets' quantiles, every event scored out of fold.

    Parameters
    ----------
    source
        A skim, dijets in memory, or files, which are skimmed on the way. Of either only data
        are searched. Simulation is filled apart for tagger sets with weights, for the direct
        estimate of their background; other roles are not read.
    taggers
        Tagger sets with quantile maps, and the weights of simulation.
    config
        `skim` and `search` are read.
    out
        Folder of the search; the histograms go to `search`.
    resources
        What may be used.

    Raises
    ------
    TaggerError
        A tagger does not fit these jets and images.
    LeakError
        A tagger would score events that had a part in its training.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import SearchConfig, Taggers, taggers, testing
    >>> packaged = Taggers.load(taggers.packaged_taggers()["rnd-3500"])
    >>> sample = testing.make_sample(20, pixels=40)
    >>> with TemporaryDirectory() as out:
    ...     histograms = search(sample, packaged, SearchConfig(), out=out)
    >>> {name: histogram.sum().value for name, histogram in histograms.hists.items()}
    {'autoencoder': 20.0, 'tnt': 20.0}
    """
    from tnt_coffea.processors import SearchProcessor

    check_types(
        source=(source, Skim, Sample, Fileset),
        taggers=(taggers, Taggers),
        config=(config, SearchConfig),
        resources=(resources, Resources),
    )
    resources = resources or Resources()
    processor = SearchProcessor(config, taggers.sets.values(), taggers.weights)
    signals = _signal_files(source, config)
    masses = {} if signals is None else signal_masses(signals, config)
    source, fileset = searched_files(source, config, processor.roles)
    scored: dict[str, Any] = {"skim": source.content} if isinstance(source, Skim) else {}
    if processor.weights:
        scored["weights"] = {name: own.digest for name, own in processor.weights.items()}
        if isinstance(source, Skim) and SIMULATION in source.contents:
            scored["simulation"] = source.contents[SIMULATION]
    sets = {name: tagger_set.digest for name, tagger_set in taggers.sets.items()}
    weighted = {name: s.weighted_by for name, s in taggers.sets.items() if s.weighted_by}
    _refuse_copies(source, fileset, signals)
    if isinstance(source, Skim):
        _refuse_simulation_as_data(source, taggers)
    if isinstance(source, Skim) and signals is not None:
        _check_variations(source, config)
    stage = search_stage(source, taggers, config, out, resources, signals)
    if not done(stage, resources):
        parts = begun(stage, config)
        with (
            stage.undone_on_bad_input(),
            resources.open() as executor,
            kept_items(stage) as kept,
        ):
            passed = functools.partial(
                run_pass,
                executor=executor,
                chunk_size=resources.chunk_size,
                on_error=resources.on_error,
                checkpoints=kept,
            )
            output, accounting = passed(fileset, processor, description="Searching")
            of_signals, signal_accounting = _filled_signals(
                source, signals, masses, config, taggers, passed
            )
        filled = _simulation(output.get("simulation", {}), processor)
        templates, without = _templates(source, processor, config.seed, parts, resources)
        provenance = {
            **scored,
            "taggers": sets,
            "knowledge": {name: s.knowledge for name, s in taggers.sets.items()},
            "settings": config.search.digest(),
            "skim_settings": config.skim.digest(),
            **({"weighted_by": weighted} if weighted else {}),
            **({"without_template": without} if without else {}),
        }
        accounts = {DATA: accounting, SIMULATION: None}
        if processor.weights:
            accounts = {role: _of_role(accounting, fileset, role) for role in processor.roles}
            _check_numbers(processor, accounts)
        made = Histograms(
            output["hists"],
            taggers.working_points(),
            accounts[DATA] or accounting,
            provenance,
            output.get("coincidences"),
            {**filled, **templates},
            accounts[SIMULATION],
            of_signals,
            signal_accounting,
        )
        made.save(stage.folder)
        every = accounting if signal_accounting is None else accounting.beside(signal_accounting)
        stage.finish({}, metrics=every.metrics)
        note_metrics(out)
    return Histograms.load(stage.folder)


def _signal_files(source: Skim | Sample | Fileset, config: SearchConfig) -> Fileset | None:
    """Return the files of simulated signals for templates; None where there are none."""
    if isinstance(source, Sample):
        return None
    if isinstance(source, Skim):
        found = source.signal_fileset()
    else:
        found = source.read_with(config.skim).of_signals()
    return found.noted() if found.files else None


def _check_variations(skim: Skim, config: SearchConfig) -> None:
    """Refuse variations of signals other than those that a skim holds."""
    wanted = config.systematics.jets or config.systematics.weights
    if (skim.systematics or wanted) and skim.systematics != variations_digest(config):
        msg = (
            "the skim holds simulated signals with other systematic variations than those of the "
            "settings (systematics); skim again"
        )
        raise StageError(msg)


def _filled_signals(
    source: Skim | Fileset,
    signals: Fileset | None,
    masses: Mapping[str, float],
    config: SearchConfig,
    taggers: Taggers,
    passed: Callable[..., tuple[dict[str, Any], Accounting]],
) -> tuple[dict[str, SignalHistogram], Accounting | None]:
    """Return the signals with their variations by tagger set, and where their events went."""
    if signals is None:
        return {}, None
    from tnt_coffea.processors import SignalProcessor

    told: dict[str, Any] = {"description": "Searching signals with their variations"}
    corrections = None
    if isinstance(source, Skim):
        corrections = JetCorrections(config.systematics)  # its jets are varied already
        # Its sums of weights are of all that its dijets were made of: none of these may be lost.
        told["on_error"] = OnError.FAIL
    processor = SignalProcessor(config, taggers.sets.values(), corrections)
    output, accounting = passed(signals, processor, **told)
    sums: dict[str, dict[str, int]] = output.get("generated", {})
    if isinstance(source, Skim):
        # Also of data sets without a dijet, whose events were generated as well.
        named = {one: role for one, role in source.roles.items() if is_signal(role)}
        own = Accounting.summed({dataset: source.accounts[dataset] for dataset in named})
        accounting = replace(own, metrics=accounting.metrics)
        sums = {}
        for dataset, role in named.items():
            known = sums.setdefault(str(signal_name(role)), {})
            for key, value in source.generated.get(dataset, {}).items():
                known[key] = known.get(key, 0) + value
    else:
        check_dijets(signals, accounting)
    generated = {name: _generated(name, sums.get(name, {}), config) for name in masses}
    weights = config.systematics.weights
    return {
        name: SignalHistogram(filled, masses, generated, weights)
        for name, filled in output["signals"].items()
    }, accounting


def _generated(name: str, sums: Mapping[str, int], config: SearchConfig) -> dict[str, float]:
    """Return sums of weights of all generated events, those of the settings in their place."""
    in_files = {key: value * UNIT for key, value in sums.items()}
    if NOMINAL not in in_files:
        msg = (
            f"signal '{name}': parts of a skim alone do not say how many events were generated; "
            "give the skim's folder, or the files that it was made of"
        )
        raise InputError(msg)
    if not in_files[NOMINAL] > 0:
        msg = f"signal '{name}': the weights of all its events sum to {in_files[NOMINAL]:g}"
        raise InputError(msg)
    said = config.systematics.signals.get(name)
    if said is None or said.sum_of_weights is None:
        return in_files
    factor = said.sum_of_weights / in_files[NOMINAL]
    return {key: value * factor for key, value in in_files.items()} | {NOMINAL: said.sum_of_weights}


def _refuse_copies(source: Skim | Fileset, fileset: Fileset, signals: Fileset | None) -> None:
    """Refuse simulation in files that are files of the data; a skim was made without any."""
    if isinstance(source, Skim):
        return
    if signals is not None:
        roles = {**fileset.roles, **signals.roles}
        fileset = replace(fileset, files={**fileset.files, **signals.files}, roles=roles)
    hashes = fileset.content_hashes(skip_bad=True)
    of_data = {
        sha256: name for name, own in hashes.items() if fileset.role(name) == DATA for sha256 in own
    }
    of_data.pop(UNREADABLE, None)
    for name, own in hashes.items():
        shared = set(own) & set(of_data) if fileset.role(name) != DATA else set()
        if shared:
            other = of_data[min(shared)]
            msg = (
                f"a file of '{name}', which is {fileset.role(name)}, is one of '{other}', which "
                "is data: give another one"
            )
            raise LeakError(msg)


def _refuse_simulation_as_data(skim: Skim, taggers: Taggers) -> None:
    """Refuse taggers whose simulation, of background or of signals, is what is searched now."""
    for name, tagger_set in taggers.sets.items():
        for card in (member.tagger.card for member in tagger_set.members):
            roles = {SIMULATION: card.simulation} | {prior(p): s for p, s in card.priors.items()}
            for role, sha256 in roles.items():
                if sha256 == skim.content:
                    msg = (
                        f"tagger set '{name}': the events searched are those of role '{role}' that "
                        "trained it; what trains a tagger must not be searched by it"
                    )
                    raise LeakError(msg)
            if card.ancestors:
                continue  # folded like the data: each event is scored by taggers without it
            for role, sha256 in skim.contents.items():
                if is_signal(role) and sha256 in card.priors.values():
                    msg = (
                        f"tagger set '{name}': the events of role '{role}' trained it, all of "
                        "them; take other simulated events for templates"
                    )
                    raise LeakError(msg)


def _check_numbers(processor: SearchProcessor, accounts: Mapping[str, Accounting | None]) -> None:
    """Refuse weights that were learned from other numbers of events than those of the search."""
    for weights in processor.weights.values():
        for role, number in weights.trained_on.items():
            found = accounts.get(role)
            if found is not None and found.selected != number:
                msg = (
                    f"the weights of '{weights.name}' were learned from {number} dijets of "
                    f"{role}, and {found.selected} are searched: data over simulation is part of "
                    "them, so train again on these files"
                )
                raise TaggerError(msg)


def _of_role(accounting: Accounting, fileset: Fileset, role: str) -> Accounting | None:
    """Return where the events of a role went; None where no data set has it."""
    own = {name: one for name, one in accounting.datasets.items() if fileset.role(name) == role}
    return Accounting.summed(own) if own else None


def _templates(
    source: Skim | Fileset,
    processor: SearchProcessor,
    seed: int,
    parts: Path,
    resources: Resources,
) -> tuple[dict[str, WeightedSimulation], dict[str, str]]:
    """Return ranked events of templates by tagger set, and why others have none."""
    wanted = [one for one in processor.taggers if one.name not in processor.weights]
    wanted = [one for one in wanted if predicts(one)]
    found: dict[str, WeightedSimulation] = {}
    without: dict[str, str] = {}
    if not wanted:
        return found, without
    if not isinstance(source, Skim):
        reason = "a template is made of a skim, and files were searched without one: make it first"
        return found, {one.name: reason for one in wanted}
    from tnt_coffea.training import mapped_events

    with resources.announced("Ranking the events of templates"):
        sample = mapped_events(source.paths, parts).with_variable(processor.config.search.variable)
        for one in wanted:
            try:
                found[one.name] = template_events(one, sample, processor, seed)
            except (TaggerError, TrainingError) as error:
                without[one.name] = str(error)
    return found, without


def _simulation(
    filled: Mapping[str, Any], processor: SearchProcessor
) -> dict[str, WeightedSimulation]:
    found = {}
    for tagger_set in processor.taggers:
        if tagger_set.name in filled:
            weights = processor.weights[tagger_set.name]
            window = tagger_set.window or weights.window or processor.config.search.window
            found[tagger_set.name] = WeightedSimulation(
                filled[tagger_set.name],
                weights.name,
                window.edges,
                {name: band.edges for name, band in weights.validation_windows.items()},
            )
    return found
