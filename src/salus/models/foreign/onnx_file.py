"""ONNX programs: run by onnxruntime, and turned into torch where every operator converts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from salus.errors import ModelError
from salus.models.foreign.form import Built, Form, library, one_sentence
from salus.models.foreign.gradient_free import GradientFree, log_of
from salus.models.foreign.layout import laid_out
from salus.models.foreign.onnx_checks import class_names, lies_apart, refuse_strangers, tensors_of
from salus.models.foreign.onnx_runs import in_torch, probes_of, session_of
from salus.models.foreign.rows import Rows, in_order, rows_for
from salus.models.reading import Inputs, Reading


class ONNXFile(Form):
    """A ``.onnx`` file, and the files of tensors beside it that it names."""

    name: ClassVar[str] = "onnx"
    title: ClassVar[str] = "an ONNX program"
    suffix: ClassVar[str] = ".onnx"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    extra: ClassVar[str] = "onnx"
    gradients: ClassVar[bool] = True
    shows_layers: ClassVar[bool] = True

    def read(self, path: Path) -> bytes:
        """Read a program, with the tensors that lie in files beside it, as one file."""
        onnx = library("onnx", self.extra, "An ONNX program")
        content = super().read(path)
        program = _parsed(content, str(path))
        if not lies_apart(onnx, program, path):
            return content

        def joined() -> Any:
            onnx.external_data_helper.load_external_data_for_model(program, str(path.parent))
            for tensor in tensors_of(program.graph):
                del tensor.external_data[:]
                tensor.data_location = onnx.TensorProto.DEFAULT
            return program.SerializeToString()

        return bytes(one_sentence(str(path), self.title, joined))

    def build(self, content: bytes, reading: Reading, inputs: Inputs, place: str) -> Built:
        """Check a program, start it, and turn it into torch where that can be."""
        onnx = library("onnx", self.extra, "An ONNX program")
        library("onnxruntime", self.extra, "An ONNX program")
        program = _parsed(content, place)
        refuse_strangers(onnx, program, place)
        freed = _freed(content, program)
        session = one_sentence(place, self.title, lambda: session_of(freed))
        fed = session.get_inputs()
        classical = any(node.domain == "ai.onnx.ml" for node in program.graph.node)
        notes: list[str] = []
        rows = None
        if classical and len(inputs.shape) == 1:
            columns = [each.name for each in fed] if len(fed) > 1 else None
            rows, reading, notes = rows_for(columns, None, reading, inputs)
        elif len(fed) != 1:
            raise ModelError(
                f"{place} takes {len(fed)} inputs ({', '.join(i.name for i in fed)}); a classifier takes one."
            )
        if rows is None:
            reading = laid_out(reading, list(fed[0].shape)[1:], inputs, place)
        order = None
        if classical and (known := class_names(onnx, program)):
            order, said = in_order(known, inputs)
            notes += said
        module = ONNXModule(freed, session, rows, order, classical)
        if freed != content:
            _refuse_fixed(module, reading, inputs, place)
            notes.append("The program was made for batches of one size, and takes any here.")
        outputs = [each.name for each in session.get_outputs()]
        if len(outputs) > 1 and reading.output is None:
            reading = replace(reading, output=_answer_of(session, inputs, place))
        if classical:
            return Built(module, reading, tuple(notes))
        converted, why = in_torch(freed, module, reading, inputs, outputs)
        if converted is None:
            notes.append(f"The program could not be turned into torch ({why}), and shows no gradients.")
            return Built(module, reading, tuple(notes))
        notes.append(f"The program was turned into torch, which answers as onnxruntime does ({why}).")
        return Built(converted, replace(reading, output=None) if len(outputs) == 1 else reading, tuple(notes))


class ONNXModule(GradientFree):
    """A program that onnxruntime runs.

    Args:
        content: the program.
        session: where it runs.
        rows: how x becomes rows of a table; None where x is read as it is.
        order: which of its classes stands for each of the data's.
        classical: it gives probabilities.
    """

    undoes: ClassVar[bool] = True

    def __init__(
        self, content: bytes, session: Any, rows: Rows | None, order: list[int] | None, classical: bool
    ) -> None:
        super().__init__(content, "an ONNX program")
        self._session, self._rows, self._order, self._classical = session, rows, order, classical

    def answer(self, x: NDArray[np.float32]) -> Any:
        """Return the one output, or all of them by name."""
        fed = self._session.get_inputs()
        feed: dict[str, Any]
        if self._rows is not None and len(fed) > 1:
            frame = self._rows.frame(x)
            feed = {each.name: _column(frame[each.name].to_numpy(), each.type) for each in fed}
        else:
            values: NDArray[Any] = x if self._rows is None else self._rows.matrix(x)
            feed = {fed[0].name: values.astype(_NUMPY.get(fed[0].type, np.float32))}
        answers = zip(self._session.get_outputs(), self._session.run(None, feed), strict=True)
        parts = {each.name: _array(part) for each, part in answers}
        if self._classical:
            parts = {name: self._ordered(part) for name, part in parts.items()}
        return parts if len(parts) > 1 else next(iter(parts.values()))

    def _ordered(self, part: NDArray[Any]) -> NDArray[Any]:
        if part.dtype.kind != "f" or part.ndim != 2:
            return np.zeros(len(part), np.int64) if part.dtype.kind in "OUS" else part
        part = part if self._order is None else part[:, self._order]
        rows_sum_to_one = bool((part >= 0).all() and (np.abs(part.sum(1) - 1) < 1e-3).all())
        return log_of(part) if rows_sum_to_one else part

    def __getstate__(self) -> dict[str, Any]:
        """Go to another process as a file."""
        return {**self.__dict__, "_session": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start again there."""
        self.__dict__.update(state)
        self._session = session_of(self.content)

    def __deepcopy__(self, memo: Any) -> ONNXModule:
        """Share the session: it holds no state."""
        return ONNXModule(self.content, self._session, self._rows, self._order, self._classical)


