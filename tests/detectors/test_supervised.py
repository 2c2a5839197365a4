"""Detectors trained on one attack: SafetyNet beside scikit-learn's SVM, and the subnetwork."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch
from sklearn.svm import SVC
from torch import nn

from salus.attacks import BIM, FGSM, PGD
from salus.attacks.registry import ATTACKS
from salus.classifier import Classifier
from salus.detectors import SafetyNet, Subnetwork
from salus.errors import CalibrationError, ModelError, OptionError
from salus.guard import Guard
from salus.models.detector_branch import DetectorBranch, run_folded
from salus.threats import adaptive
from salus.training import seeded_module

if TYPE_CHECKING:
    from conftest import Toy

ATTACK = "bim:eps=0.2,steps=5"


@pytest.fixture(scope="module")
def safetynet(toy: Toy) -> SafetyNet:
    return SafetyNet(attack=ATTACK, max_samples=100).fit(toy.classifier, toy.train.x, toy.train.y)


def states(toy: Toy, x: torch.Tensor, layer: str = "penultimate") -> torch.Tensor:
    return toy.classifier.states(x, (layer,)).hidden[layer].detach()


def pairs(toy: Toy) -> tuple[torch.Tensor, torch.Tensor]:
    """What the fixture was trained on."""
    detector = SafetyNet(attack=ATTACK, max_samples=100)
    detector.classifier_ = toy.classifier
    return detector.pairs(toy.classifier, toy.train.x, toy.train.y)


def test_pairs_are_clean_samples_that_were_right_and_their_copies_that_fool(toy: Toy) -> None:
    clean, attacked = pairs(toy)
    assert clean.shape == attacked.shape and len(clean) >= 100
    assert float((attacked - clean).abs().max()) <= 0.2 + 1e-6
    at = torch.cdist(clean, toy.train.x).argmin(1)
    assert torch.equal(toy.train.x[at], clean)
    assert torch.equal(toy.classifier.predict(clean).argmax(1), toy.train.y[at])
    assert bool((toy.classifier.predict(attacked).argmax(1) != toy.train.y[at]).all())
    # At full strength: as an attack without early stop leaves them.
    again = BIM(eps=0.2, steps=5, early_stop=False)(toy.classifier, clean, toy.train.y[at])
    torch.testing.assert_close(attacked, again)


def test_codes_count_the_quantiles_that_a_state_exceeds(toy: Toy, safetynet: SafetyNet) -> None:
    clean, _ = pairs(toy)
    cuts = np.quantile(states(toy, clean).numpy(), [0.25, 0.5, 0.75], axis=0)
    h = states(toy, toy.test.x).numpy()
    expected = (h[:, None] > cuts).sum(1) / 3
    got = safetynet.codes("penultimate", torch.from_numpy(h)).numpy()
    assert float((np.abs(got - expected) > 1e-6).mean()) < 1e-3  # a quantile may differ in its last digit
    assert set(np.unique((got * 3).round(5))) <= {0, 1, 2, 3}


def test_the_score_is_scikit_learns_decision_function(toy: Toy, safetynet: SafetyNet) -> None:
    clean, attacked = pairs(toy)

    def quantised(x: torch.Tensor) -> np.ndarray:
        return safetynet.codes("penultimate", states(toy, x)).numpy()

    target = np.repeat([0, 1], len(clean))
    note = safetynet.notes_[-1]
    cost = float(note.split(", C ")[1].split(",")[0])
    peer = SVC(C=cost, gamma=float(safetynet.learnt_["penultimate|gamma"])).fit(
        quantised(torch.cat([clean, attacked])), target
    )
    expected = torch.from_numpy(peer.decision_function(quantised(toy.test.x)))
    torch.testing.assert_close(safetynet.score(toy.test.x).detach().double(), expected, rtol=1e-2, atol=2e-2)
    assert f"{len(peer.support_)} support vectors" in note


def test_of_several_layers_the_decision_functions_add_up(toy: Toy) -> None:
    def fit(*layers: str) -> SafetyNet:
        detector = SafetyNet(attack=ATTACK, layers=layers, max_samples=60)
        return detector.fit(toy.classifier, toy.train.x, toy.train.y)

    together, one, other = fit("penultimate", "1"), fit("penultimate"), fit("1")
    total = one.score(toy.test.x) + other.score(toy.test.x)
    torch.testing.assert_close(together.score(toy.test.x), total, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cls", [SafetyNet, Subnetwork])
@pytest.mark.parametrize("trained_on", ["fgsm:eps=0.2", "pgd:eps=0.2+steps=5"])
def test_it_tells_the_attack_it_knows_and_some_that_it_does_not(toy: Toy, cls: type, trained_on: str) -> None:
    detector = cls(attack=trained_on).fit(toy.classifier, toy.train.x, toy.train.y)
    right = toy.classifier.predict(toy.test.x).argmax(1) == toy.test.y
    x, y = toy.test.x[right], toy.test.y[right]
    for attack in (FGSM(eps=0.2), PGD(eps=0.2, steps=10, early_stop=False), BIM(eps=0.3, norm="l2", early_stop=False)):
        x_adv = attack(toy.classifier, x, y)
        fooled = toy.classifier.predict(x_adv).argmax(1) != y
        with torch.no_grad():
            clean, attacked = detector.score(x), detector.score(x_adv[fooled])
        assert float((attacked[:, None] > clean).float().mean()) > 0.75, attack.title


@pytest.mark.slow
def test_an_attacker_who_knows_safetynet_gets_past_it(toy: Toy) -> None:
    detector = SafetyNet(attack=ATTACK, max_samples=100)
    guard = Guard(toy.classifier, [detector]).fit(toy.train, toy.calibration, 0.1)
    x, y = toy.test.x[:40], toy.test.y[:40]
    blind = PGD(eps=0.25, steps=10, early_stop=False)(toy.classifier, x, y)
    answers = guard(blind).answers
    knowing = adaptive(PGD(eps=0.25, steps=10), guard, x, y)
    assert float(knowing.success.float().mean()) > float(((answers >= 0) & (answers != y)).float().mean()) + 0.1


def test_the_subnetwork_scores_by_the_network_that_it_trained(toy: Toy) -> None:
    detector = Subnetwork(attack=ATTACK, widths=(12,), epochs=8, max_samples=100)
    detector.fit(toy.classifier, toy.train.x, toy.train.y)
    h = (states(toy, toy.test.x) - detector.learnt_["mean"]) / detector.learnt_["deviation"]
    weight = {name.removeprefix("network|"): value for name, value in detector.learnt_.items()}
    inner = (h @ weight["trunk.0.weight"].T + weight["trunk.0.bias"]).clamp_min(0)
    logits = inner @ weight["head.weight"].T + weight["head.bias"]
    torch.testing.assert_close(detector.score(toy.test.x).detach(), logits[:, 1] - logits[:, 0], rtol=1e-4, atol=1e-4)
    assert "of held-out samples told right" in detector.describe()


class Maps(nn.Module):
    """A convolution whose maps a linear layer averages over."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.trunk(x).mean((2, 3)))
        return logits


