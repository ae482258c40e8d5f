"""The skim as a coffea processor: particles, jets or features in; dijets out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import awkward as ak
import numpy as np
from coffea import processor

from tnt_coffea.config import JetAlgorithm, JetOrder, JetSettings, SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.events import trees
from tnt_coffea.events.filters import names_of
from tnt_coffea.events.identity import uniform
from tnt_coffea.events.particles import Particles
from tnt_coffea.events.roles import checked_name
from tnt_coffea.events.sample import Sample, sample_of
from tnt_coffea.events.selection import EventSelection
from tnt_coffea.events.skim import made_before, write_part
from tnt_coffea.events.sources import branches_of, features_of, jets_of, particles_of
from tnt_coffea.events.stored_jets import StoredJets
from tnt_coffea.jets.dijets import find_dijets, select_dijets
from tnt_coffea.jets.observables import dijet_columns
from tnt_coffea.metrics import timed
from tnt_coffea.storage import written
from tnt_coffea.visibility import Mark

__all__ = [
    "PartsProcessor",
    "SelectingProcessor",
    "SkimProcessor",
    "coin_of",
    "cutflow_of",
    "reconstructed",
]


class SelectingProcessor(processor.ProcessorABC):  # type: ignore[misc]
    """A processor whose events `skim.filters` and the user's own selection choose first."""

    selection: EventSelection | None = None
    every_path = True
    """Whether each trigger path has to be in one of the files that are read."""

    def __init__(self, settings: SkimSettings) -> None:
        self.selection = EventSelection(settings)

    @property
    def columns(self) -> tuple[str, ...]:
        """Branches of a file that own selections need, beside those that are read anyway."""
        return self.selection.columns if self.selection else ()

    @property
    def optional_columns(self) -> tuple[str, ...]:
        """Branches that are read where a file has them."""
        return self.selection.filters.columns if self.selection else ()

    def check_items(self, items: Iterable[Any]) -> None:
        """Check that the files of a pass have the branches that its selection asks for.

        Parameters
        ----------
        items
            Work items, each with `source`, `file` and `role`.

        Raises
        ------
        InputError
            As `EventSelection.check_files`.
        """
        if not (self.columns or self.optional_columns) or self.selection is None:
            return
        files = dict.fromkeys((item.source, item.file, item.role) for item in items)
        there = ((str(file), branches_of(source, file), role) for source, file, role in files)
        self.selection.check_files(
            ((path, names, role) for path, names, role in there if names is not None),
            every_path=self.every_path,
        )


