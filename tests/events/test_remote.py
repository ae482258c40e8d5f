"""Files at an address: the same events as from a disk, clear errors, no secret shown."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import awkward as ak
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import tnt_coffea as tnt
from tnt_coffea.cli import main
from tnt_coffea.errors import InputError, MissingExtraError, NetworkError
from tnt_coffea.events import remote
from tnt_coffea.events.remote import RemoteFile, file_of
from tnt_coffea.events.sources import SOURCES, source_of
from tnt_coffea.execution import OnError
from tnt_coffea.filesets import Fileset


class Handler(BaseHTTPRequestHandler):
    """Serves a folder by ranges; the first part of a path says what else it does."""

    protocol_version = "HTTP/1.1"
    folder: Path
    asked: ClassVar[list[str]] = []
    answers: ClassVar[float] = float("inf")
    """Questions after which it fails all that are asked."""

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        _, way, name = self.path.partition("?")[0].split("/", 2)
        code = {"refused": 403, "down": 503}.get(way)
        if way == "busy" and self.asked.count(self.asked[-1]) <= 2:
            code = 503
        if len(self.asked) > self.answers:
            code = 503
        path = self.folder / name
        if way == "slow":
            time.sleep(0.6)
        if code or not path.exists():
            self.send_response(code or 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()
        start, stop = 0, len(data)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked and way != "whole":
            start, stop = int(asked[1]), min(int(asked[2]) + 1, len(data))
        if way == "short" and body:
            stop -= 1
        self.send_response(206 if asked and way != "whole" else 200)
        self.send_header("Content-Length", str(stop - start))
        if way != "untold":
            self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        self.end_headers()
        if body:
            self.wfile.write(data[start:stop])


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def url(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    Handler.folder = tmp_path / "served"
    Handler.folder.mkdir()
    Handler.asked.clear()
    monkeypatch.setattr(Handler, "answers", float("inf"))
    monkeypatch.setattr(remote, "WAIT", 0.001)
    return lambda name, way="plain": f"http://127.0.0.1:{server.server_port}/{way}/{name}"


def table(n: int = 40, seed: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    columns = {
        "m_jj": rng.uniform(2500, 6000, n),
        "heavy_mass": rng.gamma(3, 90, n),
        "light_mass": rng.gamma(3, 40, n),
    }
    path = Handler.folder / "box.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def olympics(n: int = 6) -> Path:
    rng = np.random.default_rng(2)
    rows = np.zeros((n, 2101), np.float32)
    rows[:, :30:3] = rng.uniform(1, 500, (n, 10))
    path = Handler.folder / "olympics.h5"
    with h5py.File(path, "w") as file:
        file["events"] = rows
    return path


def aspen() -> Path:
    path = Handler.folder / "aspen.h5"
    with h5py.File(path, "w") as file:
        file["event_info"] = np.arange(12).reshape(4, 3)
        file["jet_kinematics"] = np.tile(np.array([500, 0.5, 1, 80], np.float32), (4, 1))
        file["PFCands"] = np.ones((4, 20, 11), np.float32)
    return path


def csv() -> Path:
    path = Handler.folder / "box.csv"
    path.write_text("m_jj,heavy_mass,light_mass\n3500,500,100\n2800,90,40\n")
    return path


def loaded(path: Path) -> Any:
    source = source_of(path)
    return source.load(path, 0, source.entries(path), {"dataset": "data", "filename": str(path)})


@pytest.mark.parametrize("kind", ["olympics", "parquet", "csv", "nano"])
def test_events_at_an_address_are_those_on_the_disk(
    url: Callable[..., str], write_nano: Callable[..., Path], kind: str
) -> None:
    if kind == "nano":
        local = write_nano().rename(Handler.folder / "nano.root")
    else:
        local = {"olympics": olympics, "parquet": table, "csv": csv}[kind]()
    there = file_of(url(local.name))
    assert isinstance(there, RemoteFile)
    assert source_of(there) is source_of(local)
    ours, theirs = loaded(local), loaded(there)
    assert ours.fields == theirs.fields
    for name in ours.fields:
        assert ak.array_equal(ours[name], theirs[name]), name
    assert sum("GET" in line for line in Handler.asked) <= 2  # of a file smaller than a block


def test_a_skim_of_an_address_is_that_of_the_file(url: Callable[..., str], tmp_path: Path) -> None:
    local = table()
    # Whatever a fileset names, the program writes where it was told to.
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "fileset.json").write_text(json.dumps({"box": {"files": {url(local.name): None}}}))
    fileset = Fileset.from_paths(tmp_path / "fileset.json")
    made = tnt.skim(fileset, tnt.SearchConfig(), out=tmp_path / "out")
    of_disk = tnt.skim(
        Fileset.from_paths({"box": [local]}), tnt.SearchConfig(), out=tmp_path / "disk"
    )
    assert made.contents == of_disk.contents
    assert made.accounting == of_disk.accounting
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert {path.relative_to(tmp_path).parts[0] for path in written} == {
        "fileset.json",
        "out",
        "disk",
    }
    # What is complete is not read again, and a file that changed is.
    Handler.asked.clear()
    tnt.skim(fileset, tnt.SearchConfig(), out=tmp_path / "out")
    assert not [line for line in Handler.asked if line.startswith("GET")]
    table(seed=2)
    with pytest.raises(tnt.errors.StageError, match="at-address"):
        tnt.skim(fileset, tnt.SearchConfig(), out=tmp_path / "out")


FILTERS = """
skim:
  source: {jets: file}
  jets: {radius: 0.8, pt_min: 1, eta_max: null}
  images: null
  observables: [pt, eta, phi, mass]
  filters: {hlt: [HLT_HT], flags: [Flag_good]}
