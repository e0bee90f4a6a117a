/* What the page carries: JSON, compressed arrays and image tiles, each unpacked when it is first asked for. */
(function (SW) {
  "use strict";

  const TYPES = {
    uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int32: Int32Array, float32: Float32Array,
    float64: Float64Array,
  };

  /** Read a data element and drop its text, which would be held twice. */
  function take(id) {
    const node = document.getElementById(id);
    const text = node.textContent;
    node.remove();
    return text;
  }

  /** The bytes that a text stands for. */
  SW.bytesOf = function (base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const binary = atob(base64);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  };

  function inflate(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  class Page {
    constructor(described) {
      Object.assign(this, described);
      this._arrays = new Map();
      this._tiles = new Map();
    }

    /** Return an array of the page by its name: a typed array. */
    array(name) {
      if (!this._arrays.has(name)) {
        const type = TYPES[this.blobs[name].dtype];
        this._arrays.set(name, inflate(SW.bytesOf(take(`blob-${name}`))).then((buffer) => new type(buffer)));
      }
      return this._arrays.get(name);
    }

    /** Return a tile of a slide as an image, or null where there is none. Level 0 shows the whole slide. */
    async tile(section, level, x, y) {
      const key = section.slide.tiles;
      if (!this._tiles.has(key)) this._tiles.set(key, JSON.parse(take(key)));
      const base64 = this._tiles.get(key)[`${level}/${x}/${y}`];
      return base64 ? createImageBitmap(new Blob([SW.bytesOf(base64)], { type: section.slide.mime })) : null;
    }
  }

  SW.load = function () {
    return new Page(JSON.parse(take("page")));
  };

  /** Shown value of a kept gene per spot: what the section's AnnData has in X. */
  SW.expression = async function (page, section, gene) {
    const row = page.genes.kept.indexOf(gene);
    if (row < 0) return null;
    const [counts, totals] = await Promise.all([page.array(section.counts), page.array(section.totals)]);
    const n = section.n_spots;
    return Float32Array.from({ length: n }, (_, i) => Math.log1p((counts[row * n + i] / totals[i]) * 1e4));
  };
})((window.SW = window.SW || {}));
