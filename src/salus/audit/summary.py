"""What an audit's numbers come to in plain words: a verdict, and warnings about the numbers themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from salus.audit.cleaning import in_words
from salus.audit.masking import lost, masking
from salus.audit.records import Record, attack_name, attack_words, first, grouped, matching, threat_of, values
from salus.audit.watched_words import unaware, under_watch
from salus.data import Splits
from salus.metrics import Commonest
from salus.metrics.wording import in_sentence as share_of
from salus.metrics.wording import percentage
from salus.threats.models import (
    Adaptive,
    DecisionOnly,
    GrayBox,
    Harmless,
    Oblivious,
    Poisoner,
    ScoreOnly,
    Transfer,
    WhiteBox,
)

_FEW = 100
#: From this success rate on a classifier is fooled more than rarely.
_SOME = 0.1
#: What was done about wrong labels, by the cleaning's action.
_DONE = {"drop": " and were left out", "relabel": " and were replaced by the most probable ones"}


def verdict(records: Sequence[Record], meta: Record) -> list[str]:
    """Say in plain sentences what was found, the headline first: before all else what the attacker could not do."""
    clean = first(records, attack=None, guard="none")
    beside = f" ({Commonest(**meta['commonest'])})"
    sentences: list[str] = [] if meta.get("limits") is None else [meta["limits"]]
    worst = _worst(records, guard="none", threat_model=WhiteBox.name)
    if worst is not None:
        asr = worst["attack_success_rate"]
        how = "very easily" if asr >= 0.9 else "easily" if asr >= 0.5 else "sometimes" if asr >= _SOME else "rarely"
        sentences.append(
            f"This classifier is {how} fooled: {attack_words(worst)} turns {share_of(worst, 'attack_success_rate')} "
            f"of the inputs it reads correctly into wrong answers, and leaves {percentage(worst['robust_accuracy'])} "
            f"of {clean['n'] if clean else worst['n']} right, of {percentage(worst['clean_accuracy'])} before{beside}."
        )
        small = _smallest_breaking(records)
        if small is not None:
            sentences.append(
                f"The smallest change tried that fools at least half of them is eps = {small['eps']:g} "
                f"({small['norm']}, {attack_name(small)})."
            )
        sentences.extend(_easiest(worst))
    elif clean is not None:
        sentences.append(
            f"Unattacked, this classifier is right on {share_of(clean, 'clean_accuracy')} of {clean['n']} inputs"
            f"{beside}."
        )
    moved = _worst(records, guard="none", threat_model=Transfer.name)
    if moved is not None:
        sentences.append(
            f"An attacker who only has {_substitute(meta.get('substitute'))} fools it on "
            f"{share_of(moved, 'attack_success_rate')} of them ({attack_words(moved)})."
        )
    sentences.extend(_asked(records))
    for guard in meta["guards"]:
        sentences.extend(_guarded(records, guard))
    sentences.extend(under_watch(records))
    for record in matching(records, threat_model=Poisoner.name):
        if record["attack_success_rate"] is not None:
            where = "the bare classifier" if record["guard"] == "none" else f"the guard {record['guard']!r}"
            sentences.append(
                f"The backdoor's trigger turns {share_of(record, 'attack_success_rate')} of the inputs of other "
                f"classes than {record['target']}, its target, into wrong answers of {where}."
            )
    sentences.extend(_harmless(records))
    if meta["harm"] is not None:
        sentences.extend(_harmful(records, meta["harm"]["asked"]))
    if (cleaning := meta["label_cleaning"]) is not None:
        sentences.append(in_words(cleaning, _DONE[cleaning["options"]["action"]]))
    failed = sum(record["error"] is not None for record in records)
    if failed:
        sentences.append(f"{failed} of {len(records)} cells failed; the figures above leave them out.")
    return sentences


def _easiest(record: Record) -> Iterator[str]:
    """Say which of several labels an attack flips most, and what it does to those who carry it."""
    row = next((row for row in record.get("per_label") or () if row["label"] == record.get("worst_label")), None)
    if row is None:
        return
    carried = row["sensitivity_clean"] is not None
    falls = (
        f"; of the {row['n']} inputs that carry it, {percentage(row['sensitivity_clean'])} are recognised unattacked, "
        f"and {percentage(row['sensitivity_attacked'])} under the attack"
        if carried
        else "; no input carries it"
    )
    yield (
        f"Its worst label is {row['label']!r}, flipped in {share_of(row, 'flipped')} of the inputs that it reads "
        f"correctly there{falls}."
    )


def _asked(records: Sequence[Record]) -> Iterator[str]:
    """Say what comes of attackers who can only ask the bare classifier."""
    for threat, sees in ((ScoreOnly, "the probabilities of its answers"), (DecisionOnly, "nothing but its answers")):
        asking = _worst(records, guard="none", threat_model=threat.name)
        if asking is not None:
            yield (
                f"An attacker who sees {sees} fools the classifier on {share_of(asking, 'attack_success_rate')} of "
                f"them ({attack_words(asking)}, {asking['queries']:,.0f} questions each)."
            )


def _substitute(facts: Record | None) -> str:
    """Say what a transfer attacker has."""
    if facts is None or facts["kind"] == "data":
        return "a substitute trained apart on the same data"
    if facts["kind"] == "split":
        return f"a substitute trained on {facts['samples']} samples of their own"
    return f"the answers to {facts['queries']} questions (a substitute that agrees on {percentage(facts['agreement'])})"


def _guarded(records: Sequence[Record], guard: str) -> Iterator[str]:
    clean = first(records, attack=None, guard=guard)
    blind = _worst(records, guard=guard, threat_model=Oblivious.name)
    twin = _worst(records, guard=guard, threat_model=GrayBox.name)
    knowing = _worst(records, guard=guard, threat_model=Adaptive.name)
    price = ""
    if clean is not None:
        price = f" at the price of rejecting {percentage(clean['rejected_clean'])} of clean inputs"
        if clean["cost"] is not None:
            price += f" and of the time of {clean['cost']:.2g} more forward passes"
    if blind is not None:
        yield (
            f"Behind the guard {guard!r}, an attacker who does not know of it gets "
            f"{share_of(blind, 'attack_success_rate')} of the inputs accepted and wrong ({attack_words(blind)}){price}."
        )
    if twin is not None:
        yield (
            f"An attacker who has a twin of the guard, trained apart, gets {share_of(twin, 'attack_success_rate')} "
            f"accepted and wrong ({attack_words(twin)})."
        )
    if knowing is not None:
        same = {key: knowing[key] for key in ("attack", "eps", "norm", "attack_options")}
        bare = first(records, guard="none", threat_model=WhiteBox.name, **same)
        alone = bare["attack_success_rate"] if bare is not None else None
        yield (
            f"An attacker who knows the guard gets {share_of(knowing, 'attack_success_rate')} accepted and wrong "
            f"({attack_words(knowing)}): {_holds(knowing['attack_success_rate'], alone)}."
        )
    scored = knowing if knowing is not None and knowing.get("detection_auc") is not None else None
    if scored is not None:
        driven = scored.get("detection_auc_driven")
        yield (
            f"The AUC of {scored['detection_auc']:.3f} there is that of an attacker who only has to pass this threshold"
            + ("." if driven is None else f"; against one who drives the score itself down it is {driven:.3f}.")
        )
    asking = _worst(records, guard=guard, threat_model=DecisionOnly.name)
    if asking is not None:
        yield (
            f"An attacker who sees nothing but its answers gets {share_of(asking, 'attack_success_rate')} accepted and "
            f"wrong ({attack_words(asking)}, {asking['queries']:,.0f} questions each)."
        )
    scoring = _worst(records, guard=guard, threat_model=ScoreOnly.name)
    if scoring is not None:
        yield (
            f"An attacker who sees the probabilities of its answers gets {share_of(scoring, 'attack_success_rate')} "
            f"wrong ({attack_words(scoring)}, {scoring['queries']:,.0f} questions each)."
        )
    tried = [r for r in matching(records, guard=guard) if r["attack"] is not None and threat_of(r).attacks]
    if tried and clean is not None and not any(_could(r) for r in tried):
        yield (
            f"The guard {guard!r} rejects {share_of(clean, 'rejected_clean')} of clean inputs; what it is worth "
            "against an attack remains open."
        )
    if knowing is None and blind is not None:
        yield "No attacker who knows the guard was tried, so this is an upper bound on what it protects."


def _harmless(records: Sequence[Record]) -> Iterator[str]:
    """Say what harmless changes do, to the bare classifier and to each guard."""
    for guard in dict.fromkeys(r["guard"] for r in records):
        rows = matching(records, guard=guard, threat_model=Harmless.name)
        clean = first(records, attack=None, guard=guard)
        if not rows or clean is None:
            continue
        if guard == "none":
            worst = max(rows, key=lambda r: r["fallen_all"])
            yield (
                f"Of {len(rows)} harmless changes, {worst['attack']} costs the bare classifier most: "
                f"{percentage(1 - worst['fallen_all'])} right, of {percentage(clean['clean_accuracy'])}."
            )
        else:
            worst = max(rows, key=lambda r: r["rejected_adversarial"])
            judged = (
                "a defence that rejects these is not a defence"
                if worst["rejected_adversarial"] > clean["rejected_clean"] + 0.1
                else "about what it rejects anyway"
            )
            yield (
                f"Of {len(rows)} harmless changes, the guard {guard!r} rejects {worst['attack']} most: "
                f"{share_of(worst, 'rejected_adversarial')} of it, beside {percentage(clean['rejected_clean'])} of "
                f"clean inputs, {judged}."
            )


def _harmful(records: Sequence[Record], weights: str) -> Iterator[str]:
    """Say what an input costs, unattacked and under the attack that costs most."""
    for guard in dict.fromkeys(r["guard"] for r in records):
        clean = first(records, attack=None, guard=guard)
        rows = [r for r in matching(records, guard=guard) if r["attack"] and threat_of(r).attacks and _could(r)]
        worst = max(rows, key=lambda r: r["harm"], default=None)
        if clean is None:
            continue
        who = "the bare classifier" if guard == "none" else f"the guard {guard!r}"
        attacked = "" if worst is None else f", and {_cost(worst)} under {attack_words(worst)}"
        yield f"By these weights of harm ({weights}), an input read by {who} costs {_cost(clean)} unattacked{attacked}."


def _holds(guarded: float, alone: float | None) -> str:
    """Say what a guard is worth against the attacker who knows it, who gets ``alone`` without it."""
    if guarded < 0.05:
        return "the guard held against every attack tried here, which is not a proof"
    if guarded >= 0.9 or (alone is not None and guarded > alone - 0.05):
        return "the guard gives no real protection against them"
    return "the guard protects only in part" + ("" if alone is None else f", of {percentage(alone)} without it")


#: What an adaptive cell and an oblivious one with the same attack have in common.
_TWIN = ("guard", "attack", "eps", "norm", "attack_options")


def warnings(records: Sequence[Record], meta: Record, splits: Splits) -> list[str]:
    """Find reasons to doubt the numbers, each one sentence."""
    poisoned = [f"The training data were poisoned on purpose: {what}." for what in meta["poison"]]
    gone = [
        f"The label cleaning left no training sample of class {label!r}."
        for label in (meta["label_cleaning"] or {}).get("classes_gone", [])
    ]
    doubts = [*poisoned, *gone, *meta["model"]["remarks"], *_samples(records, splits), *masking(records, meta)]
    doubts.extend(lost(records))
    doubts.extend(unaware(records))
    twins = grouped(matching(records, threat_model=Oblivious.name), _TWIN)
    for guard in meta["guards"]:
        rows = [r for r in records if r["guard"] == guard and r["attack"] is not None]
        if rows and not any(threat_of(r).knows_guard and r["error"] is None for r in rows):
            doubts.append(f"Guard {guard!r} was not attacked by anyone who knows it: its figures are an upper bound.")
        for row in rows:
            if not threat_of(row).knows_guard or row["error"] is not None:
                continue
            twin = twins.get(values(row, _TWIN))
            if twin and row["fallen_all"] < twin[0]["fallen_all"]:
                doubts.append(
                    f"The adaptive {attack_words(row)} on {guard!r} is weaker than the oblivious one: a bug, please "
                    "report."
                )
        doubts.extend(_false_alarms(records, guard, meta))
        doubts.extend(_drawn(guard, meta))
    data = splits.test
    if data.kind == "table" and any(r["attack"] for r in records) and not data.marks and data.ranges is None:
        doubts.append(
            "No feature is marked immutable, integer or derived, so an attacked patient may be impossible "
            "(--immutable, --integer, --derived, --ranges)."
        )
    return list(dict.fromkeys(doubts))


def _samples(records: Sequence[Record], splits: Splits) -> Iterator[str]:
    n = records[0]["n"]
    if n < _FEW:
        yield f"Only {n} samples were attacked: read the intervals, not the percentages."
    table = records[0]["per_class"] or []
    for row in table:
        if row["n"] == 0:
            yield f"No attacked sample is of class {row['class']!r}: nothing is known about it."
        elif row["n"] < 20:
            yield f"Class {row['class']!r} has only {row['n']} attacked samples."
        if row["n"] and row["largest_patient_share"] is not None and row["largest_patient_share"] > 0.5:
            group = splits.test.group_word
            yield (
                f"One {group} supplies {percentage(row['largest_patient_share'])} of class {row['class']!r} "
                f"({row['patients']} {group}s in all): its figures are nearly that {group}'s alone."
            )
    # What the loader had to say about these data belongs beside the numbers.
    yield from (note for note in splits.test.provenance.notes if "warning" in note.lower())


def _drawn(guard: str, meta: Record) -> Iterator[str]:
    """Say how the rates of a guard were counted that draws at random."""
    if meta["guards"][guard].get("random"):
        yield (
            f"The guard {guard!r} draws at random: its rates are expectations over its draws; its tables of classes, "
            "health figures and AUC are those of one draw."
        )


def _false_alarms(records: Sequence[Record], guard: str, meta: Record) -> Iterator[str]:
    clean = first(records, attack=None, guard=guard)
    allowed = meta["guards"][guard]["false_alarm_rate"]
    if clean is not None and allowed and (clean["rejected_clean_low"] or 0) > allowed:
        yield (
            f"Guard {guard!r} was calibrated to reject {percentage(allowed)} of clean inputs but rejects "
            f"{share_of(clean, 'rejected_clean')} here: these inputs are not like those it was calibrated on."
        )


def _could(record: Record) -> bool:
    """Tell whether the attack could change anything, or did harm all the same; otherwise its failure says nothing."""
    return record.get("movable") != 0 or (record["attack_success_rate"] or 0) >= _SOME


def _worst(records: Sequence[Record], **wanted: Any) -> Record | None:
    rows = [r for r in matching(records, **wanted) if r["attack_success_rate"] is not None and _could(r)]
    # An attack without eps always gets there in the end: what it says is how far it had to go.
    rows = [r for r in rows if r["eps"] is not None] or rows
    return max(rows, key=lambda r: (r["attack_success_rate"], -(r["eps"] or 0)), default=None)


def _smallest_breaking(records: Sequence[Record]) -> Record | None:
    rows = matching(records, guard="none", threat_model=WhiteBox.name)
    rows = [r for r in rows if (r["attack_success_rate"] or 0) >= 0.5 and r["eps"] is not None]
    return min(rows, key=lambda r: (r["norm"] != "linf", r["eps"]), default=None)


def _cost(record: Record) -> str:
    return f"{record['harm']:.3g} ({record['harm_low']:.3g} to {record['harm_high']:.3g})"
