"""The words of docs/imaging.md that do not depend on what was measured."""

from __future__ import annotations

HEAD = """\
# Skin lesions: may this classifier be used?

*Written by `python docs/imaging_page.py`; do not edit by hand.*

For the person who has to decide. You need no machine learning to read this page; for the figures in full see
[the thesis beside Salus](papers/skin-lesion.md). The classifiers below sort pictures of pigmented skin lesions
(HAM10000) into seven classes, three of them malignant or on the way there: melanoma (MEL), basal-cell carcinoma (BCC)
and actinic keratosis (AKIEC). They were trained small, to be attacked, not to be used: what carries over to yours is
how to look, not the numbers.
"""

WHAT_AN_ATTACK_IS = """\
## What an attack is

Somebody changes the picture before the classifier sees it: a file on its way from the camera, or on a server. Every
colour value, from 0 to 255, may move by 2. **FGSM** does so in one step, **PGD** in forty. **UAP** is one pattern for
all pictures, made once, and it may move values further, as no single picture is its target.
"""

ATTACKS = {
    "none": "as they are",
    "fgsm": "FGSM, by 2 of 255",
    "pgd": "PGD, by 2 of 255",
    "uap": "UAP, one pattern for all",
}

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
