"""What every study shares: its folder, steps, page and words."""
