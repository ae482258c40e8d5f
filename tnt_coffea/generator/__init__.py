"""LHC-Olympics-like events from PYTHIA 8 and a parametric detector."""
