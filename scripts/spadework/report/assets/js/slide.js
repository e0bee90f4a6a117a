/* Spots on the slide, and spots in an embedding: two maps (OpenLayers) that share hover, selection and colours. */
(function (SW) {
  "use strict";

  // Redrawing more spots than this for every frame is too slow; their picture is moved instead.
  const MANY_SPOTS = 10000;
  const FADED = 0.12;
  const CORNERS = 24; // of the polygon drawn for a round spot
  const DOT_PX = 3.5;
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

  /** What slide and embedding have in common. */
  class SpotMap {
    /**
     * @param node where to draw
     * @param {Float32Array} x, y of the spots, y upwards
     * @param options.interactive whether it can be moved and zoomed
     * @param options.linked whether hover, selection and display are those of the page
     */
    constructor(node, page, section, x, y, { interactive = true, linked = interactive } = {}) {
      Object.assign(this, { node, page, section, x, y, interactive, linked, scale: null, styles: null });
      this.source = new ol.source.Vector({ useSpatialIndex: false });
      const Layer = x.length > MANY_SPOTS ? ol.layer.VectorImage : ol.layer.Vector;
      this.layer = new Layer({ source: this.source, style: (feature) => this.style(feature.get("i")), imageRatio: 2 });
      this.marker = new ol.layer.Vector({ source: new ol.source.Vector(), style: this.ring() });
      this.tree = d3.quadtree(d3.range(x.length), (i) => x[i], (i) => y[i]);
    }

    start(map) {
      this.map = map;
      this.draw();
      if (this.linked) this.follow();
      window.addEventListener("beforeprint", () => this.freeze());
      window.addEventListener("afterprint", () => this.thaw());
    }

    features() {
      return Array.from(this.x, (_, i) => {
        const feature = new ol.Feature(this.shape(i));
        feature.set("i", i, true);
        return feature;
      });
    }

    draw() {
      this.source.clear(true);
      this.source.addFeatures(this.features());
    }

    style(i) {
      if (!this.scale) return null;
      const chosen = this.linked ? SW.state.selection : null;
      const key = `${this.scale.bins[i]}${chosen && !chosen.has(i) ? "-" : ""}`;
      let style = this.styles.get(key);
      if (!style) {
        const opacity = chosen && !chosen.has(i) ? FADED : SW.state.opacity;
        style = this.coloured(faint(this.scale.colour(i), opacity), chosen !== null && chosen.has(i));
        this.styles.set(key, style);
      }
      return style;
    }

    /** Colour the spots by a column or a gene. */
    async colour(key) {
      const scale = await SW.scaleOf(this.page, this.section, key);
      this.scale = scale;
      this.restyle();
      return scale;
    }

    restyle() {
      this.styles = new Map();
      this.layer.changed();
    }

    /** The spot at a place of the map, or null. */
    spotAt([x, y]) {
      const found = this.tree.find(x, y, this.reach());
      return found === undefined ? null : found;
    }

    follow() {
      const { map, node } = this;
      map.on("pointermove", (event) => {
        if (!event.dragging) SW.set({ hover: this.spotAt(event.coordinate) });
      });
      node.addEventListener("mouseleave", () => SW.set({ hover: null }));
      // A tap shows what the pointer shows elsewhere.
      map.on("click", (event) => SW.set({ hover: this.spotAt(event.coordinate) }));
      SW.on("hover", () => this.mark(SW.state.hover));
      SW.on("selection", () => this.restyle());
      const lasso = (event) => SW.state.lasso || ol.events.condition.shiftKeyOnly(event);
      const draw = new ol.interaction.Draw({
        type: "Polygon", freehand: true, condition: lasso, freehandCondition: lasso,
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
      const source = this.marker.getSource();
      source.clear();
      if (i !== null && i < this.x.length) source.addFeature(new ol.Feature(this.shape(i)));
    }

    /** All canvases of the map in one; opacities are in them. */
    composite([width, height]) {
      const picture = Object.assign(document.createElement("canvas"), { width, height });
      const context = picture.getContext("2d");
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
      const size = this.map.getSize();
      if (!size || !size[0] || this.node.querySelector(".printed")) return;
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
    async svg() {
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
      const chosen = this.linked ? SW.state.selection : null;
      const toPixel = (place) => this.map.getPixelFromCoordinate(place).map((v) => Math.round(v * 100) / 100);
      for (let i = 0; i < this.x.length; i++) {
        if (!ol.extent.containsXY(seen, this.x[i], this.y[i])) continue;
        this.svgSpot(group, i, toPixel).attr("fill", d3.color(this.scale.colour(i)).formatHex())
          .attr("fill-opacity", chosen && !chosen.has(i) ? FADED : SW.state.opacity)
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
      this.fit();
      if (this.linked) {
        SW.on("display", () => this.display());
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
          if (image) canvas.getContext("2d").drawImage(image, 0, 0);
          return canvas;
        },
      });
    }

    display() {
      this.tiles.setOpacity(SW.state.image);
      if (this.drawnSize !== SW.state.size) this.draw();
      this.restyle();
    }

    draw() {
      this.drawnSize = this.linked ? SW.state.size : 1;
      super.draw();
    }

    shape(i) {
      const [x, y, size] = [this.x[i], this.y[i], this.drawnSize];
      return new ol.geom.Polygon([this.outline.map(([dx, dy]) => [x + dx * size, y + dy * size])]);
    }

    coloured(colour) {
      return new ol.style.Style({ fill: new ol.style.Fill({ color: colour }) });
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

    svgSpot(group, i, toPixel) {
      const places = this.outline.map(([dx, dy]) => toPixel([this.x[i] + dx * this.drawnSize, this.y[i] + dy * this.drawnSize]));
      return group.append("path").attr("d", `M${places.slice(0, -1).map((p) => p.join(",")).join("L")}Z`);
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
          view: new ol.View({ projection, extent: ol.extent.buffer(this.extent, edge), showFullExtent: true, minResolution: edge / 1e5 }),
        }),
      );
      this.fit();
      SW.on("display", () => this.restyle());
    }

    fit() {
      this.map.getView().fit(this.extent, { size: this.map.getSize(), padding: [14, 14, 14, 14] });
    }

    shape(i) {
      return new ol.geom.Point([this.x[i], this.y[i]]);
    }

    coloured(colour) {
      return new ol.style.Style({
        image: new ol.style.Circle({ radius: this.radius(), fill: new ol.style.Fill({ color: colour }) }),
      });
    }

    radius() {
      return Math.max(1.5, DOT_PX * Math.min(1, Math.sqrt(4000 / this.x.length))) * Math.sqrt(SW.state.size);
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

    svgSpot(group, i, toPixel) {
      const [x, y] = toPixel([this.x[i], this.y[i]]);
      return group.append("circle").attr("cx", x).attr("cy", y).attr("r", this.radius());
    }
  };

  /** Draw the patch around a spot from the deepest tiles: a canvas of `edge` px. */
  SW.patch = async function (canvas, page, section, i) {
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
      if (image) context.drawImage(image, (u * tile - left) * sx, (v * tile - top) * sy, image.width * sx, image.height * sy);
    });
  };
})((window.SW = window.SW || {}));
