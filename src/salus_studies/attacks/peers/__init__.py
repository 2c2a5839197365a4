"""Every library's attacks, one file a library; each lists what it has for a task."""

from types import ModuleType

from salus_studies.attacks.peers import adv_lib, art, foolbox, own, pyautoattack, secml_torch, torchattacks

LIBRARIES: dict[str, ModuleType] = {
    module.LIBRARY: module for module in (own, adv_lib, art, foolbox, pyautoattack, secml_torch, torchattacks)
}

__all__ = ["LIBRARIES", "adv_lib", "art", "foolbox", "own", "pyautoattack", "secml_torch", "torchattacks"]
