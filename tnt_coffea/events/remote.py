"""Files at an address (`https://`, `root://`, `s3://`), read as any other file is, by ranges.

fsspec speaks the protocols. Here is what it leaves open: one error that names the address, for
whatever protocol; a bound on waiting and on trying again; a number that changes when the file
does; and addresses whose credentials are used and never shown.

A file is read in blocks. Those read last are kept by what the server says of the file's version,
so that opening it again costs one question and no byte.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PosixPath
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from tnt_coffea.errors import InputError, MissingExtraError, NetworkError, TntCoffeaError

__all__ = [
    "PROTOCOLS",
    "RemoteFile",
    "RemoteStatus",
    "file_of",
    "is_address",
    "shown",
    "told",
    "traveller",
]

PROTOCOLS = {"http": "aiohttp", "https": "aiohttp", "root": "fsspec-xrootd", "s3": "s3fs"}
"""What is read, and the package that fsspec reads it with."""
TIMEOUT = 60
"""Seconds that an answer is waited for."""
ATTEMPTS = 4
"""How often a range is asked for, where the network or the server fails for the moment."""
WAIT = 0.5
"""Seconds before the second attempt, twice as many before each further one."""
BLOCK = 1 << 20
KEPT = 48
"""Blocks that a process keeps."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*[A-Za-z0-9]:(?:/+(?=[^/])|//+$)")
_HIDDEN = re.compile(r"\?hidden-[0-9a-f]{8}$")
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_TIME, _NOT_THERE, _NOT_OURS = (
    f"no answer within {TIMEOUT} s",
    "there is no such file",
    "the server refuses it; credentials may be missing or too old",
)


def is_address(text: str) -> bool:
    """Tell whether a text is meant as an address rather than a path.

    Examples
    --------
    >>> is_address("root://eos.example//store/a.root"), is_address("/data/a:b.root")
    (True, False)
    """
    return bool(_ADDRESS.match(text))


def file_of(place: str | os.PathLike[str]) -> Path:
    """Return the file at a path or an address.

    Raises
    ------
    InputError
        The address is of a protocol that is not read, or was shortened to be shown.

    Examples
    --------
    >>> file_of("https://example.org/open/a.root?token=secret")
    RemoteFile('https://example.org/open/a.root?hidden-32e8a5a0')
    >>> file_of("gs://bucket/a.root")
    Traceback (most recent call last):
        ...
    tnt_coffea.errors.InputError: gs://bucket/a.root: files are read at http://, https://, ...
    """
    if isinstance(place, Path):
        return place
    text = os.fspath(place)
    return RemoteFile(text) if is_address(text) else Path(text)


def traveller(file: Path) -> str:
    """Return the text that `file_of` makes the same file of, in any process: it may hold secrets.

    Examples
    --------
    >>> traveller(file_of("s3://bucket/a.root"))
    's3://bucket/a.root'
    """
    return file.url if isinstance(file, RemoteFile) else str(file.absolute())


@dataclass(frozen=True)
class RemoteStatus:
    """What a server says of a file.

    Attributes
    ----------
    st_size
        Bytes.
    st_mtime_ns
        No time, but a number that changes with what the server says of the version: tag,
        checksum, time of the last change.
    st_ino
        Always 0.
    version
        What names the very bytes among all versions at the address: an entity tag that is not
        weak, a checksum; empty where it says none by itself.
    told
        Whether the server says anything of the version.
    """

    st_size: int
    st_mtime_ns: int
    st_ino: int
    version: str
    told: bool


