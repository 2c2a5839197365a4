"""The log: a chain of entries, each one's hash over the one before, its head signed again and again."""
