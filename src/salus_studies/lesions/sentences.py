"""The sentences of docs/imaging.md, the fixed ones and those that follow the numbers."""

from __future__ import annotations

from collections.abc import Iterator

from salus_studies.frame.markdown import Record, span
from salus_studies.lesions.measured import (
    DEFENCES,
    FLOOR,
    bare,
    health,
    network,
    recall,
    thresholds,
    under,
    verdict,
)
from salus_studies.skin_lesion.measured import title
from salus_studies.skin_lesion.sentences import ABOVE, TIMES

HEAD = """\
# Skin lesions: may this classifier be used?

*Written by `salus reproduce lesions --rebuild`; do not edit by hand.*

For the person who has to decide; all figures are in [the thesis beside Salus](papers/skin-lesion.md). The classifiers
below sort pictures of pigmented skin lesions (HAM10000) into seven classes, three of them malignant or on the way
there: melanoma, basal-cell carcinoma and actinic keratosis. They were trained to be attacked, not to be used: what
carries over to yours is how to look, not the numbers.
"""

WHAT_IT_DOES = """\
## What an attack does to patients

Somebody changes the picture before the classifier sees it: a file on its way from the camera, or on a server. Every
colour value, from 0 to 255, may move by 2 (**PGD**); or one pattern, which may move values further, is laid over all
pictures (**UAP**). A malignant lesion that is called harmless goes home: “malignant missed”. A harmless one that is
called malignant is cut out for nothing. “Recall” is the mean over the classes of how many of each are found: accuracy
hides the rare ones, as most lesions are moles. The last line is what no look at the picture scores.
"""

WHAT_HELPS = f"""\
## What helps, and what does not

Count on the attacker who knows the defence, who may be an employee or anybody once the product is sold. **Holds**:
recall under attack stays at least {100 * ABOVE:.0f} points above what no look at the picture scores, and of malignant
lesions at most {TIMES:g} times as many are missed, under an attacker who wants just that. **A little**: one of the
two, and better than no defence. **Unclear**: so much, where attackers have to guess. “Hardened” has learnt from
pictures attacked anew at every step; “retraining” is the thesis's, with its control, as much training without attacks.
"""

THRESHOLDS = """\
A hospital will not take the likeliest class but refer every lesion whose chance of being malignant passes a \
threshold. The attacker knows it and wants just the malignant to fall below. The hardened model:
"""

LABELS = """\
Somebody labels harmless moles (NV) as harmless keratoses (BKL) before the classifier is trained. “Cleaned”: labels \
that look wrong are found by classifiers that did not learn them, and left out (`salus audit --clean-labels \
confident-learning`).
"""

ASK = """\
## What to ask for before a classifier is used

1. How many malignant lesions it misses, with an interval, on patients it never saw; and its recall beside that of no
   look at the picture.
2. The same under PGD by an attacker who knows all of it and wants them missed. An answer under one step, or by an
   attacker who does not know of the defence, is no answer.
3. What harmless changes do: blur, JPEG, another camera. A guard that refuses them refuses patients.
4. What mistakes cost, with the weights written down.

Salus answers all four for your own pictures, one folder for each class:

```
salus audit --data pictures/ --size 224 --model hospital.model:make --weights own.safetensors \\
    --attack pgd:eps=2/255,steps=40 --attack uap:eps=8/255 --defence low-level --control blur \\
    --control jpeg:quality=75 --harm missed=10,false-alarm=1 --out runs/audit
salus harden madry:eps=2/255,steps=2 --data pictures/ --out runs/hardened
```
"""

LIMITS = """\
## What this page does not show

A change of 2 of 255 holds for files: stickers, light and other cameras are other questions. That an attack failed
proves nothing; a stronger one may succeed. The pictures are of fair skin, mostly from two clinics. It is not medical
advice, and no classifier here is a medical device.
"""

