"""The page on models quotes what was measured."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("foreign_models", ROOT / "benchmarks" / "foreign_models.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["foreign_models"] = module
    spec.loader.exec_module(module)
    return module


def test_the_table_of_models_is_what_was_measured() -> None:
    script = _script()
    found = json.loads(script.RESULTS.read_text())
    rows, same = found["models"], found["same"]
    page = script.PAGE.read_text(encoding="utf-8")
    assert script.table(rows) == page.partition(script.MARKS[0])[2].partition(script.MARKS[1])[0].strip()
    assert script.same_table(same) == page.partition(script.SAME_MARKS[0])[2].partition(script.SAME_MARKS[1])[0].strip()
    for shares in zip(*[(row["clean"], row["pgd"], row["square"]) for row in same], strict=True):
        assert max(shares) - min(shares) <= 0.005
    assert {row["name"] for row in rows} == set(script.MAKERS)


def test_every_form_that_is_read_stands_on_the_page() -> None:
    from salus.models.foreign import known_suffixes
    from salus.models.foreign.libraries import LIBRARIES

    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    for word in (*known_suffixes(), *(f"{name}:" for name in LIBRARIES), "hf:"):
        assert word.removesuffix("m") in page, word  # .lgbm is .lgb too
