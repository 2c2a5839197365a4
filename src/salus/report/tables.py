"""Tables of the page: cells, columns, and what each column means, said once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from salus.metrics import Commonest
from salus.report import words
from salus.threats import threat_named

#: What the mark says of an AUC whose attacker stopped as soon as the guard accepted.
ONLY_PASSES = "of an attacker who only has to pass this threshold"


@dataclass(frozen=True)
class TableCell:
    """One cell of a table.

    Attributes:
        text: what it says.
        small: what it says below, in small type.
        kind: "text", "number" or "head".
        mark: a sign that something about it needs care, in words.
        shade: share from 0 to 1 that its background shows; None for none.
        link: an address that what it says leads to; empty for none.
    """

    text: str
    small: str = ""
    kind: str = "number"
    mark: str = ""
    shade: float | None = None
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table as the template takes it.

    Attributes:
        caption: says what it shows.
        head: column heads.
        rows: cells; the first of each row is its head.
        notes: columns explained here, ``(head, meaning)``.
        wide: needs the page sideways on paper.
        style: names of classes of the style sheet.
        groups: the name of the group that each row begins, empty where it begins none; () without groups.
        details: what each row says besides, ``(head, meaning)``, folded away; () without details.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    notes: tuple[tuple[str, str], ...] = ()
    wide: bool = False
    style: str = ""
    groups: tuple[str, ...] = ()
    details: tuple[tuple[tuple[str, str], ...], ...] = ()


#: Every column of every table: its head, and its meaning in plain words.
COLUMNS: dict[str, tuple[str, str]] = {
    "guard": ("Judged by", "the bare classifier, or the guard (classifier with its defences) of that name."),
    "attack": ("Attack", "how the inputs were changed, with its options; clean inputs are unchanged."),
    "threat_model": ("Threat model", "what the attacker knows; each is explained at the foot of the page."),
    "eps": (
        "eps",
        "the largest change allowed, in the units of the input, and the norm that measures it; in L0 "
        "how many pixels, moments or features may change.",
    ),
    "movable": (
        "Can change",
        "share of the values that the attack can change at all at this eps, beside what is marked, on average.",
    ),
    "n": ("Samples", "how many inputs were attacked, or belong to the row."),
    "clean_accuracy": ("Clean accuracy", "share of inputs accepted and right before any attack (good)."),
    "robust_accuracy": (
        "Robust accuracy",
        "share that is good and not fallen: the attacked input is never accepted with a wrong answer. "
        "A rejected attack counts as a success of the defence here.",
    ),
    "attack_success_rate": ("Attack success", "share of the good inputs that fall under attack."),
    "fallen_all": ("Fallen, all", "share of all inputs whose attacked form is accepted and wrong."),
    "robust_accuracy_accepted": (
        "Robust, accepted",
        "share that is good and whose attacked form is accepted and right: here rejecting does not help.",
    ),
    "rejected_clean": ("Rejected clean", "share of clean inputs that the guard turns away: false alarms."),
    "rejected_adversarial": ("Rejected attacked", "share of attacked inputs that the guard turns away."),
    "rejected_noise": (
        "Rejected noise",
        "share of inputs with random noise of the same norm and size that the guard turns away: a control, "
        "which tells a detector of attacks from a detector of any change.",
    ),
    "detection_auc": (
        "AUC, fooled",
        "how often an attacked input that fooled the classifier scores as more suspicious than a clean one: "
        "0.5 is chance, 1 is perfect; none from fewer than 50 such inputs. ⚠ marks that of an attacker who only has to "
        "pass this threshold: what lies just below it still scores above most clean inputs.",
    ),
    "detection_auc_driven": (
        "AUC, driven",
        "the same once the attacker, who keeps the label wrong and to the same eps, drives the score itself down as "
        "far as it goes: below 0.5 attacked inputs look less suspicious than clean ones.",
    ),
    "detection_auc_all": ("AUC, all", "the same over all attacked inputs, also those that fooled nobody."),
    "successes": ("Fooled", "how many attacked inputs fooled the classifier; the AUC stands on these."),
    "distance_median": ("Median change", "median distance of the attacked input from the clean one."),
    "cost_median": ("Median cost", "median of what the changes of an attacked row cost, by the file of ranges."),
    "cost_median_fallen": ("Median cost, fallen", "the same over the attacked rows that fell."),
    "worst_label": ("Worst label", "of several labels at once, the one that flips most often."),
    "label": ("Label", "one of the labels that an input may carry at once."),
    "carriers": ("Carried by", "how many inputs carry the label."),
    "flipped": (
        "Flipped",
        "of the inputs whose answer was right about this label, the share whose attacked answer is accepted and wrong "
        "about it. An attack that wants any one label wrong takes the easiest; attacked for its own sake (--label) "
        "each may fall further.",
    ),
    "sensitivity_clean": ("Sensitivity, clean", "share of those who carry the label of whom the answer says so."),
    "sensitivity_attacked": ("attacked", "share of them of whom it goes on saying so, or who are rejected."),
    "control": ("Change", "a harmless change of the kind that inputs meet every day, with its options."),
    "snr_median": (
        "Signal to noise",
        "median ratio of the signal's power about its mean to that of the change, as it came out after clipping.",
    ),
    "still_right": ("Still right", "share that is accepted and right before and after the change."),
    "rejected_changed": ("Rejected changed", "share of changed inputs that the guard turns away: more false alarms."),
    "quartile": ("Quarter", "a quarter of the inputs that fall need no larger change than this."),
    "most": ("Nine in ten", "nine in ten of those that fall need no larger change."),
    "queries": ("Queries", "forward passes through the model that one sample took, on average."),
    "monitor": (
        "Watched by",
        "who sees what each caller asks. An account that raises the alarm is refused from then on, and the attack ends "
        "with its last account; its attacker does not know of the monitor.",
    ),
    "accounts": ("Accounts", "how many an attacker has; questions go round."),
    "noticed": (
        "Noticed",
        "share of the attacks on good inputs during which the alarm was raised, before they had won.",
    ),
    "first_notice": (
        "First notice",
        "the question by which half of these attacks were noticed; 'never' where most were not.",
    ),
    "watched_success": (
        "Success, watched",
        "share of the good inputs for which an accepted, wrong answer within eps was given before the attacker was "
        "refused.",
    ),
    "unwatched_success": ("Unwatched", "the same attack's success where nobody watches."),
    "honest_refused": (
        "Honest refused",
        "share of the clean inputs of the test part that the same alarm refuses, where each caller sends theirs in "
        "order: a monitor that refuses everybody has stopped nobody.",
    ),
    "honest_alarmed": ("Honest alarms", "how many of these callers raise the alarm."),
    "passes": ("Backward", "how many of them were followed by a backward pass (a gradient)."),
    "queries_driven": (
        "Queries, driven",
        "forward passes beside these that drove down the detectors' scores of one sample, on average.",
    ),
    "seconds": ("Seconds", "how long the cell took to compute."),
    "class": ("Class", "the true class."),
    "groups": (
        "{Group}s",
        "how many {group}s the class's samples come from. ⚠ marks a class of which one {group} supplies over half: its "
        "figures are nearly that {group}'s alone.",
    ),
    "rejected": ("Rejected", "how many inputs the guard turned away; the shares in the row leave them out."),
    "sensitivity": ("Sensitivity", "share of the class's inputs, or of the ill, that are recognised as such."),
    "specificity": ("Specificity", "share of the other classes' inputs that are not taken for this class."),
    "positive_predictivity": ("Positive predictivity", "share of answers naming this class that are right."),
    "inputs": ("Inputs", "clean inputs, or those of the strongest attack (the least left right)."),
    "rejections": (
        "Rejected inputs",
        "how inputs that the guard turned away are counted: left out, or sent to a human who is taken to be right.",
    ),
    "health_accuracy": ("Accuracy", "share of inputs rightly called ill or rightly called healthy."),
    "fnr": ("FNR", "false-negative rate: share of the ill who are called healthy."),
    "npv": ("NPV", "negative predictive value: share of those called healthy who are healthy."),
    "harm": (
        "Mean harm",
        "what the answer to one input costs on average, by the weights below; its interval draws inputs again.",
    ),
    "false_alarm_rate": ("Calibrated to", "the false-alarm rate that the detectors were calibrated to."),
    "detectors": ("Defence", "what stands before the classifier."),
    "adaptive": (
        "First to succeed",
        "share of samples for which each variant's result was taken; who comes first has the easiest ones, so this "
        "does not say who wins most (--variants alone does).",
    ),
    "variant": (
        "Variant",
        "a way to attack the guard. The control knows of the defence only that it stops once an input is accepted; the "
        "union takes the worst of all.",
    ),
    "won alone": ("Accepted and wrong", "of the inputs that the guard accepts and gets right, each variant run alone."),
    "passes alone": ("Passes", "backward passes a sample, beside those of the oblivious attack where it starts there."),
    "reached": ("Reached", "samples that were right before and fall under this attack."),
    "contender": ("Audit", "the audit's folder; audits that differ in nothing but the seed are ranked by their mean."),
    "place": (
        "Place",
        "by robust accuracy; where intervals overlap, the first and the last place that they allow: who shares places "
        "cannot be told apart.",
    ),
    "each_seed": (
        "Each seed",
        "robust accuracy with each seed in percent, and their standard deviation. The interval of their mean joins the "
        "seeds' own with Student's interval of what other seeds would give.",
    ),
    "worst": ("Worst attack", "the attack that leaves least, and how many were tried."),
    "spent": ("Seconds", "how long these attacks took, all seeds together, and on what."),
    "part": ("Part", "which part of the data: training, validation, calibration (of detectors) or test."),
}


@dataclass
class Glossary:
    """Explains each column in the first table that has it, and never again.

    Attributes:
        group: what samples belong together by: ``patient``, ``lesion``; empty where they are independent.
        said: columns that were explained.
    """

    group: str = ""
    said: set[str] = field(default_factory=set)

    def notes(self, columns: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Explain those of the columns that no table before has explained."""
        new = [name for name in columns if name not in self.said and COLUMNS[name][1]]
        self.said.update(new)
        return tuple((self.head(name), COLUMNS[name][1].format(group=self.group)) for name in new)

    def head(self, column: str) -> str:
        """Give the head of a column, which may hold the word for groups."""
        return COLUMNS[column][0].format(Group=self.group.capitalize())


