// Curves with hover: small SVGs drawn from the data. Arrow keys move along a curve that has the focus.

const shown = DATA.runs.map(() => true);
const several = DATA.runs.length > 1;
const DASHES = ["", "6 4", "2 3", "8 3 2 3"];

/** The curves of a panel over the runs that are switched on. With several runs, colours tell runs and dashes metrics. */
function curvesOf(panel) {
  const found = [];
  DATA.runs.forEach((run, i) => {
    panel.curves.forEach((curve, j) => {
      const data = run.curves[curve.key];
      if (!shown[i] || !data || (several && curve.key.startsWith("answer_only"))) return; // there its reference line is enough
      const own = several ? RUN_COLOURS[i % RUN_COLOURS.length] : curve.colour;
      const blind = run.blind[curve.key.replace("rl.", "")];
      const name = several ? [run.name, curve.label].filter(Boolean).join(", ") : curve.label || panel.title;
      found.push({ ...data, colour: own, dash: several ? DASHES[j % 4] : "", label: curve.label, name, blind, run: i });
    });
  });
  return found;
}

/** Round steps between low and high, about `count` of them. */
function ticks(low, high, count) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step) found.push(+v.toPrecision(12));
  return found;
}

/** Scales of a panel: data to pixels. */
function frame(panel, curves, lines, width, height, right) {
  const xs = curves.flatMap((c) => c.x);
  const lowX = xs.reduce((a, b) => Math.min(a, b), Infinity), highX = xs.reduce((a, b) => Math.max(a, b), -Infinity);
  let values = curves.flatMap((c) => [...c.y, ...(c.e ? c.y.map((y, i) => y + c.e[i]) : []), c.blind]);
  values = [...values, ...lines.map((l) => l.value)].filter((v) => v !== undefined && (!panel.log || v > 0));
  let low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const turn = panel.log ? Math.log10 : (v) => v;
  if (panel.log) [low, high] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high) + 1e-9)];
  else [low, high] = [Math.min(0, low), panel.percent ? Math.min(Math.max(1.02, low), 1.06 * high) : 1.06 * high];
  if (!(high > low)) high = low + 1;
  const left = 46, top = 8, bottom = height - 22;
  return {
    x: (v) => left + ((v - lowX) / (highX - lowX || 1)) * (width - right - left),
    y: (v) => bottom - ((turn(v) - low) / (high - low)) * (bottom - top),
    lowX, highX, low, high, left, top, bottom, end: width - right,
  };
}

function path(f, xs, ys, log) {
  const points = xs.map((x, i) => [x, ys[i]]).filter(([, y]) => !log || y > 0);
  return points.map(([x, y], i) => `${i ? "L" : "M"}${f.x(x).toFixed(1)} ${f.y(y).toFixed(1)}`).join("");
}

function axes(f, panel) {
  const parts = [];
  const rows = panel.log ? ticks(f.low, f.high, 3).filter(Number.isInteger).map((v) => 10 ** v) : ticks(f.low, f.high, panel.main ? 6 : 5);
  for (const v of rows) {
    const y = f.y(v);
    parts.push(svg("line", { class: "grid", x1: f.left, x2: f.end, y1: y, y2: y }));
    const label = panel.log ? v.toExponential(0).replace("e+0", "").replace("e", "e") : show(v, panel.percent);
    parts.push(svg("text", { class: "axis", x: f.left - 6, y: y + 4, "text-anchor": "end" }, label));
  }
  const columns = ticks(f.lowX, f.highX, clamp((f.end - f.left) / 70, 2, 8)).filter(Number.isInteger);
  for (const v of columns) parts.push(svg("text", { class: "axis", x: f.x(v), y: f.bottom + 16, "text-anchor": "middle" }, `${v}`));
  return parts;
}

function drawCurve(f, c, panel) {
  const parts = [];
  const colour = { class: `raw ${c.colour}` };
  if (c.blind !== undefined) {
    parts.push(svg("line", { class: `ref ${c.colour}`, x1: f.left, x2: f.end, y1: f.y(c.blind), y2: f.y(c.blind), "stroke-dasharray": "2 3" }));
  }
  if (c.s && !several) parts.push(svg("path", { ...colour, d: path(f, c.x, c.y, panel.log) }));
  parts.push(svg("path", { class: `line ${c.colour}`, "stroke-dasharray": c.dash, d: path(f, c.x, c.s || c.y, panel.log) }));
  if (c.x.length < 30) c.x.forEach((x, i) => parts.push(svg("circle", { class: `dot ${c.colour}`, cx: f.x(x), cy: f.y(c.y[i]), r: 3 })));
  for (const [i, e] of (c.e || []).entries()) {
    const at = f.x(c.x[i]);
    parts.push(svg("line", { class: c.colour, x1: at, x2: at, y1: f.y(c.y[i] - e), y2: f.y(c.y[i] + e) }));
  }
  return parts;
}

