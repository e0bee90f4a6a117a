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
    const slide = await SW.Slide.make(SW.addFrame(main, "slide", "Slide with its spots").node(), page, section);
    SW.addSaving(main.select(".frame"), slide, `${section.name}_slide`, "slide");
    SW.slide = slide;
    const recolourClouds = firstClouds(section).map((first, k) => addCloud(clouds, page, section, first, k));

    const colours = side.append("div").attr("class", "group");
    SW.colourChooser(colours, page, section.columns);
    colours.append("div").attr("class", "legend");
    addCard(side, page, section);
    addDisplay(side);
    addHelp(side);

    const recolour = async () => {
      const key = SW.state.colour;
      const [scale] = await Promise.all([slide.colour(key), ...recolourClouds.map((again) => again())]);
      if (key !== SW.state.colour) return;
      SW.legend(side.select(".legend").node(), scale, { choose: (code) => selectCategory(scale, code) });
    };
    SW.on("colour", recolour);
    await recolour();
  };

  /** A map's place on the page. */
  SW.addFrame = function (parent, testid, label) {
    return parent.append("div").attr("class", "frame").append("div").attr("class", "map").attr("data-testid", testid)
      .attr("tabindex", 0).attr("role", "application")
      .attr("aria-label", `${label}. Arrow keys move, plus and minus zoom.`);
  };

  /** Buttons that save a map as it is seen. */
  SW.addSaving = function (frame, map, file, title) {
    const bar = SW.saveButtons(frame.node(), { svg: () => map.svg(), png: () => map.svg(), file, title });
    d3.select(bar).classed("saving", true);
  };

  /** Which embeddings are shown first: one by the image, and one by expression, if there are any. */
  function firstClouds({ embeddings }) {
    const byExpression = embeddings.findIndex((e) => e.label.startsWith("expression"));
    const second = byExpression > 0 ? byExpression : 1;
    return [0, second].filter((i) => i < embeddings.length);
  }

  /** An embedding, to be chosen; returns what colours it as the page is coloured. */
  function addCloud(parent, page, section, first, number) {
    const pane = parent.append("div").attr("class", "cloud");
    let chosen = section.embeddings[first];
    const names = section.embeddings.map((e) => e.label);
    SW.select(pane.node(), "Embedding", names, first, (i) => {
      chosen = section.embeddings[i];
      cloud = show();
    });
    const place = pane.append("div").node();
    const show = async () => {
      const embedding = chosen;
      await Promise.all([page.array(embedding.x), page.array(embedding.y)]);
      if (embedding !== chosen) return null; // another is chosen by now
      SW.clear(place);
      const node = SW.addFrame(d3.select(place), `cloud-${number}`, embedding.label).node();
      const made = await SW.Cloud.make(node, page, section, embedding);
      const file = `${section.name}_${embedding.key.replace(/\W+/g, "_")}`;
      SW.addSaving(d3.select(place).select(".frame"), made, file, embedding.label);
      await made.colour(SW.state.colour);
      return made;
    };
    let cloud = show();
    return async () => {
      const made = await cloud;
      if (made) await made.colour(SW.state.colour);
    };
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
    const label = parent.append("label").attr("class", "no-print").text(`or by a gene (${SW.number(names.length)} have maps)`);
    const field = label.append("input");
    field.attr("type", "search").attr("list", "kept-genes").attr("autocomplete", "off").attr("spellcheck", "false")
      .attr("data-testid", "colour-gene").attr("placeholder", "name of a gene");
    parent.append("datalist").attr("id", "kept-genes").selectAll("option").data(names).join("option").attr("value", (n) => n);
    return field.on("change", () => {
      const wanted = field.property("value").trim();
      const gene = SW.geneNamed(page, wanted, page.genes.kept);
      field.node().setCustomValidity(gene === null && wanted ? noMap(page, wanted) : "");
      field.node().reportValidity();
      if (gene !== null) SW.set({ colour: `gene:${gene}` });
    });
  }

  function noMap(page, wanted) {
    const gene = SW.geneNamed(page, wanted);
    if (gene === null) return `No gene ${wanted} was tested.`;
    return `${page.genes.names[gene]} was tested, but has no map here: see Genes, or put it into report.genes.`;
  }

  function selectCategory(scale, code) {
    SW.set({ selection: new Set(d3.range(scale.bins.length).filter((i) => scale.bins[i] === code)) });
  }

  /** The spot under the pointer: its patch and its values. */
  function addCard(side, page, section) {
    const card = side.append("div").attr("class", "group card").attr("data-testid", "hover-card").attr("aria-live", "polite");
    card.append("p").attr("class", "hint no-print").text("Point at a spot, or tap it, to see its patch and its values.");
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
      drawPatch(canvas, page, section, i);
    };
    SW.on("hover", look);
    SW.on("colour", look);
  }

  /** Draw the patch around a spot from the deepest tiles: a canvas of `edge` px. */
  async function drawPatch(canvas, page, section, i) {
    const [x, y] = await Promise.all([page.array(section.x), page.array(section.y)]);
    const { tile_px: tile, levels } = section.slide;
    const [w, h] = section.patch_px;
    const [left, top] = [x[i] - w / 2, y[i] - h / 2];
    const context = canvas.getContext("2d");
    const range = (low, length) => d3.range(Math.max(0, Math.floor(low / tile)), Math.floor((low + length) / tile) + 1);
    const places = d3.cross(range(left, w), range(top, h));
    const images = await Promise.all(places.map(([u, v]) => page.tile(section, levels - 1, u, v)));
    if (canvas.dataset.spot !== String(i)) return; // the pointer is elsewhere by now
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    const [sx, sy] = [canvas.width / w, canvas.height / h];
    places.forEach(([u, v], k) => {
      const image = images[k];
      if (!image) return;
      context.drawImage(image, (u * tile - left) * sx, (v * tile - top) * sy, image.width * sx, image.height * sy);
      image.close();
    });
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
      "Tab to a view; arrow keys move it, + and − zoom it, Enter looks at the spot in its middle. Escape clears the selection.",
    ]).join("li").text((line) => line);
  }

  /** Above the slide: lasso, what is selected, and saving it. */
  function addSelectionBar(main, page, section) {
    const bar = main.append("div").attr("class", "bar");
    const lasso = bar.append("button").attr("type", "button").attr("data-testid", "lasso-button").attr("class", "no-print")
      .attr("aria-pressed", "false").text("Lasso").on("click", () => SW.set({ lasso: !SW.state.lasso }));
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
      if (event.key === "Escape" && SW.route().tab === "explore") SW.set({ selection: null, lasso: false });
    });
    let turn = 0;
    const tell = async () => {
      const mine = ++turn;
      const text = await summary(page, section);
      if (mine === turn) said.text(text);
    };
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

  /** All columns of the spots that are selected, or of all; and the gene that they are coloured by. */
  async function saveSelection(page, section) {
    const keys = section.columns.map((c) => c.key);
    if (!keys.includes(SW.state.colour)) keys.push(SW.state.colour);
    const scales = await Promise.all(keys.map((key) => SW.scaleOf(page, section, key)));
    const chosen = SW.state.selection ? [...SW.state.selection].sort(d3.ascending) : d3.range(section.n_spots);
    const value = ({ kind, values, categories }, i) =>
      kind === "number" ? Number(values[i].toPrecision(7)) : (categories[values[i]] || { name: "" }).name;
    SW.csv(
      ["barcode", ...scales.map(({ key, label }) => (key.startsWith("gene:") ? label : key))],
      chosen.map((i) => [section.barcodes[i], ...scales.map((scale) => value(scale, i))]),
      `${section.name}_spots.csv`,
    );
  }
})((window.SW = window.SW || {}));
