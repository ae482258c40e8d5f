"""Pure kernels from constituents to jets, dijets, observables and images."""
