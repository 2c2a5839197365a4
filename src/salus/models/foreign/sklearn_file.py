"""scikit-learn estimators and pipelines in skops files; pickles and joblib files are refused."""

from __future__ import annotations

import io
import json
import math
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from salus.errors import ModelError
from salus.models.foreign.form import Built, Form, library, one_sentence
from salus.models.foreign.gradient_free import GradientFree, log_of, two_of
from salus.models.foreign.rows import Rows, in_order, rows_for
from salus.models.foreign.tree_checks import refuse_broken_trees
from salus.models.reading import Inputs, Reading

#: From this on skops refuses what versions before could be tricked by (CVE-2025-54412, -54413, -54886).
LEAST_SKOPS = "0.13"

#: Nodes of a skops file by which code of one's own is named or called; no estimator of scikit-learn's needs them.
_CALLING = frozenset({"MethodNode", "OperatorFuncNode", "PartialNode"})

#: What skops does not trust because nobody looks at the branches; Salus does, before they are followed.
_TREES = ["sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]

#: A file may unpack to this many bytes, and to so many times its own size where that is more.
_UNPACKED, _RATIO = 2**28, 100


class SklearnFile(Form):
    """A ``.skops`` file."""

    name: ClassVar[str] = "sklearn"
    title: ClassVar[str] = "a scikit-learn model in a skops file"
    suffix: ClassVar[str] = ".skops"
    suffixes: ClassVar[tuple[str, ...]] = (".skops",)
    extra: ClassVar[str] = "skops"

    def build(self, content: bytes, reading: Reading, inputs: Inputs, place: str) -> Built:
        """Load the estimator of trusted types alone."""
        skops = library("skops.io", self.extra, "A .skops file", least=LEAST_SKOPS)
        _refuse_calls(content, place)
        named = one_sentence(place, self.title, lambda: skops.get_untrusted_types(data=content))
        untrusted = [kind for kind in named if kind not in _TREES]
        if untrusted:
            raise ModelError(
                f"{place} holds what is not scikit-learn's own and could run code: {', '.join(sorted(untrusted)[:5])}"
                f"{', ...' if len(untrusted) > 5 else ''}; nothing of it was loaded. Build the pipeline of "
                "scikit-learn's parts alone, and leave out functions of your own."
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of another version of scikit-learn, which is said below
            estimator = one_sentence(place, self.title, lambda: skops.loads(content, trusted=_TREES))
        if not hasattr(estimator, "classes_") or not (
            hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function")
        ):
            raise ModelError(
                f"{place} holds a {type(estimator).__name__}, which is no fitted classifier that gives probabilities "
                "or "
                "scores; save one that is (of an SVC with probability=True, or inside CalibratedClassifierCV)."
            )
        parts = list(_parts(estimator))
        for part in parts:
            refuse_broken_trees(part, place)
        names = getattr(estimator, "feature_names_in_", None)
        rows, reading, notes = rows_for(
            None if names is None else list(map(str, names)),
            getattr(estimator, "n_features_in_", None),
            reading,
            inputs,
        )
        order, said = in_order(list(estimator.classes_), inputs)
        module = SklearnModule(content, estimator, rows, names is not None, order, _numeric(parts, rows))
        return Built(module, reading, (*notes, *said))


class SklearnModule(GradientFree):
    """A fitted classifier of scikit-learn's.

    Args:
        content: the file that it came in.
        estimator: the classifier.
        rows: how x becomes its rows.
        framed: it was fitted to a table with names of columns.
        order: which of its classes stands for each of the data's.
        numeric: columns of words that it knows as numbers.
    """

    undoes: ClassVar[bool] = True

    def __init__(
        self,
        content: bytes,
        estimator: Any,
        rows: Rows,
        framed: bool,
        order: list[int] | None,
        numeric: frozenset[str],
    ) -> None:
        steps = [type(step).__name__ for _, step in getattr(estimator, "steps", [])]
        super().__init__(content, f"scikit-learn's {' > '.join(steps) or type(estimator).__name__}")
        self._estimator, self._rows, self._framed = estimator, rows, framed
        self._order, self._numeric = order, numeric

    def answer(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return logits ``[N, K]``: the logarithm of probabilities, or scores where there are none."""
        rows = self._rows.frame(x, self._numeric) if self._framed or self._rows.words else self._rows.matrix(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if hasattr(self._estimator, "predict_proba"):
                z = log_of(np.asarray(self._estimator.predict_proba(rows)))
            else:
                z = np.asarray(self._estimator.decision_function(rows), np.float64)
        z = two_of(z) if z.ndim == 1 else z
        return z if self._order is None else z[:, self._order]


def _refuse_calls(content: bytes, place: str) -> None:
    """Look at the file's own description of what it holds, before skops does.

    Raises:
        ModelError: it is none, unpacks to far too much, or names code to be called.
    """

    def read() -> Any:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
            if unpacked > max(_UNPACKED, _RATIO * len(content)):
                raise ModelError(f"{place} of {len(content):,} bytes unpacks to {unpacked:,}; it was not read.")
            return json.loads(archive.read("schema.json"))

    if content[:2] == b"\x80\x04" or content[:1] in (b"\x80",):
        raise ModelError(
            f"{place} is a pickle (of pickle or joblib), and reading it would run code from it; where you made it, "
            "load "
            "it and save it by skops.io.dump(model, 'model.skops')."
        )
    for loader, what in _nodes(one_sentence(place, SklearnFile.title, read)):
        if loader in _CALLING:
            raise ModelError(
                f"{place} holds {what!r} to be called ({loader}), which could run code; nothing of it was loaded. "
                "Build "
                "the pipeline of scikit-learn's parts alone."
            )


def _nodes(schema: Any) -> Iterator[tuple[str, str]]:
    """List what a skops file says that it holds: who loads it, and what it is."""
    todo = [schema]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if "__loader__" in value:
                yield str(value["__loader__"]), f"{value.get('__module__')}.{value.get('__class__')}"
            todo += value.values()
        elif isinstance(value, list):
            todo += value


def _parts(estimator: Any, most: int = 100_000) -> Iterator[Any]:
    """List an estimator and all that it is made of."""
    todo, seen = [estimator], set[int]()
    while todo and len(seen) < most:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, (list, tuple, set)):
            todo += value
        elif isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, np.ndarray):
            todo += value.ravel().tolist() if value.dtype == object else []
        elif type(value).__module__.startswith("sklearn."):
            yield value
            todo += getattr(value, "__dict__", {}).values()


def _numeric(parts: list[Any], rows: Rows) -> frozenset[str]:
    """Name the columns of words that the model's encoders know as numbers: codes that were read as such."""
    known = [
        np.asarray(each)
        for part in parts
        if isinstance(getattr(part, "categories_", None), list)
        for each in part.categories_
    ]
    words = {str(word) for each in known if each.dtype.kind in "OUS" for word in each.tolist() if isinstance(word, str)}
    return frozenset(
        name for name, own in rows.words.items() if all(_is_number(word) for word in own) and not words & set(own)
    )


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
