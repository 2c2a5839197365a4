"""What was audited: data, model, guards, the run itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from salus.metrics import Commonest
from salus.report import words
from salus.report.run_folder import Run
from salus.report.tables import Glossary, Table, TableCell, head, heads, rate, text

Facts = list[tuple[str, str]]


def about(run: Run, glossary: Glossary) -> dict[str, Any]:
    """Say what was audited, from which source, and how to repeat it."""
    data, provenance = run.meta["data"], run.meta["data"].get("provenance") or {}
    return {
        "run": _run(run.meta),
        "command": run.meta.get("command") or "",
        "data": _facts(
            ("Name", data.get("name")),
            (
                "Kind",
                f"{data['kind']}, each sample {' × '.join(str(side) for side in data.get('shape', []))}",
            ),
            ("Values", " to ".join(f"{bound:g}" for bound in data.get("bounds", []))),
            ("Inputs are prepared", (data.get("preprocessor") or {}).get("text")),
            ("Disease classes", ", ".join(data.get("positive") or [])),
            ("Source", provenance.get("source")),
            ("Version", provenance.get("version")),
            ("Licence", provenance.get("licence")),
            ("Split", provenance.get("split") or data.get("split")),
            ("Source checksum", provenance.get("checksum")),
            ("Fingerprint of the test part", data.get("fingerprint")),
        ),
        "dropped": [
            f"{words.number(drop['count'])} × {drop['what']}: {drop['reason']}"
            for drop in provenance.get("dropped") or []
        ],
        "notes": list(provenance.get("notes") or []),
        "counts": _counts(run, glossary),
        "model": _model(run.meta.get("model") or {}, run.meta.get("label_cleaning") or {}),
        "remarks": list((run.meta.get("model") or {}).get("remarks") or []),
        "guards": _guards(run, glossary),
    }


def _run(meta: Mapping[str, Any]) -> Facts:
    versions = ", ".join(f"{name} {version}" for name, version in (meta.get("versions") or {}).items())
    return _facts(
        ("Salus", meta.get("salus")),
        ("With", versions),
        ("Made", meta.get("created")),
        ("Seed", meta.get("seed")),
        ("Device", f"{meta.get('device')}, {meta.get('threads')} threads"),
        ("Time", f"{words.number(meta.get('seconds'))} seconds"),
        ("Attacked samples", words.number(meta.get("samples"))),
    )


def _endpoint(endpoint: Mapping[str, Any]) -> Facts:
    """Say where a model behind HTTP was asked, how, and how often; nothing of one that was here."""
    if not endpoint:
        return []
    outputs, asked = endpoint.get("outputs"), words.number(endpoint.get("asked"))
    budget = endpoint.get("budget")
    return _facts(
        ("Endpoint", endpoint.get("url")),
        ("Asked by", endpoint.get("interface")),
        ("It answers with", {"verdicts": "verdicts of a guard"}.get(str(outputs), outputs)),
        ("Bundle", endpoint.get("bundle") or "it does not say"),
        ("Inputs asked about", asked + (f" of {words.number(budget)} allowed" if budget else "")),
    )


def _model(model: Mapping[str, Any], cleaning: Mapping[str, Any]) -> Facts:
    training = model.get("training") or {}
    accuracy = words.percent(model.get("clean_accuracy"))
    bounds = words.interval(model.get("clean_accuracy_low"), model.get("clean_accuracy_high"))
    constant = model.get("commonest")
    beside = f"; {Commonest(**constant)}" if constant else ""
    return _facts(
        ("Name", model.get("name")),
        ("Parameters", words.number(model.get("parameters"))),
        (
            "Accuracy on the whole test part",
            None if model.get("endpoint") else (f"{accuracy} ({bounds})" if bounds else accuracy) + beside,
        ),
        (
            "Training",
            words.option_text({k: v for k, v in training.items() if v is not None and not isinstance(v, (dict, list))}),
        ),
        ("Label cleaning", f"{cleaning['method']}, {words.option_text(cleaning['options'])}" if cleaning else None),
        ("Fingerprint", model.get("fingerprint")),
    ) + _endpoint(model.get("endpoint") or {})


def _counts(run: Run, glossary: Glossary) -> Table | None:
    counts: Mapping[str, Mapping[str, int]] = run.meta["data"].get("counts") or {}
    if not counts:
        return None
    groups = run.meta["data"].get("groups") or {}
    rows = tuple(
        (
            head(part),
            *(TableCell(words.number(numbers.get(name, 0))) for name in run.classes),
            TableCell(words.number(sum(numbers.values()))),
            *((TableCell(words.number(groups.get(part))),) if groups else ()),
        )
        for part, numbers in counts.items()
    )
    titles = ("Part", *run.classes, "All", *((glossary.head("groups"),) if groups else ()))
    return Table("Samples of each class", titles, rows, glossary.notes(["part"]))


def _guards(run: Run, glossary: Glossary) -> Table | None:
    guards: Mapping[str, Mapping[str, Any]] = run.meta.get("guards") or {}
    if not guards:
        return None
    rows = []
    for name, guard in guards.items():
        rows.append(
            (
                head(name, str(guard.get("fingerprint") or "")[:12]),
                text(str(guard.get("text") or ""), _mitigations(run, guard.get("mitigations") or [])),
                TableCell(words.percent(guard.get("false_alarm_rate") or None)),
                rate(run.clean(name), "rejected_clean"),
            )
        )
    columns = ["guard", "detectors", "false_alarm_rate", "rejected_clean"]
    return Table("Guards", heads(columns), tuple(rows), glossary.notes(columns))


def _mitigations(run: Run, ids: Sequence[str]) -> str:
    """Name a guard's mitigations with the edition that has them."""
    named: dict[str, list[str]] = {}
    for key in ids:
        edition, name = run.codes.get(key, ("MITRE ATLAS", ""))
        named.setdefault(edition, []).append(f"{key} {name}".strip())
    return "; ".join(f"{edition}: {', '.join(names)}" for edition, names in named.items())


def _facts(*pairs: tuple[str, Any]) -> Facts:
    return [(name, str(value)) for name, value in pairs if value not in (None, "", "–")]
