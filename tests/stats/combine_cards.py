"""A reader of CMS Combine's text cards: as much of their language as our cards have.

It knows nothing of what wrote them: it follows Combine's paper (arXiv:2404.06614, sections 2.2
and 3) and builds the likelihood from the card and its histograms alone.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import uproot
from scipy.special import gammaln


class Card:
    def __init__(self, path):
        lines = [line.split() for line in Path(path).read_text().splitlines()]
        lines = [words for words in lines if words and words[0][0] not in "#-"]
        tables = {}
        self.systematics, self.formulas, self.free = {}, {}, {}
        for words in lines:
            head = words[0]
            if head in {"imax", "jmax", "kmax"}:
                continue
            if head == "shapes":
                _, process, channel, file, pattern, varied = words
                assert (process, channel) == ("*", "*")
                self.file, self.pattern, self.varied = Path(path).parent / file, pattern, varied
            elif head in {"bin", "process", "observation", "rate"}:
                tables.setdefault(head, []).append(words[1:])
            elif words[1] == "rateParam":
                _, _, channel, process, formula, arguments = words
                self.formulas[channel, process] = formula, arguments.split(",")
            elif words[1] == "extArg":
                low, high = words[3].strip("[]").split(",")
                self.free[head] = float(words[2]), float(low), float(high)
            else:
                assert words[1] in {"lnN", "shape"}
                self.systematics[head] = words[1], words[2:]
        self.channels = tables["bin"][0]
        self.columns = list(zip(tables["bin"][1], tables["process"][0], strict=True))
        self.indices = [int(index) for index in tables["process"][1]]
        self.rates = [float(rate) for rate in tables["rate"][0]]
        with uproot.open(self.file) as file:
            self.histograms = {key.split(";")[0]: file[key].values() for key in file.keys()}  # noqa: SIM118

    def expected(self, values, r):
        """Return what every channel expects."""
        found = {name: 0.0 for name in self.channels}
        for column, (channel, process) in enumerate(self.columns):
            names = {"$CHANNEL": channel, "$PROCESS": process}
            nominal = self.histograms[_filled(self.pattern, names)]
            rate = self.rates[column]
            norm = nominal.sum() if rate < 0 else rate
            shape = nominal / nominal.sum()
            for name, (kind, entries) in self.systematics.items():
                entry, theta = entries[column], values[name]
                if entry == "-":
                    continue
                if kind == "lnN":
                    low, high = map(float, entry.split("/")) if "/" in entry else (
                        1 / float(entry), float(entry))  # fmt: skip
                    norm *= math.exp(theta * _log_kappa(theta, math.log(high), math.log(low)))
                    continue
                up, down = (
                    self.histograms[_filled(self.varied, names | {"$SYSTEMATIC": name}) + way]
                    for way in ("Up", "Down")
                )
                ratios = [math.log(part.sum() / nominal.sum()) for part in (up, down)]
                norm *= math.exp(theta * _log_kappa(theta, *ratios))
                shape = shape + _vertical(nominal, up, down, theta)
            if (channel, process) in self.formulas:
                formula, arguments = self.formulas[channel, process]
                python = re.sub(r"@(\d+)", r"x[\1]", formula)
                norm *= eval(python, {"exp": math.exp, "x": [values[a] for a in arguments]})
            strength = r if self.indices[column] <= 0 else 1.0
            found[channel] = found[channel] + strength * norm * shape
        return found

    def nll(self, values, r):
        """Return -ln L, but for the constants of the constraints."""
        total = sum(0.5 * values[name] ** 2 for name in self.systematics)
        for name, mean in self.expected(values, r).items():
            seen = self.histograms[f"{name}/data_obs"]
            total += (mean - seen * np.log(mean) + gammaln(seen + 1)).sum()
        return total


def _filled(pattern, names):
    for key, name in names.items():
        pattern = pattern.replace(key, name)
    return pattern


def _log_kappa(theta, high, low):
    """Return ln kappa of a log-normal factor that is not the same up and down."""
    if abs(theta) >= 0.5:
        return high if theta >= 0 else -low
    average, half = 0.5 * (high - low), 0.5 * (high + low)
    twice = 2 * theta
    smooth = 0.125 * twice * (twice**2 * (3 * twice**2 - 10) + 15)
    return average + smooth * half


def _vertical(nominal, up, down, theta):
    """Return what vertical morphing adds to a normalised histogram."""
    shape = nominal / nominal.sum()
    rise, fall = up / up.sum() - shape, down / down.sum() - shape
    smooth = (3 * theta**6 - 10 * theta**4 + 15 * theta**2) / 8 if abs(theta) < 1 else abs(theta)
    return 0.5 * (theta * (rise - fall) + smooth * (rise + fall))
