# Linear models of genes on latents by limma. Needs limma attached.

# Fit every latent alone (marginal) or all together (joint) and moderate the variances.
#
# values: genes x spots; latents: spots x k. Returns a row per gene and latent.
fit_latents <- function(values, latents, design) {
  groups <- if (design == "marginal") as.list(seq_len(ncol(latents))) else list(seq_len(ncol(latents)))
  do.call(rbind, unlist(lapply(groups, function(columns) {
    fit <- eBayes(lmFit(values, cbind(1, latents[, columns, drop = FALSE])))
    message(sprintf("latents %s: prior df %g, prior variance %g", toString(columns), fit$df.prior, fit$s2.prior))
    lapply(seq_along(columns), function(j) {
      t <- unname(fit$t[, j + 1])
      data.frame(
        latent = columns[j], gene = seq_along(t), coef = unname(fit$coefficients[, j + 1]), t = t,
        # on the log scale, because p itself ends at 1e-308
        log10_p = (log(2) + pt(-abs(t), fit$df.total, log.p = TRUE)) / log(10),
        df_prior = fit$df.prior, var_prior = fit$s2.prior
      )
    })
  }), recursive = FALSE))
}

# Write a table with all digits a double has.
write_exactly <- function(table, path) {
  table[] <- lapply(table, function(x) if (is.double(x)) trimws(formatC(x, digits = 17, format = "g")) else x)
  connection <- gzfile(path, open = "wt")
  on.exit(close(connection))
  write.csv(table, connection, row.names = FALSE, quote = FALSE)
}
