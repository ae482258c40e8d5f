"""`python -m tnt_coffea`."""

from __future__ import annotations

from tnt_coffea.cli import main

main(prog_name="tnt-coffea")