"""


def test_a_part_of_a_skim_at_a_signed_address_is_taken_as_it_is(
    url: Callable[..., str], tmp_path: Path
) -> None:
    resources = tnt.Resources(executor="iterative", progress=False)
    made = tnt.skim(
        Fileset.from_paths(table()), tnt.SearchConfig(), out=tmp_path / "out", resources=resources
    )
    (part,) = (tmp_path / "out").rglob("*.parquet")
    part.rename(Handler.folder / "part.parquet")
    again = tnt.skim(
        Fileset.from_paths(url("part.parquet?token=sesame")),
        tnt.SearchConfig(),
        out=tmp_path / "again",
        resources=resources,
    )
    assert again.contents == made.contents


def words_of(*words: str) -> tuple[int, str]:
    """Return the exit code of a command and what it says, without a secret in it."""
    done = CliRunner().invoke(main, words, env={"COLUMNS": "300"})
    assert "sesame" not in done.output, done.output
    return done.exit_code, " ".join(done.output.split())


def test_nanoaod_at_an_address_is_inspected_and_filtered(
    url: Callable[..., str], write_nano: Callable[..., Path], tmp_path: Path
) -> None:
    fired = {"HLT_HT": np.array([True, True, False]), "Flag_good": np.ones(3, bool)}
    write_nano(**fired).rename(Handler.folder / "nano.root")
    write_nano(Flag_good=fired["Flag_good"]).rename(Handler.folder / "bare.root")
    (tmp_path / "filters.yaml").write_text(FILTERS)
    config = ("--config", str(tmp_path / "filters.yaml"))
    address = url("nano.root?token=sesame").replace("//", "//user:sesame@", 1)
    shown = re.escape(url("nano.root")) + r"\?hidden-\w{8}"

    code, said = words_of("inspect", address, *config)
    assert code == 0, said
    assert re.search(rf"source pfnano events 3 .* {shown}: no problem in 3 events", said)
    machine = ("--executor", "iterative", "-q", *config)
    code, said = words_of("skim", address, "--out", str(tmp_path / "out"), *machine)
    assert code == 0, said
    assert "1 dijets of 3 events" in said

    # A file without the branches is named, and nothing of its address that may be secret.
    bare, shown = address.replace("nano.root", "bare.root"), shown.replace("nano", "bare")
    for words, end in (
        (("inspect", bare, *config), f".*{shown}: 1 problem, listed above"),
        (("skim", bare, "--out", str(tmp_path), *machine), ""),
    ):
        code, said = words_of(*words)
        assert code == 3, said
        assert re.search(rf"{shown}: the file has no trigger path of skim.filters.hlt{end}", said)


def hepmc() -> Path:
    pyhepmc = pytest.importorskip("pyhepmc", reason="pyhepmc is not installed")
    event = pyhepmc.GenEvent(pyhepmc.Units.GEV, pyhepmc.Units.MM)
    vertex = pyhepmc.GenVertex()
    vertex.add_particle_in(pyhepmc.GenParticle((0, 0, 6500, 6500), 2212, 4))
    vertex.add_particle_out(pyhepmc.GenParticle((30, 40, 0, 50), 211, 1))
    event.add_vertex(vertex)
    plain = Handler.folder / "events.hepmc3"
    with pyhepmc.open(plain, "w") as file:
        for _ in range(3):
            file.write(event)
    return plain


def compressed(plain: Path) -> Path:
    packed = plain.with_suffix(".hepmc3.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    return packed


def test_hepmc_that_is_compressed_is_read_at_an_address(url: Callable[..., str]) -> None:
    plain = hepmc()
    packed = compressed(plain)
    there = file_of(url(packed.name))
    assert source_of(there) is SOURCES["hepmc"]
    ours, theirs = loaded(plain), loaded(there)
    for name in ours.fields:
        assert ak.array_equal(ours[name], theirs[name]), name
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"^http://127.*gz: not readable as gzip: .*cut short"):
        SOURCES["hepmc"].entries(there)


@pytest.mark.parametrize(
    "address", ["http://", "http://[/a.root", "https:///a.root", "root://?token=sesame"]
)
def test_an_address_without_a_server_is_one_line(address: str) -> None:
    code, said = words_of("inspect", address)
    assert code == 3
    assert re.search(r"error: \w+://\S*: an address without a server, expected such as ", said)


def test_secrets_are_not_shown_by_errors_before_a_file_is_opened(tmp_path: Path) -> None:
    out = ("--out", str(tmp_path))
    secret = "https://user:sesame@example.org"
    fileset, listed = tmp_path / "fileset.json", tmp_path / "list.txt"
    fileset.write_text(json.dumps({"box": {"files": {f"{secret}/a.root": "Other"}}}))
    listed.write_text(f"{secret}/list.txt\n")
    for words, shown in (
        (("skim", str(fileset), *out), "https://example.org/a.root: the tree 'Other' is asked for"),
        (("inspect", str(listed)), "names the list https://example.org/list.txt"),
        (("skim", "a.h5", "--signal", f"{secret}/a.root?key=sesame", *out), "form NAME=PATH"),
    ):
        assert shown in words_of(*words)[1]


def test_without_a_version_the_key_is_that_of_the_bytes(url: Callable[..., str]) -> None:
    local = table()
    (on_disk,) = Fileset.from_paths(local).content_hashes()["data"]
    for address in (url(local.name, "untold"), url(f"{local.name}?token=1")):
        assert Fileset.from_paths(address).content_hashes() == {"data": [on_disk]}
    (told,) = Fileset.from_paths(url(local.name)).content_hashes()["data"]
    assert told.startswith("at-address:")


def test_bytes_that_do_not_come_are_no_end_of_the_file(url: Callable[..., str]) -> None:
    local = table()
    size = local.stat().st_size
    with pytest.raises(NetworkError, match=rf"{size - 1} of {size} bytes came: the server broke"):
        file_of(url(local.name, "short")).open().read()
    file = file_of(url(local.name)).open()
    table(n=30)
    with pytest.raises(InputError, match=r"box\.parquet: was changed while it was read"):
        file.read()


def test_what_was_read_of_an_untold_version_is_not_read_again(url: Callable[..., str]) -> None:
    local = Handler.folder / "box.csv"
    there = file_of(url(local.name, "untold"))
    for number in range(10, 20):
        local.write_text(f"m_jj,mass{number}\n")
        with there.open() as file:
            assert file.read() == local.read_bytes()
        del file  # the next one may lie in its place


@pytest.mark.parametrize("way", ["plain", "untold"])
def test_a_file_that_changes_at_its_address_is_an_error(url: Callable[..., str], way: str) -> None:
    local = table()
    fileset = Fileset.from_paths(url(local.name, way)).noted()
    (item,) = fileset.items(100)
    item.check()
    pickle.loads(pickle.dumps(item)).check()
    table(n=41)
    with pytest.raises(InputError, match=r"/box.parquet: was changed since .* bytes then"):
        item.check()
    local.unlink()
    with pytest.raises(InputError, match="there is no such file"):
        item.check()


@pytest.mark.parametrize(
    ("name", "way", "message"),
    [
        ("absent.h5", "plain", r"there is no such file \(404\)"),
        ("box.parquet", "whole", "gives no ranges of a file, only all of it: fetch it"),
        ("cut.parquet", "plain", "not readable as Parquet: .* damaged or was cut short"),
        ("cut.h5", "plain", "not readable as HDF5: .*truncated"),
        ("cut.root", "plain", "cut short: its header says 1000 bytes, the file has 40"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_the_address(
    url: Callable[..., str], name: str, way: str, message: str
) -> None:
    data = table(n=60_000 if way == "whole" else 40).read_bytes()
    (Handler.folder / "cut.parquet").write_bytes(b"PAR1" + data[100:-9])
    (Handler.folder / "cut.h5").write_bytes(olympics().read_bytes()[:-900])
    (Handler.folder / "cut.root").write_bytes(
        b"root" + (62400).to_bytes(4) + (100).to_bytes(4) + (1000).to_bytes(4) + bytes(24)
    )
    fileset = Fileset.from_paths(url(f"{name}?key=secret", way))
    with pytest.raises(InputError, match=f"^http://127.0.0.1:.*{name}.*{message}") as error:
        fileset.items(1000)
    assert "\n" not in str(error.value)
    assert "secret" not in "".join(map(str, (error.value, error.value.__cause__)))
    assert error.value.__suppress_context__ or error.value.__context__ is None
    # Left out and listed, where that is asked for.
    items, (bad,) = fileset.sound_items(1000)
    assert items == []
    assert re.search(message, bad.reason)


def test_refused_credentials_leave_no_file_out(url: Callable[..., str]) -> None:
    fileset = Fileset.from_paths(url(table().name, "refused"))
    for read in (fileset.items, fileset.sound_items):
        with pytest.raises(NetworkError, match=r"credentials may be missing or too old \(403\)"):
            read(1000)


def test_a_server_that_is_busy_is_asked_again(url: Callable[..., str]) -> None:
    local = table()
    assert len(Fileset.from_paths(url(local.name, "busy")).items(10)) == 4
    Handler.asked.clear()
    with pytest.raises(NetworkError, match="503"):
        file_of(url(local.name, "down")).open()
    # Every attempt tries HEAD, and GET where the server refuses that.
    assert len(Handler.asked) == 2 * remote.ATTEMPTS


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("down", r"the server answers with an error \(503\) \(4 attempts\)"),
        ("slow", r"no answer within"),
        ("gone", r"127.0.0.1 cannot be reached, or .* \(4 attempts\)"),
    ],
)
def test_a_file_whose_server_fails_for_the_moment_is_none_that_is_left_out(
    url: Callable[..., str], monkeypatch: pytest.MonkeyPatch, way: str, message: str
) -> None:
    address = url(table().name, way)
    if way == "slow":
        monkeypatch.setattr(remote, "TIMEOUT", 0.1)
        monkeypatch.setattr(remote, "ATTEMPTS", 1)
    if way == "gone":
        address = "http://127.0.0.1:9/box.parquet"
    fileset = Fileset.from_paths(f"{address}?key=secret")
    for asked in (
        lambda: fileset.items(1000),
        lambda: fileset.sound_items(1000),
        lambda: fileset.content_hashes(skip_bad=True),
        lambda: fileset.noted(),
    ):
        with pytest.raises(NetworkError, match=f"^http://127.0.0.1:.*{message}") as error:
            asked()
        assert "secret" not in "".join(map(str, (error.value, error.value.__cause__)))


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.slow] * (kind not in ("parquet", "nano")))
        for kind in ("olympics", "aspen", "parquet", "csv", "nano", "hepmc")
    ],
)
def test_an_intact_file_is_never_called_damaged(
    url: Callable[..., str],
    write_nano: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    name = {"nano": "nano.root", "hepmc": "events.hepmc3.gz"}.get(kind)
    if kind == "nano":
        write_nano().rename(Handler.folder / str(name))
    elif kind == "hepmc":
        compressed(hepmc())
    else:
        name = {"olympics": olympics, "aspen": aspen, "parquet": table, "csv": csv}[kind]().name
    monkeypatch.setattr(remote, "BLOCK", 512)  # many questions
    monkeypatch.setattr(remote, "ATTEMPTS", 1)
    whole = loaded(file_of(url(f"{name}?whole")))
    questions = len(Handler.asked)
    assert questions > 3
    for answers in (0, questions // 3, questions // 2, questions - 1):
        Handler.asked.clear()
        Handler.answers = answers
        with pytest.raises(NetworkError, match=r"\(503\) \(1 attempts\)$"):
            loaded(file_of(url(f"{name}?{answers}")))
    Handler.answers = float("inf")
    again = loaded(file_of(url(f"{name}?0")))
    assert all(ak.array_equal(again[field], whole[field]) for field in whole.fields)


@pytest.mark.parametrize("on_error", OnError)
def test_a_pass_whose_server_fails_goes_on_where_it_was(
    url: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_error: OnError
) -> None:
    address = url(table().name)
    resources = tnt.Resources(
        on_error=on_error, executor="iterative", progress=False, chunk_size=10
    )

    def skimmed(out: str) -> tnt.Skim:
        fileset = Fileset.from_paths(f"{address}?{out}")  # whose answers nobody has kept
        return tnt.skim(fileset, tnt.SearchConfig(), out=tmp_path / out, resources=resources)

    whole = skimmed("whole")
    Handler.answers = len(Handler.asked) - 1  # the last of what a pass asks for
    Handler.asked.clear()
    with pytest.raises(NetworkError, match="503"):
        skimmed("out")
    Handler.answers = float("inf")
    made = skimmed("out")
    assert (made.contents, made.accounting) == (whole.contents, whole.accounting)
    assert json.loads((tmp_path / "out/skim/manifest.json").read_text())["metrics"]["kept"] == 3


def test_events_that_a_failing_server_loses_are_listed(
    url: Callable[..., str], tmp_path: Path
) -> None:
    local = table()
    files = {"box": [url(local.name)], "more": [url("absent.parquet")]}
    resources = tnt.Resources(on_error=OnError.SKIP, executor="iterative", progress=False)
    made = tnt.skim(
        Fileset.from_paths(files, missing_ok=True),
        tnt.SearchConfig(),
        out=tmp_path / "out",
        resources=resources,
    )
    assert made.accounting.selected == 40
    ((key, (_, reason)),) = made.accounting.datasets["more"].lost.items()
    assert key == f"more: {url('absent.parquet')}"
    assert "there is no such file" in reason


def test_credentials_are_used_and_never_shown(
    url: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    local = table()
    address = url(f"{local.name}?token=secret").replace("//", "//user:password@", 1)
    out = tmp_path / "out"
    done = CliRunner().invoke(
        main,
        ["skim", address, "--out", str(out), "--executor", "iterative"],
        env={"COLUMNS": "300"},
    )
    assert done.exit_code == 0, done.output
    assert any("token=secret" in line for line in Handler.asked)
    noted = json.loads((out / "files.json").read_text())["files"]["data"]
    assert re.search(r"//127.0.0.1:\d+/plain/box.parquet\?hidden-[0-9a-f]{8}$", noted[0])
    (item,) = Fileset.from_paths(address).items(100)
    texts = [done.output, repr(item), item.key, repr(item.file), str(item.file), caplog.text]
    texts += [path.read_bytes().decode("latin1") for path in out.rglob("*") if path.is_file()]
    assert not [text for text in texts if "secret" in text or "password" in text]
    with pytest.raises(InputError, match="may be secret and was not kept: name the file again"):
        Fileset.from_paths(noted[0])
    # Two files that differ in what is hidden are two files.
    both = Fileset.from_paths([f"{address}1", f"{address}2"]).items(100)
    assert len({item.key for item in both}) == 2


def test_hdf5_of_several_files_is_refused_at_an_address(url: Callable[..., str]) -> None:
    local = olympics()
    layout = h5py.VirtualLayout(shape=(6, 2101), dtype="f4")
    layout[:] = h5py.VirtualSource(str(local), "events", shape=(6, 2101))
    with h5py.File(Handler.folder / "virtual.h5", "w") as file:
        file.create_virtual_dataset("events", layout)
    with h5py.File(Handler.folder / "linked.h5", "w") as file:
        file["events"] = h5py.ExternalLink(str(local), "events")
    assert len(loaded(Handler.folder / "virtual.h5")) == 6
    for name in ("virtual.h5", "linked.h5"):
        with pytest.raises(InputError, match="consists of other files, which are not looked for"):
            SOURCES["lhco"].entries(file_of(url(name)))


def test_an_address_is_no_path_of_this_machine(tmp_path: Path) -> None:
    file = file_of("https://example.org/store/a.root")
    for call in (file.touch, file.mkdir, file.unlink, lambda: os.listdir(file)):  # noqa: PTH208
        with pytest.raises(InputError, match=r"^https://example.org/store/a.root: "):
            call()
    with pytest.raises(InputError, match="nothing is written"):
        file.open("wb")
    assert (file.name, file.suffix) == ("a.root", ".root")
    assert pickle.loads(pickle.dumps(file)) == file


@pytest.mark.parametrize(("protocol", "package"), [("s3", "s3fs"), ("root", "fsspec-xrootd")])
def test_a_missing_package_is_named_with_its_extra(protocol: str, package: str) -> None:
    if find_spec(package.replace("-", "_")) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(MissingExtraError, match=rf"{package}.*tnt-coffea\[remote\]"):
        Fileset.from_paths(f"{protocol}://host//a.root").items(10)
