"""Looking for wrong labels alone: what is found is listed, and nothing else is done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import salus
from salus.atomic import write_json
from salus.audit.cleaning import LIST, find_wrong, in_words
from salus.audit.plan import Plan
from salus.audit.subject import Subject
from salus.hardening.label_cleaning import CLEANINGS, LabelFinds
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
    method = plan.clean_labels or METHOD
    plan = plan.model_copy(update={"clean_labels": method, "threat_model": ()})
    cleaning, subject = CLEANINGS.parse(method, seed=plan.seed), Subject.of(plan)
    find_device(plan.device)
    splits = subject.splits
    with store.locked():
        # Asked again by another method, it is the same search.
        store.claim({**subject.identity(), "label cleaning": None}, plan.model_dump(mode="json"))
        finds, facts = find_wrong(subject, cleaning, store.folder)
        page = {
            "salus": salus.__version__,
            "versions": versions(),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": command,
            "seed": plan.seed,
            "device": plan.device,
            "data": {**splits.describe(), "fingerprint": splits.train.fingerprint()},
            "model": {"name": subject.network.text, "training": asdict(subject.training)},
            "poison": [change.what for change in splits.train.provenance.changes],
            "labels": facts,
        }
        write_json(store.folder / "labels.json", page)
    return FoundLabels(finds, facts, in_words(facts), store.folder / LIST)
