rule download_file:
    """Download a file of a public dataset, checksum verified.

    Only files that are not in the cache have this rule (see DOWNLOADS): what is there is never fetched again, nor
    removed, whatever changes. Its checksum is compared when the section is read.
    """
    # Nodes of a cluster often have no network.
    localrule: True
    output:
        f"{datasets.CACHE}/{{download}}",
    log:
        "logs/datasets/{download}.log",
    benchmark:
        "benchmarks/datasets/{download}.tsv"
    params:
        urls=lambda w: DOWNLOADS[w.download].sources(config["datasets"]["mirror"]),
        sha256=lambda w: DOWNLOADS[w.download].sha256,
    resources:
        mem_mb=500,
        runtime=240,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/download_file.py"
