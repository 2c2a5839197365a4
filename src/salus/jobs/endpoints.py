"""An endpoint as the victim of an attack on a file."""

from __future__ import annotations

from pathlib import Path

from salus.atomic import write_json
from salus.attacks import Attack
from salus.audit.endpoint import EndpointClassifier
from salus.client.endpoint import connect
from salus.client.options import EndpointOptions
from salus.errors import ModelError, OptionError


def victim_at(url: str, options: EndpointOptions, out: Path, *, classes: tuple[str, ...] = ()) -> EndpointClassifier:
    """Reach a model behind HTTP that is to be attacked, and keep its answers in a folder.

    Args:
        url: of the model.
        options: how it may be asked.
        out: the folder.
        classes: names of its classes, in the order of its outputs, where it does not say.

    Raises:
        SalusError: it cannot be reached or used.
    """
    endpoint = connect(url, options, classes=classes)
    shape = endpoint.card.shape
    if not shape or min(shape) < 1:
        raise ModelError(
            f"{url} does not say of what shape its inputs are; audit it on data (salus audit --model URL)."
        )
    endpoint.keep(out)
    return EndpointClassifier(endpoint, shape=shape, bounds=endpoint.card.bounds or (0.0, 1.0))


def refuse_attack(attack: Attack, victim: EndpointClassifier) -> None:
    """Refuse an attack that asks for more than an endpoint gives.

    Raises:
        OptionError: it does.
    """
    endpoint = victim.endpoint
    if attack.knowledge == "gradients":
        raise OptionError(
            f"{attack.title} asks for gradients, and {endpoint.url} gives answers alone; take one that asks for these, "
            "such as cgba or hop-skip-jump."
        )
    if attack.knowledge == "logits" and endpoint.card.rejects:
        raise OptionError(
            f"{attack.title} asks for probabilities, and {endpoint.url} withholds those of rejected inputs; take "
            "an attack that asks for answers alone, such as cgba or hop-skip-jump."
        )


def account(victim: EndpointClassifier, out: Path) -> str:
    """Write what was asked into the folder, and say it."""
    facts = victim.endpoint.facts()
    write_json(out / "endpoint.json", facts)
    bundle = f", bundle {facts['bundle'][:12]}" if facts["bundle"] else ""
    return (
        f"{facts['url']} ({facts['interface']}{bundle}) was asked about {facts['asked']} inputs, "
        f"{facts['asked_by_this_run']} of them by this run."
    )
