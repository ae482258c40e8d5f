"""LHC-Olympics-like events from PYTHIA 8 and a parametric detector."""

from __future__ import annotations

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
from tnt_coffea.generator.olympics import join

__all__ = [
    "Block",
    "BlockRecord",
    "BlockTask",
    "generate_block",
    "join",
    "plan",
    "read_block",
    "read_record",
    "write_block",
]
