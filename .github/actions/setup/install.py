"""Unpack the wheels that lock files name into a folder, each checked by its hash.

    python3 -I install.py install --lock locks/runtime.txt --target FOLDER
    python3 -I install.py pack --lock locks/runtime.txt --archive wheels.zip

Needs Python 3.11 on Linux and no package. Sources of a wheel, in this order: the folder OPS_WHEELS, which keeps what is
downloaded; the package index (PIP_INDEX_URL); the archive of wheels (OPS_WHEELS_ARCHIVE). A wheel with another hash is
never unpacked. docs/decisions/0018-set-up.md says why this is not pip.
"""

import argparse
import functools
import gzip
import hashlib
import html
import io
import os
import platform
import re
import stat
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urljoin

if TYPE_CHECKING:
    import ssl

TIMEOUT = 5.0
"""Seconds for an answer, and for each further piece of it."""
INDEX_BUDGET, ARCHIVE_BUDGET = 30.0, 20.0
"""Seconds for everything from that source."""
TRIES = 2
AT_ONCE = 16
"""Downloads at the same time."""
LARGEST = 300_000_000
MANYLINUX = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
"""Older names of platforms, by the glibc that they need: peps.python.org/pep-0600"""


class Failed(Exception):
    """A source lacks a wheel, or gave no usable answer."""


class Machine(NamedTuple):
    """The interpreter and system that a wheel has to fit.

    packaging.python.org/specifications/platform-compatibility-tags
    """

    minor: int = sys.version_info.minor
    arch: str = platform.machine()
    glibc: tuple[int, int] = (2, 17)

    @classmethod
    def of_this_python(cls) -> "Machine":
        """Raises Failed where this is no ordinary CPython on Linux with glibc, or an older one."""
        name, version = platform.libc_ver()
        is_usual = sys.implementation.name == "cpython" and not sys.abiflags and sys.platform == "linux"
        if not is_usual or name != "glibc" or sys.version_info < (3, 11):
            raise Failed("this is not CPython 3.11 or newer on Linux with glibc")
        major, minor = version.split(".")[:2]
        return cls(glibc=(int(major), int(minor)))

    def rank(self, filename: str) -> tuple[int, int, int] | None:
        """Return how well the wheel fits, less is better; None where it does not fit."""
        *_, pythons, abis, platforms = filename.removesuffix(".whl").split("-")
        ranks = [
            (*rank, place)
            for python in pythons.split(".")
            for abi in abis.split(".")
            for each in platforms.split(".")
            if (rank := self._rank_of_python(python, abi)) and (place := self._rank_of_platform(each)) is not None
        ]
        return min(ranks, default=None)

    def _rank_of_python(self, python: str, abi: str) -> tuple[int, int] | None:
        found = re.fullmatch(r"(cp|py)3(\d*)", python)
        if found is None:
            return None
        minor = int(found[2] or 0)
        age = self.minor - minor
        if abi == python == f"cp3{self.minor}":
            return 0, 0
        if abi == "abi3" and found[1] == "cp" and age >= 0:
            return 1, age
        if abi == "none" and (age >= 0 if found[1] == "py" else age == 0):
            return 2, age
        return None

    def _rank_of_platform(self, name: str) -> int | None:
        if name == "any":
            return 1000
        base, _, arch = name.partition("_")
        if found := re.fullmatch(r"manylinux_(\d+)_(\d+)_(.+)", name):
            needed, arch = (int(found[1]), int(found[2])), found[3]
        elif base == "linux":
            needed = (0, 0)
        elif base in MANYLINUX:
            needed = MANYLINUX[base]
        else:
            return None
        return 999 - needed[1] if arch == self.arch and needed <= self.glibc else None


class Pin(NamedTuple):
    """One package of a lock file."""

    name: str
    version: str
    hashes: frozenset[str]


class Wheel(NamedTuple):
    filename: str
    content: bytes


def read_lock(text: str) -> Iterator[Pin]:
    """Yield the packages that Linux needs. The form is pip's with `--require-hashes`. Raises Failed."""
    for line in re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*$", "", text)).splitlines():
        if not line.strip():
            continue
        head, *hashes = line.split(" --hash=sha256:")
        name, _, marker = (part.strip() for part in head.partition(";"))
        found = re.fullmatch(r"([A-Za-z0-9._-]+)==(\S+)", name)
        if found is None or not hashes:
            raise Failed(f"a line of the lock file names no version or no hash: {name}")
        if not marker or _applies(marker):
            yield Pin(normalized(found[1]), found[2], frozenset(each.strip() for each in hashes))


