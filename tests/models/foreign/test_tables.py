"""Trees and pipelines of other libraries: read from files of theirs, checked, audited and guarded."""

import importlib.util
import io
import json
import random
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result

from salus.audit import Plan, run_audit
from salus.classifier import Classifier, check_classifier, load_user_model
from salus.cli import main
from salus.data import Splits, load
from salus.errors import BundleError, ModelError, OptionError, SalusError
from salus.guard import Guard
from salus.jobs import fit_bundle

skops_io = pytest.importorskip("skops.io", reason="the extra skops is not installed")
xgboost = pytest.importorskip("xgboost", reason="the extra trees is not installed")
lightgbm = pytest.importorskip("lightgbm", reason="the extra trees is not installed")


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of numbers, counts and words, whose label follows from them."""
    rng = np.random.default_rng(0)
    n = 600
    age, score = rng.uniform(20, 90, n), rng.normal(0, 1, n)
    falls, ward = rng.integers(0, 5, n), rng.choice(["east", "north", "west"], n)
    risk = 0.05 * (age - 55) + score + 0.5 * (falls - 2) + np.where(ward == "north", 1.5, -0.5)
    sick = np.where(risk + rng.normal(0, 0.5, n) > 0, "sick", "well")
    path = tmp_path_factory.mktemp("patients") / "patients.csv"
    pd.DataFrame({"age": age, "blood score": score, "falls": falls, "ward": ward, "label": sick}).to_csv(
        path, index=False
    )
    return path


@pytest.fixture(scope="module")
def models(patients: Path) -> dict[str, Path]:
    """Models that were trained on that table by their own libraries, and saved by them."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    table = pd.read_csv(patients)
    x, y = table.drop(columns="label"), table["label"]
    numbers = x.drop(columns="ward")
    folder = patients.parent
    numeric = ["age", "blood score", "falls"]
    columns = ColumnTransformer([("numbers", StandardScaler(), numeric), ("words", OneHotEncoder(), ["ward"])])
    saved = {
        "pipeline": make_pipeline(columns, LogisticRegression()).fit(x, y),
        "forest": make_pipeline(columns, RandomForestClassifier(15, max_depth=6, random_state=0)).fit(x, y),
        "histogram": HistGradientBoostingClassifier(max_iter=15).fit(numbers, y),
    }
    paths = {}
    for name, model in saved.items():
        paths[name] = folder / f"{name}.skops"
        skops_io.dump(model, paths[name])
    numbered = (y == "well").astype(int)
    booster = xgboost.XGBClassifier(n_estimators=15, max_depth=3, n_jobs=1).fit(numbers, numbered)
    for name in ("trees.json", "trees.ubj"):
        paths[name] = folder / name
        booster.save_model(paths[name])
    paths["leaves.txt"] = folder / "leaves.txt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        light = lightgbm.LGBMClassifier(n_estimators=15, verbose=-1, n_jobs=1).fit(numbers, numbered)
    light.booster_.save_model(paths["leaves.txt"])
    return paths


def _load(patients: Path, **options: Any) -> Splits:
    return load(patients, categories="ward", scale=True, integer="falls", **options)


@pytest.fixture(scope="module")
def splits(patients: Path) -> Splits:
    return _load(patients)


def _of(path: Path, splits: Splits, spec: str = "") -> Classifier:
    test = splits.test
    return load_user_model(f"{path}{spec}", classes=test.classes, shape=test.x.shape[1:], bounds=test.bounds, data=test)