def chequered(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, and copies under a chequerboard that no mean over positions shows, the one way round or the other."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(count, 1, 8, 8, generator=rng)
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 0.6 - 0.3
    sign = torch.randint(2, (count, 1, 1, 1), generator=rng) * 2 - 1
    return x, x + board * sign


def test_a_convolutional_branch_sees_what_a_mean_over_positions_hides() -> None:
    classifier = Classifier(seeded_module(Maps, 0), ("a", "b", "c"), shape=(1, 8, 8), bounds=(-1.0, 2.0))
    clean, attacked = chequered(500)
    blind = Subnetwork(layers=("trunk",)).fit_pairs(classifier, clean, attacked)
    seeing = Subnetwork(layers=("trunk/flat",), branch="convolutional", widths=(8, 8), epochs=15)
    seeing.fit_pairs(classifier, clean, attacked)
    assert blind.told_ < 0.65 and seeing.told_ > 0.95
    assert "trained on 500 pairs" in seeing.describe()

    x = clean[:20].clone().requires_grad_()
    (slope,) = torch.autograd.grad(seeing.score(x).sum(), x)
    assert float(slope.abs().sum()) > 0
    again = Subnetwork.restore(classifier, seeing.settings(), seeing.calibrate(clean, 0.1).tensors())
    torch.testing.assert_close(again.score(attacked), seeing.score(attacked))


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 40)])
def test_a_branch_with_its_normalisation_folded_in_is_the_branch(shape: tuple[int, ...]) -> None:
    branch = cast(DetectorBranch, seeded_module(lambda: DetectorBranch(shape, (5, 6, 7)), 1))
    x = 3 + 2 * torch.randn(40, math.prod(shape), generator=torch.Generator().manual_seed(2))
    branch.train()
    for _ in range(30):
        branch(x)
    branch.eval()
    assert branch(x).shape == (40, 2)
    torch.testing.assert_close(run_folded(branch.folded(), x, shape), branch(x), rtol=1e-4, atol=1e-4)


