"""Every library's attacks, one file a library; each lists what it has for a row of the table."""

from attack_peers import adv_lib, art, foolbox, own, pyautoattack, torchattacks
from attack_peers.task import DEFAULTS, OURS, Contender, Counted, Task

PEERS = (adv_lib, art, foolbox, pyautoattack, torchattacks)

__all__ = ["DEFAULTS", "OURS", "PEERS", "Contender", "Counted", "Task", "adv_lib", "own"]
