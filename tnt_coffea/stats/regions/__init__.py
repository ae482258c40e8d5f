"""ABCD: the four regions of the score plane."""
