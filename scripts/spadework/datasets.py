"""Public datasets: what the registry knows of them, and which of their files a run has to fetch.

Snakemake reads this at its start, before any environment: no scientific package is imported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from spadework.errors import InputError, SpadeworkError
from spadework.samples import DATASET, Sample

CACHE = Path("resources/cache/datasets")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a dataset.

    Attributes
    ----------
    path
        Where it lies below :data:`CACHE`, and below a mirror.
    urls
        Where it is published, the preferred place first.
    sha256
        Hex digest, or None where none is known: such a file is never downloaded, only taken from the cache.
    """

    path: str
    urls: tuple[str, ...]
    sha256: str | None

    @property
    def cached(self) -> Path:
        """The file in the cache."""
        return CACHE / self.path

    def sources(self, mirror: str | None) -> list[str]:
        """List the URLs to fetch it from: those of its publishers, or the mirror's."""
        return [f"{mirror.rstrip('/')}/{self.path}"] if mirror else list(self.urls)


@dataclass(frozen=True)
class Dataset:
    """One section that anybody can download.

    ``files`` are what the section is read from; ``image`` is the full-resolution image, by far the largest file,
    which is fetched only if the sample sheet names it.
    """

    name: str
    platform: str
    files: tuple[RemoteFile, ...]
    image: RemoteFile | None

    @property
    def folder(self) -> Path:
        """Its folder in the cache, which is read like any other download."""
        return CACHE / self.name


Registry = dict[str, Dataset]


def read_registry(paths: Iterable[str | Path], schema: Path) -> Registry:
    """Read and check one or more registries.

    Raises
    ------
    InputError
        If one is missing, is no YAML, does not have the form of the schema, or names a dataset another has.
    """
    validator = Draft202012Validator(yaml.safe_load(schema.read_text(encoding="utf-8")))
    registry: Registry = {}
    for path in paths:
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise _unfit(path, f"a file that cannot be read ({error})") from error
        for problem in validator.iter_errors(content):
            place = ".".join(map(str, problem.absolute_path))
            raise _unfit(path, f"{place}: {problem.message}")
        for name, entry in content.items():
            if name in registry:
                raise _unfit(path, f"the dataset {name}, which is known already")
            names = [file["name"] for file in [*entry["files"], *filter(None, [entry.get("image")])]]
            if len(names) > len(set(names)):
                raise _unfit(path, f"the dataset {name}, which has two files of the same name")
            registry[name] = _dataset(name, entry)
    return registry


def _unfit(path: str | Path, found: str) -> InputError:
    return InputError(
        "config",
        path,
        found=found,
        expected="a registry of datasets of the form of resources/datasets.yaml",
        remedy="correct it, or the key datasets.registry",
    )


def _dataset(name: str, entry: Mapping[str, Any]) -> Dataset:
    def remote(file: Mapping[str, Any], folder: str) -> RemoteFile:
        urls = tuple(f"{base.rstrip('/')}/{file.get('at', file['name'])}" for base in entry["urls"])
        return RemoteFile(f"{folder}/{file['name']}", urls, file["sha256"])

    # The image has a folder of its own, so that a section read without it is the same whether or not it is there.
    image = remote(entry["image"], f"{name}/image") if "image" in entry else None
    return Dataset(name, entry["platform"], tuple(remote(file, name) for file in entry["files"]), image)


def resolve(samples: Mapping[str, Sample], registry: Registry) -> dict[str, Sample]:
    """Put places in the cache where the sample sheet says ``dataset:<name>``.

    Raises
    ------
    SpadeworkError
        With one message per section whose dataset is unknown, or lacks what is asked for.
    """
    resolved, problems = {}, []
    for name, sample in samples.items():
        try:
            resolved[name] = _resolve(sample, registry)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise SpadeworkError("\n".join(problems))
    return resolved


def _resolve(sample: Sample, registry: Registry) -> Sample:
    if (name := _named(sample.image)) is not None:
        image = _look_up(sample, name, registry).image
        if image is None:
            raise InputError(
                sample.name,
                f"{DATASET}{name}",
                found="a dataset without a full-resolution image",
                expected="an image of its own, or none",
                remedy="empty the column `image`, or name a file",
            )
        sample = replace(sample, image=image.cached)
    if (name := _named(sample.path)) is not None:
        dataset = _look_up(sample, name, registry)
        if dataset.platform == "legacy_st" and sample.image is None:
            raise InputError(
                sample.name,
                f"{DATASET}{name}",
                found="a legacy ST section without an image",
                expected="the image: such a section has no other",
                remedy=f"put {DATASET}{name} into the column `image`, too",
            )
        sample = replace(sample, path=dataset.folder)
    return sample


def _named(path: Path | None) -> str | None:
    return str(path).removeprefix(DATASET) if str(path).startswith(DATASET) else None


def _look_up(sample: Sample, name: str, registry: Registry) -> Dataset:
    if name not in registry:
        close = get_close_matches(name, registry, n=1)
        raise InputError(
            sample.name,
            f"{DATASET}{name}",
            found="a dataset that is not in the registry",
            expected=f"one of {', '.join(registry)}",
            remedy=f"did you mean {close[0]}?" if close else "add it to a registry of your own (datasets.registry)",
        )
    return registry[name]


def section_files(sample: Sample, registry: Registry) -> list[str] | None:
    """List the files a resolved section is read from, there or not; None if it is not from the registry."""
    for dataset in registry.values():
        if dataset.folder == sample.path:
            return [str(file.cached) for file in dataset.files]
    return None


def known_checksums(paths: Iterable[str | Path], registry: Registry) -> dict[str, str]:
    """Return what the registry knows of files: ``sha256:<hex>`` by file name."""
    known = {str(file.cached): file.sha256 for file in _all_files(registry)}
    return {Path(p).name: f"sha256:{digest}" for p in paths if (digest := known.get(str(p)))}


def to_download(paths: Iterable[str | Path], registry: Registry) -> dict[str, RemoteFile]:
    """List those of the files that are not in the cache, by their path in it.

    Raises
    ------
    SpadeworkError
        With one message per file that is not there and has no checksum.
    """
    wanted = set(map(str, paths))
    missing = {f.path: f for f in _all_files(registry) if str(f.cached) in wanted and not f.cached.exists()}
    unknown = [
        InputError(
            file.path.split("/")[0],
            file.cached,
            found="a file that is not in the cache, and whose checksum is not known",
            expected="the file, put there by you: without a checksum nothing is downloaded",
            remedy=f"download {file.urls[0]} yourself and put it there (its digest is kept with every result), "
            "or add its sha256 to the registry",
        )
        for file in missing.values()
        if file.sha256 is None
    ]
    if unknown:
        raise SpadeworkError("\n".join(map(str, unknown)))
    return missing


def _all_files(registry: Registry) -> list[RemoteFile]:
    return [f for d in registry.values() for f in (*d.files, *([d.image] if d.image else []))]
