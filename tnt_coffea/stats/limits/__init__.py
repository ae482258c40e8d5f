"""CLs upper limits."""
