"""coffea processors: the skim and the search."""
