"""Other people's attacks under Salus's contract: ``art:HopSkipJump``, ``foolbox:LinfPGD``, ``torchattacks:PGD``."""

from salus.attacks.peers.adapter import PeerAttack
from salus.attacks.peers.names import LIBRARIES, peer_class, split_peer

__all__ = ["LIBRARIES", "PeerAttack", "peer_class", "split_peer"]
