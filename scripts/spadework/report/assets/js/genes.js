/* One gene: its numbers, its map, its scatter. All genes of a latent: volcano and table. */
(function (SW) {
  "use strict";

  const SUGGESTIONS = 12;
  // What the tests allow for.
  const MEANING = {
    "as published": "adjusted for nothing, which finds too much",
    "depth": "given the sequencing depth of the spots",
    "depth and space": "given depth, at the number of independent spots that the section is worth for this gene",
    "mixed model": "a second opinion on depth and space",
  };
  const known = new WeakMap();
  let chosen = null; // index of the gene the view shows
  let against = null; // place of the latent to show it against, or "best"
  let redraw = () => {};

  /**
   * The statistics of an encoder.
   * @returns {Promise<{value(key, latent, gene): number}>} `latent` counts from 0
   */
  SW.statistics = function (page, encoder) {
    if (!known.has(encoder)) {
      known.set(encoder, Promise.all(encoder.statistics.map((s) => page.array(s.values))).then((arrays) => {
        const byKey = new Map(encoder.statistics.map((s, i) => [s.key, arrays[i]]));
        const n = page.genes.names.length;
        return { value: (key, latent, gene) => byKey.get(key)[latent * n + gene] };
      }));
    }
    return known.get(encoder);
  };

  /** The tests of an encoder: {name, effect, p, fdr, headline}, by the groups of its statistics. */
  SW.tests = function (encoder) {
    const { headline } = encoder;
    const groups = d3.groups(encoder.statistics, (s) => s.group);
    const tests = groups.map(([name, list]) => {
      const key = (kind) => (list.filter((s) => s.kind === kind).pop() || {}).key;
      const [effect, p, fdr] = ["effect", "p", "fdr"].map(key);
      return { name, effect: effect || headline.effect, p, fdr, headline: p === headline.p };
    });
    return tests.filter((test) => test.p);
  };

  /** The column of a section that holds a latent (number from 1): its own, or one shared by a group. */
  SW.latentColumn = function (section, encoder, k) {
    const keys = [`${encoder.name}/latent ${k}`, `${encoder.name}/shared latent ${k}`];
    return section.columns.find((column) => keys.includes(column.key));
  };

  /** Latents of a group are not those of its sections by themselves. */
  SW.latentName = (page, k) => (page.kind === "cohort" ? `shared latent ${k}` : `latent ${k}`);

  SW.latentLabel = function (page, latent) {
    const [name, share] = [SW.latentName(page, latent.k), latent.variance_ratio];
    return SW.missing(share) ? name : `${name} (${SW.percent(share, ".1f")} of variance)`;
  };

  /** The gene of a name or identifier, as it is written if there is such a one; null if there is none. */
  SW.geneNamed = function (page, text, genes = d3.range(page.genes.names.length)) {
    const { names, ids } = page.genes;
    const wanted = text.trim().toUpperCase();
    const same = (name) => Boolean(name) && name.toUpperCase() === wanted;
    const ways = [(i) => names[i] === text.trim(), (i) => same(names[i]), (i) => same(ids && ids[i])];
    const found = ways.map((way) => genes.find(way)).find((gene) => gene !== undefined);
    return found === undefined ? null : found;
  };

  /** Log10 of the level below which genes count as found. */
  SW.foundBelow = (encoder) => Math.log10(encoder.fdr);

  /** Show a gene, from anywhere on the page, against a latent (its place), the "best" for it, or that of before. */
  SW.chooseGene = function (gene, latent = null) {
    [chosen, against] = [gene, latent];
    const shown = SW.show("genes", SW.page.genes.names[gene]);
    redraw();
    return shown;
  };

  /** The columns of a table of statistics; an effect is signed, what is found is bold. */
  SW.statisticColumns = function (encoder, foundIn) {
    // The standardised slope on one latent is Pearson's r once more; files have both.
    const shown = encoder.statistics.filter((s) => s.key !== "coef_std");
    const tests = SW.tests(encoder);
    return shown.map((s, i) => ({
      key: s.key, label: s.label, group: s.group, first: i === 0 || shown[i - 1].group !== s.group,
      kind: s.kind === "p" || s.kind === "fdr" ? "p" : "number",
      format: s.kind === "effect" ? SW.signed : null,
      bold: s.kind === "fdr" ? (i) => foundIn(s.key, i) : null,
      marked: tests.some((test) => test.headline && test.name === s.group),
    }));
  };

  /** The gene with the smallest p-value, and the latent that it goes with. */
  function strongest(page, encoder, statistics) {
    let [best, smallest] = [{ gene: 0, latent: 0 }, Infinity];
    encoder.latents.forEach(({ k }, latent) => {
      for (let gene = 0; gene < page.genes.names.length; gene++) {
        const p = statistics.value(encoder.headline.p, k - 1, gene);
        if (p < smallest) [best, smallest] = [{ gene, latent }, p];
      }
    });
    return best;
  }

  /** Genes whose name begins with the text, then those that hold it in their name or identifier. */
  function suggestions(index, text) {
    const wanted = text.trim().toUpperCase();
    const [first, second] = [[], []];
    if (!wanted) return first;
    index.names.forEach((name, i) => {
      if (name.startsWith(wanted)) first.push(i);
      else if (second.length < SUGGESTIONS && (name.includes(wanted) || index.ids[i].startsWith(wanted))) second.push(i);
    });
    first.sort((a, b) => index.names[a].length - index.names[b].length || d3.ascending(index.names[a], index.names[b]));
    return first.concat(second).slice(0, SUGGESTIONS);
  }

  const unknown = (name) => `No gene with “${name}” in its name was tested.`;

  /** A search box with suggestions (ARIA combobox): arrows, Enter, Escape. Returns what says something below it. */
  function drawSearch(node, page) {
    const { names, ids, kept } = page.genes;
    const index = {
      names: names.map((name) => name.toUpperCase()),
      ids: names.map((_, i) => (ids && ids[i] ? ids[i].toUpperCase() : "")),
    };
    const mapped = new Set(kept);
    const box = d3.select(node).append("div").attr("class", "combobox");
    box.append("label").attr("for", "gene-input").text(`Gene (${SW.number(names.length)} tested)`);
    const input = box.append("input").attr("id", "gene-input").attr("type", "search").attr("data-testid", "gene-search")
      .attr("role", "combobox").attr("aria-autocomplete", "list").attr("aria-expanded", "false")
      .attr("aria-controls", "gene-list")
      .attr("autocomplete", "off").attr("spellcheck", "false").attr("placeholder", "Name or identifier");
    const list = box.append("ul").attr("id", "gene-list").attr("role", "listbox").attr("aria-label", "Genes");
    list.attr("hidden", "");
    const said = box.append("p").attr("role", "status").attr("class", "note");
    let [found, active] = [[], -1];

    const close = () => {
      list.attr("hidden", "");
      input.attr("aria-expanded", "false").attr("aria-activedescendant", null);
      active = -1;
    };
    const choose = (gene) => {
      input.property("value", "");
      close();
      SW.chooseGene(gene, "best");
    };
    const mark = (i) => {
      active = i;
      list.selectAll("li").attr("aria-selected", (d, j) => String(j === i));
      input.attr("aria-activedescendant", i < 0 ? null : `gene-option-${i}`);
    };
    const open = () => {
      const text = input.property("value");
      found = suggestions(index, text);
      said.text(text.trim() && !found.length ? unknown(text.trim()) : "");
      list.attr("hidden", found.length ? null : "");
      input.attr("aria-expanded", String(found.length > 0));
      const items = list.selectAll("li").data(found).join("li").attr("role", "option");
      items.attr("id", (d, i) => `gene-option-${i}`).text((d) => names[d]).on("mousedown", (event, d) => {
        event.preventDefault();
        choose(d);
      });
      items.append("span").attr("class", "note").text((d) => (mapped.has(d) ? " with map" : ""));
      mark(-1);
    };
    const keys = {
      ArrowDown: () => (list.attr("hidden") === null ? mark(Math.min(active + 1, found.length - 1)) : open()),
      ArrowUp: () => mark(Math.max(active - 1, -1)),
      Enter: () => found.length && choose(found[Math.max(active, 0)]),
      Escape: () => (list.attr("hidden") === null ? close() : (input.property("value", ""), open())),
    };
    input.on("input", open).on("blur", close).on("keydown", (event) => {
      if (!(event.key in keys)) return;
      event.preventDefault();
      event.stopPropagation();
      keys[event.key]();
    });
    return (text) => said.text(text);
  }

  /** A labelled select; calls back with the index of what is chosen. */
  SW.select = function (node, label, options, value, change) {
    const box = d3.select(node).append("label").attr("class", "select").text(label);
    const select = box.append("select").on("change", function () { change(Number(this.value)); });
    select.selectAll("option").data(options).join("option").attr("value", (d, i) => i).text((d) => d);
    select.property("value", String(value));
    return select;
  };

  /** Chooses the encoder, where there are several. */
  SW.encoderSelect = function (node, page) {
    const names = page.encoders.map((encoder) => encoder.name);
    const select = SW.select(node, "Encoder", names, SW.state.encoder, (i) => SW.set({ encoder: i }));
    if (names.length < 2) d3.select(select.node().parentNode).attr("hidden", "");
    return select;
  };

  function drawFacts(node, view) {
    const { page, gene, means, spots } = view;
    const id = page.genes.ids && page.genes.ids[gene];
    const total = d3.sum(page.sections, (section) => section.n_spots);
    const head = d3.select(node);
    head.append("h2").attr("tabindex", -1).attr("data-testid", "gene-name").text(page.genes.names[gene]);
    const facts = [
      id && id !== page.genes.names[gene] ? ["Identifier", id] : null,
      ["Mean expression", `${SW.number(means[gene])}, log(1 + counts per 10,000)`],
      ["Found in", `${SW.number(spots[gene])} of ${SW.number(total)} spots`],
    ].filter(Boolean);
    const rows = head.append("dl").attr("class", "facts").selectAll("div").data(facts).join("div");
    rows.append("dt").text((d) => d[0]);
    rows.append("dd").text((d) => d[1]);
  }

  function drawStatistics(node, view) {
    const { page, encoder, statistics, gene } = view;
    const cut = SW.foundBelow(encoder);
    const latents = encoder.latents;
    const name = page.genes.names[gene];
    const cell = (i, key) => (key === "latent" ? latents[i].k : statistics.value(key, latents[i].k - 1, gene));
    const columns = [
      { key: "latent", label: "Latent", kind: "number", bold: (i) => i === view.latent },
      ...SW.statisticColumns(encoder, (key, i) => cell(i, key) < cut),
    ];
    SW.table(node, {
      title: `${name} against every latent`, columns, cell, n: latents.length,
      file: `${page.title}_${encoder.name}_${name}.csv`, testid: "gene-statistics",
      rowTitle: "Show this latent", onRow: (i) => view.chooseLatent(i), csv: () => geneRows(view, [gene]), compact: true,
    });
    const tests = SW.tests(encoder);
    const lines = [
      ["shaded", `the test to go by (${tests.find((test) => test.headline).name})`],
      ["bold", `found at a false discovery rate (FDR) of ${SW.percent(encoder.fdr)} within the latent`],
      ...tests.filter((test) => test.name in MEANING).map((test) => [test.name, MEANING[test.name]]),
    ];
    const key = d3.select(node).append("dl").attr("class", "facts note").selectAll("div").data(lines).join("div");
    key.append("dt").text((d) => d[0]);
    key.append("dd").text((d) => d[1]);
    if (encoder.headline.note) d3.select(node).append("p").attr("class", "note").text(encoder.headline.note);
  }

  /** Genes against all latents with all statistics, as the CSV has them. */
  function geneRows(view, genes) {
    const { page, encoder, statistics, means, spots } = view;
    const { names, ids } = page.genes;
    const write = ({ kind }, value) => (kind === "p" || kind === "fdr" ? SW.pCell(value) : Number(value.toPrecision(6)));
    const rows = function* () {
      for (const latent of encoder.latents) {
        for (const gene of genes) {
          const values = encoder.statistics.map((s) => write(s, statistics.value(s.key, latent.k - 1, gene)));
          yield [latent.k, names[gene], ids ? ids[gene] : "", Number(means[gene].toPrecision(6)), spots[gene], ...values];
        }
      }
    };
    const keys = encoder.statistics.map((s) => s.key);
    return { columns: ["latent", "gene", "gene_id", "mean_expression", "n_spots", ...keys], rows: rows() };
  }

  async function drawMap(node, view, section) {
    const { page, gene } = view;
    const name = page.genes.names[gene];
    const box = d3.select(node).append("div").attr("class", "gene-map-box");
    const title = page.sections.length > 1 ? `${name} in ${section.name}` : `${name} over the slide`;
    const head = box.append("div").attr("class", "chart-head");
    head.append("h3").text(title);
    const map = box.append("div").attr("class", "map gene-map").attr("data-testid", "gene-map");
    map.attr("role", "img").attr("aria-label", title);
    const nodes = { head: head.node(), map: map.node(), legend: box.append("div").node() };
    await SW.still(nodes, page, section, `gene:${gene}`, { file: `${section.name}_${name}_map`, title });
  }

  async function drawMaps(node, view) {
    const { page, gene } = view;
    if (!page.genes.kept.includes(gene)) {
      d3.select(node).append("p").attr("class", "notice").attr("data-testid", "no-map")
        .text(`There is no map of ${page.genes.names[gene]} in this page. ${page.genes.left_out}`);
      return;
    }
    const grid = d3.select(node).append("div").attr("class", page.sections.length > 1 ? "map-grid" : "").node();
    await Promise.all(page.sections.map((section) => drawMap(grid, view, section)));
    if (page.kind === "section") {
      const button = d3.select(node).append("button").attr("type", "button").attr("class", "no-print");
      button.text("Show on the slide in Explore").on("click", () => {
        SW.set({ colour: `gene:${gene}` });
        SW.show("explore");
      });
    }
  }

  async function drawScatter(node, view) {
    const { page, encoder, gene } = view;
    if (!page.genes.kept.includes(gene)) return;
    const k = encoder.latents[view.latent].k;
    const columns = page.sections.map((section) => SW.latentColumn(section, encoder, k));
    if (columns.some((column) => !column)) return;
    // Sections are compared on the same axes.
    const scores = await Promise.all(columns.map((column) => page.array(column.values)));
    const scales = await Promise.all(page.sections.map((section) => SW.scaleOf(page, section, `gene:${gene}`)));
    if (!node.isConnected) return; // something else is shown by now
    const values = scales.map((scale) => scale.values);
    const domains = [scores, values].map((arrays) => d3.extent(arrays.flatMap((array) => d3.extent(array))));
    const grid = d3.select(node).append("div").attr("class", page.sections.length > 1 ? "chart-grid" : "").node();
    const width = page.sections.length > 1 ? 380 : SW.charts.width(grid, 800);
    for (const [i, section] of page.sections.entries()) {
      await SW.charts.scatter(grid, { page, section, gene, k, width, x: scores[i], y: values[i], domains });
    }
  }

  function drawTable(node, view) {
    const { page, encoder, statistics, means, spots } = view;
    const { names, ids, kept } = page.genes;
    const mapped = new Set(kept);
    const k = encoder.latents[view.latent].k - 1;
    const cut = SW.foundBelow(encoder);
    const plain = {
      gene: (i) => names[i], id: (i) => (ids ? ids[i] : ""), map: (i) => (mapped.has(i) ? "map" : ""),
      mean: (i) => means[i], spots: (i) => spots[i],
    };
    const cell = (i, key) => (key in plain ? plain[key](i) : statistics.value(key, k, i));
    const withIds = ids && ids.some((id, i) => id && id !== names[i]);
    const all = [
      { key: "gene", label: "Gene", kind: "text" },
      ...(withIds ? [{ key: "id", label: "Identifier", kind: "text" }] : []),
      { key: "map", label: "Map", kind: "text", title: "Is there a map of this gene in this page?" },
      { key: "mean", label: "Mean", kind: "number", title: "Mean of log(1 + counts per 10,000)" },
      { key: "spots", label: "Spots", kind: "number", title: "Spots with the gene" },
      ...SW.statisticColumns(encoder, (key, i) => cell(i, key) < cut),
    ];
    const { effect } = encoder.headline;
    const draw = (columns) => SW.table(node, {
      label: "All genes", columns, cell, n: names.length, compact: true, filter: "Name of a gene", testid: "gene-table",
      sort: encoder.headline.p, rowTitle: "Show this gene", onRow: (gene) => SW.chooseGene(gene),
      file: `${page.title}_${encoder.name}_genes.csv`, csv: () => geneRows(view, d3.range(names.length)),
    });
    // As much as there is room for; what has a group is a statistic: of these, in the end, the test to go by.
    const named = all.filter((c) => c.key !== "id");
    const few = named.filter((c) => !c.group || c.marked || c.key === effect);
    let table;
    for (const columns of [all, named, few]) {
      d3.select(node).selectAll("*").remove();
      table = draw(columns);
      const box = d3.select(node).select(".table-scroll").node();
      if (columns === few) {
        const note = "Only the test to go by is shown, for want of room; the CSV has all of them.";
        d3.select(node).append("p").attr("class", "note").text(note);
      } else if (box.scrollWidth <= box.clientWidth) break;
    }
    const label = d3.select(table.extra).append("label").attr("class", "check");
    label.append("input").attr("type", "checkbox").on("change", function () {
      table.keep(this.checked ? (i) => cell(i, encoder.headline.fdr) < cut : null);
    });
    label.append("span").text(`only FDR < ${encoder.fdr}`);
  }

  SW.views = SW.views || {};

  SW.views.genes = async function (node, page) {
    const root = d3.select(node).classed("genes", true);
    const controls = root.append("div").attr("class", "view-controls");
    const say = drawSearch(controls.node(), page);
    const encoders = SW.encoderSelect(controls.node(), page);
    const latents = controls.append("span");
    const top = root.append("div").attr("class", "gene-page").classed("stacked", page.sections.length > 1);
    const bottom = root.append("div");
    const [means, spots] = await Promise.all([page.array(page.genes.mean), page.array(page.genes.n_spots)]);
    const view = { page, means, spots, gene: null, latent: 0 };

    const drawGene = async () => {
      view.gene = chosen;
      SW.clear(top.node());
      const part = (name) => top.append("section").attr("class", name).node();
      const [about, maps, scatter] = ["about", "maps", "scatter"].map(part);
      drawFacts(about, view);
      drawStatistics(about, view);
      const shown = { ...view };
      await drawMaps(maps, shown);
      await drawScatter(scatter, shown);
    };
    const drawLatent = () => {
      bottom.selectAll("*").remove();
      const latent = view.encoder.latents[view.latent];
      bottom.append("h2").text(`All genes against ${SW.latentLabel(page, latent)}`);
      view.volcano = SW.charts.volcano(bottom.append("div").node(), view);
      drawTable(bottom.append("div").node(), view);
    };
    const drawEncoder = async () => {
      const encoder = SW.encoder(page);
      const statistics = await SW.statistics(page, encoder);
      if (encoder !== SW.encoder(page)) return; // another is chosen by now
      Object.assign(view, { encoder, statistics });
      if (chosen === null) {
        const best = strongest(page, encoder, statistics);
        [chosen, view.latent] = [best.gene, best.latent];
      } else view.latent = nextLatent();
      view.gene = chosen;
      view.latent = Math.min(view.latent, view.encoder.latents.length - 1);
      encoders.property("value", String(SW.state.encoder));
      latents.selectAll("*").remove();
      const names = view.encoder.latents.map((latent) => SW.latentLabel(page, latent));
      SW.select(latents.node(), "Latent", names, view.latent, view.chooseLatent).attr("data-testid", "latent-select");
      drawLatent();
      await drawGene();
    };
    view.chooseLatent = async (i) => {
      const fromTable = top.node().contains(document.activeElement);
      view.latent = i;
      latents.select("select").property("value", String(i));
      drawLatent();
      const done = drawGene();
      // The table that was clicked has been drawn anew; the keyboard stays where it was.
      const rows = top.selectAll("[data-testid=gene-statistics] tbody button").nodes();
      if (fromTable && rows[i]) rows[i].focus();
      await done;
    };
    /** The latent that the gene is to be shown against. */
    const nextLatent = () => {
      const { encoder, statistics } = view;
      const p = ({ k }) => statistics.value(encoder.headline.p, k - 1, chosen);
      const next = against === "best" ? Math.max(0, d3.minIndex(encoder.latents, p)) : against;
      against = null;
      return next === null ? view.latent : next;
    };
    redraw = async () => {
      if (!view.statistics) return;
      const latent = nextLatent();
      if (latent !== view.latent) {
        view.latent = latent;
        latents.select("select").property("value", String(latent));
        drawLatent();
      }
      const done = drawGene();
      view.volcano.mark(chosen);
      // What has changed is at the top, wherever the gene was chosen.
      top.select("h2").node().focus({ preventScroll: true });
      window.scrollTo({ top: 0 });
      await done;
    };
    const follow = () => {
      const { tab, rest } = SW.route();
      // The name that is shown may be that of several genes.
      if (tab !== "genes" || !rest || (chosen !== null && rest === page.genes.names[chosen])) return;
      const gene = SW.geneNamed(page, rest);
      say(gene === null ? unknown(rest) : "");
      if (gene === null || gene === chosen) return;
      [chosen, against] = [gene, "best"];
      redraw();
    };
    follow();
    window.addEventListener("hashchange", follow);
    SW.on("encoder", () => SW.whenShown("genes", drawEncoder));
    await drawEncoder();
  };
})((window.SW = window.SW || {}));
