"""LHC-Olympics-like events from PYTHIA 8 and a parametric detector."""

from __future__ import annotations

from tnt_coffea.generator.black_box import KEY, Key, read_key
from tnt_coffea.generator.blocks import (
    Block,
    BlockRecord,
    BlockTask,
    generate_block,
    plan,
    read_block,
    read_record,
    write_block,
)
from tnt_coffea.generator.datasets import DATASETS, Dataset, dataset_named, scaled
from tnt_coffea.generator.olympics import join
from tnt_coffea.generator.processes import SQRT_S

__all__ = [
    "DATASETS",
    "KEY",
    "SQRT_S",
    "Block",
    "BlockRecord",
    "BlockTask",
    "Dataset",
    "Key",
    "dataset_named",
    "generate_block",
    "join",
    "plan",
    "read_block",
    "read_key",
    "read_record",
    "scaled",
    "write_block",
]
