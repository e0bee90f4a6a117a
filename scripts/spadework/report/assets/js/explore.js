/* The first view: slide and embeddings side by side, coloured by anything, with one selection and one spot looked at. */
(function (SW) {
  "use strict";

  const PATCH_PX = 168;

  SW.views = SW.views || {};

  SW.views.explore = async function (node, page) {
    const section = page.sections[0];
    const root = d3.select(node).classed("explore", true);
    const side = root.append("aside").attr("class", "controls").attr("aria-label", "What is shown");
    const main = root.append("section").attr("class", "slide-pane");
    const clouds = root.append("section").attr("class", "clouds");

    addSelectionBar(main, page, section);
    const slide = await SW.Slide.make(addFrame(main, "slide", "Slide with its spots").node(), page, section);
    SW.addSaving(main.select(".frame"), slide, () => `${section.name}_slide`);
    SW.slide = slide;
    const shown = startClouds(clouds, page, section);

    const colours = side.append("div").attr("class", "group");
    SW.colourChooser(colours, page, section.columns);
    colours.append("div").attr("class", "legend");
    addCard(side, page, section);
    addDisplay(side);
    addHelp(side);

    const recolour = async () => {
      const legend = side.select(".legend").node();
      const scale = await slide.colour(SW.state.colour);
      SW.legend(legend, scale, { choose: (code) => selectCategory(scale, code) });
      await Promise.all(shown.map((view) => view.cloud && view.cloud.colour(SW.state.colour)));
    };
    SW.on("colour", recolour);
    await recolour();
  };

  /** A map's place on the page. */
  function addFrame(parent, testid, label) {
    return parent.append("div").attr("class", "frame").append("div").attr("class", "map").attr("data-testid", testid)
      .attr("tabindex", 0).attr("role", "application")
      .attr("aria-label", `${label}. Arrow keys move, plus and minus zoom.`);
  }

  /** Buttons that save a map as it is seen. */
  SW.addSaving = function (frame, view, name) {
    const bar = frame.append("div").attr("class", "saving");
    bar.append("button").attr("type", "button").attr("title", "Save as SVG").text("SVG")
      .on("click", async () => SW.saveSvg(await view.svg(), `${name()}.svg`));
    bar.append("button").attr("type", "button").attr("title", "Save as PNG").text("PNG")
      .on("click", async () => SW.savePng(await view.svg(), `${name()}.png`));
  };

  function startClouds(parent, page, section) {
    return section.embeddings.length
      ? [preferred(section, 0), preferred(section, 1)].filter((first, k) => k === 0 || section.embeddings.length > 1)
          .map((first, k) => addCloud(parent, page, section, first, k))
      : [];
  }

  /** An embedding by the image first, one by expression beside it. */
  function preferred(section, which) {
    const byExpression = section.embeddings.findIndex((e) => e.label.startsWith("expression"));
    return which === 0 || byExpression < 0 ? Math.min(which, section.embeddings.length - 1) : byExpression;
  }

  function addCloud(parent, page, section, first, number) {
    const view = { cloud: null };
    const pane = parent.append("div").attr("class", "cloud");
    const label = pane.append("label").text("Embedding ");
    const select = label.append("select");
    select.selectAll("option").data(section.embeddings).join("option").attr("value", (d, i) => i).text((d) => d.label);
    select.property("value", first);
    const show = async () => {
      pane.select(".frame").remove();
      const chosen = section.embeddings[select.property("value")];
      const node = addFrame(pane, `cloud-${number}`, chosen.label).node();
      view.cloud = await SW.Cloud.make(node, page, section, chosen);
      SW.addSaving(pane.select(".frame"), view.cloud, () => `${section.name}_${chosen.key.replace(/\W+/g, "_")}`);
      await view.cloud.colour(SW.state.colour);
    };
    select.on("change", show);
    show();
    return view;
  }

  /** Choose what spots are coloured by: a column, or a gene with a map. */
  SW.colourChooser = function (parent, page, columns) {
    const select = parent.append("label").text("Colour spots by").append("select").attr("data-testid", "colour-select");
    for (const [group, members] of d3.group(columns, (c) => c.group)) {
      select.append("optgroup").attr("label", group).selectAll("option").data(members).join("option")
        .attr("value", (c) => c.key).text((c) => c.label);
    }
    // The gene that is shown, so that the list can say so.
    const gene = select.append("optgroup").attr("label", "Gene").attr("hidden", "");
    select.on("change", () => SW.set({ colour: select.property("value") }));
    const field = geneField(parent, page);
    const follow = () => {
      const key = SW.state.colour;
      const name = key.startsWith("gene:") ? page.genes.names[Number(key.slice("gene:".length))] : null;
      gene.attr("hidden", name === null ? "" : null).selectAll("option").data(name === null ? [] : [key]).join("option")
        .attr("value", key).text(name);
      select.property("value", key);
      field.property("value", name || "");
    };
    SW.on("colour", follow);
    follow();
  };

  function geneField(parent, page) {
    const names = page.genes.kept.map((gene) => page.genes.names[gene]).sort(d3.ascending);
    const field = parent.append("label").text(`or by a gene (${names.length} have maps)`).append("input");
    field.attr("type", "search").attr("list", "kept-genes").attr("autocomplete", "off").attr("spellcheck", "false")
      .attr("data-testid", "colour-gene").attr("placeholder", "name of a gene");
    parent.append("datalist").attr("id", "kept-genes").selectAll("option").data(names).join("option").attr("value", (n) => n);
    return field.on("change", () => {
      const wanted = field.property("value").trim().toLowerCase();
      const gene = page.genes.kept.find((g) => page.genes.names[g].toLowerCase() === wanted);
      field.node().setCustomValidity(gene === undefined && wanted ? "No gene of this name has a map here." : "");
      field.node().reportValidity();
      if (gene !== undefined) SW.set({ colour: `gene:${gene}` });
    });
  }

  function selectCategory(scale, code) {
    SW.set({ selection: new Set(d3.range(scale.bins.length).filter((i) => scale.bins[i] === code)) });
  }

  /** The spot under the pointer: its patch and its values. */
  function addCard(side, page, section) {
    const card = side.append("div").attr("class", "group card").attr("data-testid", "hover-card").attr("aria-live", "polite");
    card.append("p").attr("class", "quiet hint no-print").text("Point at a spot, or tap it, to see its patch and its values.");
    const body = card.append("div").attr("hidden", "");
    const canvas = body.append("canvas").attr("width", PATCH_PX).attr("height", PATCH_PX).attr("role", "img").node();
    const um = Math.round(section.patch_px[0] * section.slide.um_per_px[0]);
    body.append("div").attr("class", "quiet").text(`patch, ${um} µm wide`);
    const list = body.append("dl");
    let looked = null; // the card stays when the pointer leaves
    const look = async () => {
      looked = SW.state.hover === null ? looked : SW.state.hover;
      const i = looked;
      if (i === null) return;
      const keys = [...new Set([SW.state.colour, "cluster", "total_counts"])].filter(
        (key) => key.startsWith("gene:") || section.columns.some((c) => c.key === key),
      );
      const scales = await Promise.all(keys.map((key) => SW.scaleOf(page, section, key)));
      if (looked !== i) return;
      card.select(".hint").attr("hidden", "");
      body.attr("hidden", null);
      const rows = [["spot", section.barcodes[i]], ...scales.map((scale) => [scale.label, scale.text(i)])];
      list.selectAll("div").data(rows).join((enter) => {
        const row = enter.append("div");
        row.append("dt");
        row.append("dd");
        return row;
      }).each(function ([name, value]) {
        d3.select(this).select("dt").text(name);
        d3.select(this).select("dd").text(value);
      });
      canvas.dataset.spot = i;
      canvas.setAttribute("aria-label", `Patch around spot ${section.barcodes[i]}`);
      SW.patch(canvas, page, section, i);
    };
    SW.on("hover", look);
    SW.on("colour", look);
  }

  function addDisplay(side) {
    const box = side.append("div").attr("class", "group no-print");
    const slider = (text, key, min, max, step) => {
      const input = box.append("label").text(text).append("input").attr("type", "range").attr("min", min).attr("max", max)
        .attr("step", step).attr("data-testid", `range-${key}`).property("value", SW.state[key]);
      input.on("input", () => SW.set({ [key]: Number(input.property("value")) }));
    };
    slider("Size of spots", "size", 0.3, 2, 0.05);
    slider("Opacity of spots", "opacity", 0, 1, 0.05);
    slider("Opacity of the slide", "image", 0, 1, 0.05);
  }

  function addHelp(side) {
    const help = side.append("details").attr("class", "group");
    help.append("summary").text("Mouse and keyboard");
    help.append("ul").selectAll("li").data([
      "Drag to move, scroll to zoom, on slide and embeddings alike.",
      "Shift and drag, or the button Lasso, to select spots: they are selected in all views.",
      "Click a category in the legend to select its spots.",
      "Tab to a view; arrow keys move it, + and - zoom it; Escape clears the selection.",
    ]).join("li").text((line) => line);
  }

  /** Above the slide: lasso, what is selected, and saving it. */
  function addSelectionBar(main, page, section) {
    const bar = main.append("div").attr("class", "bar");
    const lasso = bar.append("button").attr("type", "button").attr("data-testid", "lasso-button").attr("class", "no-print").attr("aria-pressed", "false")
      .text("Lasso").on("click", () => SW.set({ lasso: !SW.state.lasso }));
    SW.on("lasso", () => {
      lasso.attr("aria-pressed", SW.state.lasso);
      document.body.classList.toggle("lassoing", SW.state.lasso);
    });
    const said = bar.append("span").attr("role", "status").attr("data-testid", "selection-count");
    const actions = bar.append("span").attr("class", "actions");
    const button = (text, action) => actions.append("button").attr("type", "button").text(text).on("click", action);
    button("Invert", () => SW.set({ selection: inverted(section) }));
    button("Clear", () => SW.set({ selection: null }));
    button("Save CSV", () => saveSelection(page, section)).attr("data-testid", "csv-selection")
      .attr("title", "Save the selected spots, or all, with all their values");
    window.addEventListener("keydown", (event) => {
      if (event.key === "Escape") SW.set({ selection: null, lasso: false });
    });
    const tell = async () => said.text(await summary(page, section));
    SW.on("selection", tell);
    SW.on("colour", tell);
    tell();
  }

  function inverted(section) {
    const chosen = SW.state.selection;
    const rest = d3.range(section.n_spots).filter((i) => !chosen || !chosen.has(i));
    return chosen && rest.length ? new Set(rest) : null;
  }

  async function summary(page, section) {
    const chosen = SW.state.selection;
    if (!chosen) return `${SW.number(section.n_spots)} spots`;
    const scale = await SW.scaleOf(page, section, SW.state.colour);
    const counted = `${SW.number(chosen.size)} of ${SW.number(section.n_spots)} spots selected`;
    if (scale.kind !== "number") return counted;
    const mean = (inside) => d3.mean(scale.values, (v, i) => (chosen.has(i) === inside ? v : NaN));
    return `${counted} · mean ${scale.label}: ${SW.number(mean(true))} inside, ${SW.number(mean(false))} outside`;
  }

  async function saveSelection(page, section) {
    const scales = await Promise.all(section.columns.map((c) => SW.scaleOf(page, section, c.key)));
    const chosen = SW.state.selection ? [...SW.state.selection].sort(d3.ascending) : d3.range(section.n_spots);
    const value = (scale, i) => (scale.kind === "number" ? cell(scale.values[i]) : scale.text(i));
    SW.csv(
      ["barcode", ...section.columns.map((c) => c.key)],
      chosen.map((i) => [section.barcodes[i], ...scales.map((scale) => value(scale, i))]),
      `${section.name}_spots.csv`,
    );
  }

  const cell = (value) => (Number.isNaN(value) ? "" : String(Number(value.toPrecision(7))));
})((window.SW = window.SW || {}));
