"""Two hardened heartbeat classifiers, and what attacks leave of them."""
