"""Training that makes a classifier more robust."""

from salus.hardening.dc_gan import augment

__all__ = ["augment"]
