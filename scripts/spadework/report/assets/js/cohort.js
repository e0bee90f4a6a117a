/* Sections of a group side by side, on one colour scale. */
(function (SW) {
  "use strict";

  SW.views = SW.views || {};

  SW.views.cohort = async function (node, page) {
    const root = d3.select(node);
    const bar = root.append("div").attr("class", "cohort-bar");
    SW.colourChooser(bar, page, page.sections[0].columns); // All sections have the same.
    const legend = bar.append("div").attr("class", "legend").node();
    const grid = root.append("div").attr("class", "side-by-side");
    const slides = await Promise.all(page.sections.map((section) => addSection(grid, page, section)));
    const recolour = async () => {
      const key = SW.state.colour;
      const scales = await Promise.all(slides.map((slide) => slide.colour(key)));
      if (key === SW.state.colour) SW.legend(legend, scales[0], { scales });
    };
    SW.on("colour", recolour);
    await recolour();
    SW.panels(root.append("div").node(), page, "cohort");
  };

  async function addSection(grid, page, section) {
    const figure = grid.append("figure");
    figure.append("figcaption").text(`${section.name}, ${SW.number(section.n_spots)} spots`);
    const map = SW.addFrame(figure, "slide", section.name);
    const slide = await SW.Slide.make(map.node(), page, section, { linked: false });
    SW.addSaving(figure.select(".frame"), slide, section.name, section.name);
    const said = figure.append("p").attr("class", "quiet").attr("aria-live", "polite").text("Point at a spot to see its value.");
    const look = (i) => {
      slide.mark(i);
      if (i !== null && slide.scale) said.text(`${section.barcodes[i]}: ${slide.scale.label} ${slide.scale.text(i)}`);
    };
    slide.map.on(["pointermove", "click"], (event) => look(event.dragging ? null : slide.spotAt(event.coordinate)));
    map.on("mouseleave", () => look(null));
    return slide;
  }
})((window.SW = window.SW || {}));
