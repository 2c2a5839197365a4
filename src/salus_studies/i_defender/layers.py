"""The layers of the studied networks whose states are modelled."""

from __future__ import annotations

from dataclasses import dataclass

#: What several layers modelled together are called.
JOINT = "joint"


@dataclass(frozen=True)
class Layer:
    """A layer of a network, in Salus's words and in a reader's; or several that are modelled jointly.

    Attributes:
        name: in results.
        title: in words.
        parts: the names of several.
    """

    name: str
    title: str
    parts: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The layers as a classifier knows them."""
        return self.parts or (self.name,)


def _with_joint(*layers: Layer) -> tuple[Layer, ...]:
    names = tuple(layer.name for layer in layers)
    return (*layers, Layer(JOINT, f"the {len(layers)} layers above, jointly", names))


_LOGITS = Layer("logits", "logits, the only fully connected layer")
_CONVOLUTIONS = (
    Layer("trunk.1/flat", "second convolution, flattened"),
    Layer("trunk.1", "second convolution, averaged over positions"),
    Layer("trunk.0", "first convolution, averaged over positions"),
)

#: Of model F as I-defender's Table 1 has it.
MODEL_F = _with_joint(_LOGITS, *_CONVOLUTIONS)

#: Of model F as Defense-GAN's authors released it, with a third convolution of one position.
MODEL_F3 = _with_joint(_LOGITS, Layer("trunk.2", "third convolution, a vector of 128"), *_CONVOLUTIONS)

WIDE_RESNET = _with_joint(
    _LOGITS,
    Layer("penultimate", "input of the last layer, averaged over positions"),
    Layer("groups.1", "second group, averaged over positions"),
    Layer("groups.0", "first group, averaged over positions"),
    Layer("stem", "first convolution, averaged over positions"),
)
