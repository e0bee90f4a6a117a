"""What a paper has to say of a page's sections, as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spadework.methods import methods
from spadework.provenance import manifest


def methods_of(
    sections: Mapping[str, str | Path],
    *,
    config: Mapping[str, Any],
    samples: Mapping[str, Mapping[str, str]],
    registrations: Iterable[tuple[str, str]] = (),
    verdicts: Iterable[tuple[str, str]] = (),
) -> tuple[str, list[dict[str, Any]]]:
    """Return what the workflow is called, and its methods on these sections as texts of a page.

    Parameters
    ----------
    sections
        The final AnnData of each section.
    config, samples
        As for :func:`spadework.provenance.manifest`.
    registrations, verdicts
        As there, as pairs: names of blocks, and files.
    """
    document = manifest(
        {name: Path(path) for name, path in sections.items()},
        config=config,
        samples=samples,
        other_inputs=[],
        # Times are those of a run, and differ from one to the next: a page has none.
        benchmarks=Path(),
        patterns={"used": [], "idle": []},
        registrations={block: Path(path) for block, path in registrations},
        verdicts={block: Path(path) for block, path in verdicts},
    )
    made = document["deterministic"]["workflow"]
    commit = f", commit {made['commit'][:10]}" if made["commit"] else ""
    software = f"{made['name']} {made['version']}{commit}{' with local changes' if made['changed'] else ''}"
    written, _, rest = methods(document).partition("\n## References\n")
    references = rest.partition("\n## ")[0]
    listed = "\n\n".join(references.strip().splitlines())
    texts = [
        {"tab": "methods", "title": "Methods", "text": plain_text(written), "copy": True},
        {"tab": "methods", "title": "References", "text": plain_text(listed), "copy": True},
    ]
    return software, texts


def plain_text(markdown: str) -> str:
    """Take the marks off a text of :func:`spadework.methods.methods`."""
    lines = [line for line in markdown.strip().splitlines() if not line.startswith("#")]
    return "\n".join(lines).replace("**", "").replace("`", "").strip()
