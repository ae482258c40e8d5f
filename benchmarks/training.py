"""Training from the skim against training on arrays in memory, both by Keras' `fit`.

    python benchmarks/training.py [events] [constituents]

The paper's classifier, or the network of constituents, is trained for the same epochs, batches
and optimiser twice in one process: from a Parquet skim whose sparse images or constituents are
mapped and expanded a batch at a time, and on the same as dense arrays.
Printed are jets per second of the best epoch but the first, which compiles, their ratio, and
what the data take. Single-threaded, as a training worker is.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import awkward as ak
import numpy as np

from tnt_coffea.config import SkimSettings
from tnt_coffea.events.sample import Sample, sample_of
from tnt_coffea.events.skim import write_part
from tnt_coffea.jets.dijets import JETS, OBSERVABLES
from tnt_coffea.taggers.inputs import Constituents, Images
from tnt_coffea.training import Batches, OptimizerSettings, backend, fit, mapped_events, networks
from tnt_coffea.training.fitting import cross_entropy

FILLED = 48
"""Filled pixels of a heavy jet."""
KEPT = 50
"""Constituents of a jet."""


def sample(n: int, kept: int | None) -> Sample:
    """Return dijets with images as sparse as real ones, and with constituents where asked."""
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
        for name in ("pt", "eta", "phi") if kept else ():
            value = rng.dirichlet(np.ones(kept), n).astype(np.float32)
            columns[f"{jet}_constituents_{name}"] = ak.unflatten(value.ravel(), [kept] * n)
    return sample_of(columns, SkimSettings(constituents=kept))


def main() -> None:
    """Measure both and print the ratio."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    kept = KEPT if "constituents" in sys.argv[2:] else None
    backend.tensorflow()
    import keras

    keras.utils.set_random_seed(1)
    optimizer = OptimizerSettings()

    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "part.parquet"
    write_part(path, sample(n, kept))
    began = perf_counter()
    read = mapped_events([path], folder.name)
    reading = perf_counter() - began
    shown: Images | Constituents = (
        Constituents.of("heavy", read) if kept else Images.of("heavy", read)
    )

    def built() -> Any:
        if isinstance(shown, Constituents):
            return networks.particle_flow_classifier(shown, seed=1)
        return networks.convolutional_classifier(shown, pixel_scale=100.0, seed=1)

    reader = shown.reader(read)
    rows, targets = np.arange(n), (np.arange(n) % 2).astype(np.float32)
    began = perf_counter()
    for start in range(0, n, optimizer.batch):
        reader(rows[start : start + optimizer.batch])
    expanding = perf_counter() - began

    def batches(chosen: Any) -> Batches:
        source = np.zeros(len(chosen), np.int64)
        ones = np.ones(len(chosen), np.float32)
        return Batches([{shown.name: reader}], source, chosen, targets[chosen], ones)

    dense = reader(rows)
    found: dict[str, list[float]] = {"skim": [], "keras": []}
    # In turns, so that a load from elsewhere falls on both.
    for _ in range(2):
        ours = fit(
            built(),
            cross_entropy,
            batches(rows),
            batches(rows[:10]),
            optimizer=optimizer,
            epochs=3,
            seed=1,
        )
        found["skim"] += ours.seconds[1:]
        network = built()
        network.compile(
            optimizer=keras.optimizers.Adam(
                keras.optimizers.schedules.InverseTimeDecay(
                    optimizer.learning_rate, 1, optimizer.decay
                ),
                beta_1=optimizer.beta1,
                beta_2=optimizer.beta2,
            ),
            loss="binary_crossentropy",
            jit_compile=False,
        )
        times = _EpochTimes()
        network.fit(
            dense,
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
                "dense_bytes_per_jet": dense.nbytes // n,
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
