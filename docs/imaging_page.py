"""Write docs/imaging.md and its figures: what attacks on a skin-lesion classifier do to patients, and what helps.

Run: python docs/imaging_page.py [--check]
     python docs/imaging_page.py --collect RUN

Everything comes from docs/imaging-results.json, which --collect makes of a folder that `salus reproduce skin-lesion`
wrote. With --check nothing is written: it ends with 1 where the page or a figure is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from imaging_figures import draw, drawn_from, image, shown
from imaging_numbers import DEFENCES, Record, alarms, attack, health, judged, missed, network, of_hundred
from imaging_words import ASK, ATTACKS, HEAD, LIMITS, WHAT_AN_ATTACK_IS, WHAT_HELPS, WHAT_IT_DOES
from stamps import check

from salus.metrics.wording import percent, rate
from salus_studies.frame.markdown import bullets, done, find, markdown
from salus_studies.skin_lesion.published import NETWORKS
from salus_studies.skin_lesion.sentences import KEPT, TIMES, purified

DOCS = Path(__file__).parent
STORED, PAGE = DOCS / "imaging-results.json", DOCS / "imaging.md"

#: What a verdict means, under the attacker who knows the defence.
VERDICTS = {
    "holds": "Holds against an attacker who knows of it",
    "a little": "Helps a little against an attacker who knows of it",
    "no": "Does not help against an attacker who knows of it",
    "unclear": "Unclear, as behind WebP an attacker has to guess",
}

#: The share of its own accuracy from which on a defence helps a little.
LITTLE = 0.25

#: Defences behind which gradients are only guessed.
THROUGH_WEBP = ("low-level", "both")

#: The thesis's page draws it.
THRESHOLDS = "![Malignant lesions missed, without attack and under it](papers/skin-lesion/thresholds.png)\n"


def main() -> int:
    """Collect, write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where something is stale")
    parser.add_argument("--stored", type=Path, default=STORED, help="the results (default %(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="where to write (default %(default)s)")
    parser.add_argument("--collect", type=Path, metavar="RUN", help="a folder of salus reproduce skin-lesion")
    options = parser.parse_args()
    if options.collect:
        from imaging_collect import collect

        collect(options.collect, options.stored)
    stored: Record = json.loads(options.stored.read_text(encoding="utf-8"))
    text, figures = page(stored), shown(stored)
    if options.check:
        paths = {image(options.page, name): drawn_from(what) for name, what in figures.items()}
        return check(options.page, text, paths, "imaging_page.py")
    for name, what in figures.items():
        draw(name, what, image(options.page, name))
    options.page.write_text(text, encoding="utf-8")
    return 0


def page(stored: Record) -> str:
    """Put the page together."""
    figures = shown(stored)
    own = [record for record in stored["cells"] if record["network"] == network(stored)]

    def show(name: str, words: str) -> str:
        return f"![{words}](images/imaging-{name}.png)\n" if name in figures else f"*{words}*: not run.\n"

    parts = [
        HEAD,
        "## In short\n",
        bullets(summary(stored)),
        WHAT_AN_ATTACK_IS,
        show("lesions", "Lesions as they are and attacked, what the classifier answers, and the change enlarged"),
        WHAT_IT_DOES,
        harm_table(stored),
        WHAT_HELPS,
        show("missed", "Malignant lesions called harmless, by defence and attacker"),
        defences_table(stored),
        *(f"{sentence}\n" for sentence in purified({"cells": own})),
        *thresholds(stored, THRESHOLDS),
        *labels(stored),
        ASK,
        LIMITS,
        conditions(stored),
    ]
    return "\n".join(parts).rstrip() + "\n"


def summary(stored: Record) -> Iterator[str]:
    """Say what came out in a few sentences."""
    plain, fooled = attack(stored, "none"), attack(stored, "pgd")
    if plain is not None and fooled is not None:
        before, after = (100 * record["figures"]["accuracy"] for record in (plain, fooled))
        yield (
            f"An ordinary classifier answers {before:.0f} of 100 lesions rightly. Under an attack that no eye sees, "
            f"{after:.0f}."
        )
        missing = [100 * health(record)["fnr"] for record in (plain, fooled)]
        yield f"Of 100 malignant lesions it misses {missing[0]:.0f} as they are, {missing[1]:.0f} under this attack."
    held = {name: verdict(stored, name) for name in DEFENCES if name != "none"}
    for word, told in VERDICTS.items():
        names = [DEFENCES[name] for name, found in held.items() if found == word]
        if names:
            yield f"{told}: {'; '.join(names)}."
    hard, bare = judged(stored, "hardened", "none"), judged(stored, "none", "none")
    if hard is not None and bare is not None:
        yield (
            f"Being hardened has a price: {percent(hard['figures']['accuracy'])}% right without an attack, where the "
            f"ordinary classifier has {percent(bare['figures']['accuracy'])}%."
        )


def verdict(stored: Record, defence: str) -> str:
    """Judge a defence by the attacker who knows it: ``holds``, ``unclear``, ``a little``, ``no`` or ``not run``.

    It holds where the accuracy under attack is at least ``KEPT`` of the clean one; it helps a little where it is at
    least ``LITTLE`` of it, and above that of no defence by more than both intervals. Behind WebP gradients are
    modelled, so that PGD which fails there shows nothing: ``unclear``.
    """
    clean, attacked = judged(stored, defence, "none"), judged(stored, defence, "knows")
    bare = judged(stored, "none", "knows")
    if clean is None or attacked is None or bare is None:
        return "not run"
    kept = attacked["figures"]["accuracy"] / clean["figures"]["accuracy"]
    if kept >= KEPT:
        return "unclear" if defence in THROUGH_WEBP else "holds"
    better = attacked["figures"]["accuracy_low"] > bare["figures"]["accuracy_high"]
    return "a little" if kept >= LITTLE and better else "no"


def harm_table(stored: Record) -> str:
    """Tabulate what the plain classifier answers, as it is and under each attack."""
    rows = []
    for name, words in ATTACKS.items():
        record = attack(stored, name)
        if record is None:
            rows.append([words, "not run", "", "", ""])
            continue
        found, figures = health(record), record["figures"]
        rows.append([words, str(record["n"]), rate(figures, "accuracy"), of_hundred(found), alarms(found)])
    return markdown(["", "lesions", "right, %", "malignant missed, %", "harmless called malignant, %"], rows)


def defences_table(stored: Record) -> str:
    """Tabulate what each defence leaves, and whether it holds."""
    rows = []
    for name, words in DEFENCES.items():
        clean, knows = judged(stored, name, "none"), judged(stored, name, "knows")
        right = ["not run" if each is None else rate(each["figures"], "accuracy") for each in (clean, knows)]
        copy = "–" if name in ("none", "hardened") else of_hundred(missed(stored, name, "copy"))
        said = "–" if name == "none" else verdict(stored, name)
        rows.append([words, right[0], of_hundred(missed(stored, name, "none")), copy,
                     of_hundred(missed(stored, name, "knows")), right[1], said])  # fmt: skip
    header = ["defence", "right, no attack, %", "missed, no attack, %", "missed, attacker with an old copy, %",
              "missed, attacker who knows, %", "right, attacker who knows, %", "helps"]  # fmt: skip
    return markdown(header, rows)


def thresholds(stored: Record, picture: str) -> Iterator[str]:
    """Say what thresholds do."""
    yield "## Choosing a threshold\n"
    found = {record["model"]: record for record in stored.get("thresholds") or () if done(record)}
    if not found:
        yield "Not run.\n"
        return
    yield (
        "A hospital will not take the likeliest class but refer every lesion whose chance of being malignant passes a "
        "threshold. Here the attacker knows the threshold and wants exactly the malignant lesions to fall below it, "
        "which is worse than the attacks above. A threshold that misses little clean refers many; that is its price.\n"
    )
    rows = []
    for name, record in found.items():
        for row in record["rows"]:
            times = "–" if not row["fnr"] else f"{row['fnr_attacked'] / row['fnr']:.1f}"
            rows.append([name, rate(row, "fnr"), rate(row, "fnr_attacked"), times, rate(row, "specificity")])
    header = ["model", "malignant missed, %", "under attack, %", "times", "harmless not referred, no attack, %"]
    yield markdown(header, rows)
    yield picture
    if "hardened" in found:
        rows = found["hardened"]["rows"]
        met = sum(bool(row["fnr"]) and row["fnr_attacked"] <= TIMES * row["fnr"] for row in rows)
        yield (
            f"At {met} of {len(rows)} thresholds the attacker no more than doubles what the hardened model misses.\n"
        )


def labels(stored: Record) -> Iterator[str]:
    """Say what wrong labels do."""
    yield "## Wrong labels in the training data\n"
    rows = [row for row in stored.get("poisoning") or () if row["network"] == network(stored) and done(row)]
    plain = attack(stored, "none")
    if not rows or plain is None:
        yield "Not run.\n"
        return
    yield (
        "Somebody labels harmless moles (NV) as harmless keratoses (BKL) before the classifier is trained. Nobody "
        "attacks it afterwards. “Cleaned”: labels that look wrong are found by classifiers that did not learn them, "
        "and left out (`salus audit --clean-labels confident-learning`). Each row is one training: a few points "
        "between rows are chance.\n"
    )
    lines = [["0", rate(plain["figures"], "accuracy"), of_hundred(health(plain)), "–", "–", "–"]]
    for row in rows:
        if row["model"] != "poisoned":
            continue
        cleaned = find(rows, share=row["share"], model="cleaned")
        after = ["–"] * 3
        if cleaned is not None:
            after = [rate(cleaned["figures"], "accuracy"), percent(cleaned["recall"]), percent(cleaned["precision"])]
        lines.append([f"{row['share']:.0%}", rate(row["figures"], "accuracy"), of_hundred(health(row)), *after])
    header = ["of NV mislabelled", "right, %", "malignant missed, %", "right once cleaned, %", "wrong labels found, %",
              "of the finds wrong, %"]  # fmt: skip
    yield markdown(header, lines)


def conditions(stored: Record) -> str:
    """Say where and how it was measured."""
    meta = stored["meta"]
    setting = meta["settings"]["networks"][network(stored)]
    data = next(iter(meta["data"].values()))
    versions = ", ".join(f"{name} {version}" for name, version in meta["versions"].items())
    return (
        "## How it was measured\n\n"
        f"{NETWORKS[network(stored)]} at {setting['size']} pixels a side, "
        f"{data['name']}, dealt by {'lesion' if meta['split'] == 'lesions' else 'image'}, seed {meta['seed']}, one "
        f"run; {meta['machine']}, {versions}. Intervals are 95%, lesions resampled. Every table, both networks, and "
        "what else was tried: [papers/skin-lesion.md](papers/skin-lesion.md).\n\n"
        f"```\n{meta['command']}\npython docs/imaging_page.py --collect runs/skin-lesion\n```\n"
    )


if __name__ == "__main__":
    sys.exit(main())