class PartsProcessor(SelectingProcessor):
    """A processor that writes parts of a skim, from workers that see the folder and from others.

    Parameters
    ----------
    settings
        Jets and images.
    folder
        Where the parts go; one folder a data set.
    mark
        What a worker sees that writes there; from others the parts come home as bytes, and
        `home` writes them. By default all write there.
    """

    def __init__(
        self, settings: SkimSettings, folder: str | Path, mark: Mark | None = None
    ) -> None:
        super().__init__(settings)
        self.settings = settings
        self.folder = str(folder)
        self.mark = mark or Mark()

    def kept(self, part: str, write: Callable[[Path], None]) -> dict[str, bytes]:
        """Write a part and return nothing, or, where the folder is not seen, its bytes by name."""
        if self.mark():
            path = Path(self.folder, part)
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
            return {}
        with TemporaryDirectory() as folder:
            path = Path(folder, "part.parquet")
            write(path)
            return {part: path.read_bytes()}

    def files(self, made: Mapping[str, Any]) -> dict[str, Path]:
        """Return the files that a chunk's output consists of, by name: see `checkpoints`."""
        return {
            name: Path(self.folder, name)
            for names in made["processed"].get("parts", {}).values()
            for name in sorted(_listed(names))
        }

    def home(self, output: dict[str, Any]) -> dict[str, Any]:
        """Write the parts that workers could not write, and return the output without them."""
        for part, content in output.get("brought", {}).items():
            path = Path(self.folder, part)
            path.parent.mkdir(parents=True, exist_ok=True)
            with written(path) as partial:
                partial.write_bytes(content)
        return {name: value for name, value in output.items() if name != "brought"}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the accumulator as it is."""
        return accumulator


def _listed(parts: Iterable[str] | Mapping[str, Iterable[str]]) -> Iterable[str]:
    """Return parts, which may be by variation."""
    return chain.from_iterable(parts.values()) if isinstance(parts, Mapping) else parts


class SkimProcessor(PartsProcessor):
    r"""Write the dijets of every chunk to a Parquet part of its own.

    Parameters
    ----------
    settings
        Jets and images.
    folder
        Where the parts go; one folder a dataset.
    mark
        What a worker sees that writes there; from others the parts come home as bytes, and
        `home` writes them. By default all write there.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import Fileset, execution
    >>> from tnt_coffea.config import SkimSettings
    >>> with TemporaryDirectory() as folder, execution.open_executor("iterative") as executor:
    ...     table = Path(folder, "box.csv")
    ...     _ = table.write_text("m_jj,heavy_mass,light_mass\n3500,500,100\n2800,90,40\n")
    ...     fileset = Fileset.from_paths({"box": [table]})
    ...     output, _ = execution.run(fileset, SkimProcessor(SkimSettings(), folder), executor)
    >>> output["cutflow"]["box"], len(output["parts"]["box"])
    ({'events': 2, 'rejected': {}, 'selected': 2}, 1)
    """

    def process(self, events: Any) -> dict[str, Any]:
        """Return the cutflow of a chunk and its part's path by dataset."""
        sample, cutflow = reconstructed(events, self.settings, self.selection)
        dataset = events.metadata["dataset"]
        output: dict[str, Any] = {"cutflow": {dataset: cutflow}, "parts": {}}
        if len(sample):
            part = f"{checked_name(dataset)}/{part_name(events.metadata)}"
            with timed("filling"):
                brought = self.kept(part, lambda path: write_part(path, sample))
            if brought:
                output["brought"] = brought
            output["parts"] = {dataset: {part}}
        return output


def part_name(metadata: Mapping[str, Any]) -> str:
    """Return the name of a chunk's part, which its file and entries decide."""
    file = metadata.get("named", metadata["filename"])
    where = f"{file}:{metadata['entrystart']}-{metadata['entrystop']}"
    return f"{hashlib.sha256(where.encode()).hexdigest()[:16]}.parquet"


def reconstructed(
    events: Any, settings: SkimSettings, selection: EventSelection | None = None
) -> tuple[Sample, dict[str, Any]]:
    """Return the dijets of a chunk of events and its cutflow.

    Parameters
    ----------
    events
        NanoEvents of any source with particles, jets or features, or of a skim.
    settings
        Jets, observables and images; or what a table's columns mean.
    selection
        Filters and own selection; by default those of the settings, read and imported here.

    Raises
    ------
    InputError
        An adapter refuses the events, a skim was made with other settings, the source's own
        jets are of another algorithm or radius than the settings, what is asked for needs
        constituents that they lack, or filters ask for branches that are not there.
    ConfigError
        As `EventSelection`.
    """
    ready = made_before(events, settings)
    if ready is not None:
        return ready, cutflow_of({}, len(ready))
    chosen = selection or EventSelection(settings)
    left, cuts = chosen(events)
    sample, cutflow = _dijets(left, settings)
    return sample, behind(chosen, cuts, events, cutflow)


def behind(
    selection: EventSelection, cuts: dict[str, Any], events: Any, cutflow: dict[str, Any]
) -> dict[str, Any]:
    """Return the cutflow of events of which a selection left those that have a cutflow."""
    if not cuts:
        return cutflow
    before = cutflow_of(cuts, len(events))
    found = before | {
        "rejected": {**before["rejected"], **cutflow["rejected"]},
        "selected": cutflow["selected"],
    }
    if absent := selection.filters.absent(names_of(events)):
        found["absent"] = dict.fromkeys(absent, len(events))
    return found


