"""The layers' arrows go one way (DESIGN.md). Imports are read from the source, so a lazy one counts too."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "regard"

# The layers from the bottom up. A part may import what stands below it, and its neighbours if they make no
# circle. "" is the package's own `__init__`, the public names: nothing below it may lean on it.
LAYERS = [
    {"ops"},
    {"attention"},
    {"nn", "distributed"},
    {"models"},
    {""},
    {"training", "data", "decoding", "explain", "hub"},
    {"tasks"},
    {"cli", "serve", "export", "bulk", "__main__"},
]
HEIGHT = {part: height for height, layer in enumerate(LAYERS) for part in layer}

# Libraries that only some parts may import.
ONLY_IN = {
    "lightning": {"training"},
    "pytorch_lightning": set[str](),
    "torchaudio": set[str](),
    "torchvision": set[str](),
    "transformers": {"hub"},
}

# The files of attention/backends that compute; the others there, such as a table of capabilities, are shared.
BACKENDS = {"reference", "streamed", "sdpa", "native", "triton", "flex"}


@dataclass(frozen=True)
class Import:
    importer: tuple[str, ...]  # the importing module, below the package: ("attention", "api"); () is the package
    imported: str  # dotted and absolute
    where: str  # file:line

    @property
    def inside(self) -> tuple[str, ...] | None:
        """The imported module below the package, or None for another library."""
        root, *parts = self.imported.split(".")
        return tuple(parts) if root == "regard" else None


def read_imports(path: Path, source: Path) -> Iterator[Import]:
    """Every import that a file of the package makes, at whatever depth it stands; relative ones resolved."""
    folder = path.relative_to(source).parent.parts
    importer = folder if path.name == "__init__.py" else (*folder, path.stem)
    package = ("regard", *folder)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join((*package[: len(package) - node.level + 1], *filter(None, [node.module])))
            if node.level == 0:
                base = node.module or ""
            # `from regard import nn` names a module, `from regard.nn import Linear` a thing inside one.
            names = [
                f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}", source) else base for alias in node.names
            ]
        for name in names:
            yield Import(importer, name, f"{path}:{node.lineno}")


def is_module(name: str, source: Path) -> bool:
    root, *parts = name.split(".")
    path = source.joinpath(*parts)
    return root == "regard" and (path.is_dir() or path.with_suffix(".py").is_file())


def complaint(made: Import) -> str | None:
    """Why one import goes against the arrows, or None."""
    part = made.importer[0] if made.importer else ""
    if part not in HEIGHT:
        return f"{made.where}: {part!r} has no place among the layers: give it one in LAYERS"
    if made.inside is None:
        library = made.imported.split(".")[0]
        if part in ONLY_IN.get(library, {part}):
            return None
        return f"{made.where}: {part} imports {library}; allowed in: {sorted(ONLY_IN[library]) or 'nothing'}"
    other = made.inside[0] if made.inside else ""
    if other not in HEIGHT:
        return f"{made.where}: {made.imported} has no place among the layers: give it one in LAYERS"
    if HEIGHT[other] > HEIGHT[part]:
        return f"{made.where}: {part or 'regard'} imports {made.imported}, which stands above it"
    mine, theirs = backend(made.importer), backend(made.inside)
    if mine and theirs and mine != theirs:
        return f"{made.where}: backend {mine} imports backend {theirs}"
    return None


def backend(module: tuple[str, ...]) -> str | None:
    return module[2] if module[:2] == ("attention", "backends") and {*module[2:3]} & BACKENDS else None


def violations(source: Path) -> list[str]:
    """Everything in `source` that goes against the arrows, in words."""
    imports = [made for path in sorted(source.rglob("*.py")) for made in read_imports(path, source)]
    found = [words for made in imports if (words := complaint(made))]
    neighbours: dict[str, set[str]] = {}
    for made in imports:
        part, other = (*made.importer, "")[0], (*(made.inside or ()), "")[0]
        if made.inside is not None and part != other and HEIGHT.get(part) == HEIGHT.get(other):
            neighbours.setdefault(part, set()).add(other)
    try:
        TopologicalSorter(neighbours).prepare()
    except CycleError as error:
        found.append(f"neighbours import each other in a circle: {' -> '.join(error.args[1])}")
    return found


def test_the_arrows_go_one_way() -> None:
    assert len(list(SOURCE.rglob("*.py"))) > 10, "the source was not found"
    assert violations(SOURCE) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("attention/api.py", "from regard.nn import layer", "attention imports regard.nn"),
        ("attention/api.py", "from ..nn import layer", "attention imports regard.nn"),
        ("attention/api.py", "from .. import nn", "attention imports regard.nn"),
        ("attention/api.py", "import regard.nn.layer", "attention imports regard.nn.layer"),
        ("attention/api.py", "from regard import attend", "attention imports regard, which stands above it"),
        ("nn/layer.py", "def build():\n    from regard.models import x", "nn imports regard.models"),
        (
            "attention/backends/sdpa.py",
            "from .reference import run",
            "backend sdpa imports backend reference",
        ),
        ("attention/backends/sdpa.py", "from . import reference", "backend sdpa imports backend reference"),
        ("data/text.py", "import lightning.pytorch", "data imports lightning; allowed in: ['training']"),
        ("hub/text.py", "from regard.data import text", "neighbours import each other in a circle"),
        ("extra/text.py", "import torch", "'extra' has no place among the layers"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, file: str, text: str, complaint: str) -> None:
    source = tmp_path / "regard"
    allowed = {
        "__init__.py": "from .attention.api import attend",
        "attention/__init__.py": "",
        "attention/api.py": "from .backends import capabilities, reference",
        "attention/backends/__init__.py": "",
        "attention/backends/capabilities.py": "",
        "attention/backends/reference.py": "from .capabilities import TABLE",
        "attention/backends/sdpa.py": "import torch\nfrom . import capabilities",
        "nn/__init__.py": "",
        "nn/layer.py": "from regard.attention.api import attend",
        "data/text.py": "from ..hub import text",
        "hub/text.py": "from regard import attend",
        "training/engine.py": "import lightning\nfrom regard.data import text",
        "cli/main.py": "from ..training.engine import fit",
    }
    for name, content in allowed.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(content)
    assert violations(source) == []

    (source / file).parent.mkdir(exist_ok=True)
    (source / file).write_text(text)
    assert [found for found in violations(source) if complaint in found], violations(source)
