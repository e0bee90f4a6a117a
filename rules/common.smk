"""Configuration, sample sheet and what all rules share."""

import re
import sys
from functools import partial
from pathlib import Path

import yaml
from snakemake.sourcecache import LocalSourceFile
from snakemake.utils import update_config

if not isinstance(workflow.current_basedir, LocalSourceFile):
    raise WorkflowError("a module from git is found at path='workflow/Snakefile', not at path='Snakefile'")
HOME = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
sys.path.insert(0, f"{HOME}/scripts")

from spadework import checks, datasets, targets
from spadework.errors import SpadeworkError
from spadework.job import code_id
from spadework.samples import groups, load_samples
from spadework.targets import few_threads
from spadework.volume import plan

# A module is given its configuration by the workflow that uses it, and that names only what differs.
settings, config = config, yaml.safe_load((HOME / "config/config.yaml").read_text(encoding="utf-8"))
update_config(config, settings)

SCHEMAS = HOME / "config/schemas"

# R is looked for once, where the workflow is started, unless an environment brings it.
OWN_R = workflow.is_main_process and not workflow.deployment_settings.deployment_method

try:
    checks.check_config(config, SCHEMAS / "config.schema.yaml")
    own = [path for path in [config["datasets"]["registry"]] if path]
    REGISTRY = datasets.read_registry([HOME / "resources/datasets.yaml", *own], SCHEMAS / "datasets.schema.yaml")
    SHEET = datasets.resolve(load_samples(config["samples"]), REGISTRY) if config["samples"] else {}
    checks.check_samples(SHEET, config["samples"], SCHEMAS / "samples.schema.yaml")
    # Sections that were only stained are part of volumes, and of nothing else.
    SAMPLES = {name: sample for name, sample in SHEET.items() if sample.sequenced}
    INPUTS = targets.all_inputs(SAMPLES, config, REGISTRY)
    DOWNLOADS = datasets.to_download([f for i in INPUTS.values() for f in i["files"] + i["image"]], REGISTRY)
    checks.check_encoders(config)
    WEIGHTS = targets.weights_to_fetch(config)
    checks.check_nuclei(config)
    checks.check_unet(config)
    checks.check_prototypes(config, SAMPLES)
    plan.check_volume(SHEET, config)
    if targets.trains_unet(config) or config["unet"]["images"]:
        targets.training_data(config)
    checks.check_evidence(config, read_sets=workflow.is_main_process)
    checks.check_engines(config, own_r=OWN_R)
except SpadeworkError as error:
    raise WorkflowError(str(error)) from None

ENCODERS = config["encoder"]["names"]
SECOND = [e for e in [config["stability"]["second_encoder"]] if e]
UNITS = {name: targets.latent_unit(sample, config) for name, sample in SAMPLES.items()}
GROUPS = groups(SAMPLES)
EVIDENCE = targets.evidence(config)


wildcard_constraints:
    sample="|".join(map(re.escape, SAMPLES)) or "(?!)",
    unit="|".join(f"cohort/{re.escape(group)}" for group in {s.group: 0 for s in SAMPLES.values() if s.group}) or "(?!)",
    group="|".join(map(re.escape, GROUPS)) or "(?!)",
    encoder="|".join(map(re.escape, dict.fromkeys([*ENCODERS, *SECOND]))),
    perturbation="|".join(map(re.escape, ["unperturbed", *config["stability"]["perturbations"]])),
    pixel_range="0-1|0-255",
    weights="|".join(map(re.escape, WEIGHTS)) or "(?!)",
    download="|".join(map(re.escape, DOWNLOADS)) or "(?!)",


pick = partial(targets.pick, config)
mem_mb = minutes = partial(targets.growing, INPUTS)


def shown(path, caption, category, patterns=(), **labels):
    """Mark a result, or files in a folder by their patterns, for `snakemake --report`."""
    caption = f"../report/{caption}.rst"
    return report(path, caption=caption, category=category, patterns=list(patterns), labels=labels)


def shown_section(path, caption, category):
    """Mark a result of a section and an encoder for the report."""
    return shown(path, caption, category, section="{sample}", encoder="{encoder}", result=caption.replace("_", " "))


def stopping(function, *arguments, **options):
    """Call a function for whose errors the user has a message."""
    try:
        return function(*arguments, **options)
    except SpadeworkError as error:
        raise WorkflowError(str(error)) from None


def comparable(wildcards):
    """Return SCTransform's counts for the comparison; ask for R only where it is wanted."""
    stopping(checks.check_comparison, config, PUBLISHED, own_r=OWN_R)
    return f"results/{wildcards.sample}/expression/sct_counts.h5"