/** Heights about `gap` apart, each near where it wants to be. */
function spread(heights, gap, low, high) {
  const order = heights.map((_, i) => i).sort((a, b) => heights[a] - heights[b]);
  const placed = [...heights];
  for (let round = 0; round < 300; round++) {
    for (let k = 1; k < order.length; k++) {
      const push = Math.max(0, gap - placed[order[k]] + placed[order[k - 1]]) / 2;
      placed[order[k - 1]] = Math.max(low, placed[order[k - 1]] - push);
      placed[order[k]] = Math.min(high, placed[order[k]] + push);
    }
  }
  return placed;
}

/** R1-Zero's accuracy in the final test, of the runs that have one. */
function testsOf(curves) {
  const found = DATA.runs.map((run, i) => ({ value: run.zero.accuracy, error: run.zero.stderr || 0, run: i,
    colour: several ? RUN_COLOURS[i % RUN_COLOURS.length] : "red", name: several ? `${run.name}, R1-Zero, test` : "R1-Zero, test" }));
  return found.filter((t) => shown[t.run] && t.value !== undefined && curves.length);
}

function drawTest(f, t) {
  const x = f.x(f.highX), y = f.y(t.value);
  return [svg("line", { class: t.colour, x1: x, x2: x, y1: f.y(t.value - t.error), y2: f.y(t.value + t.error) }),
    svg("path", { class: `dot ${t.colour}`, d: `M${x - 6} ${y}L${x} ${y - 6}L${x + 6} ${y}L${x} ${y + 6}Z` })];
}

/** What stands beside the main panel: names of reference lines and curves. */
function mainLabels(curves, lines, tests) {
  const named = lines.map((l) => ({ ...l, text: `${l.label}  ${show(l.value, true)}` }));
  for (const c of curves) {
    const value = (c.s || c.y).at(-1);
    named.push({ value, text: `${c.name}  ${show(value, true)}`, colour: c.colour, dash: c.dash });
  }
  const test = (t) => ({ ...t, text: `◆ ${t.name}  ${(100 * t.value).toFixed(1)} ± ${(100 * t.error).toFixed(1)}%` });
  return [...named, ...tests.map(test)];
}

function drawLabels(f, labels) {
  const heights = labels.map((l) => f.y(l.value));
  const placed = spread(heights, 17, f.top, f.bottom);
  return labels.flatMap((l, i) => [
    svg("path", { class: `raw ${l.colour}`, d: `M${f.end + 2} ${heights[i]}L${f.end + 22} ${placed[i]}` }),
    svg("line", { class: `ref ${l.colour}`, x1: f.end + 22, x2: f.end + 42, y1: placed[i], y2: placed[i], "stroke-dasharray": l.dash || "" }),
    svg("text", { class: `own ${l.colour}`, x: f.end + 47, y: placed[i] + 4 }, l.text),
  ]);
}

function legend(labels) {
  const item = (l) => el("li", {}, svg("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" },
    svg("line", { class: `line ${l.colour}`, x1: 0, x2: 26, y1: 5, y2: 5, "stroke-dasharray": l.dash || "" })), l.text);
  return el("ul", { class: "legend" }, ...labels.map(item));
}

function drawPanel(box, panel) {
  const curves = curvesOf(panel);
  box.hidden = curves.length === 0;
  box.replaceChildren();
  if (box.hidden) return;
  const width = Math.max(240, box.clientWidth), height = panel.main ? 340 : 170, wide = panel.main && width > 720;
  const first = DATA.runs[shown.indexOf(true)];
  const lines = panel.main ? first.lines : [], tests = panel.main ? testsOf(curves) : [];
  const f = frame(panel, curves, [...lines, ...tests], width, height, wide ? 330 : 16);
  const reference = lines.map((l) => svg("line", { class: `ref ${l.colour}`, x1: f.left, x2: f.end, y1: f.y(l.value), y2: f.y(l.value),
    "stroke-dasharray": l.dash }));
  const labels = panel.main ? mainLabels(curves, lines, tests) : [];
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, tabindex: 0, role: "img", "aria-label": inWords(panel, curves) },
    ...axes(f, panel), ...reference, ...curves.flatMap((c) => drawCurve(f, c, panel)), ...tests.flatMap((t) => drawTest(f, t)),
    ...(wide ? drawLabels(f, labels) : []));
  const heading = panel.main ? "" : el("h3", {}, panel.title);
  const small = several ? panel.curves.map((c, j) => ({ text: c.label, colour: "ink", dash: DASHES[j % 4] }))
    : curves.map((c) => ({ text: c.label, colour: c.colour }));
  const named = panel.main ? (wide ? [] : labels) : panel.curves.length > 1 ? small.filter((l) => l.text) : [];
  box.append(heading, ...(named.length && !panel.main ? [legend(named)] : []), picture, ...(named.length && panel.main ? [legend(named)] : []));
  if (panel.main && several && lines.length) box.append(el("p", { class: "soft small" }, `Reference lines: ${first.name}.`));
  hover(box, picture, panel, curves, f, width);
}

