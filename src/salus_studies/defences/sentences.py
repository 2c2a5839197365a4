"""The words of docs/defences.md that do not depend on what was measured."""

from __future__ import annotations

HEAD = """\
# Defences

*Written by `salus reproduce defences --rebuild`; do not edit by hand.*

Detectors reject inputs, purifiers change them, hardening changes the classifier. What matters is the last column of
the tables of figures: what is left when the attacker knows the defence. A defence that shines under the oblivious
attacker alone has not been tested.
"""

MEANINGS = """\
**Guarded accuracy** counts inputs that are accepted and right as they are, and not accepted and wrong after the attack,
so that a guard which rejects everything has none. The **oblivious** attacker does not know of the defence, the
**gray-box** attacker has a twin of the guard, trained apart with another seed, and the **adaptive** attacker has the
guard itself; **broken by** is the variant of it that wins most when each runs alone on all samples, or “the control
suffices” where none wins more than the cross-entropy that only stops when it is accepted; “first to succeed” stands
where variants were run one after another, each on what was left, which does not tell who wins. **AUC** tells attacked
inputs that fooled the classifier from clean ones, under the oblivious attacker; “–” where fewer than 50 did. **False
alarms** are clean inputs that were rejected, and inputs with harmless changes. **Cost** is the time beside the
classifier's own, as a multiple of its forward pass. Intervals of 95% in parentheses. In the tables of
2026-11-22 PGD took steps of 2.5 eps / steps (`schedule=madry`), which is weaker than today's default, and the plans
were those of commit bffe5fd, on fewer samples; today's ask for 300 heartbeats and for 200 lesions of 64 pixels.
"""

EARLIER = """\
Defences that draw or generate stand in the table of an earlier plan: with 300 beats and every variant alone
Defense-GAN's rows would take days of one core, and MultiMagNet's whole deployment as long.
"""

VARIANTS = """\
Guarded accuracy that each variant of the adaptive attack leaves alone, on all samples, in percent; the **union** takes
the worst of all for each sample. The **control** raises the cross-entropy and stops when the guard accepts; **eq6** is
I-defender's Eq. 6, which needs class likelihoods, and **gated score** its form with another detector's score.
"""

#: How the settings of a table came about, where test samples had a say in it.
REMARKS = {
    "ham10000": (
        "Not all of these settings were fixed beforehand. A first run at eps 2/255 left the undefended classifier "
        "30%, so eps was doubled; Defense-GAN's generator was trained for 26 epochs, not 5, and its descents were "
        "shortened, after its purifier had answered 11% of clean lesions rightly; the samples were cut from 100 to "
        "50 for time. All of that was seen on test lesions: take Defense-GAN's rows here as an illustration, not "
        "as a measurement of a tuned defence. Its purifier is not robust but nearly constant: it calls 32 of the "
        "50 clean lesions BKL, and 9 of the 10 that it has right are of that class (the confusion table of the "
        "audit's report)."
    ),
}

ATTEMPTS = """\
What holds at one size of change need not hold at a larger one, nor against another attack. **By gradients** is every
adaptive variant that follows any, **without gradients** a random search (Square) that starts from nothing they found.
Within three points of each other they are taken to agree, which is no proof; where they are further apart, the weaker
has missed something. What is drawn counts in expectation. Seed 0, one run.
"""

HARDENING = """\
They cost nothing when they answer, and what is left under attack was measured with the network known. \
Heartbeats, eps 0.01, PGD-40 from five starts; more in [ecg.md](ecg.md):
"""
