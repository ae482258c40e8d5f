"""From histograms to p-values: bump hunt and ABCD."""