def _applies(marker: str) -> bool:
    """Raises Failed for a marker that uv has not written into our lock files so far."""
    values = {
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "sys_platform": "linux",
    }
    for part in marker.split(" and "):
        found = re.fullmatch(r"(\w+) (==|!=) '([^']*)'", part.strip())
        if found is None or found[1] not in values:
            raise Failed(f"the lock file has a marker that is not known: {marker}")
        if (values[found[1]] == found[3]) != (found[2] == "=="):
            return False
    return True


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def choose(pin: Pin, offered: Mapping[str, str], machine: Machine) -> str | None:
    """Return the file name that fits best. `offered` has the file name of each wheel with its hash."""
    fitting = [
        (rank, name) for name, digest in offered.items() if digest in pin.hashes and (rank := machine.rank(name))
    ]
    return min(fitting)[1] if fitting else None


def from_files(files: Mapping[str, bytes], pins: Sequence[Pin], machine: Machine) -> dict[Pin, Wheel]:
    """Return the wheels that fit. The other files are ignored."""
    names = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if is_wheel(name)}
    chosen = {pin: choose(pin, names, machine) for pin in pins}
    return {pin: Wheel(name, files[name]) for pin, name in chosen.items() if name}


def is_wheel(name: str) -> bool:
    return name.endswith(".whl") and name.count("-") in {4, 5}


def from_folder(folder: Path, pins: Sequence[Pin], machine: Machine) -> dict[Pin, Wheel]:
    """Return the wheels that fit; none where the folder is missing."""
    names = {pin.name for pin in pins}
    paths = [path for path in folder.glob("*.whl") if normalized(path.name.partition("-")[0]) in names]
    return from_files({path.name: path.read_bytes() for path in paths}, pins, machine)


def keep(wheel: Wheel, folder: Path) -> None:
    """Write the wheel into the folder, so that another job at the same time sees the whole file or none."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{wheel.filename}.{os.getpid()}"
    part.write_bytes(wheel.content)
    part.replace(folder / wheel.filename)


def from_index(url: str, pin: Pin, machine: Machine, deadline: float) -> Wheel:
    """Read the page of the package and download the wheel. Raises Failed.

    peps.python.org/pep-0503
    """
    page_url = f"{url.rstrip('/')}/{pin.name}/"
    page, base = fetch(page_url, deadline)
    links: dict[str, tuple[str, str]] = {}
    for link, digest in re.findall(r'href="([^"#]+)#sha256=([0-9a-f]{64})"', page.decode()):
        filename = unquote(html.unescape(link).rpartition("/")[2])
        if digest in pin.hashes and is_wheel(filename):
            links[filename] = (digest, urljoin(base, html.unescape(link)))
    chosen = choose(pin, {name: digest for name, (digest, _) in links.items()}, machine)
    if chosen is None:
        raise Failed(f"{page_url} has no wheel of {pin.name} {pin.version} with a hash of the lock file")
    content, _ = fetch(links[chosen][1], deadline)
    if hashlib.sha256(content).hexdigest() not in pin.hashes:
        raise Failed(f"{chosen} has another hash than the lock file")
    return Wheel(chosen, content)


def from_archive(url: str, pins: Sequence[Pin], machine: Machine) -> dict[Pin, Wheel]:
    """Download the archive and return its wheels that fit. Raises Failed."""
    url = url.replace("{python}", f"cp3{machine.minor}").replace("{machine}", machine.arch)
    content, _ = fetch(url, time.monotonic() + ARCHIVE_BUDGET)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {PurePosixPath(name).name: archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise Failed(f"{url}: {error}") from None
    return from_files(files, pins, machine)


def fetch(url: str, deadline: float) -> tuple[bytes, str]:
    """Return the content and its final address. Raises Failed."""
    from urllib.request import Request, urlopen

    problem = "no time is left"
    headers = {"User-Agent": "backout-setup", "Accept-Encoding": "gzip"}
    for _ in range(TRIES):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            request = Request(url, headers=headers)  # noqa: S310  an address of the team's own
            with urlopen(request, timeout=min(TIMEOUT, left), context=_context()) as answer:  # noqa: S310
                content = b"".join(_pieces(answer.read, deadline))
                is_packed = answer.headers.get("Content-Encoding") == "gzip"
                return gzip.decompress(content) if is_packed else content, answer.url
        except (OSError, ValueError, EOFError, zlib.error) as error:
            problem = str(error) or type(error).__name__
    raise Failed(f"{_without_password(url)}: {problem}")


def look_up_once() -> None:
    """Ask the name server for each host once in this process: it may drop a burst of lookups, which costs 5 seconds."""
    import socket

    lock, ask = threading.Lock(), functools.cache(socket.getaddrinfo)

    def getaddrinfo(*given: Any, **named: Any) -> Any:
        with lock:
            return ask(*given, **named)

    socket.getaddrinfo = getaddrinfo


@functools.cache
def _context() -> "ssl.SSLContext":
    """Read the machine's certificates once: it takes longer than a small download."""
    import ssl

    return ssl.create_default_context()


