/* Charts drawn from the page's data (Observable Plot): a gene against a latent, and all genes against one. */
(function (SW) {
  "use strict";

  const UP = "#D55E00";
  const DOWN = "#0072B2";
  const WEAK = "#8c959f";
  const MOST_DOTS = 5000; // more would make the page slow and show nothing new
  const LABELLED = 8; // genes on either side of a volcano
  const LINE = 18;

  const FRAME = { marginLeft: 56, marginBottom: 46, marginTop: 14, style: { fontSize: "12px" } };

  const measure = document.createElement("canvas").getContext("2d");

  function textWidth(text) {
    measure.font = "12px system-ui, sans-serif";
    return measure.measureText(text).width;
  }

  /** Writes a legend under a chart, inside of it, so that it is saved with it. */
  function addLegend(svg, items) {
    const { width, height } = svg.viewBox.baseVal;
    const group = d3.select(svg).append("g").attr("font-size", 12).attr("text-anchor", "start");
    let [x, y] = [10, height + 14];
    for (const { colour, text } of items) {
      const needed = textWidth(text) + 30;
      if (x > 10 && x + needed > width) [x, y] = [10, y + LINE];
      group.append("circle").attr("cx", x + 5).attr("cy", y - 4).attr("r", 5).attr("fill", colour);
      group.append("text").attr("x", x + 15).attr("y", y).attr("fill", "currentColor").text(text);
      x += needed;
    }
    d3.select(svg).attr("height", y + 8).attr("viewBox", `0 0 ${width} ${y + 8}`);
  }

  SW.charts = {};

  /** The width of a chart in a node. */
  SW.charts.width = (node, most) => Math.max(300, Math.min(most, node.clientWidth || most));
  const labelled = (label) => ({ label, labelAnchor: "center", labelArrow: "none" });

  const SHORT = 26;
  const shortened = (name) => (name.length > SHORT ? `${name.slice(0, SHORT - 1)}…` : name);

  /** What tells spots apart best: their clusters, or else any classes that a section has. */
  function classesOf(section) {
    const classes = section.columns.filter((c) => c.kind === "category");
    return classes.find((c) => c.group === "Clusters") || classes[0];
  }

  /** A gene against a latent, a dot per spot, coloured by the classes of the section. */
  SW.charts.scatter = async function (node, { page, section, gene, k, width, x, y, domains }) {
    const classes = classesOf(section);
    const scale = classes ? await SW.scaleOf(page, section, classes.key) : null;
    const step = Math.ceil(x.length / MOST_DOTS);
    const spots = d3.range(0, x.length, step).filter((i) => !Number.isNaN(x[i]) && !Number.isNaN(y[i]));
    const name = page.genes.names[gene];
    const svg = Plot.plot({
      ...FRAME, width, height: 340, color: { type: "identity" },
      inset: 5,
      x: { ...labelled(`Score of the spot on ${SW.latentName(page, k)}`), domain: domains[0], ticks: 6 },
      y: { ...labelled(`${shortened(name)}, log(1 + counts per 10,000)`), domain: domains[1], grid: true, ticks: 6 },
      marks: [
        Plot.dot(spots, {
          x: (i) => x[i], y: (i) => y[i], r: 3, fill: (i) => (scale ? scale.colour(i) : DOWN), fillOpacity: 0.8,
          title: (i) => `${section.barcodes[i]}\n${scale ? `${scale.label}: ${scale.text(i)}` : ""}`, tip: true,
        }),
      ],
    });
    if (scale) addLegend(svg, scale.categories.map((category) => ({ colour: category.colour, text: category.name })));
    const by = scale ? `, coloured by: ${scale.label}` : "";
    const part = step > 1 ? ` One spot in ${step} is drawn.` : "";
    const where = page.sections.length > 1 ? `${section.name}: ` : "";
    SW.chart(node, svg, {
      title: `${where}${name} against ${SW.latentName(page, k)}`,
      caption: `One dot is one spot${by}. Expression is as measured: not adjusted for sequencing depth.${part}`,
      file: `${section.name}_${name}_latent_${k}`, testid: "gene-scatter",
    });
  };

  /** Cells of a grid with the number of points in each, of those that are drawn as a density. */
  function gridCells(points, width, height) {
    const cells = d3.rollup(points, (v) => v.length, (d) => Math.floor(d.x / width), (d) => Math.floor(d.y / height));
    const most = d3.max([...cells.values()].flatMap((row) => [...row.values()]));
    const grey = d3.scaleSqrt([0, most], ["#e6e9ec", "#59636e"]);
    return [...cells].flatMap(([i, row]) => [...row].map(([j, n]) => (
      { x1: i * width, x2: (i + 1) * width, y1: j * height, y2: (j + 1) * height, fill: grey(n) })));
  }

  /** Writes the names of genes beside their dots, where neither another name nor another dot is. */
  function addNames(svg, points, dots, page) {
    const [x, y] = [svg.scale("x").apply, svg.scale("y").apply];
    const places = dots.map((dot) => [x(dot.x), y(dot.y)]);
    const hides = (left, base, w) => places.some(([px, py]) => (
      px > left - 3 && px < left + w + 3 && py > base - 12 && py < base + 4));
    const width = svg.viewBox.baseVal.width;
    const taken = [];
    const group = d3.select(svg).append("g").attr("class", "names").attr("font-size", 11).attr("text-anchor", "start")
      .attr("pointer-events", "none");
    for (const point of points) {
      const name = page.genes.names[point.gene];
      const [px, py, w] = [x(point.x), y(point.y), textWidth(name) * 0.95];
      const beside = [[px + 6, py + 4], [px - 6 - w, py + 4], [px - w / 2, py - 7], [px - w / 2, py + 16]];
      const free = beside.find(([left, base]) => left > 50 && left + w < width - 5 && !hides(left, base, w)
        && taken.every((t) => left > t.right || left + w < t.left || base - 11 > t.base || base < t.base - 11));
      if (!free) continue;
      taken.push({ left: free[0] - 2, right: free[0] + w + 2, base: free[1] });
      group.append("text").attr("x", free[0]).attr("y", free[1]).attr("fill", "currentColor")
        .attr("stroke", "white").attr("stroke-width", 3).attr("paint-order", "stroke").datum(point.gene).text(name);
    }
  }

  function volcanoPoints(view, test) {
    const { encoder, statistics, page } = view;
    const latent = encoder.latents[view.latent].k - 1;
    const cut = SW.foundBelow(encoder);
    return d3.range(page.genes.names.length).map((gene) => {
      const [x, p] = [statistics.value(test.effect, latent, gene), statistics.value(test.p, latent, gene)];
      return { gene, x, y: -p, p, found: test.fdr ? statistics.value(test.fdr, latent, gene) < cut : false };
    }).filter((d) => Number.isFinite(d.x) && Number.isFinite(d.y));
  }

  const colourOf = (d) => (d.found ? (d.x > 0 ? UP : DOWN) : WEAK);

  function plotVolcano(points, view, test, width) {
    const { page, encoder } = view;
    const dots = points.filter((d) => d.p < Math.log10(0.05));
    const rest = points.filter((d) => d.p >= Math.log10(0.05));
    const reach = 1.05 * (d3.max(points, (d) => Math.abs(d.x)) || 1);
    const top = 1.08 * Math.max(2, d3.max(points, (d) => d.y) || 0);
    const label = encoder.statistics.find((s) => s.key === test.effect).label;
    const svg = Plot.plot({
      ...FRAME, width, height: 480, color: { type: "identity" },
      x: { ...labelled(`Effect (${SW.latentName(page, encoder.latents[view.latent].k)}): ${label}`), domain: [-reach, reach] },
      y: { ...labelled("−log10 of the p-value"), domain: [0, top], grid: true },
      marks: [
        Plot.rect(gridCells(rest, reach / 60, top / 120), { x1: "x1", x2: "x2", y1: "y1", y2: "y2", fill: "fill" }),
        Plot.ruleX([0], { stroke: "#aaa" }),
        Plot.ruleY([0]),
        Plot.dot(dots, { x: "x", y: "y", r: 3, fill: colourOf, fillOpacity: (d) => (d.found ? 0.9 : 0.5) }),
        Plot.tip(dots, Plot.pointer({
          x: "x", y: "y", maxRadius: 15,
          title: (d) => `${page.genes.names[d.gene]}\n${label} ${SW.signed(d.x)}\np ${SW.pText(d.p)}`,
        })),
      ],
    });
    return { svg, dots };
  }

  function drawVolcano(node, view, test) {
    const { page, encoder } = view;
    const k = encoder.latents[view.latent].k;
    const points = volcanoPoints(view, test);
    const { svg, dots } = plotVolcano(points, view, test, SW.charts.width(node, 1250));
    const sides = [dots.filter((d) => d.x > 0), dots.filter((d) => d.x < 0)];
    const order = (a, b) => b.found - a.found || a.p - b.p;
    addNames(svg, sides.flatMap((side) => side.sort(order).slice(0, LABELLED)).sort(order), dots, page);
    const percent = SW.percent(encoder.fdr);
    const found = (side) => SW.number(side.filter((d) => d.found).length);
    addLegend(svg, [
      { colour: UP, text: `rises with the latent, FDR < ${percent} (${found(sides[0])})` },
      { colour: DOWN, text: `falls with it, FDR < ${percent} (${found(sides[1])})` },
      { colour: WEAK, text: "p < 0.05, not found" },
      { colour: "#e6e9ec", text: `all others, as a density (${SW.number(points.length - dots.length)})` },
    ]);
    d3.select(svg).style("cursor", "pointer").on("click", () => { if (svg.value) SW.chooseGene(svg.value.gene); });
    SW.chart(node, svg, {
      title: `Volcano of ${SW.latentName(page, k)}: ${test.name}`, testid: "volcano",
      file: `${page.title}_${encoder.name}_volcano_${k}`,
      caption: "One dot is one gene; click it to see the gene. The table below holds the same, and all other genes.",
    });
    return { svg, points };
  }

  /**
   * All genes against one latent: effect and p-value by one of the tests.
   * @returns {{mark(gene)}} puts a ring around a gene
   */
  SW.charts.volcano = function (node, view) {
    const tests = SW.tests(view.encoder);
    let current = tests.findIndex((test) => test.headline);
    const controls = d3.select(node).append("div").attr("class", "view-controls").node();
    const place = d3.select(node).append("div");
    let drawn;
    const mark = (gene) => {
      const { svg, points } = drawn;
      d3.select(svg).select(".chosen").remove();
      d3.select(svg).select(".names").selectAll("text").attr("display", (d) => (d === gene ? "none" : null));
      const point = points.find((d) => d.gene === gene);
      if (!point) return;
      const [x, y] = [svg.scale("x").apply(point.x), svg.scale("y").apply(point.y)];
      const name = view.page.genes.names[gene];
      const room = 4 + textWidth(name) / 1.8; // it is bold
      const middle = Math.max(FRAME.marginLeft + room, Math.min(svg.viewBox.baseVal.width - room, x));
      const group = d3.select(svg).append("g").attr("class", "chosen").attr("pointer-events", "none");
      group.append("circle").attr("cx", x).attr("cy", y).attr("r", 7)
        .attr("fill", "none").attr("stroke", "black").attr("stroke-width", 2);
      group.append("text").attr("x", middle).attr("y", y - 11).attr("text-anchor", "middle")
        .attr("font-weight", 700).attr("font-size", 12).attr("fill", "black")
        .attr("stroke", "white").attr("stroke-width", 4).attr("paint-order", "stroke").text(name);
    };
    const draw = () => {
      place.selectAll("*").remove();
      drawn = drawVolcano(place.node(), view, tests[current]);
      mark(view.gene);
    };
    if (tests.length > 1) {
      const names = tests.map((test) => test.name + (test.headline ? " (to go by)" : ""));
      SW.select(controls, "Test", names, current, (i) => { current = i; draw(); });
    }
    draw();
    return { mark };
  };
})((window.SW = window.SW || {}));
