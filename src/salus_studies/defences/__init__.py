"""Every defence: what it needs and costs, what it holds against, and who breaks it."""