class RemoteFile(PosixPath):
    """A file at an address: opened, and asked for its size and version, as a path is.

    Nothing else of a path's work is there, and no library gets its name: what is not read here
    is an error instead of a local file of a similar name.

    Parameters
    ----------
    url
        Address, of one of `PROTOCOLS`.

    Raises
    ------
    InputError
        It is of another protocol, or was shortened to be shown.

    Examples
    --------
    >>> file = RemoteFile("root://eos.example//store/a.root")
    >>> str(file), file.suffix, file.protocol
    ('root://eos.example//store/a.root', '.root', 'root')
    """

    url: str

    def __new__(cls, url: str) -> RemoteFile:
        """Return the file at an address."""
        self = super().__new__(cls, shown(url))
        self.url = _checked(url)
        return self

    def __init__(self, *_: str) -> None:
        if sys.version_info >= (3, 12):  # where a path is made here, and not by `__new__`
            super().__init__(shown(self.url))

    def __reduce__(self) -> Any:
        """Pickle it with its credentials."""
        return RemoteFile, (self.url,)

    def __str__(self) -> str:
        """Return the address without what may be secret."""
        return shown(self.url)

    def __repr__(self) -> str:
        """Return the address without what may be secret."""
        return f"{type(self).__name__}({str(self)!r})"

    def __fspath__(self) -> str:
        """Refuse to be taken for a local path."""
        msg = f"{self}: asked for as a file on this machine, which it is not; fetch it"
        raise InputError(msg)

    def __eq__(self, other: object) -> bool:
        """Compare addresses."""
        return isinstance(other, RemoteFile) and self.url == other.url

    def __hash__(self) -> int:
        """Hash the address."""
        return hash(self.url)

    @property
    def protocol(self) -> str:
        """The address's protocol."""
        return self.url.partition(":")[0].lower()

    def absolute(self) -> RemoteFile:
        """Return the file."""
        return self

    def resolve(self, strict: bool = False) -> RemoteFile:
        """Return the file."""
        return self

    def samefile(self, other_path: Any) -> bool:
        """Tell whether the address is the same."""
        return bool(self == other_path)

    def is_file(self) -> bool:
        """Tell that it is meant for one; reading it tells whether it is."""
        return True

    def is_dir(self) -> bool:
        """Tell that it is none."""
        return False

    def stat(self, *, follow_symlinks: bool = True) -> RemoteStatus:  # type: ignore[override]
        """Return what the server says of the file.

        Raises
        ------
        InputError
            It is not there.
        NetworkError
            The server does not answer, fails for the moment, or refuses the credentials.
        """
        told = self._asked("_info")
        size = told.get("size")
        if told.get("type") == "directory" or not isinstance(size, int):
            what = "a folder" if told.get("type") == "directory" else "a file of unknown size"
            msg = f"{self}: {what}, expected a file with events of a size that the server says"
            raise InputError(msg)
        tag = str(told.get("ETag") or "")
        strong = "" if tag.startswith("W/") else tag
        sums = [str(told[name]) for name in ("Digest", "Content-MD5") if told.get(name)]
        times = [
            str(told[name]) for name in ("Last-Modified", "LastModified", "mtime") if told.get(name)
        ]
        version = " ".join(filter(None, (strong, *sums)))
        said = " ".join((tag, *sums, *times)).strip()
        number = hashlib.blake2b(f"{size} {said}".encode(), digest_size=8).digest()
        return RemoteStatus(size, int.from_bytes(number) >> 1, 0, version, bool(said))

    def version(self) -> str:
        """Return what names the very bytes among all versions at the address, if anything does.

        An entity tag that is not weak, or a checksum; of XRootD, whose checksum is short, with the
        time of the last change. Empty where the server has none.

        Raises
        ------
        InputError, NetworkError
            As `stat`.
        """
        status = self.stat()
        if status.version or self.protocol != "root":
            return status.version
        try:
            return " ".join((*self._asked("_checksum"), str(status.st_mtime_ns)))
        except NetworkError as error:
            msg = f"{error}; its checksum was asked for, which takes a server long the first time"
            raise NetworkError(msg) from None
        except (InputError, AttributeError):  # a server, or a version of the package, without
            return ""

    def open(self, mode: str = "rb", *_: Any, **__: Any) -> Any:
        """Return the file for reading bytes, with `seek`; raises as `stat`."""
        if mode != "rb":
            msg = f"{self}: files at an address are read, and nothing is written to them"
            raise InputError(msg)
        return io.BufferedReader(_Ranges(self, self.stat()), buffer_size=1 << 16)

    def listed(self, pattern: str) -> list[RemoteFile]:
        """Return the files that a pattern matches, in order, `pattern` being the address of it.

        Raises
        ------
        InputError
            The protocol or the server lists no files.
        NetworkError
            As `stat`.
        """
        filesystem, _ = self._found()
        path = type(filesystem)._strip_protocol(pattern)
        names = self._tried(lambda: filesystem.glob(path))
        return sorted(
            (RemoteFile(str(filesystem.unstrip_protocol(name))) for name in names),
            key=lambda file: file.url,
        )

    def bytes_between(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop).

        Raises
        ------
        InputError
            As `stat`, or the server gives other bytes than were asked for.
        NetworkError
            As `stat`, or the server breaks off.
        """
        how = {}
        if self.protocol.startswith("http"):
            filesystem, _ = self._found()
            own = filesystem.kwargs.get("headers", {})
            how = {"headers": {**own, "Accept-Encoding": "identity"}}
        found = bytes(self._asked("_cat_file", start=start, end=stop, **how))
        if len(found) == stop - start:
            return found
        if len(found) > stop - start:
            msg = f"{self}: the server gives no ranges of a file, only all of it: fetch it"
            raise InputError(msg)
        if self.stat().st_size < stop:
            msg = f"{self}: was changed while it was read; run the command again"
            raise InputError(msg)
        msg = f"{self}: {len(found)} of {stop - start} bytes came: the server broke off"
        raise NetworkError(msg)

    def _found(self) -> tuple[Any, str]:
        """Return the file system of fsspec, and what it calls the file."""
        import fsspec

        try:
            kind = fsspec.get_filesystem_class(self.protocol)
            how = dict(kind._get_kwargs_from_urls(self.url))
            how["use_listings_cache"] = False  # of a listing, size and time may be old
            if self.protocol.startswith("http") and "client_kwargs" not in _configured(self):
                how["client_kwargs"] = {"trust_env": True}  # ~/.netrc, proxies
            return fsspec.filesystem(self.protocol, **how), kind._strip_protocol(self.url)
        except ImportError as error:
            raise MissingExtraError(PROTOCOLS[self.protocol], "remote") from error

    def _asked(self, what: str, **how: Any) -> Any:
        from fsspec.asyn import sync

        filesystem, path = self._found()
        call = getattr(filesystem, what)
        return self._tried(lambda: sync(filesystem.loop, call, path, timeout=TIMEOUT, **how))

    def _tried(self, call: Callable[[], Any]) -> Any:
        for attempt in range(ATTEMPTS):
            try:
                return call()
            except TntCoffeaError:
                raise
            except Exception as error:  # each protocol has its own
                reason, passing = _reason(error, self.url)
                if passing and attempt + 1 < ATTEMPTS:
                    time.sleep(WAIT * 2**attempt)
                    continue
                times = f" ({ATTEMPTS} attempts)" if passing else ""
            # Outside: an error of the protocol may show the whole address.
            break
        # A proxy that ran out says nothing of a file: leaving it out would lose intact events.
        kind = NetworkError if passing or reason.startswith(_NOT_OURS) else InputError
        msg = f"{self}: {reason}{times}"
        raise kind(msg) from None


_UNTOLD = count(1)
"""Numbers files whose servers do not tell their versions: what one has read is no other's."""


