"""Bump hunts: a resonance on a smooth background, and whether to believe it."""
