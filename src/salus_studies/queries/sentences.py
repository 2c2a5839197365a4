"""The words of docs/queries.md."""

from __future__ import annotations

HEAD = """\
# Queries: attackers who ask, and the monitors that watch for them

Who only asks a guard shows it nothing that is wrong with any one question. A monitor of callers looks at what a caller
asked before. What it has to tell from an attack is life: the beats of one heart, which are alike by nature, whole
recordings, several patients behind one account, a study that is sent twice.

- **`lifelike`** is Salus's own. *Too near*: two recordings of one heart differ in every band of frequencies, for the
  sensor's noise is drawn anew in all of them; a search that changes one point leaves some band nearly as it was. Over
  the 22 records of DS1 the nearest earlier beat was never nearer than 0.016 in the lowest band and 0.012 to 0.020 in
  the others, while white noise of length 0.25, more than the whole ball of 0.167, leaves the lowest band 0.033 apart.
  *Wavering*: who learns where a decision ends asks on both sides of it, near by. In no record of DS1 did more than
  1.2% of the beats within 0.22 of an earlier one get another answer than it.
- **`nearest`** is the distance to the nearest earlier query (after Chen et al., 2019), **`blacklight`** the shared
  hashes of Li et al. (2022), **`perceptual`** a perceptual hash after PIHA (Choi et al., 2023). All four are fitted the
  same way: no record of DS1 may raise the alarm, with a margin above the highest of 1.25 (`lifelike`: 2).

Exact repeats are known by a salted digest and add nothing. No monitor reads the time but to forget, so a recording sent
at natural speed and one sent at once are the same to them.

**What was seen before it was chosen.** `lifelike` had its drift, margin and share of wavering set after one look at
the records outside DS1: fitted to DS1 alone (`waver=0`, a drift 1.6 times the quietest caller's, a margin of 1.25) it
raised the alarm on 7 of the 26. The drift was then set by leaving each record of DS1 out of the fit in turn
(record 115 drifts up at 1.6 and not at 2). The margin of 2 rests on that look, and `waver=0.25` too, for the guard has
learnt from DS1 and wavers less there: the row on those records flatters both. `waver=0` stands beside it. The distances
and the 1.2% above were counted by exploratory scripts, not by a step of this study.
"""

#: How the guard is made that the study attacks.
GUARD = (
    "salus guard fit --data mitdb --split ds1-ds2 --model ecg-cnn --defence i-defender --false-alarm-rate 0.05 "
    "--out runs/guard"
)

BEFORE_LIFE = """\
All 48 records of mitdb, a record a caller unless said otherwise, in order. *Refused* counts every beat from a caller's
first alarm on, as the policy `refuse` would.
"""

BEFORE_ATTACKS = """\
A win is a query, answered before the alarm, that the guard accepts and gets wrong within 0.01 in L-infinity or 0.167 in
L2 of the beat; who has won asks no more. HopSkipJump, Boundary and CGBA see answers, Square and NES the probabilities
that come with them.
"""

BEFORE_KNOWING = """\
In the manner of OARS (Feng et al., 2023): every query is shown to the monitor's exact copy first, its memory included,
and sent only with noise of life's own kind that it lets pass, made longer until it does; the suspicion that it allows
is spent evenly over the queries. Ten accounts take turns, and between any two queries of an account lies a real beat.
Where all accounts are refused the attack is over.
"""

LOWER = """\
Their frontier, by one account: how many attacks won at lower alarms, which they know as well, and what those alarms
cost honest callers.
"""

OUTSIDER = """\
### An outsider over HTTP

ART's HopSkipJump, in L2 and with a token of its own for each beat, through `salus.client` against `salus serve`, from a
beat of another class; what the guard rejects is told to ART as the right answer. The attack ends at its refusal.
"""

LESIONS = """\
### Photographs of lesions

HAM10000 at {size} pixels; monitors fitted to the lesions of the training side alone ({callers} callers, {photographs:,}
photographs), tried on the {lesions:,} lesions of the test side, {several} of which were photographed more than once. A
caller sends about a hundred photographs, all of one lesion in a row; {answered}. No attacker was run on lesions, so
that no alarm says here what life costs, and not that a search would be noticed.

```
{command}
```

"""

SPEED = """\
## What it takes

{stored:,} queries stored in SQLite, callers with windows of {window:,} in turn, each check compared, kept, and written
within half a second. A second is one of the processor's, one thread, as the machine was busy (load average {load:.1f};
{machine}): the 2,000 a second on two cores that were asked for are 1,000 here{short}. What a check costs follows the
caller's window, memory and disk the stored queries.

```
{command}
```

"""

NOT_SEEN = """\
### What no monitor sees

A transfer attacker asks nothing: it attacks a network of its own, and sends what it made once.
"""

REST = """\
## What holds, and what does not

What was asked before anything was built, beside what was measured (95% Wilson intervals over beats; *as counted*: the
interval lies on both sides of the bar, so that so few beats cannot tell):

{bars}
- **Who does not know of the monitor is mostly stopped ({naive}); who knows it gets past it too often**: {hidden}.
  Noise of the kind that a heart's own beats differ by, drawn anew for every query, can keep a search below the alarm,
  at the cost of queries. A lower alarm is raised by honest callers before it stops them (their frontier, above).
  Accounts that send real beats in between spread the evidence, and no account is linked with another.
- Of the callers outside DS1 {honest} raise the alarm. 22 fitted callers cannot carry a promise for the 23rd: where
  callers are exchangeable, the next one exceeds the highest of 22 once in 23 times, so that "one alarm in 100,000
  beats", two days of one patient, cannot be fitted to DS1. That, and answers of the guard that waver on some patients
  it has not learnt from, is why life raises alarms at all.
- A refusal tells an attacker that the last query was one too many, and costs the account. The policies `labels` and
  `slow` tell less and cost honest callers less; `review` tells nothing.
- Whoever knows a patient's beats and the monitor could ask around them in another's name, so that the owner of the
  beats is never suspected: callers are judged by their own queries alone.
"""
