"""Write the leaderboard's page, and README's table of methods and boxes, from a `study.json`.

python docs/leaderboard.py tnt-coffea-studies/olympics/study.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tnt_coffea.pipeline.studies import leaderboard

DOCS = Path(__file__).parent
MARKS = "<!-- leaderboard: begin -->", "<!-- leaderboard: end -->"


def with_table(readme: str, page: str) -> str:
    """Return README with the table of the leaderboard's page between its two marks."""
    begin, end = MARKS
    before, marked, rest = readme.partition(begin)
    _, closed, after = rest.partition(end)
    if not (marked and closed):
        msg = f"README.md: no '{begin}' with '{end}' behind it"
        raise SystemExit(msg)
    table = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def main(study: Path, docs: Path = DOCS) -> None:
    """Write both."""
    page = leaderboard(json.loads(study.read_text()))
    readme = docs.parent / "README.md"
    text = with_table(readme.read_text(), page)
    (docs / "leaderboard.md").write_text(page)
    readme.write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
