# Fit the models of the association stage with limma.

source(file.path(snakemake@scriptdir, "spadework/r/job.R"))

logged(snakemake@log[[1]], function() {
  need(snakemake@wildcards[["sample"]], "hdf5r", "limma")
  source(file.path(snakemake@scriptdir, "spadework/r/limma.R"))
  file <- hdf5r::H5File$new(snakemake@input[[1]], mode = "r")
  # HDF5 stores rows first, R columns first: spots x genes arrives as genes x spots, which is what limma takes.
  table <- fit_latents(file[["values"]][, ], t(file[["latents"]][, , drop = FALSE]), snakemake@params[["design"]])
  table$engine <- versions("limma")
  file$close_all()
  write_exactly(table, snakemake@output[[1]])
})
