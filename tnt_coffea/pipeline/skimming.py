"""The stage `skim`: from particles, jets or features to dijets."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tnt_coffea.accounting import Accounting
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import InputError, LeakError
from tnt_coffea.execution import Resources
from tnt_coffea.execution import run as run_pass
from tnt_coffea.filesets import Fileset
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.folders import (
    OUT,
    begun,
    done,
    one_writer,
    skim_stage,
)
from tnt_coffea.products import Skim, contents_of
from tnt_coffea.search_folder import note_files
from tnt_coffea.visibility import marked

__all__ = ["skim"]


@one_writer
def skim(
    fileset: Fileset,
    config: SearchConfig,
    *,
    out: str | Path = OUT,
    resources: Resources | None = None,
) -> Skim:
    r"""Return the dijets, observables and images of a fileset.

    Parameters
    ----------
    fileset
        Files of any source, with the roles of their data sets.
    config
        `skim` is read.
    out
        Folder of the search; the dijets go to `skim/parts`.
    resources
        What may be used.

    Raises
    ------
    InputError
        A file cannot be read or holds impossible values, or no event of a role has a dijet.
    LeakError
        An event occurs in data sets of two roles.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import Fileset, SearchConfig
    >>> with TemporaryDirectory() as out:
    ...     table = Path(out, "box.csv")
    ...     _ = table.write_text("m_jj,heavy_mass,light_mass\n3500,500,100\n2800,90,40\n")
    ...     dijets = skim(Fileset.from_paths({"data": [table]}), SearchConfig(), out=out)
    ...     dijets.sample()
    <Sample: 2 dijets, labels unknown; event: m_jj; either jet: mass>
    """
    from tnt_coffea.processors import SkimProcessor

    check_types(
        fileset=(fileset, Fileset), config=(config, SearchConfig), resources=(resources, Resources)
    )
    resources = resources or Resources()
    fileset = fileset.read_with(config.skim).noted()
    stage = skim_stage(fileset, config, out, resources)
    if not done(stage, resources):
        work = begun(stage, config) / "parts"
        note_files(out, fileset)
        shutil.rmtree(work, ignore_errors=True)  # of a pass that was killed
        work.mkdir()
        with stage.undone_on_bad_input(), resources.open() as executor, marked(work) as mark:
            output, accounting = run_pass(
                fileset,
                SkimProcessor(config.skim, work.resolve(), mark),
                executor,
                chunk_size=resources.chunk_size,
                on_error=resources.on_error,
                description="Skimming",
            )
            parts = {name: sorted(paths) for name, paths in sorted(output.get("parts", {}).items())}
            _check_dijets(fileset, parts, accounting)
            paths = {d: tuple(work / name for name in names) for d, names in parts.items()}
            roles = {dataset: fileset.role(dataset) for dataset in fileset.files}
            try:
                contents, duplicates = contents_of(Skim(paths, {}, 0, {}, roles).by_role)
            except LeakError as error:
                msg = f"{error} ({_files_by_role(fileset)})"
                raise LeakError(msg) from error
        shutil.rmtree(stage.folder / "parts", ignore_errors=True)
        work.rename(stage.folder / "parts")
        stage.finish(
            {
                "parts": parts,
                "roles": roles,
                "contents": contents,
                "duplicates": duplicates,
                "accounting": accounting.to_dict(),
            }
        )
    return Skim.load(stage.folder)


def _check_dijets(
    fileset: Fileset, parts: Mapping[str, Sequence[str]], accounting: Accounting
) -> None:
    for role in sorted({fileset.role(dataset) for dataset in fileset.files}):
        datasets = [dataset for dataset in fileset.files if fileset.role(dataset) == role]
        if not any(dataset in parts for dataset in datasets):
            account = Accounting.summed({d: accounting.datasets[d] for d in datasets})
            msg = (
                f"none of {account.events} events has a dijet (role {role}): rejected "
                f"{dict(account.rejected)}, {account.n_lost} lost"
            )
            raise InputError(msg)


def _files_by_role(fileset: Fileset) -> str:
    by_role: dict[str, list[str]] = {}
    for dataset, paths in fileset.files.items():
        by_role.setdefault(fileset.role(dataset), []).extend(map(str, paths))
    return "; ".join(f"{role}: {', '.join(paths[:4])}" for role, paths in by_role.items())
