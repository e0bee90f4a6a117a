# Cluster the spots of a section with Seurat, as the published script does.

source(file.path(snakemake@scriptdir, "spadework/r/job.R"))

logged(snakemake@log[[1]], function() {
  sample <- snakemake@wildcards[["sample"]]
  need(sample, "hdf5r", "Seurat")
  source(file.path(snakemake@scriptdir, "spadework/r/seurat.R"))
  counts <- Read10X_h5(snakemake@input[["counts"]])
  e <- snakemake@params[["expression"]]
  object <- seurat_object(counts, e$n_top_genes, e$n_pcs, e$n_neighbors, sample)
  object <- find_clusters(object, e$resolution)
  object <- embed(object, e$n_pcs)
  write.csv(cluster_table(object, e$n_pcs), snakemake@output[["clusters"]], quote = FALSE)
  corrected <- sct_counts(object)
  genes <- rownames(counts)[match(rownames(corrected), seurat_names(counts))]
  write_10x_h5(snakemake@output[["sct"]], corrected, genes, versions("Seurat", "sctransform"))
})
