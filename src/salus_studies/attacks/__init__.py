"""What attacks there are, and how each stands beside the same attack of other libraries."""
