"""Files are data: what is read from one is never run.

Tested elsewhere: a pickle within a table (`events/test_table.py`) and among counts
(`stats/test_exchange.py`); weights in other files and operators of others in ONNX
(`taggers/test_onnx_file.py`); changed taggers, skims and histograms (`test_bad_input.py`,
`taggers/test_stored.py`); names that are paths (`test_filesets.py`); text in the report
(`reporting/test_document.py`, `reporting/test_displays.py`); what listens (`test_execution.py`,
`test_frameworks.py`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tnt_coffea.errors import TaggerError
from tnt_coffea.taggers import Tagger

ROOT = Path(__file__).parents[1]
RUNNING = {
    *("eval", "exec", "compile", "__import__"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads"),
    *("cloudpickle.load", "cloudpickle.loads", "dill.load", "dill.loads", "joblib.load"),
    *("shelve.open", "pd.read_pickle", "pandas.read_pickle", "torch.load", "coffea.util.load"),
    *("yaml.load", "yaml.full_load", "yaml.unsafe_load", "os.system", "keras.models.load_model"),
}
MAYBE = re.compile(
    "pickle|marshal|dill|joblib|shelve|torch|yaml|load_model|os.system|coffea.util"
    r"|\b(?:eval|exec|__import__)\b|(?<!re\.)\bcompile\b"
)
ALLOWED = {
    # What this process, or the one that started the pass, has pickled itself.
    ("work_functions.py", "cloudpickle.loads"),
    ("selection.py", "cloudpickle.loads"),
    # Names of columns, by an unpickler that knows lists and texts alone.
    ("table_files.py", "pickle.Unpickler"),
}


def used(text: str) -> Iterator[str]:
    """Give what a module names of things that run what they are given, imports resolved."""
    if not MAYBE.search(text):  # most modules, which need no parsing then
        return
    tree = ast.parse(text)
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            home = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            known |= {alias.asname or alias.name: home + alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            first, dot, rest = ast.unparse(node).partition(".")
            name = known.get(first, first) + dot + rest
            if name in RUNNING:
                yield name
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            refused = isinstance(node.value, ast.Constant) and node.value.value is False
            yield from () if refused else ("allow_pickle",)


def test_nothing_that_is_read_from_a_file_is_unpickled_or_evaluated() -> None:
    files = [*(ROOT / "tnt_coffea").rglob("*.py"), *(ROOT / "processors").rglob("*.py")]
    found = {(path.name, name) for path in files for name in used(path.read_text())}
    assert found == ALLOWED
    planted = "from pickle import loads as read\nread(data)\neval(x)\nnp.load(p, allow_pickle=True)"
    assert set(used(planted)) == {"pickle.loads", "eval", "allow_pickle"}


def test_hash_of_a_tagger_is_compared_before_anything_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tagger.onnx"
    path.write_bytes(b"no ONNX at all")
    with pytest.raises(TaggerError, match=r"SHA-256 is .*the set's manifest says"):
        Tagger.from_file(path, sha256="0" * 64)
