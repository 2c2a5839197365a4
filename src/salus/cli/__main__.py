"""``python -m salus.cli``."""

from salus.cli import main

main()
