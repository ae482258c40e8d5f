"""Published experiments, one file each: an `Experiment` called `EXPERIMENT`, found by its name."""