class _Ranges(io.RawIOBase):
    """A remote file that is open."""

    def __init__(self, file: RemoteFile, status: RemoteStatus) -> None:
        super().__init__()
        self.file, self.size = file, status.st_size
        self.key = (file.url, status.st_mtime_ns if status.told else -next(_UNTOLD))
        self.place = 0
        self.failure: TntCoffeaError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, "seek before the beginning")
        self.place = start + offset
        return self.place

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer).cast("B")
        n = max(min(len(wanted), self.size - self.place), 0)
        if n:
            try:
                wanted[:n] = self._between(self.place, self.place + n)
            except TntCoffeaError as error:
                self.failure = error  # libraries in C make another one of it
                raise
        self.place += n
        return n

    def _between(self, start: int, stop: int) -> bytes:
        first, end = start // BLOCK, -(-stop // BLOCK)
        if end - first > KEPT // 4:
            return self.file.bytes_between(start, stop)
        blocks = {i: _BLOCKS.get((*self.key, i)) for i in range(first, end)}
        missing = [i for i, block in blocks.items() if block is None]
        if missing:
            low = missing[0] * BLOCK
            data = self.file.bytes_between(low, min((missing[-1] + 1) * BLOCK, self.size))
            for i in range(missing[0], missing[-1] + 1):
                blocks[i] = data[i * BLOCK - low : (i + 1) * BLOCK - low]
                _BLOCKS.keep((*self.key, i), blocks[i])
        whole = b"".join(block for block in blocks.values() if block is not None)
        return whole[start - first * BLOCK : stop - first * BLOCK]


class _Blocks:
    """Those used last."""

    def __init__(self) -> None:
        self.kept: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self.lock = Lock()

    def get(self, key: tuple[Any, ...]) -> bytes | None:
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
            return self.kept.get(key)

    def keep(self, key: tuple[Any, ...], block: bytes | None) -> None:
        with self.lock:
            if block is not None:
                self.kept[key] = block
            while len(self.kept) > KEPT:
                self.kept.popitem(last=False)


_BLOCKS = _Blocks()