#: What a verdict means, under the attacker who knows the defence.
VERDICTS = {
    "holds": "Holds against an attacker who knows of it",
    "a little": "Helps a little against an attacker who knows of it",
    "no": "Does not help against an attacker who knows of it",
    "unclear": "Unclear, as the attacker has to guess",
    "not judged": "Not judged, as what it takes was not run or not stored",
}


def summary(results: Record) -> Iterator[str]:
    """Say what came out in a few sentences."""
    plain, fooled, wanted = bare(results, "none"), bare(results, "pgd"), bare(results, "pgd-harm")
    if plain is not None and fooled is not None:
        before, after = (100 * health(record)["fnr"] for record in (plain, fooled))
        words = f"Of 100 malignant lesions the ordinary classifier misses {before:.0f} as they are"
        if wanted is None:
            yield f"{words}, {after:.0f} under an attack that no eye sees and that wants any wrong answer."
        else:
            most = 100 * health(wanted)["fnr"]
            yield f"{words}, {most:.0f} under an attack that no eye sees and that wants them missed."
        yield _learnt(plain)
    verdicts = {name: verdict(results, name) for name in DEFENCES if name != "none"}
    for word, words in VERDICTS.items():
        names = [DEFENCES[name][0] for name, each in verdicts.items() if each == word]
        if names:
            yield f"{words}: {'; '.join(names)}."
    hardened, undefended = under(results, "hardened", "none"), under(results, "none", "none")
    if hardened is not None and undefended is not None:
        yield _price(hardened, undefended)


def _learnt(plain: Record) -> str:
    """Say whether it has learnt more than to answer the commonest class."""
    found = recall(plain)
    if found is None:
        return "How much more than the commonest class it has learnt cannot be told: its recall was not stored."
    word = "more" if found > FLOOR else "no more"
    return f"Its recall is {found:.1%}, {word} than the {FLOOR:.1%} of no look at the picture."


def _price(hardened: Record, undefended: Record) -> str:
    """Say what being hardened costs where nobody attacks."""
    one, other = (100 * health(record)["fnr"] for record in (hardened, undefended))
    word = "more" if one > other else "fewer" if one < other else "as many"
    figures = [100 * record["figures"]["accuracy"] for record in (hardened, undefended)]
    cost = "costs" if figures[0] < figures[1] else "does not cost"
    return (
        f"Being hardened {cost} right answers where nobody attacks: {figures[0]:.1f}% against {figures[1]:.1f}%; of "
        f"the malignant it then misses {word}: {one:.1f}% against {other:.1f}%."
    )


def at_thresholds(results: Record) -> Iterator[str]:
    """Say at how many thresholds the hardened model keeps within bounds, and what the plain one misses."""
    rows = thresholds(results)
    hardened, plain = rows.get("hardened"), rows.get("plain")
    if hardened:
        met = sum(bool(row["fnr"]) and row["fnr_attacked"] <= TIMES * row["fnr"] for row in hardened)
        yield f"At {met} of {len(hardened)} the attacker no more than doubles what it misses.\n"
    if plain:
        attacked = span([row["fnr_attacked"] for row in plain])
        clean = span([row["fnr"] for row in plain])
        yield f"The ordinary classifier, which misses {clean} as chosen, misses {attacked} under the attack.\n"


def conditions(results: Record) -> str:
    """Say where and how it was measured."""
    meta = results["meta"]
    name = network(results)
    setting = meta["settings"]["networks"][name]
    data = meta["data"]["name"] if "name" in meta["data"] else next(iter(meta["data"].values()))["name"]
    versions = ", ".join(f"{name} {version}" for name, version in meta["versions"].items())
    return (
        f"## How it was measured\n\n{title(results, name)} at {setting['size']} pixels, {data}, dealt by "
        f"{'lesion' if meta['split'] == 'lesions' else 'image'}, seed {meta['seed']}, one run; {meta['machine']}, "
        f"{versions}. Intervals are 95%, lesions resampled.\n"
    )
