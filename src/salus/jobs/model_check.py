"""A look at a model before anything is done with it: what it is, how it behaves, its worth, what can attack it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from salus.attacks import ATTACKS
from salus.attacks.objective import cross_entropy, frozen
from salus.audit.endpoint import EndpointClassifier
from salus.audit.model import Network
from salus.audit.plan import Plan
from salus.audit.subject import Loaded, Subject, load_splits
from salus.classifier import Classifier
from salus.conduct.remarks import Conduct, conduct
from salus.data import Dataset
from salus.errors import ModelError
from salus.metrics import balanced_accuracy, commonest
from salus.metrics.wording import percentage

#: Samples whose gradients are looked at, and that an endpoint is asked about.
_FEW = 64

#: A step up the loss, as a share of the range of values.
_STEP = 1e-3


@dataclass(frozen=True)
class Fact:
    """One line of what was found.

    Attributes:
        what: its title.
        text: what was found.
        sound: whether it is as one would wish; False where a reader should stop.
    """

    what: str
    text: str
    sound: bool = True


@dataclass(frozen=True)
class Suited:
    """Attacks that go with the model for one reason, or do not.

    Attributes:
        names: as the command line has them.
        why: what they ask for, or what stands in the way.
        applies: whether they go with it.
    """

    names: tuple[str, ...]
    why: str
    applies: bool


@dataclass(frozen=True, eq=False)
class ModelCheck:
    """What a look at a model came to.

    Attributes:
        facts: in the order in which a newcomer asks.
        attacks: which apply, and which do not.
        remarks: what else a reader should know.
        next: the command to run next.
    """

    facts: tuple[Fact, ...]
    attacks: tuple[Suited, ...]
    remarks: tuple[str, ...]
    next: str


def check_model(plan: Plan) -> ModelCheck:
    """Load a model and its data, try it out, and say what was found; nothing is written.

    Raises:
        SalusError: the data or the model cannot be used; the sentence says what to do.
    """
    if plan.model is None:
        raise ModelError("Name a model: salus model check MODEL --data DATA.")
    splits = load_splits(plan)
    subject = Subject.of(plan, splits)
    test = splits.test
    if isinstance(subject.model, Network):
        return _untrained(subject.model, plan, test)
    if isinstance(subject.model, Loaded):
        return _loaded(subject.model, plan, test)
    return _remote(subject.model.classifier, subject.model.remarks, plan, test)


def _loaded(loaded: Loaded, plan: Plan, test: Dataset) -> ModelCheck:
    classifier = loaded.classifier
    facts = [
        Fact("what it is", _kind(classifier)),
        *_in_and_out(classifier, test),
        *_behaviour(conduct(classifier.module, classifier.predict, _some(test).x)),
        _gradients(classifier, _some(test)),
        *_worth(classifier.predict(test.x).argmax(1), test),
    ]
    remarks = tuple(dict.fromkeys((*loaded.remarks, *classifier.notes)))
    return ModelCheck(tuple(facts), _suited(classifier, test), remarks, _next(classifier, plan))


def _untrained(network: Network, plan: Plan, test: Dataset) -> ModelCheck:
    classifier = network.untrained(test)
    facts = (
        Fact("what it is", f"{_kind(classifier)}; one of Salus's own, which an audit or a hardening trains first"),
        *_in_and_out(classifier, test),
        Fact("accuracy", f"none before it is trained; {_constant(test)}"),
    )
    return ModelCheck(facts, _suited(classifier, test), (), _next(classifier, plan))


def _remote(classifier: EndpointClassifier, remarks: tuple[str, ...], plan: Plan, test: Dataset) -> ModelCheck:
    card, few = classifier.endpoint.card, _some(test)
    with closing(classifier.endpoint):
        answers = classifier.answers(few.x).cpu()
    whole = "a bare classifier" if card.bare else "a guard"
    rejected = float((answers < 0).float().mean())
    facts = [
        Fact("what it is", f"an endpoint, {classifier.endpoint.url}: {whole}, by {card.interface}"),
        *_in_and_out(classifier, test),
        Fact("rejects", f"{percentage(rejected)} of {len(few)} clean samples" if card.rejects else "nothing"),
        Fact("gradients", "none are shown: an endpoint gives answers alone"),
        *_worth(answers, few),
    ]
    return ModelCheck(tuple(facts), _suited(classifier, test), remarks, _next(classifier, plan))


def _some(test: Dataset) -> Dataset:
    """Take some samples, evenly."""
    count = min(len(test), _FEW)
    return test.subset(torch.arange(count) * len(test) // count)


def _kind(classifier: Classifier) -> str:
    """Say what a model is."""
    weights = sum(each.numel() for each in classifier.parameters())
    layers = len([part for part in classifier.module.modules() if any(True for _ in part.parameters(recurse=False))])
    made = classifier.architecture or {}
    form = made.get("form") or made.get("library") or ("program" if "program" in made else "module")
    inner = next((part for part in classifier.module.modules() if hasattr(part, "kind")), None)
    what = getattr(inner, "kind", None) or {"program": "an exported program", "module": "a torch module"}.get(
        form, form
    )
    size = f", {weights:,} weights in {layers} layers" if weights else ""
    return f"{classifier.name}: {what}{size} (fingerprint {classifier.fingerprint()[:12]})"


def _in_and_out(classifier: Classifier, test: Dataset) -> Iterator[Fact]:
    shape = "x".join(map(str, test.x.shape[1:]))
    made = classifier.preprocessor or test.preprocessor
    how = "" if made is None else f"; {made.describe()}"
    low, high = classifier.bounds
    yield Fact("goes in", f"a {test.kind} {shape}, values {low:g} to {high:g}{how}")
    yield Fact("comes out", f"logits of {len(classifier.classes)} classes: {_listed(classifier.classes)}")


def _listed(names: tuple[str, ...], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f", ... ({len(names)})" if len(names) > most else "")


def _behaviour(seen: Conduct) -> Iterator[Fact]:
    yield Fact(
        "the same each time",
        "no: it draws at random inside" if seen.drawn else "yes",
        not seen.drawn,
    )
    yield Fact(
        "each sample for itself",
        "no: an answer depends on the other samples of its batch" if seen.mixed else "yes",
        not seen.mixed,
    )


def _gradients(classifier: Classifier, few: Dataset) -> Fact:
    """Differentiate the loss, and see whether a small step along it leads uphill."""
    reason = classifier.without_gradients
    if reason is not None:
        return Fact("gradients", f"none. {reason.rstrip('.')}")
    x, y = few.x.to(classifier.device), few.y.to(classifier.device)
    try:
        with frozen(classifier):
            gradient, before = _gradient(classifier, x, y)
            low, high = classifier.bounds
            step = (x + _STEP * (high - low) * gradient.sign()).clamp(low, high)
            with torch.no_grad():
                after = cross_entropy(classifier(step), y)
    except ModelError as error:
        return Fact("gradients", f"none: {error}", sound=False)
    size = gradient.flatten(1).abs()
    finite = size.isfinite().all(1)
    flows = finite & (size.sum(1) > 0)
    uphill = float((after > before)[flows].float().mean()) if bool(flows.any()) else 0.0
    share = float(flows.float().mean())
    text = f"flow for {percentage(share)} of {len(few)} samples; "
    text += f"a step along them raises the loss for {percentage(uphill)}"
    sound = share > 0.9 and uphill > 0.8
    return Fact("gradients", text if sound else f"{text}: attack by scores and answers too (square, cgba)", sound)


def _gradient(classifier: Classifier, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        loss = cross_entropy(classifier(x), y)
        if not loss.requires_grad:
            raise ModelError(
                "its answers do not depend on its inputs in a way that torch can follow (a detach, a round trip "
                "through "
                "numpy, or torch.no_grad in its forward); take that out, or attack by scores and answers (square, "
                "cgba)."
            )
        (gradient,) = torch.autograd.grad(loss.sum(), x, allow_unused=True)
    if gradient is None:
        raise ModelError("its answers do not depend on its inputs; check what its forward does with x.")
    return gradient, loss.detach()


def _worth(answers: Tensor, data: Dataset) -> Iterator[Fact]:
    """Say how right it is, beside the answer that is always the same."""
    y, n = data.y, len(data)
    right = float((answers == y).float().mean())
    constant = commonest(y, data.classes)
    recall = balanced_accuracy(y, answers) or 0.0
    yield Fact(
        "accuracy",
        f"{percentage(right)} of {n} test samples, mean recall of classes {percentage(recall)}; {_constant(data)}",
        right > constant.share,
    )
    if right <= constant.share:
        yield Fact(
            "beware",
            "it is no more often right than the constant answer: judge it by the recall of classes, or see whether the "
            "classes and the scaling of inputs are those of its training",
            sound=False,
        )


def _constant(data: Dataset) -> str:
    return str(commonest(data.y, data.classes))


_NO_GRADIENTS = "they ask for gradients, and it shows none (a substitute does: --threat-model transfer)"

_ASKS = {"gradients": "its gradients", "logits": "its scores", "answers": "its answers alone"}


def _suited(classifier: Classifier, test: Dataset) -> tuple[Suited, ...]:
    """Sort all attacks by what they ask for, or by why they do not go with it."""
    groups: dict[tuple[bool, str], list[str]] = {}
    endpoint = isinstance(classifier, EndpointClassifier)
    rejects = isinstance(classifier, EndpointClassifier) and classifier.endpoint.card.rejects
    for name, kind in ATTACKS.items():
        if kind.dimensions and test.x.ndim not in kind.dimensions:
            groups.setdefault((False, f"made for other data than a {test.kind}"), []).append(name)
        elif kind.knowledge == "gradients" and (endpoint or classifier.without_gradients is not None):
            groups.setdefault((False, _NO_GRADIENTS), []).append(name)
        elif kind.knowledge == "logits" and rejects:
            groups.setdefault((False, "they ask for scores, which are withheld of what is rejected"), []).append(name)
        else:
            groups.setdefault((True, _ASKS.get(kind.knowledge, kind.knowledge)), []).append(name)
    return tuple(Suited(tuple(names), why, applies) for (applies, why), names in groups.items())


def _next(classifier: Classifier, plan: Plan) -> str:
    blind = isinstance(classifier, EndpointClassifier) or classifier.without_gradients is not None
    attack = "cgba --attack square" if blind and not isinstance(classifier, EndpointClassifier) else "cgba"
    weights = "" if plan.weights is None else f" --weights {plan.weights}"
    attack = attack if blind else "pgd"
    return (
        f"salus audit --data {plan.data} --model {plan.model}{weights} --attack {attack} --samples 200 --out runs/first"
    )
