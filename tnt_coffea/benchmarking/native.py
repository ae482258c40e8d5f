"""FastJet in C++, without Python: a small program compiled where a compiler is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tnt_coffea.benchmarking.timing import Timing
from tnt_coffea.config import JetSettings

__all__ = ["native_clustering"]

PROGRAM = r"""
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <vector>
#include "fastjet/ClusterSequence.hh"

// Arguments: momenta (doubles px py pz E), counts (int64), algorithm, R, lowest pT, repetitions.
int main(int, char** argv) {
  fastjet::ClusterSequence::set_fastjet_banner_stream(nullptr);
  std::ifstream momenta(argv[1], std::ios::binary), sizes(argv[2], std::ios::binary);
  std::vector<std::vector<fastjet::PseudoJet>> events;
  long long n;
  while (sizes.read(reinterpret_cast<char*>(&n), sizeof n)) {
    std::vector<double> values(4 * n);
    momenta.read(reinterpret_cast<char*>(values.data()), values.size() * sizeof(double));
    std::vector<fastjet::PseudoJet> event;
    for (long long i = 0; i < n; ++i)
      event.emplace_back(values[4*i], values[4*i+1], values[4*i+2], values[4*i+3]);
    events.push_back(event);
  }
  const auto algorithm = static_cast<fastjet::JetAlgorithm>(std::atoi(argv[3]));
  const fastjet::JetDefinition definition(algorithm, std::atof(argv[4]));
  for (int repetition = 0; repetition < std::atoi(argv[6]); ++repetition) {
    unsigned long jets = 0, constituents = 0;
    const std::clock_t start = std::clock();
    for (const auto& event : events) {
      const fastjet::ClusterSequence sequence(event, definition);
      for (const auto& jet : sequence.inclusive_jets(std::atof(argv[5]))) {
        ++jets;
        constituents += jet.constituents().size();
      }
    }
    const double seconds = double(std::clock() - start) / CLOCKS_PER_SEC;
    std::printf("%.6f %lu %lu\n", seconds, jets, constituents);
  }
}
"""


def native_clustering(
    momenta: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    settings: JetSettings,
    folder: Path,
    repetitions: int,
) -> tuple[Timing, int] | None:
    """Return the CPU time of C++ FastJet and the jets it found; None without a compiler.

    Parameters
    ----------
    momenta, counts
        (particle, 4) px, py, pz, E [GeV] and the particles of every event.
    settings
        Algorithm, radius and lowest pT.
    folder
        Where program and input are put.
    repetitions
        Passes; the best one counts.
    """
    import fastjet

    program = _compiled(folder)
    if program is None:
        return None
    momenta.astype("<f8").tofile(folder / "momenta.bin")
    counts.astype("<i8").tofile(folder / "counts.bin")
    algorithm = getattr(fastjet, f"{settings.algorithm.value}_algorithm")
    arguments = [algorithm, settings.radius, settings.pt_min, repetitions]
    command = [program, folder / "momenta.bin", folder / "counts.bin", *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    seconds = tuple(float(line[0]) for line in lines)
    return Timing(len(counts), min(seconds), seconds), int(lines[0][1])


def _compiled(folder: Path) -> Path | None:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return None
    source, program = folder / "bare.cc", folder / "bare"
    source.write_text(PROGRAM)
    for flags in _flags():
        command = [compiler, "-O2", "-std=c++17", str(source), "-o", str(program), *flags]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return program
    return None


def _flags() -> list[list[str]]:
    # The system's FastJet first; the binding's wheel carries headers and library as well.
    import fastjet

    found = []
    if (config := shutil.which("fastjet-config")) is not None:
        asked = subprocess.run(
            [config, "--cxxflags", "--libs"], capture_output=True, text=True, check=False
        )
        found.append(asked.stdout.split())
    wheel = Path(fastjet.__file__).parent
    for library in ("lib", "lib64"):
        path = wheel / library
        found.append([f"-I{wheel / 'include'}", f"-L{path}", f"-Wl,-rpath,{path}", "-lfastjet"])
    return found
