"""Scans over masses and selections, and their global p-values."""
