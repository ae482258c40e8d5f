"""Results and histograms for others: workspaces, HEPData, files of histograms."""
