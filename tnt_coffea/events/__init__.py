"""Sources of events behind one contract, event identity, and the skim."""
