"""What every study stands on: options, folder, steps, results, page, figures, and the check of what is stored."""
