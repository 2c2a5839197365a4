"""Repositories of trained autoencoders: trained, stored, and found by the defences that use them."""

from salus.repository.choice import OneAutoencoder, hold_out, repository_for
from salus.repository.trained import Member, Repository
from salus.repository.training import RepositoryOptions, train_repository

__all__ = [
    "Member",
    "OneAutoencoder",
    "Repository",
    "RepositoryOptions",
    "hold_out",
    "repository_for",
    "train_repository",
]
