"""Configuration, sample sheet and what all rules share."""

import re
import sys
from pathlib import Path

sys.path.insert(0, f"{workflow.basedir}/scripts")

from spadework import targets
from spadework.errors import SpadeworkError
from spadework.job import code_id
from spadework.samples import load_samples

SCHEMAS = Path(workflow.basedir, "config/schemas")

try:
    targets.check_config(config, SCHEMAS / "config.schema.yaml")
    SAMPLES = load_samples(config["samples"])
    targets.check_samples(SAMPLES, config["samples"], SCHEMAS / "samples.schema.yaml")
    INPUTS = targets.all_inputs(SAMPLES, config)
    targets.check_encoders(config)
except SpadeworkError as error:
    raise WorkflowError(str(error)) from None

ENCODERS = config["encoder"]["names"]
UNITS = {name: targets.latent_unit(sample, config) for name, sample in SAMPLES.items()}


wildcard_constraints:
    sample="|".join(map(re.escape, SAMPLES)),
    unit="|".join(map(re.escape, dict.fromkeys(UNITS.values()))),
    encoder="|".join(map(re.escape, ENCODERS)),


def pick(section, *keys):
    """The keys of a configuration section that a rule needs: a change of any other must not re-run it."""
    return {key: config[section][key] for key in keys}


def mem_mb(base, factor):
    """Memory by size of the inputs that are read whole, doubled with every attempt."""

    def ask(wildcards, input, attempt):
        return int((base + factor * targets.whole_mb(input)) * 2 ** (attempt - 1))

    return ask
