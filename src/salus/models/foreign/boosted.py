"""Gradient-boosted trees: XGBoost in JSON or UBJ, LightGBM in its text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from salus.errors import ModelError
from salus.models.foreign.apart import read_apart
from salus.models.foreign.form import Built, Form, library, one_sentence
from salus.models.foreign.gradient_free import GradientFree, log_of, two_of
from salus.models.foreign.rows import Rows, rows_for
from salus.models.foreign.tree_checks import refuse_tree
from salus.models.reading import Inputs, Reading

#: What a process apart runs on a file first.
_XGBOOST = "import sys, xgboost as x; b = x.Booster(); b.load_model(bytearray(sys.stdin.buffer.read())); b.save_raw()"
_LIGHTGBM = "import sys, lightgbm as l; l.Booster(model_str=sys.stdin.buffer.read().decode())"


class XGBoostFile(Form):
    """A model that ``Booster.save_model`` wrote."""

    name: ClassVar[str] = "xgboost"
    title: ClassVar[str] = "an XGBoost model"
    suffix: ClassVar[str] = ".ubj"
    suffixes: ClassVar[tuple[str, ...]] = (".ubj",)
    extra: ClassVar[str] = "trees"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Tell it by its name, or by how its JSON begins."""
        text = path.suffix.lower() == ".json" and (b'"learner"' in head or b'"learner_model_param"' in head)
        return super().recognises(path, head) or text

    def build(self, content: bytes, reading: Reading, inputs: Inputs, place: str) -> Built:
        """Load the booster, and look at its trees before they are followed."""
        xgboost = library("xgboost", self.extra, "An XGBoost model")

        def read() -> tuple[Any, Any]:
            booster = xgboost.Booster()
            booster.load_model(bytearray(content))
            return booster, json.loads(bytes(booster.save_raw("json")))

        if content[:1] not in (b"{",) or content[:2] == b"\x80\x04":
            raise ModelError(
                f"{place} is no JSON or UBJ of XGBoost's; save the model by booster.save_model('model.ubj'). Pickles "
                "and the old binary form are not read."
            )
        read_apart(_XGBOOST, content, place, self.title)
        booster, model = one_sentence(place, self.title, read)
        lengths = {len(each) for each in (booster.feature_names, booster.feature_types) if each is not None}
        if lengths - {booster.num_features()}:
            raise ModelError(
                f"{place} names {lengths.pop()} columns and reads {booster.num_features()}; it is damaged."
            )
        learner = one_sentence(place, self.title, lambda: _learner(model, booster.num_features(), place))
        objective = str(learner["objective"]["name"])
        if not objective.startswith(("binary:", "multi:")) or objective == "binary:hinge":
            raise ModelError(f"{place} was trained for {objective!r}, which gives no scores of classes.")
        count = max(int(learner["learner_model_param"]["num_class"]), 2)
        _refuse_other_classes(count, inputs, place)
        rows, reading, notes = rows_for(booster.feature_names, booster.num_features(), reading, inputs)
        _refuse_words(rows, place)
        return Built(XGBoostModule(content, booster, rows), reading, (*notes, *_numbered(inputs)))