def _pieces(read: Callable[[int], bytes], deadline: float) -> Iterator[bytes]:
    size = 0
    while piece := read(1 << 16):
        size += len(piece)
        if time.monotonic() > deadline or size > LARGEST:
            raise TimeoutError("the answer is too slow or too large")
        yield piece


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def collect(
    pins: Sequence[Pin], machine: Machine, environ: Mapping[str, str], say: Callable[[str], object]
) -> Iterator[Wheel]:
    """Yield every wheel, each as soon as it is there. Raises Failed."""
    missing = list(pins)
    folder = Path(environ["OPS_WHEELS"]) if environ.get("OPS_WHEELS") else None
    if folder:
        found = from_folder(folder, missing, machine)
        missing = [pin for pin in missing if pin not in found]
        yield from found.values()
        say(f"{len(found)} wheels from {folder}")
    if not missing:
        return
    look_up_once()
    try:
        for wheel in _download(environ.get("PIP_INDEX_URL") or default_index(), missing, machine, say):
            yield wheel
            if folder:
                keep(wheel, folder)
    except Failed as error:
        url = environ.get("OPS_WHEELS_ARCHIVE")
        if not url:
            raise
        say(f"{error}. Reading the archive of wheels.")
        found = from_archive(url, pins, machine)
        if lacking := [pin.name for pin in missing if pin not in found]:
            raise Failed(f"the archive of wheels lacks {', '.join(lacking)}") from None
        yield from found.values()
        say(f"{len(found)} wheels from {_without_password(url)}")


def default_index() -> str:
    """Return the index that pip uses without a setting. Raises Failed."""
    try:
        from pip._internal.models.index import PyPI  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise Failed("this Python has no pip to name a package index, and PIP_INDEX_URL is not set") from None
    return str(PyPI.simple_url)


def _download(index: str, pins: Sequence[Pin], machine: Machine, say: Callable[[str], object]) -> Iterator[Wheel]:
    deadline = time.monotonic() + INDEX_BUDGET
    size = 0
    executor = ThreadPoolExecutor(AT_ONCE)
    try:
        # The largest first would be best, and it is not known; native wheels tend to have the most hashes.
        ordered = sorted(pins, key=lambda pin: -len(pin.hashes))
        for wheel in executor.map(lambda pin: from_index(index, pin, machine, deadline), ordered):
            size += len(wheel.content)
            yield wheel
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    say(f"{len(pins)} wheels from {_without_password(index)}, {size / 1e6:.1f} MB")


def unpack(wheel: Wheel, target: Path) -> None:
    """Write the files of the wheel where `pip install --target` does. Raises Failed."""
    made: set[Path] = set()
    with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            place = _place(PurePosixPath(entry.filename))
            path = target / place
            if path.parent not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            path.write_bytes(archive.read(entry))
            if entry.external_attr >> 16 & stat.S_IXUSR or place.parts[0] == "bin":
                path.chmod(0o755)


def _place(name: PurePosixPath) -> PurePosixPath:
    """Return where a file of a wheel belongs, below the target.

    packaging.python.org/specifications/binary-distribution-format
    """
    if name.is_absolute() or ".." in name.parts:
        raise Failed(f"a wheel has a file outside of its folder: {name}")
    if not name.parts[0].endswith(".data"):
        return name
    kind, rest = name.parts[1], PurePosixPath(*name.parts[2:])
    return {"scripts": PurePosixPath("bin") / rest, "headers": PurePosixPath("include") / rest}.get(kind, rest)


def pack(wheels: Iterable[Wheel], archive: Path) -> None:
    """Write them into one archive, which is the same for the same wheels."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as written:
        for wheel in sorted(wheels, key=lambda each: each.filename):
            written.writestr(zipfile.ZipInfo(wheel.filename), wheel.content)


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, output in (("install", "--target"), ("pack", "--archive")):
        command = commands.add_parser(name)
        command.add_argument("--lock", type=Path, action="append", required=True)
        command.add_argument(output, type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        read = {pin.name: pin for path in options.lock for pin in read_lock(path.read_text(encoding="utf-8"))}
        wheels = collect(list(read.values()), Machine.of_this_python(), environ, _say)
        if options.command == "pack":
            pack(list(wheels), options.archive)
            return 0
        with ThreadPoolExecutor() as executor:  # one wheel inflates while others arrive
            for unpacking in [executor.submit(unpack, wheel, options.target) for wheel in wheels]:
                unpacking.result()
    except (Failed, OSError, zipfile.BadZipFile) as error:
        _say(str(error))
        return 1
    return 0


def _say(text: str) -> None:
    print(f"set-up: {text}", file=sys.stderr)


if __name__ == "__main__":
    code = main(sys.argv[1:], os.environ)
    sys.stderr.flush()
    os._exit(code)  # a download that hangs is not waited for
