"""The words of docs/attacks.md that do not depend on what was measured."""

from __future__ import annotations

HEAD = """\
# Attacks

*Written by `salus reproduce attacks --rebuild`; do not edit by hand.*

Every attack takes `(model, x, y)` and returns inputs of the same shape inside the bounds and its own norm ball:
signals `[N, C, L]`, images `[N, C, H, W]` and tables `[N, F]`, any number of classes from two up. On the command line
options stand behind a colon: `pgd:eps=0.01,steps=40`.
"""

COST = (
    "The cost is that of a sample of the model `beats` below, where the fewest passes were allowed: forward and "
    "backward passes, and processor time.\n"
)

MEASURE = """\
## How near each comes to the best that is known

**Optimality** (AttackBench, Cinà et al., AAAI 2025): the area under an attack's curve of robust accuracy over the size
of change, against the lowest curve that all attacks of all libraries reach together on the same model and samples
within the same number of passes. With A the area up to eps₀, the size of change at which the lowest curve ends, and ρ
the clean accuracy, it is 1 − (A − A_best) / (ρ eps₀ − A_best): 1 is the best known, 0 no attack at all. *Global* is the
mean over models. `salus.metrics.optimality` computes it.

- **A pass** is one sample going forward through the network once, or the gradient going back to it once. Both count
  one, and a gradient for each class counts for each class. One module around the network counts for every library, and
  refuses the pass that would exceed the budget of the batch; what was seen by then is what such a run reached.
- **The smallest change** (table *nearest*): the budget is for the whole run, the whole curve counts.
- **A fixed eps** (table *within eps*): the budget is for each eps of the grid below, and both curves are read there
  alone. Samples that fell at a smaller eps are not attacked again.
- **Returned** is what an attack handed back, **seen** the nearest adversarial point that it showed the network or
  handed back, as AttackBench counts. Of Salus's attacks counts what they return, of peers what was seen.
- The lowest curve is made of all that was returned or seen by anyone, with a fixed eps or without, from every seed, at
  this budget or a smaller one.
- Every library runs with its defaults, its steps scaled to the budget, and where the field knows better settings with
  those too; they are named. Salus's steps are scaled likewise. Which settings are its defaults was decided on other
  models and samples; that FAB, FMN and how Carlini and Wagner's attacks are scaled were looked at once more, on digits
  and wine, was due to what `table` had shown here; that FMN's steps in L1 and L2 and APGD's balls in L1 were,
  on digits and MNIST, was due to what `fashion` and `fashion-hardened` had.
- **Constant** is the share that always answering the commonest class of these samples gets right.
- L0 counts places: pixels, moments or features, with all their channels. Peers count values, which on colours is not
  the same.
- Judged is on the bare network: a wrong label, inside the bounds, inside eps (peers may step out by rounding, Salus by
  nothing). Samples that the model gets wrong as they are stay in every curve.
"""

LEFT_OUT = """\
Left out: attacks that take one sample after the other through Python and would take hours here (ART's
CarliniLInfMethod, CarliniL0Method and SaliencyMapMethod, torchattacks' DeepFool, SparseFool and JSMA, the
Brendel-Bethge attacks of Foolbox), and what secml-torch only hands on to Foolbox and adv-lib.
"""

NEAREST = """\
### Nearest: the smallest change
"""

WITHIN = """\
### Within eps
"""

ABOVE = "Peers' attacks above the best of ours by more than .005 at the same passes:\n"

#: Why a peer's attack comes nearer: by library, attack and norm.
REASONS: dict[tuple[str, str, str], str] = {}
NO_REASON = "not known"

FORTY = """\
### PGD-40 at its passes

All attacks with a fixed eps in L∞, 80 passes (40 steps of a forward and a backward pass), three seeds: global
optimality on the grid.
"""

EQUAL = """\
### At equal passes

Each of Salus's attacks at its defaults beside the strongest attack of its family that a peer has, over defaults and
other settings. Optimality is the mean over models and three seeds; ± is the standard error of the difference, from
samples drawn anew. Every pair is in the stored results.
"""

ENSEMBLES = """\
## AutoAttack and what does as much sooner

Each runs to its end as it is, on the samples that the model gets right; passes are those of a sample on average.
"""

QUERIES = """\
## Answers alone

{samples} heartbeats of the model `{model}`, no more queries than the first column says, L2. Distances count the nearest
adversarial point that was asked about. ART's attacks take one sample after the other, each within its own queries. “Of
bare” is the time over that of as many forward passes of the network in full batches.
"""

BEFORE = """\
HopSkipJump as it was before the attacks of this page (commit {commit}, the same model and samples, seeds {seeds}) came
as near as {medians}.
"""

FLOOR = """\
What the floor allows: attacks that see gradients reach on the same samples, in {passes} passes each, a median L2 of
{each}, and {median} where the nearest of all counts for each sample.
"""

SPEED = """\
## Time

Processor time on `beats`, 200 passes: each of Salus's attacks beside the fastest peer of its family that fools as many
(to half a point). “Of bare” is the time over that of as many bare passes of the network in full batches; “ratio” how
many times faster Salus is.
"""

STREAMING = """\
## Any number of samples

`Attack.stream` takes and gives one piece after another, so memory does not grow with their number. It grows
at first, where torch caches its kernels for each size that a batch shrinks to as samples fall:
"""

ANYTHING = """\
## Any callable can be attacked

A Salus attack asks for a function from a batch to logits, and a decision-based one for a function from a batch to
labels. So it needs no adapter to attack what another library has wrapped, a model that is no network, or a service
behind a wire. Here is a random forest, which has no gradients and knows nothing of PyTorch:

```python
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

from salus.attacks import HopSkipJump

x, y = load_breast_cancer(return_X_y=True)
x = (x - x.min(0)) / (x.max(0) - x.min(0))
forest = RandomForestClassifier(n_estimators=20, random_state=0).fit(x[:500], y[:500])


def answer(batch: torch.Tensor) -> torch.Tensor:  # [N, 30] to labels [N]
    return torch.from_numpy(forest.predict(batch.numpy()))


patients, truth = torch.from_numpy(x[500:]).float(), torch.from_numpy(y[500:])
found = HopSkipJump(queries=400).run(answer, patients, truth)
print(f"fooled: {found.success.float().mean():.0%}, median L2 distance {found.distance.median():.2f}")
```

Other libraries' models are such functions already. Foolbox's wrapper is called as it is, and so is the module inside
an estimator of the Adversarial Robustness Toolbox:

```python
import torch
from art.estimators.classification import PyTorchClassifier
from foolbox.models.pytorch import PyTorchModel

from salus.attacks import PGD

net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
x, y = torch.rand(8, 1, 12), torch.zeros(8, dtype=torch.int64)
wrapped = PyTorchModel(net, bounds=(0, 1))
estimator = PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), (1, 12), 3, clip_values=(0, 1))
attack = PGD(eps=0.1)
assert torch.equal(attack(wrapped, x, y), attack(net, x, y))
assert torch.equal(attack(estimator.model, x, y), attack(net, x, y))
```
"""
