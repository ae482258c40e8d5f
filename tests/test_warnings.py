"""What the training says against its taggers reaches whoever searches with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tnt_coffea.cli import main
from tnt_coffea.products import Taggers

CONFIG = """
skim: {table: {m_jj: mjj, event: {x: x}}}
search: {efficiencies: [0.3]}
train: {methods: {masses: {kind: event_feature, feature: x}}}
fit:
  limit: {enabled: false}
  bump: {efficiency: 0.3, toys: 0, max_parameters: 3, spurious: false}
  abcd: {efficiency: 0.3}
  scan: {global_over: none}
"""


@pytest.mark.usefixtures("empty_figures")
def test_warnings_of_the_training_are_in_terminal_and_report(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    mass = 2500 + rng.exponential(500, 4000)
    table = np.column_stack([mass, mass + rng.normal(0, 300, len(mass))])
    np.savetxt(tmp_path / "t.csv", table, delimiter=",", header="mjj,x", comments="")
    (tmp_path / "c.yaml").write_text(CONFIG)
    out = tmp_path / "out"
    words = ["run", tmp_path / "t.csv", "--config", tmp_path / "c.yaml", "--out", out, "-q"]
    shown = CliRunner().invoke(main, [*map(str, words), "--executor", "iterative"])
    assert shown.exit_code == 0, shown.output
    said = Taggers.load(out / "train").warnings["masses"]
    assert any("has another m_jj spectrum than the rest" in one for one in said)
    for one in said:
        assert f"warning: masses: {one}" in shown.stderr
    page = " ".join((out / "report" / "report.html").read_text().split())
    assert "Training of masses: the top 10" in page
