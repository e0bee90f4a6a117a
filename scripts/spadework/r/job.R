# What every R job needs: a log that holds its output, one message for what a user can put right, HDF5 exchange.

# Run a job with all it prints in Snakemake's log; an error ends it with status 1.
logged <- function(path, job) {
  connection <- file(path, open = "wt")
  sink(connection, type = "output")
  sink(connection, type = "message")
  invisible(tryCatch(
    withCallingHandlers(job(), warning = function(w) {
      message("warning: ", conditionMessage(w))
      tryInvokeRestart("muffleWarning")
    }),
    error = function(e) {
      text <- conditionMessage(e)
      if (!inherits(e, "spadework_error")) text <- paste0(text, "\n  in ", deparse1(conditionCall(e)))
      message("\nspadework stopped at ", text)
      quit(save = "no", status = 1)
    }
  ))
}

# Stop with the four parts of every message of this project.
stop_input <- function(sample, found, expected, fix) {
  text <- sprintf("%s\n  found:    %s\n  expected: %s\n  fix:      %s", sample, found, expected, fix)
  stop(structure(class = c("spadework_error", "error", "condition"), list(message = text, call = NULL)))
}

# Attach packages quietly, or say how to get those that are not there.
need <- function(sample, ...) {
  for (package in c(...)) {
    if (!requireNamespace(package, quietly = TRUE)) {
      stop_input(
        sample,
        found = sprintf("R %s without the package %s", getRversion(), package),
        expected = paste("the R packages", paste(c(...), collapse = ", ")),
        fix = "run with --use-conda, or install them (Debian: r-cran-seurat, r-bioc-limma, r-cran-hdf5r)"
      )
    }
    suppressPackageStartupMessages(library(package, character.only = TRUE))
    message(package, " ", packageVersion(package))
  }
}

# Name R and packages with their versions, for provenance.
versions <- function(...) {
  found <- vapply(c(...), function(package) as.character(packageVersion(package)), "")
  paste(c(paste("R", getRversion()), paste(names(found), found)), collapse = "; ")
}

# Write a sparse genes x spots matrix in the HDF5 layout of 10x Genomics.
write_10x_h5 <- function(path, counts, genes, software) {
  file <- hdf5r::H5File$new(path, mode = "w")
  on.exit(file$close_all())
  group <- file$create_group("matrix")
  features <- group$create_group("features")
  group[["barcodes"]] <- colnames(counts)
  group[["data"]] <- as.integer(counts@x)
  group[["indices"]] <- counts@i
  group[["indptr"]] <- counts@p
  group[["shape"]] <- dim(counts)
  features[["id"]] <- genes
  features[["name"]] <- genes
  # A scalar: hdf5r's own h5attr<- writes an array of one, which other readers do not take for a text.
  text <- hdf5r::H5T_STRING$new(size = Inf)
  file$create_attr("software_version", software, dtype = text, space = hdf5r::H5S$new("scalar"))
}
