"""Tables of attacks that the thesis does not have: stronger ones, those that want harm, curves, and other sizes."""

from __future__ import annotations

from salus.metrics.wording import NOTHING, number, percent, rate
from salus_studies.frame.markdown import Cells, Record, done, find, markdown, not_run
from salus_studies.skin_lesion import baselines
from salus_studies.skin_lesion.cells import COPY, KNOWS
from salus_studies.skin_lesion.measured import answered, cell, commonest, main_network, spelled, title
from salus_studies.skin_lesion.published import ATTACKS, NETWORKS
from salus_studies.skin_lesion.tables import written

ATTACK_TITLES = {
    **ATTACKS,
    "pgd": "PGD",
    "pgd-4": "PGD at 4/255",
    "pgd-eot": "PGD over jittered copies",
    "auto-attack": "AutoAttack",
    "fgsm-harm": "FGSM that wants harm",
    "pgd-harm": "PGD that wants harm",
    "uap-benign": "UAP that wants “benign”",
    "uap-malignant": "UAP that wants “malignant”",
    "uap-art": "UAP, sample by sample (ART)",
}
MODEL_TITLES = {
    "plain": "plain",
    "retrained-fgsm": "retrained on FGSM",
    "retrained-uap": "retrained on UAP",
    "retrained-clean": "gone on as long on clean images",
    "hardened": "hardened",
    "distilled": "defensive distillation",
    "regularised": "gradient regularisation",
}
_PURIFIER_TITLES = {
    None: "none",
    "low-level": "WebP + flip",
    "webp": "WebP alone",
    "flip": "flip alone",
    "alternate": "alternate generator",
}


def purifier_title(name: str | None) -> str:
    """Call a purifier."""
    return _PURIFIER_TITLES.get(name) or f"WebP at quality {str(name).removeprefix('webp-')}"


def figures(record: Record | None) -> list[str]:
    """Write how many images, accuracy, recall, malignant missed, and harmless called malignant."""
    if record is None or not done(record):
        return [not_run(record), "", "", "", ""]
    health = record["figures"]["health"]["medical"]
    return [
        str(record["n"]),
        written(record, "accuracy"),
        written(record, "recall"),
        written(record, "fnr", "medical"),
        percent(alarmed(health)),
    ]


def alarmed(health: Record) -> float | None:
    """Share of the healthy that are called ill."""
    if "confusion" not in health:
        return None if not health.get("healthy") else health["alarmed"] / health["healthy"]
    _, (called, spared) = health["confusion"]["matrix"]
    return None if called + spared == 0 else called / (called + spared)


FIGURES = ["images", "accuracy", "recall", "malignant missed", "harmless called malignant"]


def baseline_rows(results: Record, before: int) -> list[list[str]]:
    """Rows of what is scored without a look at the images, under headings as :func:`figures` fills them."""
    counts = baselines.class_counts(results, main_network(results))
    rows = []
    for name, words in baselines.NAMES.items() if counts else ():
        known = dict(counts or {})
        accuracy, recall = (percent(baselines.scores(known, name, each)) for each in ("accuracy", "recall"))
        missed = baselines.scores(known, name, "fnr", "medical") or 0.0
        rows.append(
            [
                words,
                *[""] * (before - 1),
                str(sum(known.values())),
                accuracy,
                recall,
                percent(missed),
                percent(1 - missed),
            ]
        )
    return rows


def strong_table(results: Record) -> str:
    """Every model and purifier as it is and under attackers who know all of what they attack."""
    lines: list[Cells] = []
    for network in NETWORKS:
        for record in results.get("cells") or ():
            known = record.get("attacker") == KNOWS or record["attack"] == "none"
            purifier = record.get("purifier")
            left_out = purifier in ("webp", "flip", "alternate") or str(purifier).startswith("webp-")
            if record["network"] != network or not known or left_out or record["attack"] in ("uap-art", "pgd-harm"):
                continue
            if record["attack"] in ("fgsm-harm", "uap-benign", "uap-malignant"):
                continue
            name = [title(results, network), MODEL_TITLES[record["model"]], purifier_title(purifier)]
            evenly = ", evenly drawn" if record["attack"] == "auto-attack" else ""
            lines.append([*name, f"{ATTACK_TITLES[record['attack']]}{evenly}", *figures(record)])
    order = {name: place for place, name in enumerate(MODEL_TITLES.values())}
    networks = [title(results, network) for network in NETWORKS]
    lines.sort(key=lambda line: (networks.index(line[0]), order[line[1]], line[2] != "none"))
    return markdown(["network", "model", "purifier", "attack", *FIGURES], [*lines, *baseline_rows(results, 4)], 4)


