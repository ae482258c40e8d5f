"""The peers of the kernels on the same events: scripts, bindings, and FastJet in C++."""

from __future__ import annotations

import math
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
from kernel_report import Timing

from tnt_coffea.config import ImageSettings, JetSettings
from tnt_coffea.typing import Float64Array, IntArray


class BareBinding:
    """FastJet's awkward binding alone: cluster sequence, inclusive jets, constituent indices.

    Parameters
    ----------
    particles
        Chunks of (event, particle) `Momentum4D`; made Cartesian here, before the clock runs.
    settings
        Algorithm, radius and lowest pT.
    """

    def __init__(self, particles: list[ak.Array], settings: JetSettings) -> None:
        self.settings = settings
        self.chunks = [ak.to_packed(_cartesian(chunk)) for chunk in particles]

    def __call__(self) -> int:
        """Cluster all chunks and return how many jets there are."""
        import fastjet

        definition = fastjet.JetDefinition(
            getattr(fastjet, f"{self.settings.algorithm.value}_algorithm"), self.settings.radius
        )
        jets = 0
        for chunk in self.chunks:
            sequence = fastjet.ClusterSequence(chunk, definition)
            jets += len(sequence.inclusive_jets(min_pt=self.settings.pt_min).layout.content)
            sequence.constituent_index(min_pt=self.settings.pt_min)
        return jets

    def flat(self) -> tuple[Float64Array, IntArray]:
        """Return (particle, 4) px, py, pz, E of all chunks and the particles of every event."""
        parts = [ak.flatten(chunk) for chunk in self.chunks]
        columns = [np.concatenate([ak.to_numpy(p[c]) for p in parts]) for c in _CARTESIAN]
        return np.stack(columns, axis=1), np.concatenate(
            [ak.to_numpy(ak.num(c)) for c in self.chunks]
        )


_CARTESIAN = ("px", "py", "pz", "E")


def _cartesian(particles: ak.Array) -> ak.Array:
    columns = {name: getattr(particles, name) for name in _CARTESIAN}
    return ak.zip(columns, with_name="Momentum4D", behavior=particles.behavior)


def literal_rows(particles: list[ak.Array], number: int) -> Float64Array:
    """Return (event, 2100) pt, eta, phi of 700 particles in turns, as the Olympics' files are.

    Parameters
    ----------
    particles
        Chunks of (event, particle).
    number
        How many of the first events.
    """
    events = [event for chunk in particles for event in chunk[:number]][:number]
    rows = np.zeros((len(events), 2100))
    for row, event in zip(rows, events, strict=True):
        n = min(len(event), 700)
        for i, name in enumerate(("pt", "eta", "phi")):
            row[i : 3 * n : 3] = ak.to_numpy(getattr(event, name))[:n]
    return rows


def literal_tables(rows: Float64Array) -> dict[str, Any]:
    """Return the same rows as scripts hold them, by name.

    `literal`: a transposed pandas frame that is asked for every value, as the published
    scripts of Tag N' Train and of the Olympics' example do. `literal by rows`: a pandas
    series an event. `literal on numpy`: a plain array.
    """
    frame = import_module("pandas").DataFrame(rows)
    return {
        "literal": frame.T,
        "literal by rows": [row for _, row in frame.iterrows()],
        "literal on numpy": rows,
    }


def literal_images(
    events: Any, number: int, jets: JetSettings, settings: ImageSettings
) -> Float64Array:
    """Return (event, 2, row, column) images, one event and one number at a time.

    This is how a first script does it, and how the published code of Tag N' Train did: values
    taken one by one from a row, a `PseudoJet` a particle, a Python loop a jet. The steps and
    conventions are those of `jets.jet_images`, so the images agree.

    Parameters
    ----------
    events
        `events[i][k]` is value k of event i, pt, eta, phi of 700 particles in turns: one of
        `literal_tables`, which differ in how long a value takes.
    number
        Events.
    jets, settings
        Clustering and image; all steps of the image are taken.
    """
    import fastjet

    definition = fastjet.JetDefinition(
        getattr(fastjet, f"{jets.algorithm.value}_algorithm"), jets.radius
    )
    images = []
    for event in range(number):
        particles = []
        for i in range(700):
            if events[event][3 * i] > 0:
                pt, eta, phi = (events[event][3 * i + k] for k in range(3))
                px, py, pz = pt * math.cos(phi), pt * math.sin(phi), pt * math.sinh(eta)
                energy = math.sqrt(px * px + py * py + pz * pz)
                particles.append(fastjet.PseudoJet(px, py, pz, energy))
        sequence = fastjet.ClusterSequence(particles, definition)
        found = fastjet.sorted_by_pt(sequence.inclusive_jets(jets.pt_min))[:2]
        found = sorted(found, key=lambda jet: -jet.m())
        images.append([_literal_image(jet, settings) for jet in found])
    return np.array(images)


def _literal_image(jet: Any, settings: ImageSettings) -> Float64Array:
    points = []
    for p in jet.constituents():
        dphi = (p.phi() - jet.phi() + math.pi) % (2 * math.pi) - math.pi
        points.append((p.pt(), p.eta() - jet.eta(), dphi))
    total = sum(pt for pt, _, _ in points)
    cx, cy = (sum(point[0] * point[k] for point in points) / total for k in (1, 2))
    points = [(pt, x - cx, y - cy) for pt, x, y in points]
    xx, yy, xy = (
        sum(point[0] * point[i] * point[j] for point in points) for i, j in ((1, 1), (2, 2), (1, 2))
    )
    angle = 0.5 * math.atan2(-2 * xy, yy - xx)
    cos, sin = math.cos(angle), math.sin(angle)
    points = [(pt, cos * x + sin * y, cos * y - sin * x) for pt, x, y in points]
    _, hardest_x, hardest_y = max(points)
    image = np.zeros((settings.pixels, settings.pixels))
    scale = settings.pixels / (2 * settings.half_width)
    for pt, x, y in points:
        column = math.floor(((-x if hardest_x > 0 else x) + settings.half_width) * scale)
        row = math.floor(((-y if hardest_y < 0 else y) + settings.half_width) * scale)
        if 0 <= column < settings.pixels and 0 <= row < settings.pixels:
            image[row, column] += pt
    normalised: Float64Array = image / image.sum()
    return normalised


def energyflow_images(
    constituents: list[Float64Array], settings: ImageSettings
) -> list[npt.NDArray[Any]]:
    """Return EnergyFlow's image of every jet: centred on the pixel of the centroid, not turned.

    Parameters
    ----------
    constituents
        Per jet (particle, 4) rows pt, rapidity, phi, 0.

    Raises
    ------
    ImportError
        EnergyFlow is not installed.
    """
    pixelate = import_module("energyflow.utils").pixelate
    width = 2 * settings.half_width
    return [pixelate(jet, npix=settings.pixels, img_width=width) for jet in constituents]


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
    momenta: Float64Array,
    counts: IntArray,
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
