"""The parts of the page: each takes a run and returns what the template shows, None for nothing."""
