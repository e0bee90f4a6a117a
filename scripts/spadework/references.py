"""References of the methods paragraph, numbered in the order in which a text names them."""

from __future__ import annotations

REFERENCES = {
    "spade": "Bae S, Choi H, Lee DS. Discovery of molecular features underlying the morphological landscape by "
    "integrating spatial transcriptomic data with deep features of tissue images. Nucleic Acids Res 2021; 49:e55.",
    "snakemake": "Mölder F, et al. Sustainable data analysis with Snakemake. F1000Research 2021; 10:33.",
    "scanpy": "Wolf FA, Angerer P, Theis FJ. SCANPY: large-scale single-cell gene expression data analysis. Genome "
    "Biol 2018; 19:15.",
    "squidpy": "Palla G, et al. Squidpy: a scalable framework for spatial omics analysis. Nat Methods 2022; "
    "19:171-178.",
    "leiden": "Traag VA, Waltman L, van Eck NJ. From Louvain to Leiden: guaranteeing well-connected communities. "
    "Sci Rep 2019; 9:5233.",
    "louvain": "Blondel VD, et al. Fast unfolding of communities in large networks. J Stat Mech 2008; P10008.",
    "umap": "McInnes L, Healy J, Melville J. UMAP: Uniform Manifold Approximation and Projection for dimension "
    "reduction. arXiv 2018; 1802.03426.",
    "tsne": "van der Maaten L, Hinton G. Visualizing data using t-SNE. J Mach Learn Res 2008; 9:2579-2605.",
    "opentsne": "Poličar PG, Stražar M, Zupan B. openTSNE: a modular Python library for t-SNE dimensionality "
    "reduction and embedding. J Stat Softw 2024; 109(3).",
    "sklearn": "Pedregosa F, et al. Scikit-learn: machine learning in Python. J Mach Learn Res 2011; 12:2825-2830.",
    "seurat": "Hao Y, et al. Integrated analysis of multimodal single-cell data. Cell 2021; 184:3573-3587.",
    "sctransform": "Hafemeister C, Satija R. Normalization and variance stabilization of single-cell RNA-seq data "
    "using regularized negative binomial regression. Genome Biol 2019; 20:296.",
    "vgg": "Simonyan K, Zisserman A. Very deep convolutional networks for large-scale image recognition. ICLR 2015.",
    "imagenet": "Russakovsky O, et al. ImageNet Large Scale Visual Recognition Challenge. Int J Comput Vis 2015; "
    "115:211-252.",
    "keras": "Chollet F, et al. Keras. https://keras.io, 2015.",
    "unet": "Ronneberger O, Fischer P, Brox T. U-Net: convolutional networks for biomedical image segmentation. "
    "MICCAI 2015; 234-241.",
    "stardist": "Schmidt U, et al. Cell detection with star-convex polygons. MICCAI 2018; 265-273.",
    "protopnet": "Chen C, Li O, Tao D, Barnett A, Rudin C, Su JK. This looks like that: deep learning for "
    "interpretable image recognition. NeurIPS 2019; 32:8930-8941.",
    "vox2vox": "Cirillo MD, Abramian D, Eklund A. Vox2Vox: 3D-GAN for brain tumour segmentation. BrainLes 2020; LNCS "
    "12658:274-284.",
    "pix2pix": "Isola P, Zhu JY, Zhou T, Efros AA. Image-to-image translation with conditional adversarial networks. "
    "CVPR 2017; 1125-1134.",
    "reinhard": "Reinhard E, Ashikhmin M, Gooch B, Shirley P. Color transfer between images. IEEE Comput Graph Appl "
    "2001; 21(5):34-41.",
    "powell": "Powell MJD. An efficient method for finding the minimum of a function of several variables without "
    "calculating derivatives. Comput J 1964; 7:155-162.",
    "tvl1": "Zach C, Pock T, Bischof H. A duality based approach for realtime TV-L1 optical flow. DAGM 2007; "
    "214-223.",
    "ruifrok": "Ruifrok AC, Johnston DA. Quantification of histochemical staining by color deconvolution. Anal "
    "Quant Cytol Histol 2001; 23:291-299.",
    "ojala": "Ojala T, Pietikäinen M, Mäenpää T. Multiresolution gray-scale and rotation invariant texture "
    "classification with local binary patterns. IEEE Trans Pattern Anal Mach Intell 2002; 24:971-987.",
    "clifford": "Clifford P, Richardson S, Hémon D. Assessing the significance of the correlation between two "
    "spatial processes. Biometrics 1989; 45:123-134.",
    "dutilleul": "Dutilleul P. Modifying the t test for assessing the correlation between two spatial processes. "
    "Biometrics 1993; 49:305-314.",
    "bh": "Benjamini Y, Hochberg Y. Controlling the false discovery rate: a practical and powerful approach to "
    "multiple testing. J R Stat Soc B 1995; 57:289-300.",
    "lause": "Lause J, Berens P, Kobak D. Analytic Pearson residuals for normalization of single-cell RNA-seq UMI "
    "data. Genome Biol 2021; 22:258.",
    "emmax": "Kang HM, et al. Variance component model to account for sample structure in genome-wide association "
    "studies. Nat Genet 2010; 42:348-354.",
    "solin": "Solin A, Särkkä S. Hilbert space methods for reduced-rank Gaussian process regression. Stat Comput "
    "2020; 30:419-446.",
    "burt": "Burt JB, et al. Generative modeling of brain maps with spatial autocorrelation. NeuroImage 2020; "
    "220:117038.",
    "smyth": "Smyth GK. Linear models and empirical Bayes methods for assessing differential expression in "
    "microarray experiments. Stat Appl Genet Mol Biol 2004; 3:3.",
    "limma": "Ritchie ME, et al. limma powers differential expression analyses for RNA-sequencing and microarray "
    "studies. Nucleic Acids Res 2015; 43:e47.",
}


class Citations:
    """Numbers references in the order in which a text first names them."""

    def __init__(self) -> None:
        """Begin with none."""
        self._keys: list[str] = []

    def __call__(self, *keys: str) -> str:
        """Cite references: their numbers in brackets."""
        for key in keys:
            if key not in self._keys:
                self._keys.append(key)
        return f"[{', '.join(str(self._keys.index(key) + 1) for key in keys)}]"

    def __contains__(self, key: str) -> bool:
        """Whether a reference has been cited."""
        return key in self._keys

    def listed(self) -> list[str]:
        """Return the numbered list."""
        return [f"{i}. {REFERENCES[key]}" for i, key in enumerate(self._keys, 1)]
