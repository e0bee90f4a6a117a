/* From values to colours. Palettes are those of the static figures, and safe for colour-blind readers. */
(function (SW) {
  "use strict";

  const MISSING = "#a6a6a6";
  const STEPS = 200;
  const NO_BIN = 255;
  const RAMPS = {
    diverging: (t) => d3.interpolateRdBu(1 - t),
    sequential: (t) => d3.interpolateMagma(1 - t),
  };

  function ofNumbers(described, values) {
    const [low, high] = described.limits;
    const ramp = RAMPS[described.scale];
    const bins = Uint8Array.from(values, (v) =>
      Number.isNaN(v) ? NO_BIN : Math.max(0, Math.min(STEPS, Math.round(((v - low) / (high - low || 1)) * STEPS))),
    );
    return {
      ...described, values, bins, ramp,
      palette: d3.range(STEPS + 1).map((b) => ramp(b / STEPS)),
      text: (i) => SW.number(values[i], described.digits),
    };
  }

  function ofCategories(described, codes) {
    const names = described.categories;
    const bins = Uint8Array.from(codes, (code) => (code < names.length ? Math.min(code, NO_BIN - 1) : NO_BIN));
    return {
      ...described, values: codes, bins,
      palette: names.map((category) => category.colour),
      text: (i) => (codes[i] < names.length ? names[codes[i]].name : SW.NONE),
    };
  }

  function describeGene(page, gene) {
    return {
      key: `gene:${gene}`, label: page.genes.names[gene], group: "Genes", kind: "number", scale: "sequential",
      unit: "log(1 + counts per 10,000)", digits: 3, limits: [0, page.genes.limits[page.genes.kept.indexOf(gene)]],
    };
  }

  const GENES_KEPT = 12; // scales of genes, which take as much room as the spots are many
  const known = new WeakMap();

  /**
   * Colours of a section's spots by a column ("vgg16/latent 1") or a gene ("gene:17").
   * Resolves to {key, label, kind, values, bins, palette, colour(i), text(i), limits | categories}.
   */
  SW.scaleOf = function (page, section, key) {
    if (!known.has(section)) known.set(section, new Map());
    const scales = known.get(section);
    if (!scales.has(key)) scales.set(key, makeScale(page, section, key));
    const [oldest, ...others] = [...scales.keys()].filter((other) => other.startsWith("gene:"));
    if (others.length >= GENES_KEPT) scales.delete(oldest);
    return scales.get(key);
  };

  async function makeScale(page, section, key) {
    let scale;
    if (key.startsWith("gene:")) {
      const gene = Number(key.slice("gene:".length));
      const values = await SW.expression(page, section, gene);
      scale = ofNumbers(describeGene(page, gene), values);
    } else {
      const column = section.columns.find((c) => c.key === key);
      const values = await page.array(column.values);
      scale = column.kind === "number" ? ofNumbers(column, values) : ofCategories(column, values);
    }
    scale.colour = (i) => (scale.bins[i] === NO_BIN ? MISSING : scale.palette[scale.bins[i]]);
    return scale;
  }

  const titleOf = (scale) => scale.label + (scale.unit ? `, ${scale.unit}` : "");

  function ramp(scale) {
    const color = { type: "linear", domain: scale.limits, interpolate: scale.ramp };
    return Plot.legend({ color, width: 230, ticks: 4, tickFormat: (v) => SW.number(v) });
  }

  const LINE_PX = 20;

  /** Write what the colours of an SVG mean below it; returns where the writing ends. */
  SW.svgLegend = function (svg, scale, caption, { y, width }) {
    const write = (text, x, at) => svg.append("text").attr("x", x).attr("y", at).attr("font-size", 13).text(text);
    write(`${caption} · ${titleOf(scale)}`, 8, y + 14);
    const top = y + 26;
    if (scale.kind === "number") {
      svg.append(() => d3.select(ramp(scale)).attr("x", 8).attr("y", top).node());
      return top + 60;
    }
    const items = itemsOf(scale, [scale]);
    const longest = d3.max(items, (item) => item.name.length);
    const column = Math.min(width, 34 + 8 * longest);
    const columns = Math.max(1, Math.floor((width - 8) / column));
    items.forEach(({ name, colour }, k) => {
      const [x, line] = [8 + (k % columns) * column, top + Math.floor(k / columns) * LINE_PX];
      svg.append("rect").attr("x", x).attr("y", line).attr("width", 12).attr("height", 12).attr("fill", colour);
      write(name, x + 18, line + 11);
    });
    return top + Math.ceil(items.length / columns) * LINE_PX + 8;
  };

  /** What stands in a legend: categories, and what is missing, with the number of their spots. */
  function itemsOf(scale, scales) {
    const counts = d3.rollup(scales.flatMap(({ bins }) => [...bins]), (v) => v.length, (bin) => bin);
    const items = (scale.categories || []).map((category, code) => ({ ...category, code, count: counts.get(code) || 0 }));
    const missing = counts.get(NO_BIN);
    return missing ? [...items, { name: "no value", colour: MISSING, code: NO_BIN, count: missing }] : items;
  }

  /**
   * Draw the legend of a scale. Categories are buttons that choose their spots.
   * @param {Object[]} [options.scales] of all sections, where there are several
   */
  SW.legend = function (node, scale, { choose = null, scales = [scale] } = {}) {
    const box = d3.select(node).attr("data-testid", "legend").classed("legend", true);
    box.selectAll("*").remove();
    box.append("div").attr("class", "legend-title").text(titleOf(scale));
    if (scale.kind === "number") box.node().append(ramp(scale));
    const items = itemsOf(scale, scales);
    if (!items.length) return;
    box.append("ul").selectAll("li").data(items).join("li").each(function ({ name, colour, code, count }) {
      const item = d3.select(this).append(choose ? "button" : "span").attr("class", "category");
      if (choose) item.attr("type", "button").attr("title", "Select these spots").on("click", () => choose(code));
      item.append("span").attr("class", "swatch").style("background", colour);
      item.append("span").text(name);
      item.append("span").attr("class", "quiet").text(SW.number(count));
    });
  };
})((window.SW = window.SW || {}));
