"""What is installed, what it needs, and what the project's scripts import of it."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
# PyPI name -> conda name, where they differ.
CONDA_NAMES = {"igraph": "python-igraph", "matplotlib": "matplotlib-base", "openslide-bin": "openslide"}


def optional() -> set[str]:
    """Name modules that only few have: another backend of Keras, another engine for nuclei."""
    return {"torch", "jax", "stardist"}


def conda_name(distribution: str) -> str:
    """Return the name conda-forge gives a distribution of PyPI."""
    name = canonicalize_name(distribution)
    return CONDA_NAMES.get(name, name)


def needs(distribution: metadata.Distribution) -> list[Requirement]:
    """List what a distribution needs on this machine, without extras."""
    requirements = [Requirement(text) for text in distribution.requires or []]
    return [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]


def closure(*names: str) -> dict[str, metadata.Distribution]:
    """Find installed distributions and all they need, by name."""
    found: dict[str, metadata.Distribution] = {}
    todo = [canonicalize_name(name) for name in names]
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = metadata.distribution(name)
            todo += [canonicalize_name(r.name) for r in needs(found[name])]
    return found


class _Imports(ast.NodeVisitor):
    """Names of imported modules, also of those imported in functions, but not of those for annotations only."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.names |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}


def _package_files(name: str) -> list[Path]:
    """List the files that importing a module of the project's package runs: its own and those of its parents."""
    parts = name.split(".")
    parents = [SCRIPTS.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    return [p for p in (*parents, SCRIPTS.joinpath(*parts).with_suffix(".py")) if p.is_file()]


def imported(*files: Path) -> set[str]:
    """List the modules from outside that files import, through the project's package too (top-level names)."""
    outside: set[str] = set()
    seen: set[Path] = set()
    todo = list(files)
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        finder = _Imports()
        finder.visit(ast.parse(path.read_text(encoding="utf-8")))
        for name in finder.names:
            top = name.split(".")[0]
            if top == "spadework":
                todo += _package_files(name)
            elif top not in sys.stdlib_module_names:
                outside.add(top)
    return outside


def scripts_by_environment() -> dict[str, set[str]]:
    """Map each file in envs to the scripts that run in it, as the rules say."""
    used: dict[str, set[str]] = {}
    for file in sorted((ROOT / "rules").glob("*.smk")):
        text = file.read_text(encoding="utf-8")
        for environments, script in re.findall(r'conda:\s+(.+)\s+script:\s+"\.\./scripts/([^"]+)"', text):
            for environment in re.findall(r'"\.\./envs/([^"]+)"', environments):
                used.setdefault(environment, set()).add(script)
    return used
