"""What so many beats a day, or so large an audit, need: from measured figures, by simulation."""
