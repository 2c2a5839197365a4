"""What an ONNX program may hold: ONNX's own operators, and tensors of its own or in files beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from salus.errors import ModelError

#: Sets of operators that onnxruntime brings along.
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})


def graphs_of(graph: Any) -> Iterator[Any]:
    """List a graph and those inside its operators."""
    todo = [graph]
    while todo:
        each = todo.pop()
        yield each
        for node in each.node:
            for attribute in node.attribute:
                todo += [attribute.g] if attribute.HasField("g") else []
                todo += attribute.graphs


def tensors_of(graph: Any) -> Iterator[Any]:
    """List all tensors of a graph and of those inside its operators."""
    for each in graphs_of(graph):
        yield from each.initializer
        for node in each.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def lies_apart(onnx: Any, program: Any, path: Path) -> bool:
    """Tell whether tensors lie in other files; refuse any that does not lie beside the program.

    Raises:
        ModelError: naming it.
    """
    folder = path.parent.resolve()
    found = False
    for tensor in tensors_of(program.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        found = True
        where = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        pure = PurePosixPath(where.replace("\\", "/"))
        target = path.parent / where
        outside = pure.is_absolute() or ".." in pure.parts or not where or ":" in where
        if outside or target.is_symlink() or not target.resolve().is_relative_to(folder):
            raise ModelError(
                f"{path} takes its tensor {tensor.name!r} from {where!r}, outside of its own folder; nothing was read "
                "there. Save the program again with its data beside it, or as one file."
            )
        if not target.is_file():
            raise ModelError(f"{path} takes its tensor {tensor.name!r} from {where!r}, which is missing beside it.")
    return found


def refuse_strangers(onnx: Any, program: Any, place: str) -> None:
    """Refuse operators that onnxruntime does not bring along, and tensors in other files.

    Raises:
        ModelError: naming the first.
    """
    if program.functions:
        names = ", ".join(sorted({f"{each.domain}::{each.name}" for each in program.functions})[:3])
        raise ModelError(
            f"{place} defines operators of its own ({names}); export it with functions inlined "
            "(onnx.inliner.inline_local_functions)."
        )
    for graph in graphs_of(program.graph):
        for node in graph.node:
            if node.domain not in DOMAINS:
                raise ModelError(
                    f"{place} calls the operator {node.domain}::{node.op_type}, which is not ONNX's own, and Salus "
                    "loads "
                    "no operators from files; export it with standard operators alone."
                )
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors_of(program.graph)):
        raise ModelError(f"{place} takes tensors from other files; name the program where they lie beside it.")


def class_names(onnx: Any, program: Any) -> list[Any]:
    """Read the classes that a classifier of scikit-learn's names."""
    for node in program.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("classlabels_strings", "classlabels_int64s", "classlabels_ints"):
                value = onnx.helper.get_attribute_value(attribute)
                if len(value) > 1:
                    return [word.decode() if isinstance(word, bytes) else word for word in value]
    return []
