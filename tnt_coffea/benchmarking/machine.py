"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["Machine"]

PACKAGES = ("tnt-coffea", "numpy", "awkward", "fastjet", "onnxruntime", "coffea", "h5py")


@dataclass(frozen=True)
class Machine:
    """Processor, memory, system and versions.

    Attributes
    ----------
    processor
        Its name, as the system gives it.
    cores
        Logical cores.
    memory
        Installed memory [GiB], 0 where the system does not say.
    system
        Operating system and architecture.
    load
        Processes that wanted a core in the last minute, or -1: above the cores, the machine
        was busy.
    versions
        Python and the packages that do the work.
    """

    processor: str
    cores: int
    memory: float
    system: str
    load: float
    versions: Mapping[str, str]

    @classmethod
    def here(cls) -> Machine:
        """Return this machine."""
        return cls(
            processor=_processor(),
            cores=os.cpu_count() or 1,
            memory=_memory(),
            system=f"{platform.system()} {platform.machine()}",
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else -1.0,
            versions={"python": platform.python_version()}
            | {name: found for name in PACKAGES if (found := _version(name))},
        )

    def summary(self) -> str:
        """Return two lines of text."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.processor}, {self.cores} logical cores, {self.memory:.0f} GiB, {self.system}, "
            f"load {self.load:.1f}\n{versions}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the machine as JSON values."""
        return asdict(self)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, OSError, ValueError):
        return 0.0


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
