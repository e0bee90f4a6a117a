"""spadework: link what a tissue looks like to what it expresses."""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/download.smk"
include: "rules/ingest.smk"
include: "rules/expression.smk"
include: "rules/morphology.smk"
include: "rules/nuclei.smk"
include: "rules/association.smk"
include: "rules/evidence.smk"
include: "rules/replication.smk"
include: "rules/unet.smk"
include: "rules/prototypes.smk"
include: "rules/volume.smk"
include: "rules/report.smk"
include: "rules/comparison.smk"
include: "rules/stability.smk"
include: "rules/provenance.smk"


rule all:
    default_target: True
    input:
        lambda w: stopping(targets.all_outputs, SAMPLES, config),
        "results/manifest.json",
        "results/methods.md",
