/* Spots on a map (OpenLayers): what slide and embedding have in common: hover, selection, colours, saving, printing. */
(function (SW) {
  "use strict";

  const FADED = 0.12; // opacity of what is not selected
  const UNLINKED = { ...SW.state }; // how maps look that do not follow the page
  const TINY_PX = 1.5; // Smaller spots look the same as squares, which are drawn faster.

  function faint(colour, opacity) {
    const { r, g, b } = d3.rgb(colour);
    return `rgba(${r},${g},${b},${opacity})`;
  }

  const mapsAt = new WeakMap(); // by their nodes

  SW.SpotMap = class {
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
      this.fitAnew();
      // It may have no size yet, or another one once all is laid out; what the reader has moved stays where it is.
      map.on("change:size", () => this.moved() || this.fitAnew());
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

    fitAnew() {
      this.fit();
      this.place = this.placeOf();
    }

    placeOf() {
      return [this.map.getView().getCenter(), this.map.getView().getResolution()].join();
    }

    /** Whether it shows something else than it did at first, or sits for a picture. */
    moved() {
      return this.posing || this.placeOf() !== this.place;
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
  };

  /** Empty a part of the page; the maps in it end. */
  SW.clear = function (node) {
    const part = d3.select(node);
    part.selectAll(".map").each(function () {
      if (mapsAt.has(this)) mapsAt.get(this).dispose();
    });
    part.selectAll("*").remove();
  };
})((window.SW = window.SW || {}));
