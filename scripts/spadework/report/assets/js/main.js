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

  /** Arrow keys go from tab to tab. */
  function moveFocus(event, [key]) {
    const keys = tabs().map(([name]) => name);
    const steps = { ArrowRight: 1, ArrowLeft: -1 };
    if (!(event.key in steps)) return;
    const next = keys[(keys.indexOf(key) + steps[event.key] + keys.length) % keys.length];
    SW.show(next);
    document.getElementById(`tab-${next}`).focus();
  }

  /** What the address says is shown: {tab, rest}. */
  SW.route = function () {
    const [tab, ...rest] = decodeURIComponent(window.location.hash.slice(1)).split("=");
    const known = tabs().map(([key]) => key);
    return { tab: known.includes(tab) ? tab : known[0], rest: rest.join("=") };
  };

  /** Go to a view; `rest` is for the view to read, a gene's name for instance. */
  SW.show = function (tab, rest = "") {
    window.location.hash = rest ? `${tab}=${encodeURIComponent(rest)}` : tab;
    return follow();
  };

  const built = new Map();

  async function follow() {
    const { tab } = SW.route();
    d3.selectAll("[role=tab]").attr("aria-selected", ([key]) => String(key === tab))
      .attr("tabindex", ([key]) => (key === tab ? 0 : -1));
    d3.selectAll(".view").attr("hidden", ([key]) => (key === tab ? null : ""));
    const node = document.getElementById(`view-${tab}`);
    if (!built.has(tab)) built.set(tab, PLAIN.has(tab) ? SW.panels(node, page, tab) : SW.views[tab](node, page));
    await built.get(tab);
  }

  start();
})((window.SW = window.SW || {}));
