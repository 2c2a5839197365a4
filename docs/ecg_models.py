"""The first half of docs/ecg.md: what goes in, how large eps is, the two splits, the two models, their commands."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ecg_figures import SPLITS
from ecg_goals import tested
from ecg_numbers import CLASSES, HEIGHT, INTERVAL, share

from salus.data.context import CHANNELS

Record = dict[str, Any]

#: The channels that show, or are made of, a beat's neighbours.
NEIGHBOURS = ("previous", "next", "strip", "usual", "difference")


def inputs(stored: Record) -> str:
    """Say what goes in and what comes out."""
    lines = ["## What goes in, what comes out", ""]
    lines += ["In goes one beat: 280 samples (0.78 s) of lead MLII (V5 where a record has none) around its R"]
    lines += ["peak, shown as channels, each of 280 values from 0 to 1:", ""]
    read = {split: channels(stored[split]) for split in SPLITS if split in stored}
    lines += ["| channel | what it shows | read by |", "|---|---|---|"]
    for name, words in CHANNELS.items():
        readers = [SPLITS[split] for split, names in read.items() if name in names]
        if readers or not read:
            lines.append(f"| `{name}` | {words} | {' and '.join(readers) or 'not run'} |")
    lines += ["", "Out comes one class:", ""]
    lines += [f"- **{name}**: {words}" for name, words in CLASSES.items()]
    return "\n".join((*lines, ""))


def channels(result: Record) -> tuple[str, ...]:
    """List what a model reads."""
    return tuple(result["hardening"]["data"].get("options", {}).get("inputs", ("beat",)))


def size(stored: Record) -> str:
    """Say what eps is in units that a cardiologist knows."""
    present = [stored[split] for split in SPLITS if split in stored]
    if not present:
        return "How large the changes are, **eps**: not run.\n"
    eps = present[0]["eps"]
    read = {name for result in present for name in channels(result)}
    lines = [f"**eps** is how far the attacker may move each value: here {eps:g}. What that is:", ""]
    waves = [name for name in ("beat", "usual", "previous", "next") if name in read]
    if waves:
        listed = ", ".join(f"`{name}`" for name in waves)
        lines.append(
            f"- {listed}: {share(eps, 0)} of the beat's height from its lowest to its highest point: "
            f"{eps * HEIGHT:.3f} mV where that is {HEIGHT} mV, "
            f"{eps * HEIGHT / 0.005:.0f} steps of the recorder (0.005 mV)"
        )
    if "difference" in read:
        lines.append(f"- `difference`: its scale is twice the height, so {2 * eps * HEIGHT:.3f} mV for the same beat")
    if "strip" in read:
        lines.append(f"- `strip`: {share(eps, 0)} of the height of all 4.7 s")
    if "rhythm" in read:
        lines.append(
            f"- `rhythm`: {2 * eps:.0%} of the usual interval ({2 * eps * INTERVAL:.0f} ms of {INTERVAL} ms), "
            f"{2000 * eps:.0f} ms of the typical interval itself, {2 ** (4 * eps) - 1:.1%} of the relative height"
        )
    return "\n".join((*lines, ""))


def protocols(stored: Record) -> str:
    """Say why the two ways of splitting differ so."""
    lines = ["## Two ways of splitting, two different questions", ""]
    beats, patients = stored.get("beats"), stored.get("patients")
    if beats is None:
        lines.append("- **By beats**: not run.")
    else:
        groups, share_train = beats["hardening"]["data"]["groups"], trained_share(beats)
        lines.append(
            f"- **By beats**, as the papers do: beats are dealt at random, so the same people stand on both sides "
            f"({groups['train']} in training, {groups['test']} in test). The question is: “what is this beat, of a "
            "patient whose other beats you have learnt, with their classes?”"
        )
        near = [f"`{name}`" for name in channels(beats) if name in NEIGHBOURS]
        if near:
            lines[-1] += (
                f" The channels {', '.join(near)} show, or are made of, neighbouring beats as well; each neighbour of "
                f"a test beat stands in training with a chance of {share(share_train, 0)}."
            )
    if patients is None:
        lines.append("- **By patients**: not run.")
    else:
        groups = patients["hardening"]["data"]["groups"]
        lines.append(
            f"- **By patients** (de Chazal's DS1 and DS2): {groups['train']} people in training, {groups['test']} "
            "others in test. The question is: “what is this beat, of somebody you have never seen?” It is the "
            "question of practice."
        )
        suppliers = [words for name in CLASSES if name != "N" and (words := supplier(patients, name))]
        if suppliers:
            lines.append(
                f"- Few patients carry the rare classes. In the test of the split by patients {'; '.join(suppliers)}. "
                "Where one patient supplies most of a class, its figure says whether that patient was understood."
            )
    if beats is not None and patients is not None:
        apart = 100 * (beats["clean"]["accuracy"] - patients["clean"]["accuracy"])
        f1s = f"{beats['clean']['macro_f1']:.2f} and {patients['clean']['macro_f1']:.2f}"
        lines.append(f"- Accuracy on clean beats differs by {apart:.1f} points between the two, macro-F1 is {f1s}.")
    return "\n".join((*lines, ""))


def trained_share(result: Record) -> float:
    """Compute the share of all beats that training has."""
    counts = result["hardening"]["data"]["counts"]
    return float(sum(counts["train"].values()) / sum(sum(part.values()) for part in counts.values()))


def supplier(result: Record, name: str) -> str:
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


def model(split: str, stored: Record) -> str:
    """Describe a model: what it sees, how it was trained, the commands."""
    result = stored.get(split)
    lines = [f"### Split {SPLITS[split]}", ""]
    if result is None:
        return "\n".join((*lines, "not run", ""))
    facts = result["hardening"]
    counts, training = facts["data"]["counts"], facts["model"]["training"]
    held = ", ".join(f"{name} {n:,}" for name, n in counts["train"].items())
    lines += [
        f"- **Sees** {', '.join(f'`{name}`' for name in channels(result))}. {facts['model']['parameters']:,} weights.",
        f"- **Learnt from** {sum(counts['train'].values()):,} beats ({held}); {sum(counts['validation'].values()):,} "
        f"further ones for validation, {tested(result):,} for the test.",
        f"- **How**: {method(facts)} {kept(facts)}",
    ]
    lines += [f"- {words}" for words in settings(training)]
    command = stored.get("command", {}).get(split) or judging(result)
    return "\n".join((*lines, "", "```", hardening(result), command, "```", ""))


def method(facts: Record) -> str:
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


def kept(facts: Record) -> str:
    """Say how long it trained, and after which pass the network was kept."""
    training, history = facts["model"]["training"], facts["history"]
    after = f"pass {history['best']}, where the loss on attacked validation beats was lowest"
    if training.get("keep") == "last":
        after = "the last"
    minutes = history["seconds"] / 60
    return f"{history['epochs']} passes over the data took {minutes:.0f} minutes; kept is the network after {after}."


def settings(training: Record) -> list[str]:
    """Explain the settings that are not usual."""
    found = []
    if training.get("balance") == "none":
        found.append("Classes come as often as they are (`balance=none`).")
    if training.get("prior_shift"):
        shift = f"`prior_shift={training['prior_shift']:g}`"
        found.append(f"Rare classes are answered more readily than so few beats teach ({shift}).")
    if training.get("averaging"):
        found.append(f"Kept is a running average of the weights (`averaging={training['averaging']:g}`).")
    return found


def judging(result: Record) -> str:
    """Write the command that judges a hardened model, as its own command names the folder."""
    folder = f"runs/{_out(result['hardening']['command'])}"
    return f"python benchmarks/robust_ecg.py {folder} --out {folder}-judged"


def hardening(result: Record) -> str:
    """Write the command that trained it; where it was trained on this machine is nobody's concern."""
    command = str(result["hardening"]["command"])
    words = shlex.split(command)
    words[words.index("--out") + 1] = f"runs/{_out(command)}"
    return shlex.join(words)


def _out(command: str) -> str:
    words = shlex.split(command)
    return Path(words[words.index("--out") + 1]).name
