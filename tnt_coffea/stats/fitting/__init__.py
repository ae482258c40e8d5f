"""Binned fits: backgrounds, signals, the likelihood, and the two engines that maximise it."""