def _salus(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


@pytest.mark.parametrize("name", ["pipeline", "forest", "histogram", "trees.json", "trees.ubj", "leaves.txt"])
def test_a_model_of_another_library_answers_as_it_does_there_and_again_when_saved(
    name: str, models: dict[str, Path], splits: Splits, patients: Path, tmp_path: Path
) -> None:
    classifier = _of(models[name], splits)
    logits = classifier.predict(splits.test.x)
    table = pd.read_csv(patients).iloc[[int(row.split()[1]) - 1 for row in splits.test.names]]
    numbers = table[["age", "blood score", "falls"]]
    if name.endswith((".json", ".ubj")):
        booster = xgboost.XGBClassifier()
        booster.load_model(models[name])
        expected = booster.predict_proba(numbers)
    elif name.endswith(".txt"):
        p = lightgbm.Booster(model_file=str(models[name])).predict(numbers)
        expected = np.stack([1 - p, p], 1)
    else:
        trusted = skops_io.get_untrusted_types(file=models[name])
        model = skops_io.load(models[name], trusted=trusted)
        expected = model.predict_proba(numbers if name == "histogram" else table.drop(columns="label"))
    if not name.endswith((".json", ".ubj", ".txt")):
        expected = expected[:, [["sick", "well"].index(word) for word in splits.test.classes]]
    agree = np.isclose(logits.softmax(1).numpy(), expected, atol=1e-4).all(1)
    assert agree.mean() > 0.95  # what lay outside the range of training was clipped to it
    assert classifier.without_gradients is not None and "no gradients" in classifier.without_gradients
    classifier.save(tmp_path)
    again = Classifier.load(tmp_path)
    assert torch.equal(again.predict(splits.test.x), logits)
    assert again.fingerprint() == classifier.fingerprint()


def test_a_gradient_asked_of_trees_is_refused_in_a_sentence(models: dict[str, Path], splits: Splits) -> None:
    classifier = _of(models["trees.ubj"], splits)
    x = splits.test.x[:4].clone().requires_grad_()
    with pytest.raises(ModelError, match="shows no gradients; attack it by its scores or its answers"):
        classifier(x).sum().backward()


def test_check_audit_and_guard_of_a_pipeline_with_a_column_transformer(
    models: dict[str, Path], patients: Path, tmp_path: Path
) -> None:
    model = models["pipeline"]
    data = {"data": str(patients), "categories": "ward", "scale": True, "integer": "falls"}
    options = ("--data", patients, "--categories", "ward", "--scale", "--integer", "falls")
    looked = _salus("model", "check", model, *options)
    assert looked.exit_code == 0, looked.output
    for words in (
        "ColumnTransformer > LogisticRegression",
        "each sample for itself",
        "always answering",
        "attacks by its",
    ):
        assert words in looked.output
    assert "they ask for gradients, and it shows none" in looked.output
    outcome = run_audit(
        Plan.of({**data, "model": str(model), "attack": ["square:queries=60", "hop-skip-jump:queries=60", "pgd"],
                 "eps": [0.1], "samples": 12, "defence": "i-defender:layers=logits",
                 "threat_model": ["white-box", "decision-only"]}),
        tmp_path / "audit",
    )  # fmt: skip
    rows = {(row["attack"], row["guard"], row["threat_model"]): row for row in outcome.cells}
    assert all(row["error"] is None for row in outcome.cells)
    bare = rows["square", "none", "white-box"]
    assert bare["robust_accuracy"] < bare["clean_accuracy"]
    assert any("PGD" in sentence and "shows none" in sentence for sentence in outcome.meta["warnings"])
    assert not any(attack == "pgd" for attack, _, _ in rows)
    bundle = fit_bundle(
        Plan.of({**data, "model": str(model), "defence": "i-defender:layers=logits"}), tmp_path / "bundle"
    )
    guard = Guard.load(tmp_path / "bundle")
    raw = tmp_path / "raw.csv"
    pd.read_csv(patients).drop(columns="label").head(5).to_csv(raw, index=False)
    assert len(guard.judge(raw).names) == 5
    assert bundle.right > 0.7


def test_attacks_keep_words_and_whole_numbers_possible(models: dict[str, Path], splits: Splits) -> None:
    from salus.attacks import parse_attack
    from salus.audit.plan import marks

    classifier, test = _of(models["pipeline"], splits), splits.test
    attack = parse_attack("square:eps=0.3,queries=80", bounds=test.bounds, **marks(test))
    x_adv = attack(classifier, test.x[:30], test.y[:30])
    made = test.preprocessor
    assert made is not None
    raw, before = made.inverse(x_adv), made.inverse(test.x[:30])
    falls = raw[:, test.features.index("falls")]
    assert torch.allclose(falls, falls.round(), atol=1e-4)
    words = [place for place, name in enumerate(test.features) if name.startswith("ward=")]
    assert torch.equal(raw[:, words], before[:, words])
    assert not torch.equal(raw, before)


def test_columns_are_matched_by_name_and_a_missing_one_is_named(
    models: dict[str, Path], patients: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(patients)
    turned, lacking = tmp_path / "turned.csv", tmp_path / "lacking.csv"
    table[["falls", "label", "ward", "blood score", "age"]].to_csv(turned, index=False)
    table.drop(columns="age").to_csv(lacking, index=False)
    there, here = _load(patients), _load(turned)
    a, b = (_of(models["pipeline"], each).predict(each.test.x) for each in (there, here))
    assert torch.allclose(a, b, atol=1e-4)
    with pytest.raises(ModelError, match="reads a column 'age', which the data lack"):
        _of(models["pipeline"], _load(lacking))


def test_a_model_that_learnt_scaled_values_is_given_them_when_it_says_so(splits: Splits, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(splits.train.x.numpy(), splits.train.y.numpy())
    skops_io.dump(model, tmp_path / "scaled.skops")
    test = splits.test
    scaled = _of(tmp_path / "scaled.skops", splits, ":inputs=prepared")
    assert np.allclose(scaled.predict(test.x).softmax(1), model.predict_proba(test.x.numpy()), atol=1e-5)
    assert not any("their own units" in note for note in scaled.notes)


@pytest.mark.parametrize("attack", ["pgd", "fgsm"])
def test_an_audit_by_gradients_alone_is_refused_with_what_to_use(
    attack: str, models: dict[str, Path], patients: Path, tmp_path: Path
) -> None:
    plan = {
        "data": str(patients),
        "categories": "ward",
        "scale": True,
        "model": str(models["forest"]),
        "attack": attack,
    }
    with pytest.raises(OptionError, match=r"None of these attacks goes with .*\(square, hop-skip-jump, cgba\)"):
        run_audit(Plan.of(plan), tmp_path / "audit")
    assert not (tmp_path / "audit").exists()


class _Owned:
    """What a hostile file would have run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("/tmp/salus-was-owned"),))


def test_pickles_and_joblib_are_refused_with_the_way_out(splits: Splits, tmp_path: Path) -> None:
    import pickle

    for name in ("model.skops", "model.pkl", "model.joblib"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps(_Owned()))
        with pytest.raises((ModelError, OptionError), match=r"run code.*skops"):
            Plan.of({"data": "breast-cancer", "model": str(path)})
            from salus.audit.model import parse_model

            parse_model(str(path))
            _of(path, splits)
    assert not Path("/tmp/salus-was-owned").exists()


def _edited(path: Path, change: Any) -> bytes:
    """Write a skops file anew with its schema changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(out, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "schema.json":
                schema = json.loads(content)
                change(schema)
                content = json.dumps(schema).encode()
            copy.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.update(__module__="os", __class__="system", __loader__="TypeNode"), "os.system"),
        (lambda s: s.update(__module__="subprocess", __class__="Popen"), "subprocess.Popen"),
        (
            lambda s: s["content"].update(
                x={"__class__": "partial", "__module__": "functools", "__loader__": "PartialNode"}
            ),
            "functools.partial",
        ),
        (
            lambda s: s["content"].update(
                x={"__class__": "attrgetter", "__module__": "operator", "__loader__": "OperatorFuncNode", "attrs": {}}
            ),
            "operator.attrgetter",
        ),
    ],
)
def test_skops_files_with_other_types_are_refused_by_name(
    change: Any, sentence: str, models: dict[str, Path], splits: Splits, tmp_path: Path
) -> None:
    path = tmp_path / "hostile.skops"
    path.write_bytes(_edited(models["pipeline"], change))
    with pytest.raises(ModelError, match=f"{sentence}.*nothing of it was loaded"):
        _of(path, splits)


def test_trees_that_lead_nowhere_or_round_in_circles_are_refused(
    models: dict[str, Path], splits: Splits, tmp_path: Path
) -> None:
    boosted = json.loads(models["trees.json"].read_text())
    trees = boosted["learner"]["gradient_booster"]["model"]["trees"]
    trees[0]["left_children"][0], trees[0]["left_children"][1] = 0, 0
    circle = tmp_path / "circle.json"
    circle.write_text(json.dumps(boosted))
    text = models["leaves.txt"].read_text().splitlines()
    at = next(place for place, line in enumerate(text) if line.startswith("left_child="))
    text[at] = "left_child=" + " ".join(["9999", *text[at].split("=")[1].split()[1:]])
    nowhere = tmp_path / "nowhere.lgb"
    nowhere.write_text("\n".join(text))
    for path in (circle, nowhere):
        with pytest.raises(ModelError, match=r"damaged|cannot be read"):
            _of(path, splits)


@pytest.mark.parametrize("name", ["pipeline", "forest", "trees.json", "trees.ubj", "leaves.txt"])
def test_damaged_files_end_in_a_sentence(name: str, models: dict[str, Path], splits: Splits, tmp_path: Path) -> None:
    content = models[name].read_bytes()
    path = tmp_path / models[name].name
    last = content.find(b"end of trees") if name.endswith(".txt") else len(content)  # behind it stand remarks alone
    for cut in (0, last // 2, last - 20):
        path.write_bytes(content[:cut])
        with pytest.raises((ModelError, OptionError, BundleError)):
            _of(path, splits)


#: Mutations of XGBoost's file; each is read by a process of its own, which takes a second or two.
FEW, MANY = 5, 300


def _faults(content: bytes, numbers: range, splits: Splits, path: Path) -> list[str]:
    """Damage a file in several ways, and list what neither answers nor is refused in a sentence."""
    place = Path(__file__).parents[2] / "preprocessing" / "test_mutated_files.py"
    spec = importlib.util.spec_from_file_location("mutations", place)
    assert spec is not None and spec.loader is not None
    mutations = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutations)
    others, faults = {"json": b'{"learner": {}}', "zip": b"PK" * 40}, []
    for number in numbers:
        path.write_bytes(content)
        forged, how = mutations.mutated(path, others, "", random.Random(number))
        path.write_bytes(forged)
        try:
            classifier = _of(path, splits)
            check_classifier(classifier, splits.test)  # as whoever uses it does
            if not bool(classifier.predict(splits.test.x).isfinite().all()):
                faults.append(f"{number}, {how}: answers without numbers")
        except SalusError as refusal:
            if not str(refusal).endswith(".") or "\n" in str(refusal):
                faults.append(f"{number}, {how}: {refusal!r}")
        except Exception as fault:
            faults.append(f"{number}, {how}: {fault!r}")
    return faults


def test_damaged_trees_of_xgboost_answer_or_are_refused(
    models: dict[str, Path], splits: Splits, tmp_path: Path
) -> None:
    assert not _faults(models["trees.ubj"].read_bytes(), range(FEW), splits, tmp_path / "trees.ubj")


@pytest.mark.soak
def test_many_damaged_trees_of_xgboost_answer_or_are_refused(
    models: dict[str, Path], splits: Splits, tmp_path: Path
) -> None:
    assert not _faults(models["trees.ubj"].read_bytes(), range(FEW, MANY), splits, tmp_path / "trees.ubj")
