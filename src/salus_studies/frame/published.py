"""Published tables, kept as data beside the module that says what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_tables(module: str) -> dict[str, Any]:
    """Read the JSON beside a module, given the module's ``__file__``; ``columns`` in it says what stands where."""
    tables: dict[str, Any] = json.loads(Path(module).with_suffix(".json").read_text(encoding="utf-8"))
    return tables
