# Seurat's standard steps on a Visium section, alike under Seurat 4.3 and 5. Needs Seurat attached.

# Seurat's own gene names: neither underscores nor pipes.
seurat_names <- function(counts) make.unique(gsub("[_|]", "-", rownames(counts)))

# Normalise with SCTransform and build the neighbour graph.
#
# Seurat's fixed seeds are left alone: with them a published Seurat run is met exactly. The flavour is pinned to the
# first, which was the only one in 2021 and stopped being the default in Seurat 5. Sections too small for Seurat's
# numbers get as many components and neighbours as they allow.
seurat_object <- function(counts, n_top_genes, n_pcs, n_neighbors, sample) {
  rownames(counts) <- seurat_names(counts)
  if (ncol(counts) < 10) {
    stop_input(sample, paste(ncol(counts), "spots"), "at least 10 for SCTransform", "use expression.engine: scanpy; the comparison needs more spots")
  }
  object <- CreateSeuratObject(counts, assay = "Spatial")
  object <- SCTransform(
    object, assay = "Spatial", method = "poisson", vst.flavor = "v1", variable.features.n = n_top_genes, verbose = FALSE
  )
  object <- RunPCA(object, npcs = min(max(50, n_pcs), ncol(object) - 1), verbose = FALSE)
  k <- min(n_neighbors, ncol(object) - 1)
  FindNeighbors(object, dims = seq_len(dimensions(object, n_pcs)), k.param = k, verbose = FALSE)
}

dimensions <- function(object, n_pcs) min(n_pcs, ncol(Embeddings(object, "pca")))

find_clusters <- function(object, resolution) FindClusters(object, resolution = resolution, verbose = FALSE)

embed <- function(object, n_pcs) {
  perplexity <- min(30, floor((ncol(object) - 2) / 3))
  RunTSNE(
    object, dims = seq_len(dimensions(object, n_pcs)), perplexity = perplexity, check_duplicates = FALSE
  )
}

# One row per spot: cluster, principal components, t-SNE.
cluster_table <- function(object, n_pcs) {
  pcs <- Embeddings(object, "pca")[, seq_len(dimensions(object, n_pcs)), drop = FALSE]
  data.frame(
    seurat_clusters = as.character(object$seurat_clusters), pcs, Embeddings(object, "tsne"),
    row.names = colnames(object)
  )
}

# Counts corrected for sequencing depth, genes x spots.
sct_counts <- function(object) {
  if (packageVersion("SeuratObject") >= "5.0.0") {
    GetAssayData(object, assay = "SCT", layer = "counts")
  } else {
    GetAssayData(object, assay = "SCT", slot = "counts")
  }
}
