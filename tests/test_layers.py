"""Imports point downward only, optional libraries stay in one file per folder, and light modules stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "cogvideox"
ROOT = {"configs", "errors", "settings", "component_files", "machine", "quantization", "presets", "durable_files"}
ROOT |= {"__init__", "__main__"}
ALLOWED = {
    "models": ROOT,
    "diffusion": ROOT,
    "media": ROOT,
    "chat": ROOT | {"models", "media"},
    "parallel": ROOT | {"models"},
    "checkpoints": ROOT | {"models", "diffusion"},
    "generation": ROOT | {"models", "diffusion", "media", "chat", "parallel", "checkpoints"},
    "data": ROOT | {"models", "media", "chat", "checkpoints"},
    "serving": ROOT | {"models", "diffusion", "media", "chat", "parallel", "checkpoints", "generation"},
    "evaluation": ROOT | {"models", "diffusion", "media", "checkpoints", "generation", "data"},
    "training": ROOT
    | {"models", "diffusion", "media", "chat", "parallel", "checkpoints", "generation", "data", "evaluation"},
    "cli": ROOT
    | {"models", "diffusion", "media", "chat", "parallel", "checkpoints", "generation", "data", "evaluation"}
    | {"training", "serving"},
}
ONE_FILE_PER_FOLDER = {"transformers", "av", "pyarrow", "tensorboard", "sentencepiece", "torchao"}
ONE_FILE_PER_FOLDER |= {"cv2", "onnxruntime", "rapidocr", "ray", "torchvision"}
ONE_FILE_PER_FOLDER |= {"fastapi", "uvicorn", "sqlalchemy", "alembic", "psycopg", "prometheus_client"}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names if node.module == "cogvideox"]
    return names


def folder_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return parts[0] if len(parts) > 1 else path.stem


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_downward(path: Path) -> None:
    folder = folder_of(path)
    if path.stem == "__main__":
        return
    if folder not in ALLOWED:
        assert folder in ROOT, f"{path}: a new folder needs a layer in this test"
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "cogvideox" and len(parts) > 1:
            assert parts[1] == folder or parts[1] in ALLOWED[folder] | {"__version__"}, f"{path} imports {name}"


def test_optional_libraries_stay_in_one_file_per_folder() -> None:
    users: dict[tuple[str, str], set[Path]] = {}
    for path in modules():
        for name in imports(path):
            library = name.split(".")[0]
            if library in ONE_FILE_PER_FOLDER:
                users.setdefault((folder_of(path), library), set()).add(path)
    crowded = {key: paths for key, paths in users.items() if len(paths) > 1 and key[0] != "training"}
    assert not crowded


def test_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {}
    names = {".".join(("cogvideox", *path.relative_to(SOURCE).with_suffix("").parts)): path for path in modules()}
    for name, path in names.items():
        graph[name.removesuffix(".__init__")] = {
            target for target in imports(path) if target in names and target != name
        }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for target in graph.get(name, ()):
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_command_line_and_package_do_not_import_torch() -> None:
    code = "import sys, cogvideox, cogvideox.cli, cogvideox.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
