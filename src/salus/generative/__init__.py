"""Autoencoders and generators that defences stand on, their training, and projections onto what they can make."""

from salus.generative.autoencoder_choice import OneAutoencoder, SeveralAutoencoders, hold_out, repository_for
from salus.generative.autoencoder_training import RepositoryOptions, train_repository
from salus.generative.autoencoders import Member, Repository
from salus.generative.generator import SampleGenerator
from salus.generative.member_draws import Draws, MemberDraws
from salus.generative.projection import OntoRange
from salus.generative.wgan import WGANHistory, WGANOptions, train_generator

__all__ = [
    "Draws",
    "Member",
    "MemberDraws",
    "OneAutoencoder",
    "OntoRange",
    "Repository",
    "RepositoryOptions",
    "SampleGenerator",
    "SeveralAutoencoders",
    "WGANHistory",
    "WGANOptions",
    "hold_out",
    "repository_for",
    "train_generator",
    "train_repository",
]