def _dijets(events: Any, settings: SkimSettings) -> tuple[Sample, dict[str, Any]]:
    with timed("reading"):
        features = features_of(events, settings)
    if features is not None:
        return features, cutflow_of({}, len(features))
    with timed("reading"):
        found = found_in(events, settings)
    choice: dict[str, Any] = {
        "coin": coin_of(found.event_id, settings.jets),
        "leading": settings.leading_jets,
    }
    with timed("clustering"):
        if isinstance(found, Particles):
            jets, cuts = find_dijets(found.p4, settings.jets, **choice)
        else:
            asked = as_asked(found, settings, trees.where(events))
            jets, cuts = select_dijets(asked, settings.jets, **choice)
    particles = found.p4 if isinstance(found, Particles) else None
    return sample_of_jets(found, jets, cuts, settings, particles)


def found_in(events: Any, settings: SkimSettings) -> Particles | StoredJets:
    """Return the particles of events, or the jets where these are asked for or all there is."""
    stored = jets_of(events, settings.source)
    return particles_of(events, settings.source) if stored is None else stored


def sample_of_jets(
    found: Particles | StoredJets,
    jets: ak.Array,
    cuts: dict[str, Any],
    settings: SkimSettings,
    particles: ak.Array | None = None,
) -> tuple[Sample, dict[str, Any]]:
    """Return the dijets of a chunk and its cutflow.

    Parameters
    ----------
    found
        What the events were found to hold.
    jets, cuts
        As `find_dijets` gives them.
    settings
        Observables and images.
    particles
        (event, particle) of all events, where the source has them.
    """
    if particles is not None and not (there := ak.to_numpy(ak.num(particles)) > 0).all():
        cuts = {"any_particle": there, **cuts}  # a row without a particle is no event
    passed = np.logical_and.reduce(list(cuts.values()))
    whole = settings.sequence is not None or settings.event_image is not None
    chosen = particles[passed] if whole and particles is not None else None
    with timed("observables"):
        of_dijets = dijet_columns(jets, settings, chosen)
    columns = {
        "event_id": found.event_id[passed],
        "weight": found.weight[passed],
        "label": found.label[passed],
        **{name: column[passed] for name, column in found.numbers.items()},
        **of_dijets,
    }
    return sample_of(columns, settings), cutflow_of(cuts, len(found))


def as_asked(stored: StoredJets, settings: SkimSettings, where: str) -> ak.Array:
    """Return (event, jet) of a source, with constituents where it has them; else an error."""
    lacking = [name for name in settings.of_jet if name in stored.absent]
    if stored.constituents is None and lacking:
        msg = (
            f"{where}: skim.observables asks for {lacking[0]}, and the file's jets have neither "
            f"constituents nor {stored.absent[lacking[0]]}; leave out {', '.join(lacking)}"
        )
        raise InputError(msg)
    # The settings are on every tagger's card: they have to say what the jets really are.
    asked = settings.jets
    if (asked.algorithm, asked.radius) != (JetAlgorithm.ANTIKT, stored.radius):
        msg = (
            f"the jets of the file are anti-kt with R = {stored.radius:g}, the settings say "
            f"{asked.algorithm} with R = {asked.radius:g}; set skim.jets.algorithm to "
            f"antikt and skim.jets.radius to {stored.radius:g}, or cluster particles"
        )
        raise InputError(msg)
    if stored.constituents is None:
        return stored.p4
    return ak.with_field(stored.p4, stored.constituents, "constituents")


def coin_of(event_id: Any, settings: JetSettings) -> Any:
    """Return which events put their softer jet first, (event,) bool; None where order decides.

    A pure function of the event's id and `settings.order_seed`.
    """
    if settings.order is not JetOrder.RANDOM:
        return None
    return uniform(event_id, settings.order_seed, "jet order") < 0.5


def cutflow_of(cuts: dict[str, Any], n: int) -> dict[str, Any]:
    """Return how many events each cut rejects of those the cuts before it left.

    Parameters
    ----------
    cuts
        (event,) bool by name, in their order.
    n
        Events before all cuts.
    """
    left = np.ones(n, dtype=bool)
    rejected = {}
    for name, cut in cuts.items():
        rejected[name] = int((left & ~cut).sum())
        left &= cut
    return {"events": n, "rejected": rejected, "selected": int(left.sum())}
