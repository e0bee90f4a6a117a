/* Figures, tables and texts that the workflow has made, as they are. */
(function (SW) {
  "use strict";

  /** Tables of a page hold plain rows; a column of numbers is known by its values. */
  function columnsOf(table) {
    return table.columns.map((label, key) => {
      const filled = table.rows.map((row) => row[key]).filter((value) => value !== null && value !== "");
      const numbers = filled.length > 0 && filled.every((value) => typeof value === "number");
      return { key, label, kind: numbers ? "number" : "text" };
    });
  }

  /** A table of the page under its title, as a section of its own or to be unfolded. */
  SW.pageTable = function (node, table, { folded = false } = {}) {
    const box = d3.select(node).append(folded ? "details" : "section").attr("class", "page-table");
    if (folded) box.append("summary").text(table.title);
    const filled = (column) => table.rows.some((row) => row[column.key] !== null && row[column.key] !== "");
    SW.table(box.node(), {
      title: folded ? null : table.title, label: table.title, file: table.file, rows: table.rows, csv: () => table,
      columns: columnsOf(table).filter(filled), filter: table.rows.length > 25 ? "Any word" : null,
    });
    if (table.note) box.append("p").attr("class", "note").text(table.note);
  };

  function drawPanel(node, panel) {
    const figure = d3.select(node).append("figure").attr("class", "panel");
    const head = figure.append("div").attr("class", "chart-head");
    head.append("h3").text(panel.title);
    const source = panel.svg || panel.image;
    SW.saveButtons(head.node(), {
      svg: panel.svg ? () => panel.svg : null, png: () => source, file: panel.file, title: panel.title,
    });
    figure.append("img").attr("src", source).attr("alt", panel.title).attr("loading", "lazy");
    figure.append("figcaption").text(panel.caption);
  }

  /** Copies a text; says whether it worked. */
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch (error) {
      // Pages opened from disk may not use the clipboard directly.
      const area = d3.select(document.body).append("textarea").attr("class", "offscreen").property("value", text);
      area.node().select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  }

  function drawText(node, page, text) {
    const box = d3.select(node).append("section").attr("class", "page-text");
    const head = box.append("div").attr("class", "chart-head");
    head.append("h3").text(text.title);
    if (text.copy) {
      const bar = head.append("div").attr("class", "save-bar");
      const said = bar.append("span").attr("role", "status").attr("class", "note");
      const button = bar.append("button").attr("type", "button").attr("class", "small").attr("data-testid", "copy-text");
      button.text("Copy text").on("click", async () => {
        const done = await copy(text.text);
        button.node().focus();
        said.text(done ? "Copied." : "Please select the text and copy it.");
      });
      bar.append("button").attr("type", "button").attr("class", "small").text("Save text")
        .on("click", () => SW.save(`${page.title}_${text.title}.txt`, text.text + "\n"));
    }
    const body = box.append("div").attr("class", "prose");
    body.selectAll("p").data(text.text.split(/\n{2,}/)).join("p").text((d) => d);
  }

  /** All that a tab has: texts, figures, tables. */
  SW.panels = function (node, page, tab) {
    const of = (list) => list.filter((item) => item.tab === tab);
    of(page.texts).forEach((text) => drawText(node, page, text));
    of(page.panels).forEach((panel) => drawPanel(node, panel));
    of(page.tables).forEach((table) => SW.pageTable(node, table));
  };

  SW.pageText = drawText;
})((window.SW = window.SW || {}));
