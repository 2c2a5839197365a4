"""The words of docs/attacks.md that do not depend on what was measured."""

from __future__ import annotations

HEAD = """\
# Attacks

*Written by `salus reproduce attacks --rebuild`; do not edit by hand.*

Every attack takes `(model, x, y)` and returns inputs of the same shape inside the bounds and its own norm ball:
signals `[N, C, L]`, images `[N, C, H, W]` and tables `[N, F]`, any number of classes from two up. On the command line
options stand behind a colon: `pgd:eps=0.01,steps=40`.
"""

COST = "The cost is that of the benchmark's row on heartbeats below: forward and backward passes, each sample.\n"

CONDITIONS = (
    "{versions}; {machine}, {threads} threads, seed {seed}. All libraries attack the same samples of the same network "
    "in one run, in turn; times are medians of the repeats. Passes and queries are counted by one module around the "
    "network. Success is judged on the bare network: a wrong label, inside the bounds, and inside eps where there is "
    "one (peers may step out by 1e-6, Salus by nothing). Where an attack takes one sample after another it gets fewer "
    "of them, and times are compared by the sample. “Ours” are Salus's own settings given to the peer, “defaults” the "
    "peer's, except for what the row's name fixes. “Of bare” is the time over that of the same number of bare passes "
    "of the network, “of Salus” over Salus's time."
)

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
