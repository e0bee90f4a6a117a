"""What every job needs: a log that holds its output, whole files or none, and a code fingerprint."""

from __future__ import annotations

import ast
import gc
import glob
import hashlib
import importlib
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from spadework.errors import SpadeworkError

PACKAGE = Path(__file__).parent
log = logging.getLogger("spadework")
# Libraries make some hundred thousand lasting objects as they are imported: to look for garbage among them every 700
# is a tenth of a short job's time.
gc.set_threshold(200_000, 50, 50)
# anndata and scanpy load these wherever they are installed, for kinds of arrays nobody has here: a second per job.
_UNUSED = ("dask", "xarray")


@contextmanager
def logged(path: str | Path) -> Iterator[None]:
    """Send stdout and stderr, native libraries included, to a log file for the rest of the job.

    A :class:`SpadeworkError` is written as its message alone and ends the job with status 1; other exceptions
    keep their traceback.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    started = time.perf_counter()
    for name in _UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    try:
        yield
    except SpadeworkError as error:
        print(f"\nspadework stopped at {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    log.info("done in %.1f s", time.perf_counter() - started)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and rename it when the block ends well.

    A job that dies half way leaves nothing that looks like a finished result. One that outlives its workflow and
    meets its successor here loses its temporary file, and fails.
    """
    path = Path(path)
    # The suffix stays last: writers choose their format by it.
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.partial{path.suffix}"):
        left.unlink(missing_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def allow_unused() -> None:
    """Let what :func:`logged` hides be imported again, for what cannot do without it."""
    for name in _UNUSED:
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]


@contextmanager
def without_tensorflow() -> Iterator[None]:
    """Import scanpy or squidpy in this block, and with them umap, but not TensorFlow.

    umap loads TensorFlow, wherever it is installed, for a class nobody uses here: ten seconds and a gigabyte.
    """
    hide = "tensorflow" not in sys.modules
    if hide:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        # scanpy would import it later, outside this block
        _import_compiled("umap.umap_")
        yield
    finally:
        if hide:
            del sys.modules["tensorflow"]


def _import_compiled(module: str) -> None:
    """Import a module so that numba keeps what it compiles for it: seconds, once instead of in every job."""
    numba: Any = importlib.import_module("numba")
    compiler = numba.njit

    def keeping(*args: object, **options: object) -> object:
        return compiler(*args, **({"cache": True} | options))

    numba.njit = keeping
    try:
        importlib.import_module(module)
    except RuntimeError:  # numba found no folder it may write to
        log.info("compiled functions are not kept: set NUMBA_CACHE_DIR to a folder that can be written to")
        numba.njit = compiler
        importlib.import_module(module)
    finally:
        numba.njit = compiler


def _imports_of(file: Path) -> set[Path]:
    """Find the files of the package that a script or a module imports, or sources, directly."""
    if file.suffix == ".R":
        return {PACKAGE / name for name in re.findall(r'"spadework/(r/\w+\.R)"', file.read_text(encoding="utf-8"))}
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] == PACKAGE.name:
                found |= _module_files(name)
    return found


def _module_files(name: str) -> set[Path]:
    base = PACKAGE.parent.joinpath(*name.split("."))
    return {p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()}


def code_id(script: str) -> str:
    """Fingerprint all that a script imports from the package, directly or not, and what lies in ``assets`` beside it.

    Snakemake sees a changed script but not a changed module behind it; as a parameter of a rule, this makes an
    edit re-run exactly what depends on it. This module is left out: no result depends on it.

    Parameters
    ----------
    script
        Name of a script beside the package.

    Raises
    ------
    FileNotFoundError
        If there is no such script: edits would go unnoticed.
    """
    seen: set[Path] = set()
    todo = _imports_of(PACKAGE.parent / script)
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo |= _imports_of(path)
    digest = hashlib.sha256()
    assets = {path for folder in {p.parent for p in seen} for path in folder.glob("assets/**/*") if path.is_file()}
    for path in sorted(seen - {PACKAGE / "job.py"} | assets):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file as ``sha256:<hex>``."""
    with open(path, "rb") as handle:
        return f"sha256:{hashlib.file_digest(handle, 'sha256').hexdigest()}"


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages, by distribution name."""
    return {"python": sys.version.split()[0]} | {name: metadata.version(name) for name in packages}