_NUMPY = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


def _column(values: NDArray[Any], kind: str) -> NDArray[Any]:
    if kind == "tensor(string)":
        return values.astype(str).astype(object)[:, None]
    return values.astype(np.int64 if kind == "tensor(int64)" else _NUMPY.get(kind, np.float32))[:, None]


def _array(part: Any) -> NDArray[Any]:
    """Take an output for an array; a list of probabilities by class, as skl2onnx has them, column by column."""
    if isinstance(part, list) and part and isinstance(part[0], dict):
        return np.array([list(row.values()) for row in part], np.float32)
    return np.asarray(part)


def _parsed(content: bytes, place: str) -> Any:
    def read() -> Any:
        import onnx

        program = onnx.ModelProto()
        program.ParseFromString(content)
        if not program.graph.node:
            raise ModelError(f"{place} is no ONNX program: it has no operators.")
        return program

    return one_sentence(place, ONNXFile.title, read)


def _answer_of(session: Any, inputs: Inputs, place: str) -> str:
    """Choose the output that holds the answer, where one alone has a number for each class.

    Raises:
        ModelError: several may, or none.
    """
    outputs = session.get_outputs()
    fits = [
        str(each.name)
        for each in outputs
        if each.type.startswith(("seq(map", "tensor(float", "tensor(double"))
        and (each.type.startswith("seq") or each.shape[1:] in ([len(inputs.classes)], [None], ["N"]) or not each.shape)
    ]
    if len(fits) == 1:
        return fits[0]
    raise ModelError(
        f"{place} has several outputs ({', '.join(each.name for each in outputs)}); say which holds the answer, behind "
        f"the model: :output={(fits or [outputs[0].name])[0]}."
    )


def _freed(content: bytes, program: Any) -> bytes:
    """Let a program take batches of any size that was exported for one; itself where it does."""
    sizes = [each.type.tensor_type.shape.dim for each in (*program.graph.input, *program.graph.output)]
    fixed = [dim[0] for dim in sizes if dim and dim[0].HasField("dim_value")]
    given = {each.name for each in program.graph.initializer}
    if not fixed or len([each for each in program.graph.input if each.name not in given]) != 1:
        return content
    for dim in fixed:
        dim.dim_param = "n"
    return bytes(program.SerializeToString())


def _refuse_fixed(module: ONNXModule, reading: Reading, inputs: Inputs, place: str) -> None:
    """Refuse a program that answers a batch otherwise than its rows one by one.

    Raises:
        ModelError: it does, or cannot answer one.
    """
    x = probes_of(reading, inputs)
    try:
        with torch.no_grad():
            together, apart = module(x), [module(row) for row in x.split(1)]
        names = list(together) if isinstance(together, dict) else [None]
        same = all(
            torch.allclose(
                together if name is None else together[name],
                torch.cat([each if name is None else each[name] for each in apart]),
                atol=1e-4,
            )
            for name in names
        )
    except Exception:  # a program fails in many ways
        same = False
    if not same:
        raise ModelError(
            f"{place} takes batches of one size only; export it for any: torch.onnx.export(..., "
            "dynamic_axes={'x': {0: 'n'}, 'y': {0: 'n'}})."
        )
