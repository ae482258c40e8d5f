"""What people look at: evaluation against truth, plots, the report."""
