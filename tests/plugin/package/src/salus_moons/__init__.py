"""Somebody else's attack, detector, purifier and data."""
