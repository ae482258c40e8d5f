"""Training from the skim against Keras' own `fit` on arrays in memory.

    python benchmarks/training.py [events]

The paper's classifier is trained for the same epochs, batches and optimiser twice in one
process: from a Parquet skim whose sparse images are mapped and expanded a batch at a time, and by
`keras.Model.fit` on the same images as dense arrays. Printed are jets per second of the
second epoch (the first one compiles), their ratio, and the peak memory of either data
set. Single-threaded, as a training worker is.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import awkward as ak
import numpy as np

from tnt_coffea.config import ClassifierSettings, OptimizerSettings, SkimSettings
from tnt_coffea.events.sample import Sample, sample_of
from tnt_coffea.events.skim import write_part
from tnt_coffea.jets.dijets import JETS, OBSERVABLES
from tnt_coffea.training import backend, fitting, networks
from tnt_coffea.training.inputs import ClassifierInputs
from tnt_coffea.training.reading import mapped_events

FILLED = 48
"""Filled pixels of a heavy jet."""


def sample(n: int) -> Sample:
    """Return dijets with images as sparse as real ones."""
    rng = np.random.default_rng(1)
    columns = {
        "event_id": rng.integers(0, 2**64, n, dtype=np.uint64),
        "weight": np.ones(n),
        "label": np.zeros(n, np.int8),
        "m_jj": rng.uniform(2600, 7000, n),
    }
    for jet in JETS:
        columns |= {f"{jet}_{name}": rng.random(n, np.float32) for name in OBSERVABLES}
        index = rng.random((n, 1600), np.float32).argpartition(FILLED, axis=1)[:, :FILLED]
        value = rng.dirichlet(np.ones(FILLED), n).astype(np.float32)
        counts = np.full(n, FILLED)
        columns[f"{jet}_image_index"] = ak.unflatten(index.astype(np.uint16).ravel(), counts)
        columns[f"{jet}_image_value"] = ak.unflatten(value.ravel(), counts)
    return sample_of(columns, SkimSettings())


def main() -> None:
    """Measure both and print the ratio."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    backend.tensorflow()
    import keras

    keras.utils.set_random_seed(1)
    optimizer = OptimizerSettings()
    size = {"pixels": 40, "channels": 1, "pixel_scale": 100.0, "seed": 1}
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "part.parquet"
    write_part(path, sample(n))
    began = perf_counter()
    read = mapped_events([path], folder.name)
    reading = perf_counter() - began
    inputs = ClassifierInputs(read, ("heavy",), ClassifierSettings())
    rows, targets = np.arange(n), (np.arange(n) % 2).astype(np.float32)
    ones = np.ones(n, np.float32)
    began = perf_counter()
    for start in range(0, n, optimizer.batch):
        inputs.image(rows[start : start + optimizer.batch])
    expanding = perf_counter() - began
    jets = fitting.Jets(lambda chosen: (inputs.image(chosen),), rows, targets, ones)
    few = fitting.Jets(jets.inputs, rows[:10], targets[:10], ones[:10])
    images = inputs.image(rows)
    found: dict[str, list[float]] = {"skim": [], "keras": []}
    # In turns, so that a load from elsewhere falls on both.
    for _ in range(2):
        ours = fitting.fit(
            networks.jet_classifier(**size),
            fitting.likelihood_loss,
            jets,
            few,
            optimizer=optimizer,
            epochs=3,
            seed=1,
        )
        found["skim"] += ours.seconds[1:]
        network = networks.jet_classifier(**size)
        network.compile(
            optimizer=keras.optimizers.Adam(
                keras.optimizers.schedules.InverseTimeDecay(
                    optimizer.learning_rate, 1, optimizer.decay
                ),
                beta_1=optimizer.beta1,
                beta_2=optimizer.beta2,
            ),
            loss="binary_crossentropy",
        )
        times = _EpochTimes()
        network.fit(
            images,
            targets,
            batch_size=optimizer.batch,
            epochs=3,
            verbose=0,
            callbacks=[times.callback(keras)],
        )
        found["keras"] += times.seconds[1:]
    best = {name: min(values) for name, values in found.items()}
    print(
        json.dumps(
            {
                "jets": n,
                "skim_jets_per_s": round(n / best["skim"]),
                "keras_jets_per_s": round(n / best["keras"]),
                "ratio": round(best["skim"] / best["keras"], 3),
                "expanding_share": round(expanding / best["skim"], 4),
                "reading_s": round(reading, 3),
                "sparse_bytes_per_event": round(
                    sum(ak.to_packed(column).nbytes for column in read.lists.values()) / n
                ),
                "dense_bytes_per_jet": images.nbytes // n,
            }
        )
    )


class _EpochTimes:
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def callback(self, keras: object) -> object:
        times = self

        class Timer(keras.callbacks.Callback):  # type: ignore[attr-defined,name-defined]
            def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
                times._began = perf_counter()

            def on_epoch_end(self, epoch: int, logs: object = None) -> None:
                times.seconds.append(perf_counter() - times._began)

        return Timer()


if __name__ == "__main__":
    main()