@contextmanager
def told(file: Any) -> Iterator[None]:
    """Raise what an open file at an address met in the block, whatever a library made of it."""
    try:
        yield
    finally:
        if (failure := getattr(getattr(file, "raw", None), "failure", None)) is not None:
            raise failure from None


def _checked(url: str) -> str:
    text = shown(url if "://" in url else url.replace(":/", "://", 1))
    if "://" not in url:
        msg = f"{text}: a path loses one slash of an address: give it as text, not as pathlib.Path"
        raise InputError(msg)
    if url.partition(":")[0].lower() not in PROTOCOLS:
        read = ", ".join(f"{name}://" for name in PROTOCOLS)
        msg = f"{text}: files are read at {read}; fetch it, or name its path where it is mounted"
        raise InputError(msg)
    if not _has_server(url):
        msg = f"{text}: an address without a server, expected such as https://example.org/a.root"
        raise InputError(msg)
    if _HIDDEN.search(url):
        msg = (
            f"{text}: what follows '?' in this address may be secret and was not kept: name the "
            "file again"
        )
        raise InputError(msg)
    return url


def _has_server(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:  # a bracket that is not closed
        return False


def shown(url: str) -> str:
    """Return an address without user, password and query, which may be secret.

    Examples
    --------
    >>> shown("https://user:secret@example.org/a.root?token=secret")
    'https://example.org/a.root?hidden-32e8a5a0'
    """
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        return url
    rest, _, _ = rest.partition("#")
    rest, question, query = rest.partition("?")
    host, slash, path = rest.partition("/")
    if question and not query.startswith("hidden-"):
        query = f"hidden-{hashlib.blake2b(query.encode(), digest_size=4).hexdigest()}"
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}{question}{query}"


def _configured(file: RemoteFile) -> dict[str, Any]:
    from fsspec.config import conf

    return dict(conf.get(file.protocol, {}))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: BaseException, url: str) -> tuple[str, bool]:
    """Return in words what a protocol's error means, and whether it may pass."""
    chain = list(_chain(error))
    for one in chain:
        status = getattr(one, "status", None) or _status_of_s3(one)
        if isinstance(status, int) and status >= 400:
            if status in (404, 410):
                return f"{_NOT_THERE} ({status})", False
            if status in (401, 403):
                return f"{_NOT_OURS} ({status})", False
            return f"the server answers with an error ({status})", status in _BUSY
    text = " ".join(" ".join(str(one).split()) for one in chain)
    if any(isinstance(one, TimeoutError) for one in chain) or re.search(
        r"Operation expired|timed? ?out", text
    ):
        return _NO_TIME, True
    if re.search(r"\[3011\]|No such file|NoSuchKey|NoSuchBucket", text):
        return _NOT_THERE, False
    if re.search(r"\[3010\]|\[3030\]|Auth failed|[Pp]ermission denied|Unable to locate cred", text):
        return _NOT_OURS, False
    host = urlsplit(url).hostname or "the server"
    names = {type(one).__name__ for one in chain}
    numbers = {one.errno for one in chain if isinstance(one, OSError)}
    if names & _CUT or numbers & _UNREACHABLE or re.search(_BROKEN_OFF, text):
        return f"{host} cannot be reached, or the connection was cut", True
    if isinstance(error, FileNotFoundError):
        return _NOT_THERE, False
    if isinstance(error, PermissionError):
        return _NOT_OURS, False
    for secret in (urlsplit(url).query, urlsplit(url).netloc.rpartition("@")[0]):
        text = text.replace(url, shown(url)).replace(secret or "\0", "...")
    return f"cannot be read: {text[:200] or type(error).__name__}", False


_BROKEN_OFF = (
    r"Connection error|Socket|Invalid session|Stream|Hand ?shake failed|Session is closed|"
    r"\[3012\]|\[3014\]|\[3024\]|[Oo]verloaded"
)
"""XRootD's errors of the server itself, and what its client and aiohttp say of a connection."""
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EPIPE}
_CUT = frozenset(
    {
        "gaierror",
        "ClientConnectionResetError",
        "ClientConnectorError",
        "ClientConnectorDNSError",
        "ClientOSError",
        "ClientPayloadError",
        "ConnectionAbortedError",
        "ConnectionClosedError",
        "ConnectionError",
        "ConnectionRefusedError",
        "ConnectionResetError",
        "EndpointConnectionError",
        "IncompleteRead",
        "ProxyConnectionError",
        "ResponseStreamingError",
        "ServerDisconnectedError",
    }
)


def _status_of_s3(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    found = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    status = found.get("HTTPStatusCode")
    return status if isinstance(status, int) else None
