"""The two lists of ten autoencoders in the code released with MultiMagNet, for MNIST and for CIFAR-10.

Facts of the list in ``modules/assembly_team.py`` of github.com/gabrielrmachado/MultiMagNet as it last stood: the names,
the structures, which activation, which noise, where there is batch normalisation, and how a decoder ends. It is the
paper's list: the thresholds that the code keeps for it bear the drop rates and temperatures of the paper's Table 4.
Left out is a penalty of 1e-9 on squared activations, too small to decide anything.

References:
    Machado, Goldschmidt and Silva, "MultiMagNet", ICEIS 2019, Section 5.2 and the code released with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from salus.models.autoencoders import SPECS, AutoencoderSpec, Step

Family = Literal["salus", "multimagnet-mnist", "multimagnet-cifar10"]

#: Of MNIST, all in MagNet's notation. The fifth repeats the first's form, and is another training.
RELEASED_MNIST = (
    AutoencoderSpec(name="mnist-i", structure=(3, "average", 3), activation="sigmoid"),
    AutoencoderSpec(name="mnist-ii", structure=(3,), activation="sigmoid"),
    AutoencoderSpec(name="mnist-dae1", structure=(3,), activation="relu", noise=0.2),
    AutoencoderSpec(name="mnist-dae2", structure=(5, "max", 5), activation="sigmoid", noise=0.3),
    AutoencoderSpec(name="mnist-dae3", structure=(3, "average", 3), activation="sigmoid"),
    AutoencoderSpec(name="mnist-dae4", structure=(5,), activation="sigmoid", noise=0.2),
    AutoencoderSpec(name="mnist-dae5", structure=(4, "max", 4), activation="sigmoid"),
    AutoencoderSpec(name="mnist-dae6", structure=(3, "max", 3), activation="sigmoid", noise=0.3),
    AutoencoderSpec(name="mnist-dae7", structure=(2, "max", 2), activation="sigmoid"),
    AutoencoderSpec(name="mnist-dae8", structure=(5, "average", 5), activation="sigmoid", noise=0.2),
)


def _of_cifar10(number: int, *structure: Step, batch_norm: bool = False) -> AutoencoderSpec:
    return AutoencoderSpec(
        name=f"cifar-dae{number}", structure=structure, noise=0.0, batch_norm=batch_norm, ending="twice"
    )


#: Of CIFAR-10. The first and the third, the second and the fourth, and the fifth and the ninth differ in that penalty
#: alone, so they are two trainings of one form.
RELEASED_CIFAR10 = (
    _of_cifar10(1, 16, "max", 32, "max", 32),
    _of_cifar10(2, 32, "max", 32, batch_norm=True),
    _of_cifar10(3, 16, "max", 32, "max", 32),
    _of_cifar10(4, 32, "max", 32, batch_norm=True),
    _of_cifar10(5, 32, "average", 32, batch_norm=True),
    _of_cifar10(6, 8, "max", 16),
    _of_cifar10(7, 16, "average", 16, batch_norm=True),
    _of_cifar10(8, 16, "max", 24),
    _of_cifar10(9, 32, "average", 32, batch_norm=True),
    _of_cifar10(10, 16, "max", 32, batch_norm=True),
)

#: Ten autoencoders of each kind of data, by family.
FAMILIES: Mapping[Family, Mapping[str, tuple[AutoencoderSpec, ...]]] = {
    "salus": SPECS,
    "multimagnet-mnist": {"image": RELEASED_MNIST},
    "multimagnet-cifar10": {"image": RELEASED_CIFAR10},
}
