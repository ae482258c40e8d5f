"""The skim as a coffea processor: particles, jets or features in; dijets out."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import awkward as ak
import numpy as np
from coffea import processor

from tnt_coffea.config import JetAlgorithm, JetOrder, JetSettings, SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.events.identity import uniform
from tnt_coffea.events.particles import Particles
from tnt_coffea.events.roles import checked_name
from tnt_coffea.events.sample import Sample, sample_of
from tnt_coffea.events.selection import Selection
from tnt_coffea.events.skim import made_before, write_part
from tnt_coffea.events.sources import features_of, jets_of, particles_of
from tnt_coffea.events.stored_jets import StoredJets
from tnt_coffea.jets.dijets import find_dijets, select_dijets
from tnt_coffea.jets.observables import dijet_columns
from tnt_coffea.storage import written
from tnt_coffea.visibility import Mark

__all__ = ["SelectingProcessor", "SkimProcessor", "coin_of", "cutflow_of", "reconstructed"]


class SelectingProcessor(processor.ProcessorABC):  # type: ignore[misc]
    """A processor whose events the user's own selection chooses first, if there is one."""

    def __init__(self, settings: SkimSettings) -> None:
        self.selection = Selection(settings.select) if settings.select else None

    @property
    def columns(self) -> tuple[str, ...]:
        """Branches of a file that own selections need, beside those that are read anyway."""
        return self.selection.columns if self.selection else ()


class SkimProcessor(SelectingProcessor):
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

    def __init__(
        self, settings: SkimSettings, folder: str | Path, mark: Mark | None = None
    ) -> None:
        super().__init__(settings)
        self.settings = settings
        self.folder = str(folder)
        self.mark = mark

    def process(self, events: Any) -> dict[str, Any]:
        """Return the cutflow of a chunk and its part's path by dataset."""
        sample, cutflow = reconstructed(events, self.settings, self.selection)
        meta = events.metadata
        output: dict[str, Any] = {"cutflow": {meta["dataset"]: cutflow}, "parts": {}}
        if len(sample):
            where = (
                f"{meta.get('named', meta['filename'])}:{meta['entrystart']}-{meta['entrystop']}"
            )
            name = hashlib.sha256(where.encode()).hexdigest()[:16]
            part = f"{checked_name(meta['dataset'])}/{name}.parquet"
            if self.mark is None or self.mark():
                self._write(part, sample)
            else:
                output["brought"] = {part: _bytes_of(sample)}
            output["parts"] = {meta["dataset"]: {part}}
        return output

    def _write(self, part: str, sample: Sample | bytes) -> None:
        path = Path(self.folder, part)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(sample, Sample):
            write_part(path, sample)
        else:
            with written(path) as partial:
                partial.write_bytes(sample)

    def home(self, output: dict[str, Any]) -> dict[str, Any]:
        """Write the parts that workers could not write, and return the output without them."""
        for part, content in output.get("brought", {}).items():
            self._write(part, content)
        return {name: value for name, value in output.items() if name != "brought"}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the accumulator as it is."""
        return accumulator


def _bytes_of(sample: Sample) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "part.parquet")
        write_part(path, sample)
        return path.read_bytes()


def reconstructed(
    events: Any, settings: SkimSettings, selection: Selection | None = None
) -> tuple[Sample, dict[str, Any]]:
    """Return the dijets of a chunk of events and its cutflow.

    Parameters
    ----------
    events
        NanoEvents of any source with particles, jets or features, or of a skim.
    settings
        Jets, observables and images; or what a table's columns mean.
    selection
        Own selection; by default that of the settings, imported here.

    Raises
    ------
    InputError
        An adapter refuses the events, a skim was made with other settings, the source's own
        jets are of another algorithm or radius than the settings, or what is asked for needs
        constituents that they lack.
    ConfigError
        As `Selection`.
    """
    ready = made_before(events, settings)
    if ready is not None:
        return ready, cutflow_of({}, len(ready))
    if settings.select is None:
        return _dijets(events, settings)
    kept = (selection or Selection(settings.select))(events)
    sample, cutflow = _dijets(events[kept], settings)
    rejected = {"select": int((~kept).sum()), **cutflow["rejected"]}
    return sample, cutflow | {"events": len(kept), "rejected": rejected}


def _dijets(events: Any, settings: SkimSettings) -> tuple[Sample, dict[str, Any]]:
    features = features_of(events, settings)
    if features is not None:
        return features, cutflow_of({}, len(features))
    source = settings.source
    stored = jets_of(events, source)
    found = particles_of(events, source) if stored is None else stored
    choice: dict[str, Any] = {
        "coin": coin_of(found.event_id, settings.jets),
        "leading": settings.leading_jets,
    }
    if isinstance(found, Particles):
        jets, cuts = find_dijets(found.p4, settings.jets, **choice)
    else:
        jets, cuts = select_dijets(_as_asked(found, settings.jets), settings.jets, **choice)
    if isinstance(found, Particles) and not (there := ak.to_numpy(ak.num(found.p4)) > 0).all():
        cuts = {"any_particle": there, **cuts}  # a row without a particle is no event
    passed = np.logical_and.reduce(list(cuts.values()))
    whole = settings.sequence is not None or settings.event_image is not None
    particles = found.p4[passed] if whole and isinstance(found, Particles) else None
    columns = {
        "event_id": found.event_id[passed],
        "weight": found.weight[passed],
        "label": found.label[passed],
        **{name: column[passed] for name, column in found.numbers.items()},
        **dijet_columns(jets, settings, particles),
    }
    return sample_of(columns, settings), cutflow_of(cuts, len(found))


def _as_asked(stored: StoredJets, settings: JetSettings) -> ak.Array:
    # The settings are on every tagger's card: they have to say what the jets really are.
    if (settings.algorithm, settings.radius) != (JetAlgorithm.ANTIKT, stored.radius):
        msg = (
            f"the jets of the file are anti-kt with R = {stored.radius:g}, the settings say "
            f"{settings.algorithm} with R = {settings.radius:g}; set skim.jets.algorithm to "
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
