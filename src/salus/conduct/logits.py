"""The door through which a model's answers come in: logits, or one sentence that says what to write around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeGuard

from torch import Tensor

from salus.errors import ModelError


def as_logits_of(answer: object, rows: int) -> Tensor:
    """Take what a model returned for so many samples as logits ``[N, K]``; half precision becomes float32.

    Raises:
        ModelError: it is anything else; the sentence names the wrapper to write.
    """
    if _are_logits(answer, rows):
        return answer.float() if answer.dtype.itemsize < 4 else answer
    raise ModelError(_refusal(answer, rows))


def _are_logits(answer: object, rows: int) -> TypeGuard[Tensor]:
    return (
        isinstance(answer, Tensor)
        and answer.is_floating_point()
        and answer.ndim == 2
        and len(answer) == rows
        and answer.shape[1] >= 2
    )


def _refusal(answer: object, rows: int) -> str:
    """Say what came instead of logits, and what to do."""
    came = f"The model must return logits [N, K] for {rows} samples; it returned {_kind(answer)}"
    if isinstance(answer, Tensor) and answer.is_floating_point() and answer.shape == (rows, 1):
        came += ", one logit a sample, where two classes need two"
    if answer is None:
        return f"{came}: its forward lacks a return."
    code = _code(answer, rows)
    if not code:
        return f"{came}."
    return f"{came}; wrap it in a torch.nn.Module that keeps it as self.model, with def forward(self, x): {code}."


def _kind(answer: object) -> str:
    """Name what a model returned, and what is in it."""
    if isinstance(answer, Tensor):
        shape = str(list(answer.shape))
        return shape if answer.is_floating_point() else f"{answer.dtype} {shape}"
    name = type(answer).__name__
    inside = [
        f"{place.strip('.[]')} {list(value.shape) if isinstance(value, Tensor) else type(value).__name__}"
        for place, value in _parts(answer)
    ]
    if not inside:
        return name
    more = ", ..." if len(inside) > _SHOWN else ""
    return f"a {name} of {', '.join(inside[:_SHOWN])}{more}"


#: Parts of an answer that a sentence lists.
_SHOWN = 6


def _parts(answer: object) -> Iterator[tuple[str, object]]:
    """List what is in an answer that is no tensor, with the code that takes it out; logits by that name first."""
    named = getattr(answer, "logits", answer)
    if named is not answer:
        yield ".logits", named
    if isinstance(answer, Mapping):
        yield from ((f"[{key!r}]".replace("'", '"'), value) for key, value in answer.items() if value is not named)
    elif isinstance(answer, (tuple, list)):
        yield from ((f"[{place}]", value) for place, value in enumerate(answer) if value is not named)
    elif not hasattr(answer, "__array__"):
        yield from ((f".{key}", value) for key, value in getattr(answer, "__dict__", {}).items() if value is not named)


def _code(answer: object, rows: int, at: str = "self.model(x)") -> str:
    """Write the body of a forward that makes logits of such answers; empty where nobody can tell."""
    if _are_logits(answer, rows):
        return f"return {at}"
    if isinstance(answer, Tensor):
        if not answer.is_floating_point() or len(answer.shape) == 0 or len(answer) != rows:
            return ""
        one = answer.detach()[:1].numel()  # values a sample
        if one >= 2:
            return f"return {at}.flatten(1)" if one == max(answer.shape[1:]) else ""
        probability = bool(((answer >= 0) & (answer <= 1)).all())
        z = f"torch.logit({at}, 1e-6)" if probability else at
        z += "" if answer.ndim == 1 else ".flatten()" if answer.ndim > 2 else "[:, 0]"
        return f"z = {z}; return torch.stack([torch.zeros_like(z), z], 1)"
    if hasattr(answer, "__array__"):
        return ""
    parts = list(_parts(answer))
    named = [part for part in parts if part[0] in _LOGITS]
    for place, value in (*named, *(part for part in parts if _are_logits(part[1], rows)), *parts):
        if isinstance(value, Tensor) and (code := _code(value, rows, at + place)):
            return code
    return ""


#: Where answers keep their logits.
_LOGITS = {".logits", '["logits"]', '["out"]', '["output"]', '["scores"]', '["pred"]'}
