/* A card per latent: where it is, what it looks like, which genes go with it, and how far to trust it. */
(function (SW) {
  "use strict";

  const TOP = 10;
  const TRUST = { good: "No objections", care: "Take care", poor: "Do not rely on it" };
  const two = d3.format(".2f");

  function drawTrust(node, trust) {
    const line = d3.select(node).append("p").attr("class", "trust");
    line.append("span").attr("class", `badge ${trust.level}`).text(TRUST[trust.level]);
    line.append("span").text(trust.sentence);
  }

  /** "71 % of variance · Moran's I 0.72 · …"; what is not known is left out. */
  function numbersLine(latent) {
    const parts = [
      ["variance_ratio", (v) => `${SW.percent(v, ".1f")} of variance`],
      ["moran_i", (v) => `Moran's I ${two(v)}`],
      ["r_log10_umi", (v) => `r with depth ${two(v)}`],
      ["r_tissue_fraction", (v) => `r with tissue ${two(v)}`],
      ["genes_up", (v) => `genes: ${SW.number(v)} up, ${SW.number(latent.genes_down)} down`],
    ];
    const known = parts.filter(([key]) => !SW.missing(latent[key]));
    return known.map(([key, write]) => write(latent[key])).join(" · ");
  }

  const waiting = []; // maps that are not drawn yet

  /** Draw maps one after the other, as long as they are seen. */
  async function drawMaps() {
    while (waiting.length && SW.route().tab === "latents") await waiting.shift()();
    if (waiting.length) SW.whenShown("latents", drawMaps);
  }

  async function goToSpot(spot, key) {
    SW.set({ colour: key });
    await SW.show("explore");
    SW.slide.goTo(spot);
    SW.set({ hover: spot });
    SW.slide.node.focus({ preventScroll: true });
    window.scrollTo({ top: 0 });
  }

  function drawPatches(node, section, column, latent) {
    const box = d3.select(node).append("section").attr("class", "extremes");
    box.append("h4").text("Patches at both ends");
    box.append("p").attr("class", "note").text(
      "What the tissue looks like where the latent is lowest and highest. Choose a patch to see its spot in Explore.");
    for (const [side, title] of [["low", "Lowest"], ["high", "Highest"]]) {
      const row = box.append("div").attr("class", "patch-row");
      row.append("span").attr("class", "patch-side").text(title);
      const patches = row.append("div").attr("class", "patches").selectAll("button").data(latent[side]).join("button");
      patches.attr("type", "button").attr("class", "patch")
        .attr("title", (d) => `Spot ${section.barcodes[d.spot]}: show in Explore`)
        .on("click", (event, d) => goToSpot(d.spot, column.key));
      patches.append("img").attr("src", (d) => d.image).attr("loading", "lazy")
        .attr("alt", (d) => `Patch around spot ${section.barcodes[d.spot]}, latent ${latent.k}`);
      patches.append("span").text((d) => SW.number(d.value));
    }
  }

  /** The genes with the smallest p-values on one side, by the test to go by. */
  function strongest(page, encoder, statistics, k, sign) {
    const { effect, p } = encoder.headline;
    const log10 = (gene) => statistics.value(p, k - 1, gene);
    const onSide = (gene) => sign * statistics.value(effect, k - 1, gene) > 0 && !Number.isNaN(log10(gene));
    return d3.range(page.genes.names.length).filter(onSide).sort((a, b) => log10(a) - log10(b)).slice(0, TOP);
  }

  function drawGenes(node, page, encoder, statistics, latent) {
    const cut = SW.foundBelow(encoder);
    const tests = SW.tests(encoder).slice(0, 3);
    const box = d3.select(node).append("section").attr("class", "latent-genes");
    for (const [sign, title] of [[1, "Genes that rise with it"], [-1, "Genes that fall with it"]]) {
      const genes = strongest(page, encoder, statistics, latent.k, sign);
      const value = (i, key) => statistics.value(key, latent.k - 1, genes[i]);
      const cell = (i, key) => (key === "gene" ? page.genes.names[genes[i]] : value(i, key));
      const columns = [
        { key: "gene", label: "Gene", kind: "text" },
        {
          key: encoder.headline.effect, label: "Effect", kind: "number", title: encoder.headline.label,
          format: SW.signed,
        },
        ...tests.map((test) => ({
          key: test.p, label: `p, ${test.name}`, kind: "p", marked: test.headline,
          bold: (i) => Boolean(test.fdr) && value(i, test.fdr) < cut,
        })),
      ];
      const part = box.append("div");
      part.append("h4").text(title);
      if (!genes.length) part.append("p").attr("class", "note").text("None.");
      else SW.table(part.node(), {
        label: title, columns, cell, n: genes.length, sort: encoder.headline.p, rowTitle: "Show this gene",
        onRow: (i) => SW.chooseGene(genes[i], encoder.latents.indexOf(latent)),
      });
    }
    box.append("p").attr("class", "note").text(
      `The ${TOP} genes with the smallest p-values each way, by the test to go by (shaded). Bold: found at a false `
      + `discovery rate (FDR) of ${SW.percent(encoder.fdr)} by the test of that column; anything else may be chance.`);
  }

  const TERM_COLUMNS = [
    ["set", "Gene set"], ["direction", "Direction"], ["test", "Test"], ["n", "Genes in the set"],
    ["n_overlap", "of them found"], ["expected", "by chance"], ["auc", "AUC"], ["p", "p"], ["fdr", "FDR"],
    ["genes", "Genes found"], ["collection", "Collection"],
  ];

  function drawTerms(node, page, encoder, latent) {
    const { k, terms } = latent;
    if (!terms || !terms.length) return;
    const box = d3.select(node).append("details").attr("class", "terms");
    box.append("summary").text(`Gene sets that go with it (${terms.length} tests)`);
    const logarithms = new Set(["p", "fdr"]); // as tables have them
    const cell = (i, key) => {
      const value = terms[i][key];
      return logarithms.has(key) && !SW.missing(value) ? Math.log10(value) : value;
    };
    const kindOf = (key) => {
      if (logarithms.has(key)) return "p";
      return typeof terms.map((term) => term[key]).find((value) => !SW.missing(value)) === "number" ? "number" : "text";
    };
    const filled = ([key]) => terms.some((term) => !SW.missing(term[key]));
    const columns = TERM_COLUMNS.filter(filled).map(([key, label]) => ({
      key, label, kind: kindOf(key), bold: key === "fdr" ? (i) => terms[i].fdr < encoder.fdr : null,
      format: key === "genes" ? (value) => (SW.missing(value) ? SW.NONE : value.replace(/;/g, "; ")) : null,
    }));
    const all = Object.keys(terms[0]);
    SW.table(box.node(), {
      label: `Gene sets of latent ${k}`, columns, cell, n: terms.length, pageSize: 10, filter: "Any word",
      file: `${page.title}_${encoder.name}_terms_${k}.csv`,
      csv: () => ({ columns: all, rows: terms.map((term) => all.map((key) => term[key])) }),
    });
    box.append("p").attr("class", "note").text(
      "Rank: are the genes of the set, found or not, further up or down than by chance? AUC: the chance that one of them "
      + "ranks above another gene. Over-representation: are there more found genes in the set than by chance? It takes "
      + "genes as independent; prefer rank.");
  }

  function drawCard(node, page, encoder, statistics, latent) {
    const section = page.sections[0];
    const column = SW.latentColumn(section, encoder, latent.k);
    const card = d3.select(node).append("article").attr("class", "latent-card").attr("data-testid", `latent-${latent.k}`);
    card.append("h2").text(`Latent ${latent.k}`);
    if (latent.trust) drawTrust(card.node(), latent.trust);
    card.append("p").attr("class", "numbers").text(numbersLine(latent));
    const body = card.append("div").attr("class", "latent-body");
    if (column) {
      const title = `Latent ${latent.k} over the slide`;
      const place = body.append("section");
      const head = place.append("div").attr("class", "chart-head");
      head.append("h4").text(title);
      const map = place.append("div").attr("class", "map latent-map").attr("role", "img").attr("aria-label", title);
      const nodes = { head: head.node(), map: map.node(), legend: place.append("div").node() };
      const file = `${section.name}_${column.key.replace(/\W+/g, "_")}`;
      waiting.push(() => SW.still(nodes, page, section, column.key, { file, title }));
      drawPatches(body.node(), section, column, latent);
    }
    drawGenes(body.node(), page, encoder, statistics, latent);
    drawTerms(card.node(), page, encoder, latent);
  }

  SW.views = SW.views || {};

  SW.views.latents = async function (node, page) {
    const root = d3.select(node).classed("latents", true);
    const encoders = SW.encoderSelect(root.append("div").attr("class", "view-controls").node(), page);
    root.append("p").attr("class", "note").text(
      "A latent is one of the main ways in which the patches of the H&E image differ, strongest first. Its sign is "
      + "arbitrary: high and low could be swapped.");
    const cards = root.append("div").node();
    SW.panels(root.append("div").node(), page, "latents");
    const draw = async () => {
      const encoder = SW.encoder(page);
      const statistics = await SW.statistics(page, encoder);
      if (encoder !== SW.encoder(page)) return; // another is chosen by now
      encoders.property("value", String(SW.state.encoder));
      waiting.length = 0;
      SW.clear(cards);
      encoder.latents.forEach((latent) => drawCard(cards, page, encoder, statistics, latent));
      drawMaps();
    };
    SW.on("encoder", () => SW.whenShown("latents", draw));
    await draw();
  };
})((window.SW = window.SW || {}));
