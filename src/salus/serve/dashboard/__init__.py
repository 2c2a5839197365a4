"""The service's pages for people: what is judged now, how the guards do, the log, tokens."""
