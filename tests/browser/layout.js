// What a look at the view that is shown finds: a page too wide, text that is cut, targets too small, controls over controls.
() => {
  const wrong = [];
  const said = (node) => {
    const text = (node.textContent || node.value || "").trim().slice(0, 40);
    return `${node.tagName.toLowerCase()}.${node.className} "${text}"`;
  };
  const seen = (node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true });

  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth) wrong.push(`the page is ${scrollWidth - clientWidth} px too wide`);

  for (const node of document.querySelectorAll("#app *")) {
    if (!seen(node) || node.closest("svg, .ol-viewport, .offscreen")) continue;
    const text = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.textContent.trim());
    const hidden = ["hidden", "clip"].includes(getComputedStyle(node).overflowX);
    if (text && hidden && node.scrollWidth > node.clientWidth + 1) wrong.push(`cut: ${said(node)}`);
  }

  /** The part of a node that no box around it cuts off. */
  const visible = (node) => {
    let { left, top, right, bottom } = node.getBoundingClientRect();
    for (let up = node.parentElement; up && up !== document.body; up = up.parentElement) {
      if (getComputedStyle(up).overflowX === "visible") continue;
      const edge = up.getBoundingClientRect();
      [left, right] = [Math.max(left, edge.left), Math.min(right, edge.right)];
      [top, bottom] = [Math.max(top, edge.top), Math.min(bottom, edge.bottom)];
    }
    return { left, top, right, bottom };
  };
  const nodes = [...document.querySelectorAll("a[href], button, input, select, textarea, summary")];
  const boxes = nodes.filter((node) => seen(node) && !node.disabled).map((node) => [node, visible(node)])
    .filter(([, box]) => box.right > box.left && box.bottom > box.top);

  /** What can be hit instead of the node itself: its row, its label. */
  const targetOf = (node) => {
    if (node.matches(".clickable .link")) return node.closest("tr");
    return (node.matches("[type=checkbox], [type=range]") && node.closest("label")) || node;
  };
  for (const [node] of boxes) {
    const { width, height } = targetOf(node).getBoundingClientRect();
    if (width < 24 || height < 24) wrong.push(`small (${Math.round(width)} x ${Math.round(height)}): ${said(node)}`);
  }

  boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
    const width = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const height = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (width > 1 && height > 1 && !a.contains(b) && !b.contains(a)) wrong.push(`overlap: ${said(a)} and ${said(b)}`);
  }));
  return wrong;
}
