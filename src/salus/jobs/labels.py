"""Looking for wrong labels alone: what is found is listed, and nothing else is done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import salus
from salus.atomic import write_json
from salus.audit import setup as build
from salus.audit.cleaning import LIST, check_cleaning, find_wrong, in_words
from salus.audit.plan import Plan
from salus.data import load as load_data
from salus.hardening.label_cleaning import LabelFinds
from salus.storage import Store, find_device, versions

#: How wrong labels are found where no method is named.
METHOD = "confident-learning"


@dataclass(frozen=True, eq=False)
class FoundLabels:
    """What a search for wrong labels came to.

    Attributes:
        finds: which labels look wrong.
        facts: what ``labels.json`` says of them.
        summary: the same in words.
        path: of the list.
    """

    finds: LabelFinds
    facts: dict[str, Any]
    summary: str
    path: Path


def run_labels(plan: Plan, out: Path | str, *, command: str = "") -> FoundLabels:
    """Look for wrong labels in the training part, and write ``labels.csv`` and ``labels.json``.

    A search that was stopped goes on where it was; asked again by another method, it trains no fold again.

    Args:
        plan: data, model, training, poisonings and the method; what it says of attacks and defences is left aside.
        out: the folder, new, empty, or of the same search.
        command: how to repeat it.

    Raises:
        SalusError: the method, the data, the model or the folder cannot be used.
    """
    store = Store(Path(out), "label search")
    store.check_free()
    shared = plan.model_copy(update={"clean_labels": None, "threat_model": ()})
    plan = shared.model_copy(update={"clean_labels": plan.clean_labels or METHOD})
    splits, _ = build.dealt(plan, load_data(plan.data, seed=plan.seed, **plan.data_options))
    find_device(plan.device)
    check_cleaning(plan, splits)
    build.own_classifier(plan, splits)  # refuses --weights
    build.untrained_classifier(plan, splits)  # refuses what does not suit the data
    training = build.training_options(plan, splits)
    with store.locked():
        store.claim(build.identity(shared, splits), plan.model_dump(mode="json"))
        finds, facts = find_wrong(plan, splits, store.folder)
        page = {
            "salus": salus.__version__,
            "versions": versions(),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": command,
            "seed": plan.seed,
            "device": plan.device,
            "data": {**splits.describe(), "fingerprint": splits.train.fingerprint()},
            "model": {"name": build.model_spec(plan, splits).text, "training": asdict(training)},
            "poison": [change.what for change in splits.train.provenance.changes],
            "labels": facts,
        }
        write_json(store.folder / "labels.json", page)
    return FoundLabels(finds, facts, in_words(facts), store.folder / LIST)
