"""Tables of defences that the thesis does not have: the control of retraining, WebP's qualities, related work."""

from __future__ import annotations

from typing import Any

from salus.metrics.wording import NOTHING, signed
from salus_studies.frame.markdown import Cells, Record, done, find, markdown, not_run
from salus_studies.skin_lesion.cells import COPY, KNOWS
from salus_studies.skin_lesion.measured import cell, main_network, title, value
from salus_studies.skin_lesion.paired import Difference, Resampled, difference, truth_of, worst_of
from salus_studies.skin_lesion.published import NETWORKS
from salus_studies.skin_lesion.tables import MAPS
from salus_studies.skin_lesion.tables_attacks import (
    ATTACK_TITLES,
    FIGURES,
    MODEL_TITLES,
    baseline_rows,
    figures,
    purifier_title,
)

#: The defences of the table of defences: words, model, purifier.
DEFENCES = (
    ("none", "plain", None),
    ("WebP + flip", "plain", "low-level"),
    ("adversarial retraining (FGSM)", "retrained-fgsm", None),
    ("retraining (FGSM), WebP + flip", "retrained-fgsm", "low-level"),
    ("the control: as long on clean images", "retrained-clean", None),
    ("defensive distillation", "distilled", None),
    ("input-gradient regularisation", "regularised", None),
    ("online alternate generator", "plain", "alternate"),
    ("hardened", "hardened", None),
)


def defences_table(results: Record) -> str:
    """Every defence of the main network: as it is, and under the attackers who know it."""
    network = main_network(results)
    rows: list[Cells] = []
    for words, model, purifier in DEFENCES:
        for attack in ("none", "pgd", "pgd-harm", "auto-attack"):
            record = find(
                results.get("cells"),
                network=network,
                model=model,
                purifier=purifier,
                attack=attack,
                attacker=None if attack == "none" else KNOWS,
            )
            if record is None and (attack == "auto-attack" or (attack == "pgd-harm" and model == "retrained-fgsm")):
                continue
            evenly = ", evenly drawn" if attack == "auto-attack" else ""
            rows.append([words, f"{ATTACK_TITLES[attack]}{evenly}", *figures(record)])
    return markdown(["defence", "attack", *FIGURES], [*rows, *baseline_rows(results, 2)], 2)


def control_table(results: Record) -> str:
    """What retraining does beside what going on as long on clean images does, to every attack."""
    rows: list[Cells] = []
    for network in NETWORKS:
        looks: list[tuple[str, str, str | None]] = [("as they are", "none", None)]
        looks += [(f"{attack.upper()}, with a copy", attack, COPY) for attack in ("fgsm", "uap")]
        looks += [("PGD, knows", "pgd", KNOWS), ("PGD that wants harm, knows", "pgd-harm", KNOWS)]
        for words, attack, attacker in looks:
            for model in ("plain", "retrained-clean", "retrained-fgsm", "retrained-uap"):
                who = KNOWS if model == "plain" and attacker is not None else attacker
                record = find(
                    results.get("cells"), network=network, model=model, purifier=None, attack=attack, attacker=who
                )
                if record is not None:
                    rows.append([title(results, network), words, MODEL_TITLES[model], *figures(record)])
    return markdown(["network", "images", "model", *FIGURES], [*rows, *baseline_rows(results, 3)], 3)


def gains_table(results: Record) -> str:
    """Differences between retraining and its control, on the same images, with intervals over lesions."""
    rows: list[Cells] = []
    for network, attack, health_map, accuracy, missed in gains(results):
        words = [title(results, network), f"{attack.upper()}, with a copy", MAPS[health_map]]
        rows.append([*words, written_difference(accuracy), written_difference(missed)])
    if not rows:
        rows.append([not_run(None), "", "", "", ""])
    header = ["network", "retrained on and attacked by", "malignant by", "accuracy, points", "missed, points"]
    return markdown(header, rows, 3)


def gains(results: Record) -> list[tuple[str, str, str, Difference | None, Difference | None]]:
    """List, for each network, attack and health map, what retraining has over its control: accuracy and missed."""
    images, found = Resampled.of(results), []
    for network in NETWORKS:
        for attack in ("fgsm", "uap"):
            retrained = cell(results, network, attack, "retraining")
            control = cell(results, network, attack, "control")
            if done(retrained) and done(control):
                for health_map in MAPS:
                    accuracy = difference(images, retrained, control, "accuracy")
                    missed = difference(images, retrained, control, "fnr", health_map)
                    found.append((network, attack, health_map, accuracy, missed))
    return found


def written_difference(each: Difference | None) -> str:
    """Write a difference in points with its interval, and whether it can be told from nothing."""
    if each is None:
        return NOTHING
    return f"{signed(each.value)} ({signed(each.low)} to {signed(each.high)}), {each.word}"


def webp_table(results: Record) -> str:
    """WebP at several qualities, under the strongest attackers there are."""
    rows: list[Cells] = []
    for quality, attacks in webp(results).items():
        for words, record in attacks.items():
            rows.append([purifier_title(f"webp-{quality}"), words, *figures(record)])
    if not rows:
        rows.append(["", not_run(None), *[""] * len(FIGURES)])
    return markdown(["purifier", "attack", *FIGURES], [*rows, *baseline_rows(results, 2)], 2)


def webp(results: Record) -> dict[int, dict[str, Record | None]]:
    """Find what each quality came to: clean, each attack, and the worse of both for each image."""
    network, found = main_network(results), {}
    qualities = {
        int(record["purifier"].removeprefix("webp-"))
        for record in results.get("cells") or ()
        if str(record.get("purifier")).startswith("webp-")
    }
    for quality in sorted(qualities):
        look = {"network": network, "model": "plain", "purifier": f"webp-{quality}"}
        records = {attack: find(results.get("cells"), attack=attack, **look) for attack in ("none", "pgd", "pgd-eot")}
        found[quality] = {
            "no attack": records["none"],
            "BPDA, every class, several starts, then queries": records["pgd"],
            "BPDA over jittered copies": records["pgd-eot"],
            "the worse of the two for each image": _worse(results, [records["pgd"], records["pgd-eot"]]),
        }
    return found


def _worse(results: Record, records: list[Record | None]) -> Record | None:
    """Count the worst of several attacks on the same images; what was not run if one was not."""
    from salus.metrics import thesis_figures
    from salus_studies.skin_lesion import published

    missing = next((record for record in records if not done(record)), None)
    if missing is not None or any(record is None or not record.get("answers") for record in records):
        return missing
    first: Any = records[0]
    truth = truth_of(results, first)
    answers = worst_of(records, truth)
    if answers is None:
        return None
    y, labels = ([int(digit) for digit in text] for text in (truth, answers))
    lesions = (results["meta"].get("lesions") or None) if first.get("rows") is not None else None
    groups = None if lesions is None else [lesions[row] for row in first["rows"]]
    counted = thesis_figures(y, labels, results["meta"]["classes"], published.POSITIVE, groups=groups)
    return {"status": "done", "figures": counted, "n": len(y)}


def kept(results: Record) -> dict[str, float | None]:
    """How much macro recall each defence keeps under PGD by the attacker who knows it, as a share; None: not run."""
    network = main_network(results)
    return {
        words: value(
            find(results.get("cells"), network=network, model=model, purifier=purifier, attack="pgd", attacker=KNOWS),
            "recall",
        )
        for words, model, purifier in DEFENCES
    }
