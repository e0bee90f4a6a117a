"""The report page: everything about a section, or about a group, in one HTML file that needs no network.

Python gathers the data and JavaScript (``assets/js``) shows them. What passes between the two:

``page`` (JSON)
    ``kind`` (``section`` or ``cohort``), ``title``, ``subtitle``, ``software``, ``warnings``, and

    ``blobs``
        Name -> ``dtype`` and ``length`` of an array, which stands in an element of its own: base64 of the gzipped
        little-endian values. Wherever below an array is meant, there is its name.
    ``sections``
        ``name``, ``slide`` (a pyramid of tiles: level 0 fits into one; coordinates are px of the deepest level, y
        down), ``n_spots``, ``spot`` (``shape``, ``size_px``), ``patch_px``, ``barcodes``, ``x``, ``y``, ``columns``
        to colour spots by (numbers with ``limits``, NaN where missing; or codes of ``categories``, 255 where
        missing), ``embeddings``, ``counts`` (kept genes x spots) and ``totals``: what is shown is
        log(1 + count / total x 10,000).
    ``genes``
        ``names``, ``ids`` (or null), ``mean``, ``n_spots``, ``kept`` (indices of those with maps), ``limits`` (where
        the colours of their maps end) and ``left_out``, a sentence on the others.
    ``encoders``
        ``name``, ``weights``, ``headline`` (the statistics that genes are ranked and called by), ``fdr``,
        ``n_latents``, ``statistics`` (latents x genes, NaN where not tested; of ``p`` and ``fdr`` the logarithm to
        base 10) and ``latents``: in a section's page numbers, ``trust``, extreme patches and terms.
    ``tables``, ``panels``, ``texts``
        Each with the ``tab`` it is on.
"""
