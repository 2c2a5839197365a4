"""Measured figures: an undefended heartbeat network, bare and behind I-defender, and what is fast enough.

The stored results were read off the page, to a tenth of a percent, as the folders of the two audits are gone.
"""
