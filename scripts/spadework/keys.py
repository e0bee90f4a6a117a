"""Names of everything stored in an AnnData, in one place."""

from __future__ import annotations


class Keys:
    """Keys of the final AnnData (``results/{sample}/{sample}.h5ad``) and of the stages before it."""

    COUNTS = "counts"  # layers: raw integer counts
    SCT_COUNTS = "sct_counts"  # layers: counts corrected by Seurat's SCTransform
    IN_SCT = "in_sct"  # var: genes SCTransform modelled
    SPATIAL = "spatial"  # obsm and uns, the squidpy convention
    SPATIAL_3D = "spatial_3d"  # obsm: x, y and depth in the block of serial sections, µm
    SPADE = "spade"  # uns: everything this workflow records about itself

    IN_TISSUE = "in_tissue"
    ARRAY_ROW = "array_row"
    ARRAY_COL = "array_col"
    TOTAL_COUNTS = "total_counts"
    N_GENES = "n_genes_by_counts"
    PCT_MT = "pct_counts_mt"
    CLUSTER = "cluster"
    IMAGE_CLUSTER = "image_cluster"
    SPADE_CLUSTER = "spade_cluster"
    TISSUE_FRACTION = "patch_tissue_fraction"
    PADDED_FRACTION = "patch_padded_fraction"
    NUCLEI_COUNT = "nuclei_count"
    NUCLEI_DENSITY = "nuclei_density_mm2"
    NUCLEI_AREA = "nuclei_area_um2"
    NUCLEI_ECCENTRICITY = "nuclei_eccentricity"
    NUCLEI_HAEMATOXYLIN = "nuclei_haematoxylin"
    NUCLEI_NEAREST = "nuclei_nearest_um"
    NUCLEI_LEFT_OUT = "nuclei_left_out_um2"
    PROTOTYPE_CLASS = "prototype_class"
    PROTOTYPE_CONFIDENCE = "prototype_confidence"

    GENE_IDS = "gene_ids"
    GENE_NAME = "gene_name"
    FEATURE_TYPES = "feature_types"

    PCA = "X_pca"
    UMAP = "X_umap"
    TSNE = "X_tsne"
    NUCLEI = "X_nuclei"
    PROTOTYPES = "X_prototypes"

    @staticmethod
    def features(encoder: str) -> str:
        """Return the obsm key of an encoder's features, (n, d) float32."""
        return f"X_{encoder}"

    @staticmethod
    def latents(encoder: str, kind: str) -> str:
        """Return the obsm key of an encoder's ``pca``, ``tsne`` or ``umap``."""
        return f"X_{encoder}_{kind}"

    @staticmethod
    def clusters(kind: str, encoder: str, headline: str) -> str:
        """Return the obs key of image or SPADE clusters (``kind``); the headline encoder owns the short name."""
        return kind if encoder == headline else f"{kind}_{encoder}"

    @staticmethod
    def association(encoder: str, statistic: str) -> str:
        """Return the varm key of one association statistic, (genes, latents)."""
        return f"spade_{encoder}_{statistic}"


LOG10_UMI = "log10_umi"
TISSUE_PIECE = "tissue_piece"
# What nuclei say of a spot: columns of obs, and of obsm["X_nuclei"].
NUCLEI = (
    *(Keys.NUCLEI_COUNT, Keys.NUCLEI_DENSITY, Keys.NUCLEI_AREA),
    *(Keys.NUCLEI_ECCENTRICITY, Keys.NUCLEI_HAEMATOXYLIN, Keys.NUCLEI_NEAREST),
    Keys.NUCLEI_LEFT_OUT,
)
# All covariates there can be, so that a slip of the pen is seen before anything runs.
COVARIATES = (
    *(LOG10_UMI, TISSUE_PIECE, Keys.TISSUE_FRACTION, Keys.CLUSTER, "cluster_scanpy", "cluster_seurat"),
    *(Keys.TOTAL_COUNTS, Keys.N_GENES, Keys.PCT_MT, Keys.ARRAY_ROW, Keys.ARRAY_COL),
    *NUCLEI,
)