def test_a_convolutional_branch_asks_for_the_maps_of_one_layer(toy: Toy) -> None:
    for layers in (("penultimate",), ("1/flat", "2/flat")):
        with pytest.raises(OptionError, match="reads the maps of one layer, named NAME/flat"):
            Subnetwork(layers=layers, branch="convolutional")
    with pytest.raises(ModelError, match="no positions for a convolutional branch"):
        Subnetwork(layers=("1/flat",), branch="convolutional", attack=ATTACK).fit(
            toy.classifier, toy.train.x, toy.train.y
        )


def test_a_linear_branch_is_saved_as_before_there_was_a_choice() -> None:
    assert "branch" not in Subnetwork().settings() and Subnetwork(layers=("a/flat",), branch="convolutional").settings()


@pytest.mark.parametrize("cls", [SafetyNet, Subnetwork])
def test_pairs_that_lie_ready_teach_what_their_maker_would_have_learnt(toy: Toy, cls: type) -> None:
    alone = cls(attack=ATTACK, max_samples=60).fit(toy.classifier, toy.train.x, toy.train.y)
    ready = cls(attack=ATTACK, max_samples=60).fit_pairs(
        toy.classifier, *SafetyNet(attack=ATTACK, max_samples=60).pairs(toy.classifier, toy.train.x, toy.train.y)
    )
    assert torch.equal(alone.score(toy.test.x), ready.score(toy.test.x))
    with pytest.raises(CalibrationError, match="it takes 20 pairs to learn from, not 3"):
        cls(attack=ATTACK).fit_pairs(toy.classifier, toy.test.x[:3], toy.test.x[:3])


@pytest.mark.parametrize("cls", [SafetyNet, Subnetwork])
def test_an_attack_that_fools_nobody_is_nothing_to_learn_from(toy: Toy, cls: type) -> None:
    with pytest.raises(CalibrationError, match=r"'fgsm:eps=0.001' fooled the classifier on \d+ of \d+ .* larger eps"):
        cls(attack="fgsm:eps=0.001").fit(toy.classifier, toy.train.x, toy.train.y)


@pytest.mark.parametrize("cls", [SafetyNet, Subnetwork])
@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("fgms:eps=0.1", "Unknown attack 'fgms'; did you mean 'fgsm'"),
        ("fgsm", "needs eps"),
        ("fgsm:eps=0.1+step=3", "no option 'step'"),
        ("bim:eps=0.1,targeted=true", "must be untargeted"),
        (True, "attack must be an attack with its options, such as bim:eps=0.01, not True"),
    ],
)
def test_an_attack_that_makes_no_sense_is_refused_before_anything_runs(cls: type, attack: object, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        cls(attack=attack)


@pytest.mark.parametrize("name", ATTACKS.own)
def test_every_attack_can_be_named(name: str) -> None:
    needs = "" if ATTACKS[name].closest else ":eps=1" if ATTACKS[name].norms == ("l0",) else ":eps=0.1"
    detector = SafetyNet(attack=f"{name}{needs}")
    assert detector._attack((-1.0, 3.0)).bounds == (-1.0, 3.0)
    assert detector._attack((-math.inf, math.inf)).seed == 0


@pytest.mark.parametrize(
    ("cls", "options", "words"),
    [
        (SafetyNet, {"levels": 1}, "levels must be a whole number from 2 to 16"),
        (Subnetwork, {"widths": "64+0"}, "widths must be whole numbers"),
        (Subnetwork, {"widths": []}, "widths must be whole numbers"),
        (Subnetwork, {"epochs": 0}, "epochs must be a whole number"),
    ],
)
def test_options_that_make_no_sense_are_refused(cls: type, options: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        cls(**options)