class XGBoostModule(GradientFree):
    """A booster.

    Args:
        content: the file that it came in.
        booster: the trees.
        rows: how x becomes its rows.
    """

    undoes: ClassVar[bool] = True

    def __init__(self, content: bytes, booster: Any, rows: Rows) -> None:
        super().__init__(content, "XGBoost's sum of trees")
        self._booster, self._rows = booster, rows

    def answer(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return logits ``[N, K]``: the sums of the leaves."""
        import xgboost

        booster = self._booster
        rows = xgboost.DMatrix(
            self._rows.matrix(x).astype(np.float32),
            feature_names=booster.feature_names,
            feature_types=booster.feature_types,
            enable_categorical=True,
        )
        z = np.asarray(booster.predict(rows, output_margin=True), np.float64)
        return two_of(z) if z.ndim == 1 else z


def _learner(model: Any, features: int, place: str) -> Any:
    """Check all trees of a model in JSON and return its learner.

    Raises:
        ModelError: one is broken.
    """
    learner = model["learner"]
    booster = learner["gradient_booster"]
    booster = booster.get("gbtree", booster)  # of dart
    for tree in booster.get("model", {}).get("trees", ()):
        left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
        refuse_tree(left, right, np.array(tree["split_indices"]), left == -1, features, place)
    return learner


class LightGBMFile(Form):
    """A model that ``Booster.save_model`` wrote, in text."""

    name: ClassVar[str] = "lightgbm"
    title: ClassVar[str] = "a LightGBM model"
    suffix: ClassVar[str] = ".lgb.txt"
    suffixes: ClassVar[tuple[str, ...]] = (".lgb", ".lgbm")
    extra: ClassVar[str] = "trees"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Tell it by its name, or by its first words."""
        return super().recognises(path, head) or head.startswith(b"tree\nversion=v")

    def build(self, content: bytes, reading: Reading, inputs: Inputs, place: str) -> Built:
        """Check the text before LightGBM reads it, which follows what stands there."""
        lightgbm = library("lightgbm", self.extra, "A LightGBM model")
        text = one_sentence(place, self.title, lambda: content.decode())
        head = one_sentence(place, self.title, lambda: _checked(text, place))
        if not str(head.get("objective", "")).startswith(("binary", "multiclass")):
            raise ModelError(f"{place} was trained for {head.get('objective')!r}, which gives no scores of classes.")
        read_apart(_LIGHTGBM, content, place, self.title)
        booster = one_sentence(place, self.title, lambda: lightgbm.Booster(model_str=text))
        count = max(int(head["num_class"]), 2)
        _refuse_other_classes(count, inputs, place)
        names = list(booster.feature_name())
        unnamed = names == [f"Column_{place}" for place in range(len(names))]
        rows, reading, notes = rows_for(None if unnamed else names, len(names), reading, inputs)
        _refuse_words(rows, place)
        raw = not str(head["objective"]).startswith("multiclassova")
        return Built(LightGBMModule(content, booster, rows, raw), reading, (*notes, *_numbered(inputs)))


class LightGBMModule(GradientFree):
    """A booster.

    Args:
        content: the file that it came in.
        booster: the trees.
        rows: how x becomes its rows.
        raw: the sums of the leaves are logits.
    """

    undoes: ClassVar[bool] = True

    def __init__(self, content: bytes, booster: Any, rows: Rows, raw: bool) -> None:
        super().__init__(content, "LightGBM's sum of trees")
        self._booster, self._rows, self._raw = booster, rows, raw

    def answer(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return logits ``[N, K]``: the sums of the leaves, or the logarithm of probabilities."""
        z = np.asarray(self._booster.predict(self._rows.matrix(x), raw_score=self._raw, num_threads=1), np.float64)
        if z.ndim == 1:
            return two_of(z)
        return z if self._raw else log_of(z)

    def __getstate__(self) -> dict[str, Any]:
        """Go to another process as text."""
        state = dict(self.__dict__)
        state["_booster"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come back."""
        import lightgbm

        self.__dict__.update(state)
        self._booster = lightgbm.Booster(model_str=self.content.decode())


#: What stands once for each node, each leaf.
_PER_NODE = ("split_feature", "threshold", "decision_type", "left_child", "right_child")


def _checked(text: str, place: str) -> dict[str, str]:
    """Check the trees that a text holds, and return what stands before them.

    Raises:
        ModelError: it holds none, or a broken one.
    """
    blocks = text.split("\n\n\n", 1)[0].split("\nTree=")
    head = _fields(blocks[0])
    features = int(head["max_feature_idx"]) + 1
    names = head["feature_names"].split()
    per_round = int(head["num_tree_per_iteration"])
    if len(names) != features or len(blocks) < 2 or (len(blocks) - 1) % per_round or "end of trees" not in text:
        raise ModelError(f"{place} is cut short, or no model of trees; take a fresh copy.")
    if per_round != (int(head["num_class"]) if int(head["num_class"]) > 1 else 1):
        raise ModelError(f"{place} has {per_round} trees a round for {head['num_class']} classes; it is damaged.")
    for block in text.partition("end of trees")[0].split("\nTree=")[1:]:
        _check_tree(_fields(block), features, place)
    return head


def _check_tree(tree: dict[str, str], features: int, place: str) -> None:
    leaves = int(tree["num_leaves"])
    lengths = {len(tree[key].split()) for key in _PER_NODE if key in tree} if leaves > 1 else {0}
    values = len(tree.get("leaf_value", "").split())
    if tree.get("is_linear", "0") != "0":
        raise ModelError(f"{place} has linear functions in its leaves, which are not read; train it without them.")
    if (
        lengths != {max(leaves - 1, 0)}
        or values != max(leaves, 1)
        or (leaves > 1 and not set(_PER_NODE) <= tree.keys())
    ):
        raise ModelError(f"{place} holds a tree that lacks some of its parts; it is damaged: take a fresh copy.")
    if leaves < 2:
        return

    # Leaves are numbered -1, -2, ...; here they stand behind the inner nodes.
    def whole(key: str) -> NDArray[np.int64]:
        children = np.array(tree[key].split(), np.int64)
        children = np.where(children < 0, leaves - 2 - children, children)
        return np.concatenate([children, np.full(leaves, -1)])

    feature = np.concatenate([np.array(tree["split_feature"].split(), np.int64), np.zeros(leaves, np.int64)])
    leaf = np.arange(2 * leaves - 1) >= leaves - 1
    refuse_tree(whole("left_child"), whole("right_child"), feature, leaf, features, place)
    sets = int(tree.get("num_cat", "0"))
    if sets:
        bounds = np.array(tree["cat_boundaries"].split(), np.int64)
        by_set = np.array(tree["decision_type"].split(), np.int64) % 2 == 1
        at = np.array(tree["threshold"].split(), np.float64)[by_set]
        words = len(tree["cat_threshold"].split())
        rising = (
            len(bounds) == sets + 1 and bounds[0] == 0 and bool((np.diff(bounds) >= 0).all()) and bounds[-1] == words
        )
        if not rising or bool(((at < 0) | (at >= sets)).any()):
            raise ModelError(f"{place} holds a tree that asks for categories that it lacks; take a fresh copy.")


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {key: value for key, equals, value in pairs if equals}


def _refuse_other_classes(count: int, inputs: Inputs, place: str) -> None:
    if count != len(inputs.classes):
        raise ModelError(
            f"{place} tells {count} classes apart, and the data {len(inputs.classes)}: {', '.join(inputs.classes)}. "
            "Where they lack some, name all that it knows in its order (--classes A,B,C)."
        )


def _refuse_words(rows: Rows, place: str) -> None:
    read = [name for name, _ in rows.columns if name in rows.words]
    if read:
        raise ModelError(
            f"{place} reads codes, and the column {read[0]!r} holds words, whose codes its file does not name; give "
            "the "
            f"data the codes that it was trained on, and hold them fixed (--immutable {read[0]})."
        )


def _numbered(inputs: Inputs) -> list[str]:
    pairs = ", ".join(f"{number} = {name}" for number, name in enumerate(inputs.classes))
    return [f"The model numbers its classes; they were matched by place: {pairs}."]
