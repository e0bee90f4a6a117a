/* Saving what is on the page as files: CSV, text, SVG, PNG. */
(function (SW) {
  "use strict";

  const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
  const FORMULA = /^[=+\-@\t\r]/;
  const LONGEST = 100; // of a file's name, without its ending
  const SVG = "http://www.w3.org/2000/svg";
  const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
  const SVG_MIME = "image/svg+xml";
  const LARGEST_PX = 16000; // No browser draws pictures much wider.
  const PRINT_SCALE = 300 / 96; // A PNG has 300 dpi at the size the chart has on screen.

  /** A name that any file system takes. */
  function fileName(name) {
    const plain = String(name).replace(/[^\p{L}\p{N}._-]+/gu, "_").replace(/^[._]+/, "") || "file";
    const end = plain.lastIndexOf(".");
    return end < 0 ? plain.slice(0, LONGEST) : plain.slice(0, Math.min(end, LONGEST)) + plain.slice(end);
  }

  /** Hands a text or a Blob to the browser as a download. */
  SW.save = function (name, content, mime) {
    const blob = content instanceof Blob ? content : new Blob([content], { type: mime || "text/plain;charset=utf-8" });
    const url = URL.createObjectURL(blob);
    const link = d3.create("a").attr("href", url).attr("download", fileName(name)).node();
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };

  function csvCell(value) {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    let text = String(value);
    // A spreadsheet would run such a cell as a formula; the quote makes it text.
    if (FORMULA.test(text) && !NUMBER.test(text)) text = "'" + text;
    return /[",\r\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  }

  /**
   * Rows as CSV (RFC 4180), saved if there is a name for the file.
   * @param {string[]} columns the header
   * @param {Iterable<Array>} rows one array per row, parallel to columns
   * @param {string} [file]
   * @returns {string} the text
   */
  SW.csv = function (columns, rows, file) {
    const lines = [columns.map(csvCell).join(",")];
    for (const row of rows) lines.push(row.map(csvCell).join(","));
    const text = lines.join("\r\n") + "\r\n";
    if (file) SW.save(file, text, "text/csv;charset=utf-8");
    return text;
  };

  /** The text of an SVG file that looks outside of the page as it does here. */
  function svgText(svg) {
    const box = svg.getBoundingClientRect();
    const [width, height] = svg.viewBox.baseVal && svg.viewBox.baseVal.width
      ? [svg.viewBox.baseVal.width, svg.viewBox.baseVal.height] : [box.width, box.height];
    const copy = svg.cloneNode(true);
    d3.select(copy)
      .attr("xmlns", SVG).attr("width", width).attr("height", height).attr("viewBox", `0 0 ${width} ${height}`)
      .style("color", "#111").style("background", "#fff").style("font-family", FONT)
      .insert("rect", ":first-child").attr("width", "100%").attr("height", "100%").attr("fill", "#fff");
    return { text: new XMLSerializer().serializeToString(copy), width, height };
  }

  /** @param {SVGElement|string} svg an element, or a data URI (base64) */
  SW.saveSvg = function (svg, name) {
    // The page may not fetch, not even data URIs.
    const content = typeof svg === "string" ? SW.bytesOf(svg.slice(svg.indexOf(",") + 1)) : svgText(svg).text;
    SW.save(name, new Blob([content], { type: SVG_MIME }));
  };

  function loaded(uri) {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error("The picture could not be drawn."));
      image.src = uri;
    });
  }

  /** Draw a picture onto a canvas: vectors with 300 dpi, others with the pixels that they have. */
  async function rasterise(source) {
    const drawing = source instanceof SVGElement ? svgText(source) : null;
    const uri = drawing ? URL.createObjectURL(new Blob([drawing.text], { type: SVG_MIME })) : source;
    const image = await loaded(uri);
    const [width, height] = drawing ? [drawing.width, drawing.height] : [image.naturalWidth, image.naturalHeight];
    const vector = drawing || source.startsWith(`data:${SVG_MIME}`);
    const scale = vector ? Math.min(PRINT_SCALE, LARGEST_PX / Math.max(width, height)) : 1;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    if (drawing) URL.revokeObjectURL(uri);
    return canvas;
  }

  /** @param {SVGElement|string} source an element, or a data URI */
  SW.savePng = async function (source, name) {
    const canvas = await rasterise(source);
    canvas.toBlob((blob) => SW.save(name, blob), "image/png");
  };

  /**
   * The small "SVG" and "PNG" buttons of a figure.
   * @param {{svg: ?function(): (SVGElement|string), png: function(): *, file: string, title: string}} figure
   *   what is saved may come as a promise
   */
  SW.saveButtons = function (node, figure) {
    const bar = d3.select(node).append("div").attr("class", "save-bar");
    const button = (kind, save) => bar.append("button")
      .attr("type", "button").attr("class", "small")
      .attr("aria-label", `Save as ${kind}: ${figure.title}`).text(kind).on("click", save);
    if (figure.svg) button("SVG", async () => SW.saveSvg(await figure.svg(), figure.file + ".svg"));
    button("PNG", async () => SW.savePng(await figure.png(), figure.file + ".png"));
    return bar.node();
  };

  /**
   * A chart with its title, caption and buttons.
   * @param {SVGElement} svg
   * @param {{title: string, caption: ?string, file: string, testid: ?string}} options
   */
  SW.chart = function (node, svg, options) {
    const figure = d3.select(node).append("figure").attr("class", "chart").attr("data-testid", options.testid || null);
    const head = figure.append("div").attr("class", "chart-head");
    head.append("h4").text(options.title);
    SW.saveButtons(head.node(), { svg: () => svg, png: () => svg, file: options.file, title: options.title });
    d3.select(svg).attr("role", "img").attr("aria-label", [options.title, options.caption].filter(Boolean).join(". "));
    figure.append("div").attr("class", "chart-body").node().append(svg);
    if (options.caption) figure.append("figcaption").text(options.caption);
    return figure.node();
  };
})((window.SW = window.SW || {}));
