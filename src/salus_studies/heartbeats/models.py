"""Sentences on the two networks: how large eps is for them, how they were split and how trained."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from salus.metrics.wording import percentage
from salus_studies.frame.markdown import Record, bullets
from salus_studies.heartbeats.measured import (
    CLASSES,
    HEIGHT,
    INTERVAL,
    channels,
    count_test,
    measured_splits,
    trained_share,
)

#: The channels that show, or are made of, a beat's neighbours.
NEIGHBOURS = ("previous", "next", "strip", "usual", "difference")


def size(results: Record) -> str:
    """Say what eps is in units that a cardiologist knows."""
    measured = list(measured_splits(results).values())
    if not measured:
        return "How large the changes are, **eps**: not run.\n"
    eps = float(measured[0]["eps"])
    inputs = {name for result in measured for name in channels(result)}
    return (
        f"**eps** is how far the attacker may move each value: here {eps:g}. What that is:\n\n"
        f"{bullets(_sizes(eps, inputs))}"
    )


def _sizes(eps: float, inputs: set[str]) -> Iterator[str]:
    waves = [f"`{name}`" for name in ("beat", "usual", "previous", "next") if name in inputs]
    if waves:
        yield (
            f"{', '.join(waves)}: {percentage(eps, 0)} of the beat's height from its lowest to its highest point: "
            f"{eps * HEIGHT:.3f} mV where that is {HEIGHT} mV, "
            f"{eps * HEIGHT / 0.005:.0f} steps of the recorder (0.005 mV)"
        )
    if "difference" in inputs:
        yield f"`difference`: its scale is twice the height, so {2 * eps * HEIGHT:.3f} mV for the same beat"
    if "strip" in inputs:
        yield f"`strip`: {percentage(eps, 0)} of the height of all 4.7 s"
    if "departure" in inputs:
        yield (
            "`departure`, `second-departure`: the scale is twice the height of the record's sinus beat in that lead: "
            f"{2 * eps * HEIGHT:.3f} mV where it is {HEIGHT} mV"
        )
    if "timing" in inputs:
        yield (
            f"`timing`: {2 * eps:.0%} of each interval ({2 * eps * INTERVAL:.0f} ms of {INTERVAL} ms), {4 * eps:.0%} "
            f"of the irregularity, {6 * eps:.0%} of how far the beat departs and of the share of early departing beats"
        )
    if "rhythm" in inputs:
        yield (
            f"`rhythm`: {2 * eps:.0%} of the usual interval ({2 * eps * INTERVAL:.0f} ms of {INTERVAL} ms), "
            f"{2000 * eps:.0f} ms of the typical interval itself, {2 ** (4 * eps) - 1:.1%} of the relative height"
        )


def protocols(results: Record) -> Iterator[str]:
    """Say why the two ways of splitting differ so."""
    beats, patients = results.get("beats"), results.get("patients")
    yield "**By beats**: not run." if beats is None else _by_beats(beats)
    if patients is None:
        yield "**By patients**: not run."
    else:
        groups = patients["hardening"]["data"]["groups"]
        yield (
            f"**By patients** (de Chazal's DS1 and DS2): {groups['train']} people in training, {groups['test']} "
            "others in test. The question is: “what is this beat, of somebody you have never seen?” It is the "
            "question of practice."
        )
        suppliers = [words for name in CLASSES if name != "N" and (words := _supplier(patients, name))]
        if suppliers:
            yield (
                f"Few patients carry the rare classes. In the test of the split by patients {'; '.join(suppliers)}. "
                "Where one patient supplies most of a class, its figure says whether that patient was understood."
            )
    if beats is not None and patients is not None:
        points = 100 * (beats["clean"]["accuracy"] - patients["clean"]["accuracy"])
        f1s = f"{beats['clean']['macro_f1']:.2f} and {patients['clean']['macro_f1']:.2f}"
        yield f"Accuracy on clean beats differs by {points:.1f} points between the two, macro-F1 is {f1s}."


def _by_beats(beats: Record) -> str:
    groups = beats["hardening"]["data"]["groups"]
    words = (
        f"**By beats**, as the papers do: beats are dealt at random, so the same people stand on both sides "
        f"({groups['train']} in training, {groups['test']} in test). The question is: “what is this beat, of a "
        "patient whose other beats you have learnt, with their classes?”"
    )
    near = [f"`{name}`" for name in channels(beats) if name in NEIGHBOURS]
    if not near:
        return words
    return (
        f"{words} The channels {', '.join(near)} show, or are made of, neighbouring beats as well; each neighbour of "
        f"a test beat stands in training with a chance of {percentage(trained_share(beats), 0)}."
    )


def _supplier(result: Record, name: str) -> str:
    """Say which patient supplies most of a class; nothing where none does."""
    rows = [row for row in result["ec57"] if row["kind"] == "record"]
    if not rows:
        return ""
    total = sum(row["classes"][name]["beats"] for row in rows)
    most = max(rows, key=lambda row: int(row["classes"][name]["beats"]))
    count = most["classes"][name]["beats"]
    if 2 * count <= total:
        return ""
    return f"{count:,} of {total:,} {name} come from record {most['record']} ({count / total:.0%})"


def model(result: Record) -> str:
    """Describe a model: what it sees, how it was trained, the commands."""
    return f"{bullets(_facts(result))}\n```\n{hardening_command(result)}\n{result['command']}\n```\n"


def _facts(result: Record) -> Iterator[str]:
    facts = result["hardening"]
    counts, training = facts["data"]["counts"], facts["model"]["training"]
    by_class = ", ".join(f"{name} {n:,}" for name, n in counts["train"].items())
    inputs = ", ".join(f"`{name}`" for name in channels(result))
    yield f"**Sees** {inputs}. {facts['model']['parameters']:,} weights."
    yield (
        f"**Learnt from** {sum(counts['train'].values()):,} beats ({by_class}); "
        f"{sum(counts['validation'].values()):,} further ones for validation, {count_test(result):,} for the test."
    )
    yield f"**How**: {_method(facts)} {_duration(facts)}"
    if "gains=true" in facts["spec"]:
        yield "Waves are first stretched, turned over and left out at random (`gains=true`)."
    yield from _settings(training)


def _method(facts: Record) -> str:
    """Say how training attacked."""
    recipe = facts["model"]["training"].get("recipe") or {}
    attack = recipe.get("attack")
    if attack is None:
        return f"`{facts['spec']}`."
    steps = "one step" if attack["steps"] == 1 else f"{attack['steps']} steps"
    learns = "from the attacked beats alone"
    if recipe["loss"] == "trades":
        learns = f"from the clean beats, and to answer alike on both (TRADES, weight {recipe['beta']:g})"
    elif recipe["clean_share"]:
        learns = f"from both, the clean ones counting {recipe['clean_share']:.0%}"
    return (
        f"`{facts['spec']}`, adversarial training. Every beat is first attacked by {steps} from a random start, within "
        f"{attack['eps']:g}, on the network as it then is; the network learns {learns}."
    )


def _duration(facts: Record) -> str:
    """Say how long it trained, and after which pass the network was kept."""
    training, history = facts["model"]["training"], facts["history"]
    after = f"pass {history['best']}, where the loss on attacked validation beats was lowest"
    if training.get("keep") == "last":
        after = "the last"
    minutes = max(1, round(history["seconds"] / 60))
    took = f"{minutes} minute{'s' * (minutes > 1)}"
    return f"{history['epochs']} passes over the data took {took}; kept is the network after {after}."


def _settings(training: Mapping[str, Any]) -> Iterator[str]:
    """Explain the settings that are not usual."""
    if training.get("balance") == "none":
        yield "Classes come as often as they are (`balance=none`)."
    if training.get("prior_shift"):
        shift = f"`prior_shift={training['prior_shift']:g}`"
        yield f"Rare classes are answered more readily than so few beats teach ({shift})."
    if training.get("averaging"):
        yield f"Kept is a running average of the weights (`averaging={training['averaging']:g}`)."


def hardening_command(result: Record) -> str:
    """Write the command that trained it; where it was trained on its machine is nobody's concern."""
    words = shlex.split(str(result["hardening"]["command"]))
    place = words.index("--out") + 1
    words[place] = f"runs/{Path(words[place]).name}"
    return shlex.join(words)
