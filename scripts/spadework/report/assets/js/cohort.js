/* Sections of a group side by side, on one colour scale. */
(function (SW) {
  "use strict";

  SW.views = SW.views || {};

  SW.views.cohort = async function (node, page) {
    const root = d3.select(node);
    const bar = root.append("div").attr("class", "cohort-bar");
    SW.colourChooser(bar, page, sharedColumns(page));
    const legend = bar.append("div").attr("class", "legend").node();
    const grid = root.append("div").attr("class", "side-by-side");
    const slides = await Promise.all(page.sections.map((section) => addSection(grid, page, section)));
    const recolour = async () => {
      const scales = await Promise.all(slides.map((slide) => slide.colour(SW.state.colour)));
      SW.legend(legend, scales[0]);
    };
    SW.on("colour", recolour);
    await recolour();
    await SW.panels(root.append("div").node(), page, "cohort");
  };

  /** Columns that all sections have. */
  function sharedColumns(page) {
    const [first, ...others] = page.sections;
    return first.columns.filter((c) => others.every((section) => section.columns.some((other) => other.key === c.key)));
  }

  async function addSection(grid, page, section) {
    const figure = grid.append("figure");
    figure.append("figcaption").text(`${section.name}, ${SW.number(section.n_spots)} spots`);
    const map = figure.append("div").attr("class", "frame").append("div").attr("class", "map").attr("data-testid", "slide")
      .attr("tabindex", 0).attr("role", "application").attr("aria-label", `${section.name}. Arrow keys move, plus and minus zoom.`);
    const slide = await SW.Slide.make(map.node(), page, section, { linked: false });
    SW.addSaving(figure.select(".frame"), slide, () => section.name);
    const said = figure.append("p").attr("class", "quiet").attr("aria-live", "polite").text("Point at a spot to see its value.");
    slide.map.on("pointermove", (event) => {
      const i = event.dragging ? null : slide.spotAt(event.coordinate);
      slide.mark(i);
      if (i !== null) said.text(`${section.barcodes[i]}: ${slide.scale.label} ${slide.scale.text(i)}`);
    });
    return slide;
  }
})((window.SW = window.SW || {}));
