"""One training of one library's boosted trees, in a process of its own; `trees.py` starts it.

    python benchmarks/tree_engines.py ENGINE FOLDER

FOLDER holds `problem.npz`; scores and nodes go to `ENGINE.npz`, times and memory to standard output
as JSON. The python that runs it needs that library alone, not this package. Settings are the same
as far as the libraries have them: leaves, learning rate, 64 bins of a feature, L2 of one, rounds
without a better validation loss. The least leaf is 1e-3 of the curvature here, and as
many events as that is of balanced classes there.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

FEATURE, THRESHOLD, LEFT, RIGHT, VALUE = range(5)
LEAF = 1e-3


def ours(p: dict[str, Any], s: dict[str, Any]) -> tuple[Any, list[Any], float]:
    """Return scores, trees as columns of nodes, and the base."""
    from tnt_coffea.training.trees import boosted_trees

    found = boosted_trees(
        (p["x"], p["held"]),
        (p["y"], p["y_held"]),
        (np.ones(len(p["y"])), np.ones(len(p["y_held"]))),
        rounds=s["rounds"],
        leaves=s["leaves"],
        shrinkage=s["shrinkage"],
        patience=s["patience"],
    )
    nodes = [(t.feature, t.threshold, t.left, t.right, t.value) for t in found.trees]
    return lambda: found(p["test"]), nodes, found.base


def lightgbm(p: dict[str, Any], s: dict[str, Any]) -> tuple[Any, list[Any], float]:
    """Return the same of LightGBM."""
    import lightgbm as lgb

    given = {"max_bin": 64, "verbose": -1, "num_threads": 1, "deterministic": True}
    given |= {"force_row_wise": True, "objective": "binary", "num_leaves": s["leaves"]}
    given |= {"learning_rate": s["shrinkage"], "lambda_l2": 1.0, "min_sum_hessian_in_leaf": 0.0}
    given |= {"min_data_in_leaf": max(1, int(LEAF * len(p["y"])))}
    data = lgb.Dataset(p["x"], p["y"], params=given)
    held = lgb.Dataset(p["held"], p["y_held"], reference=data, params=given)
    stop = lgb.early_stopping(s["patience"], verbose=False)
    found = lgb.train(given, data, s["rounds"], valid_sets=[held], callbacks=[stop])
    best = found.best_iteration
    nodes = [_of_dump(t["tree_structure"]) for t in found.dump_model(best)["tree_info"]]
    return lambda: found.predict(p["test"], num_iteration=best), nodes, 0.0


def _of_dump(root: dict[str, Any]) -> tuple[Any, ...]:
    rows: list[list[float]] = []

    def add(node: dict[str, Any]) -> int:
        place = len(rows)
        if "split_feature" in node:
            rows.append([node["split_feature"], node["threshold"], 0, 0, 0])
            rows[place][LEFT] = add(node["left_child"])
            rows[place][RIGHT] = add(node["right_child"])
        else:
            rows.append([-1, 0, 0, 0, node["leaf_value"]])
        return place

    add(root)
    return tuple(np.array(rows).T)


def sklearn(p: dict[str, Any], s: dict[str, Any]) -> tuple[Any, list[Any], float]:
    """Return the same of scikit-learn's histograms."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    found = HistGradientBoostingClassifier(
        max_iter=s["rounds"],
        max_leaf_nodes=s["leaves"],
        learning_rate=s["shrinkage"],
        max_bins=64,
        l2_regularization=1.0,
        min_samples_leaf=max(1, int(LEAF * len(p["y"]))),
        early_stopping=True,
        n_iter_no_change=s["patience"],
        tol=0.0,
        random_state=1,
    ).fit(p["x"], p["y"], X_val=p["held"], y_val=p["y_held"])
    nodes = []
    for (tree,) in found._predictors:
        n = tree.nodes
        feature = np.where(n["is_leaf"], -1, n["feature_idx"].astype(int))
        nodes.append((feature, n["num_threshold"], n["left"], n["right"], n["value"]))
    base = float(np.ravel(found._baseline_prediction)[0])
    return lambda: found.predict_proba(p["test"])[:, 1], nodes, base


ENGINES = {"ours": ours, "lightgbm": lightgbm, "scikit-learn": sklearn}


def memory(name: str) -> float:
    """Return VmRSS or VmHWM of this process [MiB]; getrusage has the parent's peak as well."""
    status = Path("/proc/self/status").read_text()
    return float(status.split(f"{name}:")[1].split()[0]) / 1024


def main() -> None:
    """Train, and write what came of it."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    with np.load(folder / "problem.npz") as file:
        problem = {key: file[key] for key in file.files}
    settings = json.loads((folder / "settings.json").read_text())
    # Imports before the clock starts.
    small = {key: value[:2000] for key, value in problem.items()}
    ENGINES[name](small, settings | {"rounds": 2})
    before, began, wall = memory("VmRSS"), time.process_time(), time.perf_counter()
    predict, nodes, base = ENGINES[name](problem, settings)
    cpu, wall = time.process_time() - began, time.perf_counter() - wall
    added = memory("VmHWM") - before
    np.savez(
        folder / f"{name}.npz",
        scores=predict(),
        base=base,
        sizes=[len(tree[0]) for tree in nodes],
        nodes=np.concatenate([np.array(tree, np.float64) for tree in nodes], axis=1),
    )
    print(json.dumps({"cpu": cpu, "wall": wall, "memory": added, "trees": len(nodes)}))


if __name__ == "__main__":
    main()
