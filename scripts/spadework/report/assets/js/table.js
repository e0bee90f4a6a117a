/* Tables that sort, filter, turn pages and save themselves; how numbers and p-values are written. */
(function (SW) {
  "use strict";

  SW.NONE = "–"; // where there is no value
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  let tables = 0;

  function missing(value) {
    return value === null || value === undefined || value === "" || Number.isNaN(value);
  }
  SW.missing = missing;

  /** A number for people. The exponent of 1e-5 stays as other programs read it. */
  SW.number = function (value, digits = 3) {
    if (missing(value)) return SW.NONE;
    if (Number.isInteger(value)) return d3.format(",")(value);
    const size = Math.abs(value);
    if (size >= 1e3 && size < 1e6) return d3.format(",.0f")(value);
    const text = size >= 1e6 || size < 1e-3 ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)));
    return text.replace(/^-/, "−");
  };

  /** An effect, with its sign. */
  SW.signed = function (value) {
    if (missing(value)) return SW.NONE;
    const text = d3.format("+.2f")(value);
    return Number(text.slice(1)) ? text : text.slice(1);
  };

  /** A p-value from its logarithm: never 0, and also where no floating point number is that small. */
  SW.pText = function (log10, digits = 3) {
    if (missing(log10)) return SW.NONE;
    if (log10 >= -3) return (10 ** log10).toPrecision(digits);
    let exponent = Math.floor(log10);
    let mantissa = (10 ** (log10 - exponent)).toFixed(digits - 1);
    if (mantissa.startsWith("10")) { // 9.996 rounds to 10.00
      mantissa = (1).toFixed(digits - 1);
      exponent += 1;
    }
    return `${mantissa}e${exponent}`;
  };

  /** The same for a file: five digits, nothing where there is no test. */
  SW.pCell = (log10) => (missing(log10) ? "" : SW.pText(log10, 5));

  /** A share as "5 %". */
  SW.percent = (share, format = ".2~r") => `${d3.format(format)(100 * share)} %`;

  const FORMATS = {
    number: (value) => SW.number(value),
    p: (value) => SW.pText(value),
    text: (value) => (missing(value) ? SW.NONE : String(value)),
  };

  /** Row numbers in the order of one column; missing values last, whichever way. */
  function sorted(indices, values, kind, descending) {
    const sign = descending ? -1 : 1;
    const compare = kind === "text" ? (a, b) => collator.compare(values(a), values(b)) : (a, b) => values(a) - values(b);
    const [full, empty] = [[], []];
    for (const i of indices) (missing(values(i)) ? empty : full).push(i);
    full.sort((a, b) => sign * compare(a, b) || a - b);
    return full.concat(empty);
  }

  function saveRows(table) {
    const { columns, file, csv, cell, n } = table;
    if (csv) {
      const content = csv();
      SW.csv(content.columns, content.rows, file);
      return;
    }
    const value = (i, column) => (column.kind === "p" ? SW.pCell(cell(i, column.key)) : cell(i, column.key));
    const rows = d3.range(n).map((i) => columns.map((column) => value(i, column)));
    SW.csv(columns.map((column) => column.label), rows, file);
  }

  function drawBar(table) {
    const bar = table.root.append("div").attr("class", "table-bar");
    if (table.title) bar.append("h3").text(table.title);
    if (table.filter) {
      const id = `filter-${table.id}`;
      bar.append("label").attr("for", id).text("Filter");
      const input = bar.append("input").attr("type", "search").attr("id", id).attr("placeholder", table.filter);
      input.on("input", () => {
        table.query = input.property("value").trim().toLowerCase();
        table.page = 0;
        table.refresh();
      });
    }
    table.extra = bar.append("span").attr("class", "table-extra").node();
    if (table.file) {
      bar.append("button").attr("type", "button").attr("class", "small").attr("data-testid", "csv-" + table.file)
        .attr("aria-label", `Save as CSV: ${table.file}`).text("CSV").on("click", () => saveRows(table));
    }
    if (!bar.selectAll("h3, input, button").size()) bar.attr("hidden", "");
  }

  /** The row above the header that holds the names of groups of columns. */
  function drawGroups(head, columns) {
    const groups = [];
    for (const column of columns) {
      const last = groups[groups.length - 1];
      if (last && last.name === (column.group || "")) last.span += 1;
      else groups.push({ name: column.group || "", span: 1, marked: column.marked });
    }
    head.append("tr").attr("class", "groups").selectAll("th").data(groups).join("th")
      .attr("colspan", (d) => d.span).attr("scope", "colgroup").classed("group", (d) => d.name)
      .classed("marked", (d) => d.marked).text((d) => d.name);
  }

  function drawHead(table) {
    const head = table.element.append("thead");
    if (table.columns.some((column) => column.group)) drawGroups(head, table.columns);
    table.heads = head.append("tr").selectAll("th").data(table.columns).join("th")
      .attr("scope", "col").classed("number", (d) => d.kind !== "text").classed("marked", (d) => d.marked)
      .classed("first", (d) => d.first);
    if (table.n < 2) {
      table.heads.attr("title", (d) => d.title || null).text((d) => d.label);
      return;
    }
    table.heads.append("button").attr("type", "button").attr("class", "sort").attr("title", (d) => d.title || null)
      .text((d) => d.label)
      .on("click", (event, column) => table.sortBy(column.key));
  }

  function drawPager(table) {
    const pager = table.root.append("div").attr("class", "pager").attr("hidden", table.n > table.pageSize ? null : "");
    const turn = (label, step) => pager.append("button").attr("type", "button").attr("class", "small").text(label)
      .on("click", () => { table.page += step; table.refresh(); });
    table.back = turn("‹ Back", -1);
    table.place = pager.append("span").attr("role", "status");
    table.next = turn("Next ›", 1);
  }

  function drawCell(table, node, i, column) {
    const value = table.cell(i, column.key);
    const text = (column.format || FORMATS[column.kind])(value, i);
    const cell = d3.select(node).classed("number", column.kind !== "text").classed("first", column.first)
      .classed("strong", Boolean(column.bold && column.bold(i))).classed("marked", column.marked);
    if (column.key === table.columns[0].key && table.onRow) {
      cell.append("button").attr("type", "button").attr("class", "link").attr("title", table.rowTitle || null).text(text)
        .on("click", (event) => { event.stopPropagation(); table.onRow(i); });
    } else cell.text(text);
  }

  function drawRows(table) {
    const shown = table.order.slice(table.page * table.pageSize, (table.page + 1) * table.pageSize);
    const rows = table.body.selectAll("tr").data(shown).join("tr");
    rows.selectAll("*").remove();
    rows.classed("clickable", Boolean(table.onRow)).on("click", table.onRow ? (event, i) => table.onRow(i) : null);
    rows.each(function (i) {
      table.columns.forEach((column, j) => {
        const cell = document.createElement(j ? "td" : "th");
        if (!j) cell.scope = "row";
        this.append(cell);
        drawCell(table, cell, i, column);
      });
    });
    if (!shown.length) {
      const row = table.body.append("tr");
      row.append("td").attr("colspan", table.columns.length).attr("class", "nothing").text("No rows.");
    }
  }

  function matches(table, i) {
    if (table.kept && !table.kept(i)) return false;
    if (!table.query) return true;
    const texts = table.columns.filter((column) => column.kind === "text").map((column) => table.cell(i, column.key));
    return texts.some((text) => String(text ?? "").toLowerCase().includes(table.query));
  }

  const methods = {
    /** Draws again, after data or filters have changed. */
    refresh() {
      const indices = d3.range(this.n).filter((i) => matches(this, i));
      const column = this.columns.find((c) => c.key === this.key);
      this.order = column ? sorted(indices, (i) => this.cell(i, column.key), column.kind, this.descending) : indices;
      const pages = Math.max(1, Math.ceil(this.order.length / this.pageSize));
      this.page = Math.min(Math.max(this.page, 0), pages - 1);
      drawRows(this);
      if (this.n > 1) {
        this.heads.attr("aria-sort", (d) => (d.key !== this.key ? "none" : this.descending ? "descending" : "ascending"));
      }
      const first = this.page * this.pageSize;
      const last = Math.min(first + this.pageSize, this.order.length);
      const [from, to, all] = [first + 1, last, this.order.length].map((n) => SW.number(n));
      this.place.text(this.order.length ? `${from}–${to} of ${all}` : "none");
      this.back.property("disabled", this.page === 0);
      this.next.property("disabled", this.page >= pages - 1);
    },
    /** Sorts by a column; again: the other way around. Numbers start with the largest, p-values with the smallest. */
    sortBy(key) {
      const column = this.columns.find((c) => c.key === key);
      this.descending = this.key === key ? !this.descending : column.kind === "number";
      this.key = key;
      this.page = 0;
      this.refresh();
    },
    /** Shows only the rows that a function wants to keep (null: all). */
    keep(kept) {
      this.kept = kept;
      this.page = 0;
      this.refresh();
    },
  };

  /**
   * @param {HTMLElement} node
   * @param {Object} options
   * @param {{key, label: string, kind: "text"|"number"|"p", format: ?function(value, i): string, group: ?string,
   *   title: ?string, bold: ?function(i): boolean, marked: ?boolean, first: ?boolean}[]} options.columns
   *   kind p: the values are log10 of p; `first` draws a line before the column, `marked` a background
   * @param {Array} [options.rows] rows that hold values by the columns' keys; or
   * @param {number} [options.n] and {function(i, key)} [options.cell]
   * @param {function(i)} [options.onRow] what choosing a row does; {string} [options.rowTitle] says so
   * @param {number} [options.pageSize] {string} [options.filter] placeholder of the filter; without it there is none
   * @param {string} [options.label] what the table is, for screen readers, where it has no title
   * @param {string} [options.file] name of the CSV
   * @param {function(): {columns, rows}} [options.csv] its content, if not these rows
   * @param {boolean} [options.compact] narrow columns
   * @param {string} [options.sort] key to sort by; {boolean} [options.descending]; {string} [options.title] a heading;
   *   {string} [options.testid]
   * @returns the table: refresh(), sortBy(key), keep(fn), `extra`: a node for more controls
   */
  SW.table = function (node, options) {
    const rows = options.rows;
    const table = Object.assign(
      { pageSize: 25, compact: false, n: rows ? rows.length : 0, cell: (i, key) => rows[i][key] },
      options,
      { id: ++tables, key: options.sort, descending: Boolean(options.descending), page: 0, query: "", kept: null },
      methods,
    );
    table.root = d3.select(node).append("div").attr("class", "table").classed("compact", options.compact);
    table.root.attr("data-testid", options.testid || null);
    drawBar(table);
    // A region that scrolls sideways must be reachable by keyboard.
    table.element = table.root.append("div").attr("class", "table-scroll").attr("tabindex", 0).attr("role", "region")
      .attr("aria-label", options.title || options.label || "Table").append("table");
    drawHead(table);
    table.body = table.element.append("tbody");
    drawPager(table);
    table.refresh();
    return table;
  };
})((window.SW = window.SW || {}));