def heads(columns: Sequence[str]) -> tuple[str, ...]:
    """Give the heads of columns."""
    return tuple(COLUMNS[name][0] for name in columns)


def text(value: str, small: str = "", mark: str = "") -> TableCell:
    """Make a cell of words."""
    return TableCell(value, small, "text", mark)


def head(value: str, small: str = "", mark: str = "") -> TableCell:
    """Make the head of a row."""
    return TableCell(value, small, "head", mark)


def rate(record: Mapping[str, Any] | None, name: str) -> TableCell:
    """Make a cell of a share with its interval."""
    if record is None:
        return TableCell("–")
    return TableCell(
        words.percent(record.get(name)), words.interval(record.get(f"{name}_low"), record.get(f"{name}_high"))
    )


def area(record: Mapping[str, Any], name: str) -> TableCell:
    """Make a cell of an AUC with its interval."""
    value, low, high = (record.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return TableCell("–")
    return TableCell(f"{value:.3f}", "" if low is None or high is None else f"{low:.3f}–{high:.3f}")


def passing_area(record: Mapping[str, Any]) -> TableCell:
    """Make a cell of the AUC over inputs that fooled, marked where its attacker only had to pass the threshold."""
    cell = area(record, "detection_auc")
    content = threat_named(record["threat_model"]).stops_at_threshold if record.get("threat_model") else False
    return replace(cell, mark=ONLY_PASSES) if content and record.get("detection_auc") is not None else cell


def always(constant: Commonest | None, columns: Sequence[str]) -> list[tuple[TableCell, ...]]:
    """Make the row of always answering the commonest class, which no attack changes; none where it is not known.

    Args:
        constant: that answer.
        columns: names of the table's; what the constant has no figure in stays empty.
    """
    if constant is None:
        return []
    share = TableCell(words.percent(constant.share), "whatever is done")
    figures = {
        "clean_accuracy": TableCell(words.percent(constant.share)),
        "robust_accuracy": share,
        "still_right": share,
        "attack_success_rate": TableCell(words.percent(0.0)),
    }
    first = head(f"always {constant.label!r}", "the commonest class")
    return [(first, *(figures.get(name, TableCell("", kind="text")) for name in columns[1:]))]


def columns_with_values(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Keep the columns in which any record has a value."""
    return [name for name in columns if any(record.get(name) is not None for record in records)]
