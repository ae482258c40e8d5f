"""Files on real servers of XRootD and S3, where these are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tnt_coffea.errors import InputError, NetworkError
from tnt_coffea.events import remote
from tnt_coffea.events.remote import file_of
from tnt_coffea.events.sources import source_of
from tnt_coffea.filesets import Fileset

pytestmark = [
    pytest.mark.slow,
    # s3fs, its client and xrootd's bindings warn of their own affairs.
    pytest.mark.filterwarnings("ignore"),
]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def written(folder: Path, write_nano: Callable[..., Path]) -> list[Path]:
    """Write a file of every format."""
    folder.mkdir()
    rng = np.random.default_rng(2)
    rows = np.zeros((6, 2101), np.float32)
    rows[:, :30:3] = rng.uniform(1, 500, (6, 10))
    with h5py.File(folder / "olympics.h5", "w") as file:
        file["events"] = rows
    columns = {name: rng.uniform(100, 3000, 40) for name in ("m_jj", "heavy_mass", "light_mass")}
    pq.write_table(pa.table(columns), folder / "box.parquet")
    shutil.move(write_nano(), folder / "nano.root")
    return sorted(folder.iterdir())


def loaded(path: Path) -> Any:
    source = source_of(path)
    return source.load(path, 0, source.entries(path), {"dataset": "data", "filename": str(path)})


def check_same(local: Path, address: str) -> None:
    ours, theirs = loaded(local), loaded(file_of(address))
    assert ours.fields == theirs.fields
    for name in ours.fields:
        assert ak.array_equal(ours[name], theirs[name]), name


@pytest.fixture
def xrootd(write_nano: Callable[..., Path]) -> Iterator[tuple[str, list[Path]]]:
    pytest.importorskip("fsspec_xrootd", reason="needs pip install 'tnt-coffea[remote]'")
    if not shutil.which("xrootd"):
        pytest.skip("the program xrootd is not installed (Debian: xrootd-server)")
    place = Path(tempfile.mkdtemp())  # tests' own folders are closed to the server's user
    files = written(place / "store", write_nano)
    for path in (place, place / "store"):
        path.chmod(0o777)
    for path in files:
        path.chmod(0o644)
    port, config, log = free_port(), place / "xrootd.cfg", place / "xrootd.log"
    config.write_text(
        f"all.export /store r/o\nxrootd.chksum adler32\noss.localroot {place}\nxrd.port {port}\n"
        f"all.adminpath {place}/admin\nall.pidpath {place}/admin\n"
    )
    words = ["xrootd", "-c", str(config), "-p", str(port), "-l", str(log)]
    if os.geteuid() == 0:  # as root it does not serve
        words += ["-R", "nobody"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process, log)
        yield f"root://127.0.0.1:{port}//store", files
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(place)


def test_files_on_an_xrootd_server(
    xrootd: tuple[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, files = xrootd
    for local in files:
        check_same(local, f"{address}/{local.name}")
    for pattern in (f"{address}/", f"{address}/*"):
        assert [p.name for p in Fileset.from_paths(pattern).files["data"]] == [
            local.name for local in files
        ]
    (item,) = Fileset.from_paths(f"{address}/box.parquet").items(100)
    local = files[0]
    there = Fileset.from_paths(f"{address}/{local.name}")
    before = there.content_hashes()
    assert before["data"][0].startswith("at-address:")
    assert before == there.content_hashes()
    os.utime(local, (1, 1))
    assert before != there.content_hashes()
    with pytest.raises(InputError, match=r"was changed since the pass was planned .same size"):
        item.check()
    with pytest.raises(InputError, match=r"^root://.*/absent.root: there is no such file"):
        file_of(f"{address}/absent.root").open()
    with pytest.raises(InputError, match="lists no file"):
        Fileset.from_paths(f"{address}/*.csv")
    local.with_name("closed.root").touch(0)
    with pytest.raises(NetworkError, match=r"/closed.root: the server refuses it"):
        file_of(f"{address}/closed.root").bytes_between(0, 4)
    monkeypatch.setattr(remote, "ATTEMPTS", 1)
    monkeypatch.setattr(remote, "TIMEOUT", 2)
    with pytest.raises(NetworkError, match=r"^root://127.0.0.1:9//a.root: .*(no answer|reached)"):
        file_of("root://127.0.0.1:9//a.root").open()


@pytest.fixture
def s3(
    tmp_path: Path, write_nano: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, list[Path]]]:
    s3fs = pytest.importorskip("s3fs", reason="needs pip install 'tnt-coffea[remote]'")
    pytest.importorskip("moto.server", reason="needs pip install 'moto[server,s3]'")
    from fsspec.config import conf

    files = written(tmp_path / "store", write_nano)
    port, log = free_port(), tmp_path / "moto.log"
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output)
    monkeypatch.setitem(
        conf,
        "s3",
        {"endpoint_url": f"http://127.0.0.1:{port}", "key": "mykey", "secret": "topsecret"},
    )
    try:
        wait_for(port, process, log)
        filesystem = s3fs.S3FileSystem()
        filesystem.mkdir("bucket")
        for local in files:
            filesystem.put_file(str(local), f"bucket/{local.name}")
        yield "s3://bucket", files
    finally:
        process.kill()
        process.wait()


def test_files_on_an_s3_server(s3: tuple[str, list[Path]]) -> None:
    import s3fs

    address, files = s3
    for local in files:
        check_same(local, f"{address}/{local.name}")
    for pattern in (f"{address}/", f"{address}/*"):
        assert [p.name for p in Fileset.from_paths(pattern).files["data"]] == [
            local.name for local in files
        ]
    (local, *_) = files
    fileset = Fileset.from_paths(f"{address}/{local.name}").noted()
    (item,) = fileset.items(100)
    item.check()
    before = fileset.content_hashes()
    assert before["data"][0].startswith("at-address:")
    s3fs.S3FileSystem().pipe_file(f"bucket/{local.name}", local.read_bytes()[::-1])
    assert fileset.content_hashes() != before
    with pytest.raises(InputError, match=r"was changed since the pass was planned .same size"):
        item.check()
    for absent in ("bucket/absent.root", "nobucket/a.root"):
        with pytest.raises(InputError, match=f"^s3://{absent}: there is no such file"):
            file_of(f"s3://{absent}").open()
