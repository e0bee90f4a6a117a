/* The page around the views: heading, warnings, tabs. A view is built when it is first shown. */
(function (SW) {
  "use strict";

  const SECTION_TABS = [
    ["explore", "Explore"], ["latents", "Latents"], ["genes", "Genes"], ["nuclei", "Nuclei"], ["prototypes", "Prototypes"],
    ["volume", "Volume"], ["quality", "Quality"], ["methods", "Methods"],
  ];
  const COHORT_TABS = [["cohort", "Side by side"], ["replication", "Replication"], ["genes", "Genes"], ["methods", "Methods"]];
  // Made of nothing but figures, tables and texts: there only where a run has some.
  const PLAIN = new Set(["nuclei", "prototypes", "volume", "replication"]);

  let page;

  async function start() {
    page = SW.load();
    SW.page = page;
    SW.set({ colour: page.sections[0].columns[0].key });
    const root = d3.select("#app");
    addHeading(root);
    addTabs(root);
    root.append("footer").attr("class", "quiet").text(`Made by ${page.software}. Everything on this page is in this file.`);
    window.addEventListener("hashchange", follow);
    await follow();
    document.documentElement.dataset.ready = "true";
  }

  function addHeading(root) {
    const heading = root.append("header");
    heading.append("h1").text(page.title);
    heading.append("p").attr("class", "subtitle").text(page.subtitle);
    for (const warning of page.warnings) heading.append("p").attr("class", "warning").attr("role", "note").text(warning);
  }

  const has = (tab) => ["tables", "panels", "texts"].some((kind) => page[kind].some((item) => item.tab === tab));

  function tabs() {
    const all = page.kind === "cohort" ? COHORT_TABS : SECTION_TABS;
    return all.filter(([key]) => !PLAIN.has(key) || has(key));
  }

  function addTabs(root) {
    const list = root.append("nav").append("div").attr("role", "tablist").attr("aria-label", "Views");
    list.selectAll("button").data(tabs()).join("button").attr("type", "button").attr("role", "tab")
      .attr("id", ([key]) => `tab-${key}`).attr("data-testid", ([key]) => `tab-${key}`)
      .attr("aria-controls", ([key]) => `view-${key}`).text(([, label]) => label)
      .on("click", (event, [key]) => SW.show(key)).on("keydown", moveFocus);
    root.selectAll(".view").data(tabs()).join("div").attr("class", "view").attr("role", "tabpanel")
      .attr("id", ([key]) => `view-${key}`).attr("data-testid", ([key]) => `view-${key}`)
      .attr("aria-labelledby", ([key]) => `tab-${key}`).attr("hidden", "");
  }

  /** Arrow keys go from tab to tab, Home and End to the first and last. */
  function moveFocus(event, [key]) {
    const keys = tabs().map(([name]) => name);
    const steps = { ArrowRight: (i) => i + 1, ArrowLeft: (i) => i - 1, Home: () => 0, End: () => -1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = keys[(steps[event.key](keys.indexOf(key)) + keys.length) % keys.length];
    SW.show(next);
    document.getElementById(`tab-${next}`).focus();
  }

  /** An address may have been written by hand. */
  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch (error) {
      return text;
    }
  }

  /** What the address says is shown: {tab, rest}. */
  SW.route = function () {
    const [tab, ...rest] = decoded(window.location.hash.slice(1)).split("=");
    const known = tabs().map(([key]) => key);
    return { tab: known.includes(tab) ? tab : known[0], rest: rest.join("=") };
  };

  /** Go to a view; `rest` is for the view to read, a gene's name for instance. */
  SW.show = function (tab, rest = "") {
    window.location.hash = rest ? `${tab}=${encodeURIComponent(rest)}` : tab;
    return follow();
  };

  const built = new Map();
  const waiting = new Map();

  /** Draw (again) what a view shows: now, or when it is seen, as nothing has a size before. */
  SW.whenShown = async function (tab, draw) {
    if (SW.route().tab === tab) await draw();
    else waiting.set(tab, draw);
  };

  async function build(tab, node) {
    try {
      await (PLAIN.has(tab) ? SW.panels(node, page, tab) : SW.views[tab](node, page));
    } catch (error) {
      fail(node, error);
    }
  }

  async function follow() {
    const { tab } = SW.route();
    d3.selectAll("[role=tab]").attr("aria-selected", ([key]) => String(key === tab))
      .attr("tabindex", ([key]) => (key === tab ? 0 : -1));
    d3.selectAll(".view").attr("hidden", ([key]) => (key === tab ? null : ""));
    if (!built.has(tab)) built.set(tab, build(tab, document.getElementById(`view-${tab}`)));
    await built.get(tab);
    const draw = waiting.get(tab);
    waiting.delete(tab);
    if (draw) await draw();
  }

  /** Say that something went wrong, rather than show nothing. */
  function fail(node, error) {
    d3.select(node).append("p").attr("class", "warning").attr("role", "alert")
      .text(`This could not be drawn (${error.message}). The page needs a browser from 2023 or later.`);
    console.error(error);
  }

  start().catch((error) => fail(document.getElementById("app"), error));
})((window.SW = window.SW || {}));
