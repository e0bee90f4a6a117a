"""Words of the methods paragraph: lists, counts and ranges as a sentence has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from typing import Any

IMAGES = {
    "fullres": "full-resolution",
    "hires": "`hires` (down-sampled)",
    "lowres": "`lowres` (down-sampled)",
}


def one_line(text: str) -> str:
    """Take line breaks and indents out of a text."""
    return " ".join(text.split())


def network_name(name: str) -> str:
    """Write the name of a network as its authors do."""
    return {"vgg16": "VGG16", "vgg19": "VGG19"}.get(name, name)


def groups_of(run: Mapping[str, Any]) -> dict[str, list[str]]:
    """List the sections of each group."""
    members: dict[str, list[str]] = {}
    for name, row in run["samples"].items():
        if "group" in row:
            members.setdefault(row["group"], []).append(name)
    return members


def names_held_out(run: Mapping[str, Any]) -> list[str]:
    """List the sections that are held out of their groups."""
    return [name for name, row in run["samples"].items() if row.get("held_out") == "yes"]


def groups_listed(groups: Mapping[str, list[str]]) -> str:
    """Write groups with their sections."""
    return "; ".join(f"{group}: {enumerated(names)}" for group, names in groups.items())


def version_of(software: Mapping[str, str], name: str) -> str:
    """Write the version of a piece of software, if it is known."""
    return f" {software[name]}" if name in software else ""


def in_words(n: int) -> str:
    """Write a number up to nine in words, as a sentence begins."""
    words = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"]
    return words[n] if n < len(words) else f"{n:,}"


def counted(n: int, noun: str) -> str:
    """Write a number of things."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def range_of(sections: Mapping[str, Mapping[str, Any]], key: str) -> str:
    """Write what sections have of something, as one number or as a range."""
    return span({section[key] for section in sections.values()})


def span(values: set[float]) -> str:
    """Write numbers as one, or as the range they span."""
    ends = dict.fromkeys((min(values), max(values)))
    return " to ".join(f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" for value in ends)


def enumerated(items: Iterable[str], last: str = "and") -> str:
    """Join words as a sentence does."""
    items = list(items)
    if len(items) < 3:
        return f" {last} ".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def sections_named(names: list[str], run: Mapping[str, Any]) -> str:
    """Name sections, or *the* section where there is only one."""
    if len(run["sections"]) == 1:
        return "the section"
    return f"section{plural(names)} {enumerated(names)}"


def plural(things: Sized) -> str:
    """Return the ending of a noun."""
    return "" if len(things) == 1 else "s"


def per_section(sections: Sized) -> str:
    """Say that numbers are those of each section, where there are several."""
    return "" if len(sections) == 1 else " per section"


def was_or_were(things: Sized) -> str:
    """Return the verb for one or several."""
    return "was" if len(things) == 1 else "were"
