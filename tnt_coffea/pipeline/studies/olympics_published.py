"""What participants of the LHC Olympics answered, as far as arXiv:2101.08320 says it in numbers.

Figure 51 shows more of them as points; only numbers and words of the text are here.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ANSWERS", "PublishedAnswer", "published_answers"]

FOUND, FALSE, NOTHING = "found", "false", "nothing"


@dataclass(frozen=True)
class PublishedAnswer:
    """One answer to a black box.

    Attributes
    ----------
    box
        `blackbox-1`, `-2` or `-3`.
    name
        Of the method.
    section
        Where in arXiv:2101.08320 the answer stands.
    verdict
        `found`, `false` or `nothing`, by what the paper says of it.
    blind
        Whether it was given before the box was opened.
    mass, heavy, light, events
        (value, uncertainty); uncertainty None where none was given. Masses in GeV.
    said
        In words, where there are no numbers.

    Examples
    --------
    >>> published_answers("blackbox-1", blind=True)[0].mass
    (3772.9, 8.3)
    """

    box: str
    name: str
    section: str
    verdict: str
    blind: bool = True
    mass: tuple[float, float | None] | None = None
    heavy: tuple[float, float | None] | None = None
    light: tuple[float, float | None] | None = None
    events: tuple[float, float | None] | None = None
    said: str = ""


_B1, _B2, _B3 = "blackbox-1", "blackbox-2", "blackbox-3"
_WITHIN = "within 200 GeV of the true mass"

ANSWERS = (
    PublishedAnswer(
        *(_B1, "Density estimation (GIS)", "3.5.2", FOUND),
        mass=(3772.9, 8.3),
        heavy=(727.8, 3.8),
        light=(374.8, 3.5),
        events=(1000, 200),
    ),
    PublishedAnswer(
        *(_B1, "Tag N' Train", "4.3.2", FOUND),
        mass=(3800, 50),
        light=(270, 40),
        said="4 sigma local",
    ),
    PublishedAnswer(_B1, "PCA", "6.1", FOUND, said="within the claimed error"),
    PublishedAnswer(_B1, "LSTM", "6.1", FOUND, said=_WITHIN),
    PublishedAnswer(_B1, "ResNet + BDT", "6.1", FALSE, said="not among the four correct masses"),
    PublishedAnswer(
        _B1, "High-level features AE", "6.1", FALSE, said="not among the four correct masses"
    ),
    PublishedAnswer(_B1, "VRNN", "6.1", FALSE, said="not among the four correct masses"),
    PublishedAnswer(_B1, "LDA", "6.1", FALSE, said="not among the four correct masses"),
    PublishedAnswer(
        _B1, "Human NN", "6.1", FALSE, said="a bump that the power shower makes in the background"
    ),
    PublishedAnswer(
        _B1,
        "CWoLa hunting",
        "4.1.2",
        FALSE,
        blind=False,
        mass=(3500, None),
        said="5 sigma local, in a region of 15 % around it",
    ),
    PublishedAnswer(_B1, "Deep ensemble", "6.1", FALSE, blind=False, mass=(3500, None)),
    PublishedAnswer(
        _B1, "Particle graph autoencoder", "6.1", FOUND, blind=False, mass=(3900, None)
    ),
    PublishedAnswer(
        *(_B1, "BuHuLaSpa", "3.3", FOUND),
        blind=False,
        mass=(3800, None),
        heavy=(750, None),
        light=(400, None),
    ),
    PublishedAnswer(_B1, "VRNN", "6.1", FOUND, blind=False, said="just below 4 TeV"),
    PublishedAnswer(_B1, "LDA", "3.6.2", FOUND, blind=False, said="not incompatible with 3.8 TeV"),
    PublishedAnswer(_B2, "PCA", "6.1", FALSE, mass=(4800, None)),
    PublishedAnswer(_B2, "VRNN", "6.1", FALSE, mass=(4200, None)),
    PublishedAnswer(_B2, "Embedding clustering", "6.1", FALSE, mass=(4600, None)),
    PublishedAnswer(_B2, "QUAK", "6.1", FALSE, mass=(5000, None)),
    PublishedAnswer(_B2, "LDA", "6.1", NOTHING, said="no dijet resonance"),
    PublishedAnswer(_B2, "Tag N' Train", "4.3.2", NOTHING, said="a quick scan"),
    PublishedAnswer(_B2, "CWoLa hunting", "4.1.2", NOTHING, blind=False),
    PublishedAnswer(_B3, "PCA", "6.1", FALSE, said="hadrons and invisible particles"),
    PublishedAnswer(_B3, "LDA", "6.1", FALSE, said="between 5.4 and 6.4 TeV"),
    PublishedAnswer(_B3, "Embedding clustering", "6.1", FALSE, mass=(3100, None)),
    PublishedAnswer(_B3, "QUAK", "6.1", FALSE, said="between 5 and 5.5 TeV"),
    PublishedAnswer(_B3, "VRNN", "6.1", NOTHING),
    PublishedAnswer(_B3, "Tag N' Train", "4.3.2", NOTHING, said="a quick scan"),
)
"""Answers by box, the blind ones first. A mass within 200 GeV counts as found (section 6.1)."""


def published_answers(box: str, *, blind: bool | None = None) -> tuple[PublishedAnswer, ...]:
    """Return the answers to a box; only blind ones, or only later ones, where that is said.

    Examples
    --------
    >>> [one.verdict for one in published_answers("blackbox-2", blind=True)].count("false")
    4
    """
    return tuple(one for one in ANSWERS if one.box == box and (blind is None or one.blind is blind))
