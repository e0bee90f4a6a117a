/* Spots on the slide, and spots in an embedding: two maps (OpenLayers) that share hover, selection and colours. */
(function (SW) {
  "use strict";

  const FADED = 0.12; // opacity of what is not selected
  const UNLINKED = { ...SW.state }; // how maps look that do not follow the page
  const CORNERS = 24; // of the ring around a round spot
  const DOT_PX = 3.5;
  const TINY_PX = 1.5; // Smaller spots look the same as squares, which are drawn faster.
  const PRINT_SCALE = 2; // pixels of a saved slide per pixel of the screen

  /** The outline of a spot around 0, scaled to its size. */
  function outline(spot) {
    const [w, h] = spot.size_px.map((edge) => edge / 2);
    if (spot.shape === "square") return [[-w, -h], [w, -h], [w, h], [-w, h], [-w, -h]];
    return d3.range(CORNERS + 1).map((k) => {
      const angle = (k / CORNERS) * 2 * Math.PI;
      return [w * Math.cos(angle), h * Math.sin(angle)];
    });
  }

  function faint(colour, opacity) {
    const { r, g, b } = d3.rgb(colour);
    return `rgba(${r},${g},${b},${opacity})`;
  }

  const mapsAt = new WeakMap(); // by their nodes

  /** What slide and embedding have in common. */
  class SpotMap {
    /**
     * @param node where to draw
     * @param {Float32Array} x, y of the spots, y upwards
     * @param options.interactive whether it can be moved and zoomed
     * @param options.linked whether hover, selection and display are those of the page
     */
    constructor(node, page, section, x, y, { interactive = true, linked = interactive } = {}) {
      Object.assign(this, { node, page, section, x, y, interactive, linked, scale: null, marked: null, version: 0 });
      this.layer = new ol.layer.Layer({ className: "ol-layer spots", render: (frame) => this.paint(frame) });
      this.marker = new ol.layer.Vector({ source: new ol.source.Vector(), style: this.ring() });
      this.canvas = document.createElement("canvas");
      this.box = d3.create("div").attr("class", "ol-layer spots").style("position", "absolute").node();
      this.box.append(this.canvas);
      this.undo = []; // what ends with the map
    }

    start(map) {
      this.map = map;
      mapsAt.set(this.node, this);
      this.fit();
      // Drawn where nobody sees it, it has no size yet.
      if (!this.drawn()) map.once("change:size", () => this.fit());
      if (this.linked) this.follow();
      this.listen(window, "beforeprint", () => this.freeze());
      this.listen(window, "afterprint", () => this.thaw());
    }

    /** Listen for as long as the map is there. */
    listen(target, event, listener) {
      target.addEventListener(event, listener);
      this.undo.push(() => target.removeEventListener(event, listener));
    }

    on(event, listener) {
      this.undo.push(SW.on(event, listener));
    }

    dispose() {
      this.undo.forEach((undo) => undo());
      this.map.setTarget(null);
      this.map.dispose();
    }

    /** Whether it has room on the page. */
    drawn() {
      const size = this.map.getSize();
      return Boolean(size && size[0] && size[1]);
    }

    /** Size, opacity and selection of the spots. */
    get look() {
      return this.linked ? SW.state : UNLINKED;
    }

    /** Spots with their opacities, those that are selected above the others. */
    *spots() {
      const { selection, opacity } = this.look;
      for (const chosen of selection ? [false, true] : [true]) {
        const shown = chosen ? opacity : Math.min(opacity, FADED);
        for (let i = 0; i < this.x.length; i++) if (!selection || selection.has(i) === chosen) yield [i, shown];
      }
    }

    /** Draw the spots in sight, unless they are drawn already: much faster than as features of the map. */
    paint({ coordinateToPixelTransform: [a, , , d, e, f], size, pixelRatio }) {
      const [width, height] = size;
      const painted = [a, d, e, f, width, height, pixelRatio, this.version].join();
      if (!this.scale || painted === this.painted) return this.box;
      this.painted = painted;
      [this.canvas.width, this.canvas.height] = size.map((edge) => Math.round(edge * pixelRatio));
      this.canvas.style.transformOrigin = "top left";
      this.canvas.style.transform = `matrix(${1 / pixelRatio}, 0, 0, ${1 / pixelRatio}, 0, 0)`;
      const context = this.canvas.getContext("2d");
      context.scale(pixelRatio, pixelRatio);
      const [rx, ry] = this.radii(1 / a);
      for (const [i, opacity] of this.spots()) {
        const [x, y] = [a * this.x[i] + e, d * this.y[i] + f];
        if (x < -rx || x > width + rx || y < -ry || y > height + ry) continue;
        context.fillStyle = this.css(i, opacity);
        if (this.square || rx < TINY_PX) {
          context.fillRect(x - rx, y - ry, 2 * rx, 2 * ry);
          continue;
        }
        context.beginPath();
        context.ellipse(x, y, rx, ry, 0, 0, 2 * Math.PI);
        context.fill();
      }
      return this.box;
    }

    /** The colour of a spot with an opacity. */
    css(i, opacity) {
      const key = `${this.scale.bins[i]} ${opacity}`;
      if (!this.known.has(key)) this.known.set(key, faint(this.scale.colour(i), opacity));
      return this.known.get(key);
    }

    /** Colour the spots by a column or a gene. */
    async colour(key) {
      this.wanted = key;
      const scale = await SW.scaleOf(this.page, this.section, key);
      if (this.wanted !== key) return scale; // something else is asked for by now
      this.scale = scale;
      this.known = new Map();
      this.restyle();
      return scale;
    }

    restyle() {
      this.version += 1;
      this.layer.changed();
    }

    /** The spot at a place of the map, or null; `reach`: how far from it. */
    spotAt([x, y], reach = this.reach()) {
      if (!this.tree) this.tree = d3.quadtree(d3.range(this.x.length), (i) => this.x[i], (i) => this.y[i]);
      const found = this.tree.find(x, y, reach);
      return found === undefined ? null : found;
    }

    follow() {
      const { map, node } = this;
      map.on("pointermove", (event) => {
        if (!event.dragging) SW.set({ hover: this.spotAt(event.coordinate) });
      });
      this.listen(node, "mouseleave", () => SW.set({ hover: null }));
      // A tap shows what the pointer shows elsewhere; so does Enter, of the spot in the middle.
      map.on("click", (event) => SW.set({ hover: this.spotAt(event.coordinate) }));
      this.listen(node, "keydown", (event) => {
        if (event.key !== "Enter" || event.target !== node) return;
        SW.set({ hover: this.spotAt(map.getView().getCenter(), Infinity) });
      });
      this.on("hover", () => this.mark(SW.state.hover));
      this.on("selection", () => this.restyle());
      const lasso = (event) => SW.state.lasso || ol.events.condition.shiftKeyOnly(event);
      const draw = new ol.interaction.Draw({
        // Not `freehand: true`, which would draw without asking.
        type: "Polygon", condition: lasso, freehandCondition: lasso,
        style: new ol.style.Style({
          stroke: new ol.style.Stroke({ color: "#111", width: 2, lineDash: [6, 4] }),
          fill: new ol.style.Fill({ color: "rgba(0,114,178,0.12)" }),
        }),
      });
      draw.on("drawend", (event) => this.choose(event.feature.getGeometry()));
      map.addInteraction(draw);
    }

    /** Select the spots inside a polygon. */
    choose(polygon) {
      const [left, bottom, right, top] = polygon.getExtent();
      const inside = (i) =>
        this.x[i] >= left && this.x[i] <= right && this.y[i] >= bottom && this.y[i] <= top &&
        polygon.intersectsCoordinate([this.x[i], this.y[i]]);
      const chosen = new Set(d3.range(this.x.length).filter(inside));
      SW.set({ selection: chosen.size ? chosen : null, lasso: false });
    }

    mark(i) {
      if (i === this.marked) return;
      this.marked = i;
      const source = this.marker.getSource();
      source.clear();
      if (i !== null && i < this.x.length) source.addFeature(new ol.Feature(this.shape(i)));
    }

    /** All canvases of the map in one; opacities are in them. */
    composite([width, height]) {
      const picture = Object.assign(document.createElement("canvas"), { width, height });
      // Pixels, of which one picture is printed; else browsers print all that it was drawn from.
      const context = picture.getContext("2d", { willReadFrequently: true });
      context.fillStyle = "white";
      context.fillRect(0, 0, width, height);
      const ratio = window.devicePixelRatio;
      for (const canvas of this.node.querySelectorAll(".ol-layer canvas")) {
        const matrix = new DOMMatrix(canvas.style.transform);
        context.setTransform(new DOMMatrix([ratio, 0, 0, ratio, 0, 0]).multiply(matrix));
        context.drawImage(canvas, 0, 0);
      }
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      return picture;
    }

    /** On paper a map has another width, and no time to be drawn for it: its picture is printed, which can shrink. */
    freeze() {
      if (!this.drawn() || this.node.querySelector(".printed")) return;
      const size = this.map.getSize();
      const picture = this.composite(size.map((edge) => Math.round(edge * window.devicePixelRatio)));
      this.addScaleBar(picture.getContext("2d"), size);
      picture.className = "printed";
      picture.style.width = `${size[0]}px`;
      this.node.append(picture);
    }

    addScaleBar(context, [, height]) {
      const bar = this.node.querySelector(".ol-scale-line-inner");
      if (!bar) return;
      context.fillStyle = "white";
      context.fillRect(8, height - 34, bar.offsetWidth + 8, 26);
      context.fillStyle = "black";
      context.fillRect(12, height - 14, bar.offsetWidth, 2);
      context.font = "12px sans-serif";
      context.fillText(bar.textContent, 12, height - 19);
    }

    thaw() {
      const picture = this.node.querySelector(".printed");
      if (picture) picture.remove();
    }

    /** The map as it is seen, as SVG: spots as shapes, the slide as a picture under them, what the colours mean below. */
    svg() {
      // One picture after the other: each needs the map for itself.
      this.saving = Promise.resolve(this.saving).catch(() => {}).then(() => this.drawSvg());
      return this.saving;
    }

    async drawSvg() {
      const [width, height] = this.map.getSize();
      const svg = d3.create("svg").attr("xmlns", "http://www.w3.org/2000/svg").attr("font-family", "sans-serif");
      const page = svg.append("rect").attr("width", width).attr("fill", "white");
      const seen = svg.append("svg").attr("width", width).attr("height", height);
      const background = await this.background();
      if (background) seen.append("image").attr("href", background).attr("width", width).attr("height", height);
      this.svgSpots(seen, this.map.getView().calculateExtent([width, height]));
      const below = SW.svgLegend(svg, this.scale, this.caption(), { y: height + 8, width });
      page.attr("height", below);
      return svg.attr("width", width).attr("height", below).attr("viewBox", `0 0 ${width} ${below}`).node();
    }

    svgSpots(parent, seen) {
      const group = parent.append("g");
      const [rx, ry] = this.radii(this.map.getView().getResolution());
      const round = (v) => Math.round(v * 100) / 100;
      for (const [i, opacity] of this.spots()) {
        if (!ol.extent.containsXY(seen, this.x[i], this.y[i])) continue;
        const [x, y] = this.map.getPixelFromCoordinate([this.x[i], this.y[i]]);
        const spot = this.square
          ? group.append("rect").attr("x", round(x - rx)).attr("y", round(y - ry)).attr("width", round(2 * rx))
            .attr("height", round(2 * ry))
          : group.append("ellipse").attr("cx", round(x)).attr("cy", round(y)).attr("rx", round(rx)).attr("ry", round(ry));
        spot.attr("fill", d3.color(this.scale.colour(i)).formatHex()).attr("fill-opacity", opacity)
          .append("title").text(this.section.barcodes[i]);
      }
    }
  }

  SW.Slide = class extends SpotMap {
    /** The H&E image with its spots; resolves once it can be used. */
    static async make(node, page, section, options) {
      const [x, y] = await Promise.all([page.array(section.x), page.array(section.y)]);
      return new SW.Slide(node, page, section, x, y.map((v) => -v), options);
    }

    constructor(node, page, section, x, y, options) {
      super(node, page, section, x, y, options);
      const { width, height } = section.slide;
      this.outline = outline(section.spot);
      this.square = section.spot.shape === "square";
      const um = section.slide.um_per_px[0];
      const extent = [0, -height, width, 0];
      this.projection = new ol.proj.Projection({
        code: "slide", units: "pixels", extent, metersPerUnit: um * 1e-6,
        getPointResolution: (resolution) => resolution,
      });
      this.tiles = new ol.layer.Tile({ source: this.tileSource(extent), extent });
      this.start(
        new ol.Map({
          target: node,
          layers: [this.tiles, this.layer, this.marker],
          controls: this.interactive ? this.controls() : [],
          interactions: this.interactive ? ol.interaction.defaults.defaults({ shiftDragZoom: false }) : [],
          view: new ol.View({
            projection: this.projection, extent: ol.extent.buffer(extent, 0.25 * Math.max(width, height)),
            showFullExtent: true, smoothExtentConstraint: false, minResolution: 0.2,
          }),
        }),
      );
      if (this.linked) {
        this.on("display", () => this.display());
        this.display();
      }
    }

    controls() {
      const fit = d3.create("button").attr("type", "button").attr("title", "Show all spots").text("Fit").node();
      fit.addEventListener("click", () => this.fit({ duration: 250 }));
      const box = d3.create("div").attr("class", "ol-control fit-control").node();
      box.append(fit);
      return ol.control.defaults.defaults({ attribution: false, rotate: false }).extend([
        new ol.control.ScaleLine({ minWidth: 90 }),
        new ol.control.Control({ element: box }),
      ]);
    }

    /** Show all spots. */
    fit(options = {}) {
      if (!this.drawn()) return;
      const spots = [d3.min(this.x), d3.min(this.y), d3.max(this.x), d3.max(this.y)];
      const margin = Math.max(...this.section.spot.size_px) * 1.5;
      this.map.getView().fit(ol.extent.buffer(spots, margin), { size: this.map.getSize(), ...options });
    }

    /** Show one spot from near. */
    goTo(i) {
      const edge = Math.max(...this.section.patch_px) * 6;
      const box = ol.extent.buffer([this.x[i], this.y[i], this.x[i], this.y[i]], edge / 2);
      this.map.getView().fit(box, { duration: 250 });
    }

    tileSource(extent) {
      const { slide } = this.section;
      const edge = slide.tile_px;
      this.loaded = new Set();
      return new ol.source.ImageTile({
        projection: this.projection,
        wrapX: false,
        tileGrid: new ol.tilegrid.TileGrid({
          extent, origin: [0, 0], tileSize: edge,
          resolutions: d3.range(slide.levels).map((level) => 2 ** (slide.levels - 1 - level)),
        }),
        loader: async (level, x, y) => {
          const canvas = Object.assign(document.createElement("canvas"), { width: edge, height: edge });
          const image = await this.page.tile(this.section, level, x, y);
          this.loaded.add(level);
          if (image) {
            canvas.getContext("2d").drawImage(image, 0, 0);
            image.close();
          }
          return canvas;
        },
      });
    }

    display() {
      this.tiles.setOpacity(SW.state.image);
      this.restyle();
    }

    /** Half the width and height of a spot on the screen. */
    radii(resolution) {
      return this.section.spot.size_px.map((edge) => ((edge / 2) * this.look.size) / resolution);
    }

    shape(i) {
      const [x, y, size] = [this.x[i], this.y[i], this.look.size];
      return new ol.geom.Polygon([this.outline.map(([dx, dy]) => [x + dx * size, y + dy * size])]);
    }

    ring() {
      return [
        new ol.style.Style({ stroke: new ol.style.Stroke({ color: "white", width: 5 }) }),
        new ol.style.Style({ stroke: new ol.style.Stroke({ color: "#111", width: 2.5 }) }),
      ];
    }

    reach() {
      return Math.max((Math.max(...this.section.spot.size_px) / 2) * 1.15, 6 * this.map.getView().getResolution());
    }

    /** The slide as it is seen, without its spots, at twice the resolution of the screen: a data URI. */
    async background() {
      const [view, size] = [this.map.getView(), this.map.getSize()];
      const [center, resolution] = [view.getCenter(), view.getResolution()];
      const show = async (scale, visible) => {
        const drawn = new Promise((resolve) => this.map.once("rendercomplete", resolve));
        this.layer.setVisible(visible);
        this.map.setSize(size.map((edge) => edge * scale));
        view.setCenter(center);
        view.setResolution(resolution / scale);
        this.map.render();
        await drawn;
      };
      await show(PRINT_SCALE, false);
      const picture = this.composite(size.map((edge) => edge * PRINT_SCALE * window.devicePixelRatio));
      await show(1, true);
      return picture.toDataURL("image/jpeg", 0.9);
    }

    caption() {
      const um = this.map.getSize()[0] * this.map.getView().getResolution() * this.section.slide.um_per_px[0];
      return `${this.section.name} · width shown: ${SW.number(Math.round(um))} µm`;
    }
  };

  SW.Cloud = class extends SpotMap {
    /** An embedding of the spots; resolves once it can be used. */
    static async make(node, page, section, embedding, options) {
      const [x, y] = await Promise.all([page.array(embedding.x), page.array(embedding.y)]);
      return Object.assign(new SW.Cloud(node, page, section, x, y, options), { label: embedding.label });
    }

    constructor(node, page, section, x, y, options) {
      super(node, page, section, x, y, options);
      this.extent = [d3.min(x), d3.min(y), d3.max(x), d3.max(y)];
      const edge = Math.max(ol.extent.getWidth(this.extent), ol.extent.getHeight(this.extent));
      const projection = new ol.proj.Projection({ code: "embedding", units: "pixels", extent: this.extent });
      this.start(
        new ol.Map({
          target: node,
          layers: [this.layer, this.marker],
          controls: ol.control.defaults.defaults({ attribution: false, rotate: false }),
          interactions: ol.interaction.defaults.defaults({ shiftDragZoom: false }),
          view: new ol.View({
            projection, extent: ol.extent.buffer(this.extent, edge), showFullExtent: true, minResolution: edge / 1e5,
          }),
        }),
      );
      this.on("display", () => this.restyle());
    }

    fit() {
      if (!this.drawn()) return;
      this.map.getView().fit(this.extent, { size: this.map.getSize(), padding: [14, 14, 14, 14] });
    }

    shape(i) {
      return new ol.geom.Point([this.x[i], this.y[i]]);
    }

    radii() {
      const radius = Math.max(1.5, DOT_PX * Math.min(1, Math.sqrt(4000 / this.x.length))) * Math.sqrt(this.look.size);
      return [radius, radius];
    }

    ring() {
      const circle = (colour, width) =>
        new ol.style.Style({
          image: new ol.style.Circle({ radius: 7, stroke: new ol.style.Stroke({ color: colour, width }) }),
        });
      return [circle("white", 5), circle("#111", 2.5)];
    }

    reach() {
      return 7 * this.map.getView().getResolution();
    }

    async background() {
      return null;
    }

    caption() {
      return `${this.section.name} · ${this.label}`;
    }
  };

  /** Empty a part of the page; the maps in it end. */
  SW.clear = function (node) {
    const part = d3.select(node);
    part.selectAll(".map").each(function () {
      if (mapsAt.has(this)) mapsAt.get(this).dispose();
    });
    part.selectAll("*").remove();
  };

  /**
   * A map that only shows a column or a gene, with its legend and buttons that save it.
   * @param {{head, map, legend}} nodes where they go
   */
  SW.still = async function ({ head, map, legend }, page, section, key, { file, title }) {
    await Promise.all([page.array(section.x), page.array(section.y), SW.scaleOf(page, section, key)]);
    if (!map.isConnected) return; // something else is shown by now
    const slide = await SW.Slide.make(map, page, section, { interactive: false });
    SW.legend(legend, await slide.colour(key));
    SW.saveButtons(head, { svg: () => slide.svg(), png: () => slide.svg(), file, title });
  };
})((window.SW = window.SW || {}));
