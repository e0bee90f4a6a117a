/* The two kinds of maps: the slide, and an embedding. */
(function (SW) {
  "use strict";

  const CORNERS = 24; // of the ring around a round spot
  const DOT_PX = 3.5;
  const PRINT_SCALE = 2; // pixels of a saved slide per pixel of the screen
  const SMALLEST_PX = 100; // of what a map shows, as far as one can zoom out
  const AROUND = 0.08; // shown around the spots, as a share of their height: tissue without spots
  const BESIDE_BUTTONS = [8, 12, 46, 46]; // of a map that shows all spots: zoom on the left, scale and saving below

  /** The outline of a spot around 0, scaled to its size. */
  function outline(spot) {
    const [w, h] = spot.size_px.map((edge) => edge / 2);
    if (spot.shape === "square") return [[-w, -h], [w, -h], [w, h], [-w, h], [-w, -h]];
    return d3.range(CORNERS + 1).map((k) => {
      const angle = (k / CORNERS) * 2 * Math.PI;
      return [w * Math.cos(angle), h * Math.sin(angle)];
    });
  }

  SW.Slide = class extends SW.SpotMap {
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
            projection: this.projection, extent: ol.extent.buffer(extent, 0.5 * Math.max(width, height)),
            showFullExtent: true, smoothExtentConstraint: false, minResolution: 0.2,
            maxResolution: Math.max(width, height) / SMALLEST_PX,
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
      const margin = Math.max(Math.max(...this.section.spot.size_px) * 1.5, ol.extent.getHeight(spots) * AROUND);
      this.map.getView().fit(ol.extent.buffer(spots, margin), {
        size: this.map.getSize(), padding: this.interactive ? BESIDE_BUTTONS : [0, 0, 0, 0], ...options,
      });
    }

    /** Show one spot from near. */
    goTo(i) {
      this.map.updateSize(); // it may have been out of sight until now
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
      this.posing = true;
      await show(PRINT_SCALE, false);
      const picture = this.composite(size.map((edge) => edge * PRINT_SCALE * window.devicePixelRatio));
      await show(1, true);
      this.posing = false;
      return picture.toDataURL("image/jpeg", 0.9);
    }

    caption() {
      const um = this.map.getSize()[0] * this.map.getView().getResolution() * this.section.slide.um_per_px[0];
      return `${this.section.name} · width shown: ${SW.number(Math.round(um))} µm`;
    }
  };

  SW.Cloud = class extends SW.SpotMap {
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
            maxResolution: edge / SMALLEST_PX,
          }),
        }),
      );
      this.on("display", () => this.restyle());
    }

    fit() {
      if (!this.drawn()) return;
      this.map.getView().fit(this.extent, { size: this.map.getSize(), padding: BESIDE_BUTTONS });
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
