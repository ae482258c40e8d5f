"""Templates of the background in a window in mass, made of the events beside it.

| module | holds |
|---|---|
| `interface` | `Template`, settings with a `fit`; `BackgroundTemplate`, which gives events |
| `spectrum` | the sidebands' spectrum in mass, interpolated into the window |
| `morphing` | sideband events moved to the mass in the window that they stand for |
| `density` | samples of a density of the sidebands, at masses in the window |
| `classification` | a classifier that is trained on arrays of features, such as synthetic ones |

Source: arXiv:2109.00546 (CATHODE: a classifier of the data against samples of a density);
arXiv:2407.19818 (sideband events moved by optimal transport instead).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tnt_coffea.training.templates.density import Density
from tnt_coffea.training.templates.morphing import Morphing

__all__ = ["AnyTemplate", "Density", "Morphing"]


def _of_a_kind(given: Any) -> Any:
    return {"by": "morphing", **given} if isinstance(given, dict) else given


AnyTemplate = Annotated[Morphing | Density, Field(discriminator="by"), BeforeValidator(_of_a_kind)]
"""Settings of a template, told apart by `by`; morphing where it is left out."""
