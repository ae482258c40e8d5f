"""`python -m tnt_coffea.cli`."""

from __future__ import annotations

from tnt_coffea.cli import main

main()