def harm_table(results: Record) -> str:
    """Attackers who want any wrong answer beside those who want the malignant called benign, and the reverse."""
    rows: list[Cells] = []
    for network in NETWORKS:
        attacks = ("none", "fgsm", "fgsm-harm", "pgd", "pgd-harm", "uap", "uap-art", "uap-benign", "uap-malignant")
        for attack in attacks:
            record = cell(results, network, attack, "none", attacker=None if attack == "none" else KNOWS)
            rows.append([title(results, network), "plain", ATTACK_TITLES[attack], *figures(record)])
        for model in ("retrained-clean", "retrained-fgsm", "retrained-uap", "hardened"):
            record = find(
                results.get("cells"), network=network, model=model, purifier=None, attack="pgd-harm", attacker=KNOWS
            )
            if model != "hardened" or network == main_network(results):
                rows.append([title(results, network), MODEL_TITLES[model], ATTACK_TITLES["pgd-harm"], *figures(record)])
    return markdown(["network", "model", "attack", *FIGURES], [*rows, *baseline_rows(results, 3)], 3)


def curve_table(results: Record) -> str:
    """Universal perturbations of growing eps: what they change, and how answers collapse into a class or two."""
    lines: list[Cells] = []
    for record in results.get("sweep") or ():
        name = [title(results, record["network"]), f"{255 * record['eps']:.4g}/255"]
        if not done(record):
            lines.append([*name, not_run(record), *[""] * 7])
            continue
        answers = record.get("answered")
        shares = [percent(commonest(answers, most)) for most in (1, 2)] if answers else [NOTHING] * 2
        lines.append(
            [
                *name,
                str(record.get("images", NOTHING)),
                percent(record["fooling_rate"]),
                *(percent(record.get(key)) for key in ("accuracy", "macro_recall", "fnr")),
                *shares,
                "chosen" if record.get("chosen") else "",
            ]
        )
    for network in NETWORKS:
        record = cell(results, network, "uap-art", "none", attacker=KNOWS)
        if record is not None and done(record):
            many = ((results.get("meta") or {}).get("settings") or {}).get("art_images", NOTHING)
            shares = [percent(commonest(answered(record), most)) for most in (1, 2)]
            rates = [percent((spelled(record, *look) or (None,))[0]) for look in _LOOKS]
            eps = f"{255 * record['eps']:.4g}/255"
            lines.append([f"{title(results, network)}, ART", eps, str(many), NOTHING, *rates, *shares, ""])
    header = [
        "network",
        "eps",
        "images fitted to",
        "answers changed, validation",
        "accuracy",
        "recall",
        "malignant missed",
        "commonest answer",
        "commonest two",
        "",
    ]
    return markdown(header, lines, 2)


_LOOKS = (("accuracy", "thesis"), ("recall", "thesis"), ("fnr", "medical"))


def purifier_table(results: Record) -> str:
    """WebP and flip, each alone and together, clean and attacked: accuracy, and the malignant missed."""
    lines: list[Cells] = []
    for network in NETWORKS:
        for purifier in (None, "low-level", "webp", "flip"):
            defence = purifier or "none"
            looks = [("none", None)] + [(attack, who) for attack in ("fgsm", "uap") for who in (COPY, KNOWS)]
            row = []
            for attack, who in looks:
                record = cell(results, network, attack, defence, attacker=None if purifier is None else who)
                row.append(_both(record))
            lines.append([title(results, network), purifier_title(purifier), *row])
    header = ["network", "purifier", "clean", "FGSM, unaware", "FGSM, knows", "UAP, unaware", "UAP, knows"]
    return markdown(header, lines, 2)


def _both(record: Record | None) -> str:
    if record is None or not done(record):
        return not_run(record)
    accuracy, missed = spelled(record, "accuracy"), spelled(record, "fnr", "medical")
    images = f" ({record['n']})" if record.get("rows") else ""
    return f"{percent(accuracy and accuracy[0])} / {percent(missed and missed[0])}{images}"


def resolution_table(results: Record) -> str:
    """The main network at several sizes, as it is and under FGSM at 2/255."""
    lines: list[Cells] = []
    for record in results.get("resolution") or ():
        words = {"none": "no attack", "fgsm": "FGSM", "fgsm-harm": ATTACK_TITLES["fgsm-harm"]}[record["attack"]]
        lines.append([title(results, record["network"]), record["size"], words, *figures(record)])
    if not lines:
        lines = [["", "", not_run(None), *[""] * len(FIGURES)]]
    return markdown(["network", "pixels", "attack", *FIGURES], [*lines, *baseline_rows(results, 3)], 3)


def thresholds_table(results: Record) -> str:
    """The plain and the hardened model asked for malignant or not."""
    lines: list[Cells] = []
    for record in results.get("thresholds") or ():
        if not done(record):
            lines.append([record["model"], not_run(record), *[""] * 7])
            continue
        lines += [
            [
                record["model"],
                str(record.get("n", NOTHING)),
                percent(row["allowed"], 0),
                number(row["threshold"]),
                rate(row, "fnr"),
                rate(row, "fnr_attacked"),
                _times(row["fnr_attacked"], row["fnr"]),
                rate(row, "specificity"),
                rate(row, "specificity_attacked"),
            ]
            for row in record["rows"]
        ]
    header = [
        "model",
        "attacked images",
        "chosen to miss",
        "threshold",
        "FNR clean",
        "FNR attacked",
        "times",
        "specificity clean",
        "attacked",
    ]
    return markdown(header, lines)


def _times(after: float | None, before: float | None) -> str:
    return NOTHING if not after or not before else f"{after / before:.2f}"
