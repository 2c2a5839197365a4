"""Measured figures: an undefended heartbeat network, bare and behind I-defender, and what is fast enough."""
