"""What a file is that is no larcv3 file, and what to do with it: by its first bytes, or by what is in an HDF5 file."""

import contextlib
from pathlib import Path

import h5py

from cosmictagger_tf.text import listed

_HEAD = 4096
_CONVERT = "convert it to larcv3, which is HDF5 (docs/data.md)"
_UNPACK = "unpack it first"
# What files begin with, by what they are and what to do with them.
_SIGNATURES = {
    ("a Git LFS pointer to it", "run `git lfs pull`"): (b"version https://git-lfs",),
    ("compressed with gzip", "gunzip it first"): (b"\x1f\x8b",),
    ("compressed, or an archive", _UNPACK): (
        b"BZh",
        b"\xfd7zXZ",
        b"\x28\xb5\x2f\xfd",
        b"\x04\x22\x4d\x18",
        b"7z\xbc\xaf",
    ),
    ("a ROOT file", _CONVERT): (b"root",),
    ("a NumPy array (.npy)", _CONVERT): (b"\x93NUMPY",),
    ("a picture", _CONVERT): (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*"),
    ("a PDF document", _CONVERT): (b"%PDF",),
    ("a netCDF file", _CONVERT): (b"CDF\x01", b"CDF\x02", b"CDF\x05"),
    ("an HDF4 file", _CONVERT): (b"\x0e\x03\x13\x01",),
    ("a FITS file", _CONVERT): (b"SIMPLE  =",),
    ("a Parquet or Arrow file", _CONVERT): (b"PAR1", b"ARROW1"),
    ("an SQLite database", _CONVERT): (b"SQLite format 3",),
    ("a Python pickle", _CONVERT): (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
}


def why_not_hdf5(path: str) -> str:
    """What is wrong with a file that the HDF5 library does not take for one of its own."""
    head = b""
    with contextlib.suppress(OSError), Path(path).open("rb") as file:
        head = file.read(_HEAD)
    kind = _kind(head)
    if kind is None:
        return "is no HDF5 file, or a broken one: copy or make it again"
    return "is no HDF5 file but {}: {}".format(*kind)


def _kind(head: bytes) -> tuple[str, str] | None:
    for kind, signatures in _SIGNATURES.items():
        if head.startswith(signatures):
            return kind
    if head.startswith(b"PK\x03\x04"):
        return ("NumPy arrays (.npz)", _CONVERT) if b".npy" in head[:300] else ("a zip archive", _UNPACK)
    if head[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    if head and not head.strip(b"\0"):
        return "zeros", "a copy or a download did not finish: make it again"
    # A character may be cut at the end.
    text = head.decode(errors="ignore")
    if len(text.encode()) < len(head) - 3 or any(ord(c) < 32 and not c.isspace() for c in text):
        return None
    if text.lstrip().lower().startswith(("<!doctype html", "<html")):
        return "a web page", "the download failed, or asked for a login: download it again"
    return "text", _CONVERT


def why_not_larcv(file: h5py.File) -> str | None:
    """What is wrong with an HDF5 file of another kind than larcv3; None where it looks like one."""
    if "Data" in file or "Events" in file:
        return None
    kind = "netCDF-4" if "_NCProperties" in file.attrs else "HDF5"
    return f"is {kind}, but no larcv3 file: it has {listed(file)}, and neither /Data nor /Events; {_CONVERT}"
