"""Templates of the background in a window in mass, made of the events beside it.

| module | holds |
|---|---|
| `interface` | `Template`, settings with a `fit`; `BackgroundTemplate`, which gives events |
| `spectrum` | the sidebands' spectrum in mass, interpolated into the window |
| `morphing` | sideband events moved to the mass in the window that they stand for |
| `classification` | a classifier that is trained on arrays of features, such as synthetic ones |

Source: arXiv:2109.00546 (CATHODE: a classifier of the data against samples of a density);
arXiv:2407.19818 (sideband events moved by optimal transport instead).
"""

from __future__ import annotations

from tnt_coffea.training.templates.morphing import Morphing

__all__ = ["AnyTemplate"]

# A second kind makes it a union: Annotated[Morphing | Density, Field(discriminator="by")].
AnyTemplate = Morphing
"""Settings of a template, told apart by `by`."""
