"""The pictures of the documentation, from a finished demo.

python docs/pictures.py demo-output
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).parent / "images"
OF_THE_DEMO = (
    "closure-tnt",
    "improvement",
    "mean-images",
    "plane-tnt",
    "spectrum-after-tnt",
    "spectrum-before",
)


def main(demo: Path) -> None:
    """Copy the plots that pages show, and put the spectra before and after side by side."""
    for name in OF_THE_DEMO:
        shutil.copy(demo / "report" / "plots" / f"{name}.png", IMAGES / f"demo-{name}.png")
    both = [Image.open(IMAGES / f"demo-spectrum-{when}.png") for when in ("before", "after-tnt")]
    size = sum(image.width for image in both), max(image.height for image in both)
    together = Image.new("RGB", size, "white")
    left = 0
    for image in both:
        together.paste(image, (left, 0))
        left += image.width
    together.save(IMAGES / "demo.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