function inWords(panel, curves) {
  const said = curves.map((c) => `${c.name} from ${show(c.y[0], panel.percent)} to ${show(c.y.at(-1), panel.percent)}`);
  return `${panel.title}: ${said.join("; ")}. Left and right arrow keys read the values.`;
}

/** A cross-hair with the values at the step below the pointer, or where the arrow keys have moved it. */
function hover(box, picture, panel, curves, f, width) {
  const steps = [...new Set(curves.flatMap((c) => c.x))].sort((a, b) => a - b);
  const cross = svg("line", { class: "cross", y1: f.top, y2: f.bottom, visibility: "hidden" });
  const tip = el("div", { class: "tip", hidden: true, role: "status" });
  picture.append(cross);
  box.append(tip);
  let at = steps.length - 1;
  const point = (index) => {
    at = clamp(index, 0, steps.length - 1);
    const x = f.x(steps[at]);
    cross.setAttribute("x1", x);
    cross.setAttribute("x2", x);
    cross.setAttribute("visibility", "visible");
    const rows = curves.map((c) => [c, c.x.indexOf(steps[at])]).filter(([, i]) => i >= 0);
    tip.replaceChildren(el("div", {}, `step ${steps[at]}`), ...rows.map(([c, i]) => el("div", {},
      `${c.name}: ${show(c.y[i], panel.percent)}${c.e ? ` ± ${show(c.e[i], panel.percent)}` : ""}`)));
    tip.hidden = false;
    const scale = picture.clientWidth / width;
    tip.style.top = `${picture.offsetTop + 4}px`;
    tip.style.left = `${clamp(x * scale + 10, 0, Math.max(0, box.clientWidth - tip.offsetWidth))}px`;
    if (x * scale + 10 + tip.offsetWidth > box.clientWidth) tip.style.left = `${Math.max(0, x * scale - 10 - tip.offsetWidth)}px`;
  };
  const away = () => {
    tip.hidden = true;
    cross.setAttribute("visibility", "hidden");
  };
  picture.addEventListener("pointermove", (event) => {
    const where = ((event.clientX - picture.getBoundingClientRect().left) * width) / picture.clientWidth;
    point(steps.reduce((best, s, i) => (Math.abs(f.x(s) - where) < Math.abs(f.x(steps[best]) - where) ? i : best), 0));
  });
  picture.addEventListener("pointerleave", away);
  picture.addEventListener("blur", away);
  picture.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") away();
    if (!move) return;
    event.preventDefault();
    point(tip.hidden ? at : at + move);
  });
}

function drawCurves() {
  const section = document.getElementById("curves");
  const boxes = [];
  for (const chart of DATA.charts) {
    const panels = chart.panels.filter((p) => p.curves.some((c) => DATA.runs.some((run) => run.curves[c.key])));
    if (!panels.length) continue;
    const made = panels.map((panel) => [el("div", { class: panel.main ? "panel main" : "panel" }), panel]);
    boxes.push(...made);
    section.append(el("h2", {}, chart.title), el("p", { class: "soft" }, chart.hint), el("div", { class: "panels" }, ...made.map(([box]) => box)));
  }
  const redraw = () => boxes.forEach(([box, panel]) => drawPanel(box, panel));
  if (several) section.prepend(chooseRuns(redraw));
  let width = 0, waiting = 0;
  new ResizeObserver(() => {
    if (section.clientWidth === width) return;
    width = section.clientWidth;
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(redraw);
  }).observe(section);
  redraw();
}

function chooseRuns(redraw) {
  const box = el("fieldset", { class: "runs" }, el("legend", {}, "Runs"));
  DATA.runs.forEach((run, i) => {
    const change = (event) => {
      if (!event.target.checked && shown.filter(Boolean).length === 1) event.target.checked = true; // one always stays
      shown[i] = event.target.checked;
      redraw();
    };
    const line = svg("line", { class: `line ${RUN_COLOURS[i % 8]}`, x1: 0, x2: 26, y1: 5, y2: 5 });
    box.append(el("label", {}, el("input", { type: "checkbox", checked: true, change }), " ",
      svg("svg", { viewBox: "0 0 26 10", width: 26, height: 10, "aria-hidden": "true" }, line), ` ${run.name}`));
  });
  return box;
}

drawCurves();
