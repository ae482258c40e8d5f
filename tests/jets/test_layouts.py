"""Every kernel on arrays of any layout: right, or refused with one clear error; never a crash."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest
import vector
from coffea.nanoevents.methods import candidate
from coffea.nanoevents.methods import vector as coffea_vector

from tnt_coffea import jets
from tnt_coffea.config import (
    EventImageSettings,
    ImageSettings,
    JetSettings,
    SequenceSettings,
    SkimSettings,
    SplittingSettings,
)
from tnt_coffea.errors import InputError

JETS = JetSettings(radius=0.8, pt_min=5.0)
COUNTS = (5, 0, 1, 7, 2, 0, 3)


def _columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    n = sum(COUNTS)
    return {
        "pt": rng.exponential(60, n) + 3,
        "eta": rng.normal(0, 1, n),
        "phi": rng.uniform(-3, 3, n),
        "mass": rng.choice([0.0, 0.14], n),
    }


def _plain() -> ak.Array:
    columns = {name: ak.unflatten(values, COUNTS) for name, values in _columns().items()}
    return ak.zip(columns, with_name="Momentum4D", behavior=vector.backends.awkward.behavior)


def _named(p4: ak.Array, names: str, record: str | None, behavior: Any) -> ak.Array:
    cartesian = names.startswith(("px", "x"))
    given = ("px", "py", "pz", "E") if cartesian else ("pt", "eta", "phi", "mass")
    columns = {name: getattr(p4, was) for name, was in zip(names.split(), given, strict=True)}
    return ak.zip(columns, with_name=record, behavior=behavior)


def _content(p4: ak.Array, wrap: Callable[[Any], Any]) -> ak.Array:
    lists = ak.to_packed(p4).layout.to_ListOffsetArray64(True)
    return ak.Array(
        ak.contents.ListOffsetArray(lists.offsets, wrap(lists.content)), behavior=p4.behavior
    )


def _shuffled_buffers(content: Any) -> Any:
    order = np.random.default_rng(1).permutation(len(content))
    index = ak.index.Index64(np.argsort(order))
    return ak.contents.IndexedArray.simplified(index, content[order])


def _list_array(p4: ak.Array) -> ak.Array:
    lists = ak.to_packed(p4[::-1]).layout.to_ListOffsetArray64(True)
    starts, stops = (np.asarray(at)[::-1].copy() for at in (lists.starts, lists.stops))
    return ak.Array(
        ak.contents.ListArray(ak.index.Index64(starts), ak.index.Index64(stops), lists.content),
        behavior=p4.behavior,
    )


def _virtual(p4: ak.Array) -> ak.Array:
    form, length, buffers = ak.to_buffers(ak.to_packed(p4))
    lazy = {key: (lambda value=value: value) for key, value in buffers.items()}
    return ak.from_buffers(form, length, lazy, behavior=p4.behavior)


def _masked(p4: ak.Array) -> ak.Array:
    softer = ak.zip(
        {name: p4[name] for name in p4.fields}, with_name="Momentum4D", behavior=p4.behavior
    )
    both = ak.concatenate([softer, softer], axis=1)  # the second half is masked away
    return ak.mask(both, ak.local_index(both) < ak.num(p4))


SAME = {
    "sliced": lambda p4: ak.concatenate([p4[:2], p4, p4[3:]])[2 : 2 + len(p4)],
    "list array": _list_array,
    "indexed": lambda p4: _content(p4, _shuffled_buffers),
    "unmasked": lambda p4: _content(p4, ak.contents.UnmaskedArray.simplified),
    "masked": _masked,
    "optional events": lambda p4: ak.mask(p4, np.ones(len(p4), bool)),
    "virtual": _virtual,
    "Index32": lambda p4: ak.Array(
        ak.contents.ListOffsetArray(
            ak.index.Index32(np.asarray(ak.to_packed(p4).layout.offsets, np.int32)),
            ak.to_packed(p4).layout.content,
        ),
        behavior=p4.behavior,
    ),
    "further fields": lambda p4: ak.with_field(
        ak.with_field(p4, ak.values_astype(p4["pt"], np.int32), "charge"),
        ak.unflatten(["a"] * int(ak.sum(ak.num(p4))), ak.num(p4)),
        "tags",
    ),
}
ENDS = {
    "as it is": lambda p4: p4,
    "no behaviour": lambda p4: _named(p4, "pt eta phi mass", None, None),
    "NanoAOD's": lambda p4: _named(p4, "pt eta phi mass", "NanoCollection", None),
    "Cartesian": lambda p4: _named(p4, "px py pz E", "Momentum4D", None),
    "energy": lambda p4: _named(p4, "px py pz energy", None, None),
    "x y z t": lambda p4: _named(p4, "x y z t", "LorentzVector", coffea_vector.behavior),
    "rho": lambda p4: _named(p4, "rho eta phi tau", "Momentum4D", p4.behavior),
    "coffea's": lambda p4: ak.with_name(
        ak.with_field(_named(p4, "pt eta phi mass", None, None), p4["pt"], "charge"),
        "PtEtaPhiMCandidate",
        behavior=candidate.behavior,
    ),
    "options of fields": lambda p4: ak.zip(
        {name: ak.mask(p4[name], p4["pt"] > 0) for name in p4.fields}
    ),
}


def _of_jets(given: ak.Array) -> Any:
    return ak.to_list(jets.cluster(given, JETS, leading=3)[["px", "py", "pz", "E"]])


def _dijets(given: ak.Array) -> Any:
    dijets, cuts = jets.find_dijets(given, JETS)
    wanted = SkimSettings(observables=["mass", "tau21", "soft_drop_mass"], images=None)
    columns = jets.dijet_columns(dijets, wanted, given)
    return [*(ak.to_list(column) for column in (*columns.values(), *cuts.values()))]


def _selected(given: ak.Array) -> Any:
    dijets, cuts = jets.select_dijets(given, JETS)
    return ak.to_list(dijets.pt), cuts["two_jets"].tolist()


def _lists(made: Any) -> list[Any]:
    return [
        made.counts.tolist(),
        *(np.asarray(getattr(made, name)).tolist() for name in made.parts),
    ]


KERNELS: dict[str, Callable[[ak.Array], Any]] = {
    "cluster": _of_jets,
    "dijets": _dijets,
    "select_dijets": _selected,
    "jet_images": lambda given: jets.jet_images(given, ImageSettings(pixels=6)).tolist(),
    "leading_constituents": lambda given: jets.leading_constituents(
        jets.framed(given, ImageSettings()), 3
    ).pt.tolist(),
    "event_images": lambda given: (
        jets.event_images(given, EventImageSettings(pixels=6)).dense().tolist()
    ),
    "jet_sequences": lambda given: _lists(jets.jet_sequences(given, SequenceSettings(jets=3))),
    "aligned_jets": lambda given: _lists(jets.aligned_jets(given, 4)),
    "jet_splittings": lambda given: _lists(jets.jet_splittings(given, SplittingSettings())),
    "soft_drop_mass": lambda given: jets.soft_drop_mass(given).tolist(),
    "n_subjettiness": lambda given: jets.n_subjettiness(given, (1, 2)).tolist(),
    "mass_drop_sum": lambda given: jets.mass_drop_sum(given).tolist(),
    "energy_flow_polynomials": lambda given: jets.energy_flow_polynomials(given).tolist(),
    "energy_rings": lambda given: jets.energy_rings(given).tolist(),
    "count_subjets": lambda given: [part.tolist() for part in jets.count_subjets(given)],
    "wide_subjets": lambda given: [part.tolist() for part in jets.wide_subjets(given, pt_min=1.0)],
    "exclusive_subjets": lambda given: [part.tolist() for part in jets.exclusive_subjets(given)],
}


def _close(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return all(_close(found[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(_close, found, wanted))
    return bool(np.isclose(found, wanted, rtol=1e-5, atol=1e-4))


@pytest.fixture(scope="module")
def wanted() -> dict[str, Any]:
    return {name: kernel(_plain()) for name, kernel in KERNELS.items()}


@pytest.mark.parametrize("seed", range(8))
def test_no_layout_changes_a_result(seed: int, wanted: dict[str, Any]) -> None:
    rng = np.random.default_rng(seed)
    steps = sorted(rng.permutation(sorted(SAME))[:3], key="optional events".__eq__)
    p4 = _plain()
    for step in steps:
        p4 = SAME[step](p4)
    for name in rng.permutation(sorted(KERNELS))[:4]:
        assert _close(KERNELS[name](p4), wanted[name]), (*steps, name)


@pytest.mark.parametrize("end", sorted(ENDS))
def test_four_momenta_under_any_names(end: str, wanted: dict[str, Any]) -> None:
    for name in ("cluster", "select_dijets", "jet_images"):
        assert _close(KERNELS[name](ENDS[end](_plain())), wanted[name]), name


@pytest.mark.parametrize("step", sorted(SAME))
def test_every_layout_alone(step: str, wanted: dict[str, Any]) -> None:
    for name in ("cluster", "soft_drop_mass", "event_images"):
        assert _close(KERNELS[name](SAME[step](_plain())), wanted[name]), name


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8, np.int64])
def test_numbers_of_any_type_are_those_in_float64(dtype: type) -> None:
    columns = {name: np.abs(values).astype(dtype) for name, values in _columns().items()}
    narrow = ak.unflatten(ak.zip(columns, with_name="Momentum4D"), COUNTS)
    wide = ak.values_astype(narrow, np.float64)
    for name, kernel in KERNELS.items():
        assert kernel(narrow) == kernel(wide), name


def test_regular_arrays_are_lists_of_one_length() -> None:
    rows = {name: values[:18].reshape(6, 3) for name, values in _columns().items()}
    regular = ak.zip(rows, with_name="Momentum4D")
    for kernel in KERNELS.values():
        assert kernel(regular) == kernel(ak.from_regular(regular, axis=1))


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_nothing_in_events_or_no_events_is_no_error(name: str) -> None:
    empty = KERNELS[name](_plain()[:0])
    for nothing in (ak.Array([]), _plain()[np.array([], int)], _virtual(_plain()[:0])):
        assert KERNELS[name](nothing) == empty
    without = _plain()[[1, 5]]
    for nothing in (ak.Array([[], []]), _plain()[[0, 3]][:, :0], ak.to_regular(without, axis=1)):
        assert KERNELS[name](nothing) == KERNELS[name](without)
    one = _plain()[[2]]
    assert len(ak.to_list(ak.num(one))) == 1
    KERNELS[name](one)


def _with(name: str, values: Any) -> ak.Array:
    return ak.with_field(_plain(), values, name)


REFUSED: dict[str, tuple[Any, str]] = {
    "a list": ([[1.0]], "expected an awkward array of lists of four-momenta, got list"),
    "numpy": (np.ones((2, 3)), "got numpy.ndarray"),
    "numbers": (ak.Array([[1.0, 2.0]]), "expected lists of records with pt, eta, phi, mass"),
    "flat": (ak.flatten(_plain()), "expected lists of records"),
    "deep": (_plain()[np.newaxis], "expected lists of records"),
    "strings": (ak.Array(["ab", "c"]), "expected lists of records"),
    "tuples": (ak.zip((_plain()["pt"], _plain()["eta"])), "expected lists of records"),
    "no mass": (_plain()[["pt", "eta", "phi"]], "mass 0 where there is none"),
    "text": (_with("mass", ak.Array([["a"] * n for n in COUNTS])), "expected one number"),
    "lists in fields": (_with("pt", _plain()["pt"][..., np.newaxis]), "expected one number"),
    "complex": (_with("pt", _plain()["pt"] + 1j), "expected one number"),
    "missing events": (
        ak.mask(_plain(), np.arange(len(COUNTS)) != 3),
        "event 3 is missing .None., 1 of 7 in all; ak.drop_none",
    ),
    "half a particle": (
        _with("mass", ak.mask(_plain()["mass"], _plain()["pt"] > 30)),
        "mass is missing .None. where other coordinates are there",
    ),
    "union": (
        ak.Array(
            ak.contents.UnionArray(
                ak.index.Index8(np.array([0, 1], np.int8)),
                ak.index.Index64(np.array([0, 0])),
                [_plain()[:1].layout, ak.Array([1.0]).layout],
            )
        ),
        "expected lists of records",
    ),
    "not finite": (_with("eta", _plain()["eta"] * np.nan), "eta is nan for one, not finite"),
    "tracers": (ak.to_backend(_plain(), "typetracer"), "cannot be read|is on typetracer"),
}


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_is_no_lists_of_momenta_is_refused_by_every_kernel(kind: str) -> None:
    given_, reason = REFUSED[kind]
    for kernel in KERNELS.values():
        with pytest.raises(InputError, match=reason):
            kernel(given_)


def test_an_eta_that_no_momentum_has_is_refused() -> None:
    with pytest.raises(InputError, match="a momentum is not finite"):
        jets.cluster(_with("eta", _plain()["eta"] * 0 + 800), JETS)


def test_missing_particles_are_left_out() -> None:
    p4 = _plain()
    hard = p4["pt"] > 30
    for masked in (ak.mask(p4, hard), ak.zip({f: ak.mask(p4[f], hard) for f in p4.fields})):
        for name, kernel in KERNELS.items():
            assert _close(kernel(masked), kernel(p4[hard])), name


def test_fields_of_particles_stay_with_them() -> None:
    p4 = SAME["further fields"](_plain())
    found = jets.cluster(ak.mask(p4, p4["pt"] > 20), JETS).constituents
    for constituent in ak.to_list(ak.flatten(ak.flatten(found))):
        assert constituent["charge"] == int(constituent["pt"])
        assert constituent["tags"] == "a"


def test_dijet_columns_of_single_jets_is_an_error() -> None:
    single = jets.cluster(_plain(), JETS, leading=1)
    with pytest.raises(InputError, match="event 0 has no two of them"):
        jets.dijet_columns(single[ak.num(single) > 0], SkimSettings())


def test_masked_particles_do_not_end_the_process() -> None:
    script = """
import awkward as ak, numpy as np, vector
from tnt_coffea import jets
from tnt_coffea.config import JetSettings
rng = np.random.default_rng(0)
n = rng.integers(50, 120, 60)
columns = {k: ak.unflatten(rng.random(n.sum()) * s, n) for k, s in
           {"pt": 100, "eta": 2, "phi": 3, "mass": 0}.items()}
p4 = ak.zip(columns, with_name="Momentum4D", behavior=vector.backends.awkward.behavior)
print(ak.num(jets.cluster(ak.mask(p4, p4.pt > 1), JetSettings())).tolist() ==
      ak.num(jets.cluster(p4[p4.pt > 1], JetSettings())).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ)
    )
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["True"]), done.stderr
