"""The sentences of docs/imaging.md, the fixed ones and those that follow the numbers."""

from __future__ import annotations

from collections.abc import Iterator

from salus.metrics.wording import percent
from salus_studies.frame.markdown import Record
from salus_studies.lesions.measured import DEFENCES, bare, health, network, thresholds, under, verdict
from salus_studies.skin_lesion.published import NETWORKS
from salus_studies.skin_lesion.sentences import TIMES

HEAD = """\
# Skin lesions: may this classifier be used?

*Written by `salus reproduce lesions --rebuild`; do not edit by hand.*

For the person who has to decide. You need no machine learning to read this page; for the figures in full see
[the thesis beside Salus](papers/skin-lesion.md). The classifiers below sort pictures of pigmented skin lesions
(HAM10000) into seven classes, three of them malignant or on the way there: melanoma (MEL), basal-cell carcinoma (BCC)
and actinic keratosis (AKIEC). They were trained small, to be attacked, not to be used: what carries over to yours is
how to look, not the numbers.
"""

WHAT_AN_ATTACK_IS = """\
## What an attack is

Somebody changes the picture before the classifier sees it: a file on its way from the camera, or on a server. Every
colour value, from 0 to 255, may move by 2. **FGSM** does so in one step, **PGD** in forty, which were equally long when
this was measured (`schedule=madry`; today's falling ones are stronger). **UAP** is one pattern for all pictures, made
once, and it may move values further, as no single picture is its target.
"""

WHAT_IT_DOES = """\
## What it does to patients

Accuracy hides what matters. A malignant lesion that is called harmless goes home; this share is the **false-negative
rate** (FNR), here “malignant missed”. A harmless lesion that is called malignant is cut out for nothing. These attacks
want any wrong answer; one who wants malignant lesions missed comes further down, under thresholds.
"""

WHAT_HELPS = """\
## What helps, and what does not

- **WebP + flip**: the picture is compressed and mirrored before it is judged.
- **Adversarial retraining**: the trained classifier learns on, from attacked pictures, as in the thesis.
- **Hardened from the start**: it learnt from attacked pictures only, made anew at every step (Madry et al., 2018).

The thesis's attacker has a copy of the classifier from before it was defended. That is a test of luck. Count on the
attacker who knows the defence, who may be an employee or anybody once the product is sold. “Holds”: at least 60% of
its own accuracy is left under that attacker; “a little”: a quarter, and more than without it;
“unclear”: as much as for “holds”, but behind WebP, where attackers have to guess.
"""

THRESHOLDS = """\
A hospital will not take the likeliest class but refer every lesion whose chance of being malignant passes a \
threshold. Here the attacker knows the threshold and wants exactly the malignant lesions to fall below it, \
which is worse than the attacks above. A threshold that misses little clean refers many; that is its price.
"""

LABELS = """\
Somebody labels harmless moles (NV) as harmless keratoses (BKL) before the classifier is trained. Nobody \
attacks it afterwards. “Cleaned”: labels that look wrong are found by classifiers that did not learn them, \
and left out (`salus audit --clean-labels confident-learning`). Each row is one training: a few points \
between rows are chance.
"""

ASK = """\
## What to ask for before a classifier is used

1. Its FNR for the lesions that matter, with an interval, on lesions of patients it never saw.
2. The same under PGD by an attacker who knows all of it, defence included. An answer under FGSM alone, or by an
   attacker who does not know of the defence, is no answer.
3. What harmless changes do: blur, JPEG, another camera. A guard that refuses them refuses patients.
4. What mistakes cost, with the weights written down.

Salus answers all four for your own pictures, one folder for each class:

```
salus audit --data pictures/ --size 224 --model hospital.model:make --weights own.safetensors \\
    --attack fgsm:eps=2/255 --attack pgd:eps=2/255,steps=40 --attack uap:eps=8/255 \\
    --defence low-level --control blur --control jpeg:quality=75 \\
    --harm missed=10,false-alarm=1 --out runs/audit
```

To harden one: `salus harden madry:eps=2/255,steps=2 --data pictures/ --out runs/hardened`.
"""

LIMITS = """\
## What this page does not show

- The networks are small, were trained from scratch and see small pictures. Better classifiers were not measured here.
- A change of 2 of 255 holds for files. Stickers, light, other cameras, and changes that are large but look natural are
  other questions.
- That an attack failed proves nothing. A stronger one may succeed.
- The pictures are of fair skin, mostly from two clinics. Nothing here speaks for other patients.
- It is not medical advice, and no classifier here is a medical device.
"""

#: What a verdict means, under the attacker who knows the defence.
VERDICTS = {
    "holds": "Holds against an attacker who knows of it",
    "a little": "Helps a little against an attacker who knows of it",
    "no": "Does not help against an attacker who knows of it",
    "unclear": "Unclear, as behind WebP an attacker has to guess",
}


def summary(results: Record) -> Iterator[str]:
    """Say what came out in a few sentences."""
    plain, fooled = bare(results, "none"), bare(results, "pgd")
    if plain is not None and fooled is not None:
        before, after = (100 * record["figures"]["accuracy"] for record in (plain, fooled))
        yield (
            f"An ordinary classifier answers {before:.0f} of 100 lesions rightly. Under an attack that no eye sees, "
            f"{after:.0f}."
        )
        before, after = (100 * health(record)["fnr"] for record in (plain, fooled))
        yield f"Of 100 malignant lesions it misses {before:.0f} as they are, {after:.0f} under this attack."
    verdicts = {name: verdict(results, name) for name in DEFENCES if name != "none"}
    for word, words in VERDICTS.items():
        names = [DEFENCES[name] for name, each in verdicts.items() if each == word]
        if names:
            yield f"{words}: {'; '.join(names)}."
    hardened, undefended = under(results, "hardened", "none"), under(results, "none", "none")
    if hardened is not None and undefended is not None:
        yield (
            f"Being hardened has a price: {percent(hardened['figures']['accuracy'])}% right without an attack, where "
            f"the ordinary classifier has {percent(undefended['figures']['accuracy'])}%."
        )


def doubled(results: Record) -> Iterator[str]:
    """Say at how many thresholds the hardened model keeps what the attacker makes it miss within bounds."""
    rows = thresholds(results).get("hardened")
    if rows is not None:
        met = sum(bool(row["fnr"]) and row["fnr_attacked"] <= TIMES * row["fnr"] for row in rows)
        yield f"At {met} of {len(rows)} thresholds the attacker no more than doubles what the hardened model misses.\n"


def conditions(results: Record) -> str:
    """Say where and how it was measured."""
    meta = results["meta"]
    setting = meta["settings"]["networks"][network(results)]
    data = next(iter(meta["data"].values()))
    versions = ", ".join(f"{name} {version}" for name, version in meta["versions"].items())
    return (
        f"{NETWORKS[network(results)]} at {setting['size']} pixels a side, "
        f"{data['name']}, dealt by {'lesion' if meta['split'] == 'lesions' else 'image'}, seed {meta['seed']}, one "
        f"run; {meta['machine']}, {versions}. Intervals are 95%, lesions resampled. Every table, both networks, and "
        "what else was tried: [papers/skin-lesion.md](papers/skin-lesion.md).\n"
    )
