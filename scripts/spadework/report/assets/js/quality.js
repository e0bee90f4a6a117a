/* Is this section fit for use? And: how was all of this made? */
(function (SW) {
  "use strict";

  const HEIGHT = 220;
  const MEDIAN = "#D55E00";
  const BARS = "#56B4E9";

  async function drawHistogram(node, page, section, column, width) {
    const values = (await page.array(column.values)).filter((value) => !Number.isNaN(value));
    const median = d3.median(values);
    const label = column.unit && !column.label.includes(column.unit) ? `${column.label} (${column.unit})` : column.label;
    const svg = Plot.plot({
      width, height: HEIGHT, marginLeft: 50, marginTop: 30, marginBottom: 44, style: { fontSize: "12px" },
      x: { label, labelAnchor: "center", labelArrow: "none", tickFormat: (v) => SW.number(v), ticks: 5 },
      y: { label: "Number of spots", labelAnchor: "center", labelArrow: "none", grid: true, ticks: 5 },
      marks: [
        Plot.rectY(values, Plot.binX({ y: "count" }, { x: Plot.identity, thresholds: 40, fill: BARS })),
        Plot.ruleY([0]),
        Plot.ruleX([median], { stroke: MEDIAN, strokeWidth: 2 }),
        Plot.text([median], {
          x: Plot.identity, frameAnchor: "top", dy: -14, text: (d) => `median ${SW.number(d)}`,
          fill: MEDIAN, fontWeight: 600,
        }),
      ],
    });
    const title = page.sections.length > 1 ? `${section.name}: ${column.label}` : column.label;
    SW.chart(node, svg, { title, file: `${section.name}_${column.key.split("/").pop()}_histogram` });
  }

  async function drawHistograms(node, page) {
    const all = page.sections.flatMap((section) =>
      section.columns.filter((c) => c.group === "Quality" && c.kind === "number").map((column) => [section, column]));
    if (!all.length) return;
    d3.select(node).append("h3").text("Spots");
    d3.select(node).append("p").attr("class", "note").text(
      "How the values of the spots are spread. Colour the slide by them in Explore to see where the poor spots lie.");
    const grid = d3.select(node).append("div").attr("class", "chart-grid").node();
    const width = Math.max(300, Math.min(420, grid.clientWidth / Math.max(1, Math.floor(grid.clientWidth / 380)) - 20));
    for (const [section, column] of all) await drawHistogram(grid, page, section, column, width);
  }

  SW.views = SW.views || {};

  SW.views.quality = async function (node, page) {
    const view = d3.select(node);
    const [top, bottom] = [view.append("div").node(), view.append("div").node()];
    SW.panels(top, page, "quality");
    await drawHistograms(bottom, page);
  };

  SW.views.methods = function (node, page) {
    const here = (item) => item.tab === "methods";
    page.texts.filter(here).forEach((text) => SW.pageText(node, page, text));
    page.tables.filter(here).forEach((table) => SW.pageTable(node, table, { folded: true }));
  };

  /** Folded tables are printed unfolded, and folded again afterwards. */
  let unfolded = [];
  window.addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("details:not([open])")];
    unfolded.forEach((details) => { details.open = true; });
  });
  window.addEventListener("afterprint", () => unfolded.forEach((details) => { details.open = false; }));
})((window.SW = window.SW || {}));
