"""Papers: for each, one folder with its published tables as data and the audit that reproduces them."""
