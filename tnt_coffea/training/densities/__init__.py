"""Densities of an event's features, conditional on its mass, behind one protocol.

| module | holds |
|---|---|
| `interface` | `ConditionalDensity`: ln p(x | m) in numpy and in a graph; averages of p |
| `scaling` | bounded features on the whole line, with the volume's change |
| `slicing` | Gaussianizing iterative slicing: numpy alone |
| `autoregressive` | masked autoregressive flow: Keras |
| `coupling` | invertible flow to a manifold and back, with its volume: Keras |
| `kernel` | density of the mass alone |
"""
