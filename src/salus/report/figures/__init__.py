"""Figures as inline SVG: no pyplot, no global settings, the same bytes from the same numbers."""
