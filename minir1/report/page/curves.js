// Curves with hover: small SVGs drawn from the data. Arrow keys move along a curve that has the
// focus.

const shown = DATA.runs.map(() => true);
const several = DATA.runs.length > 1;
const DASHES = ["", "6 4", "2 3", "8 3 2 3"];

function colourOf(run, alone) {
  return several ? RUN_COLOURS[run % RUN_COLOURS.length] : alone;
}

function dashOf(metric) {
  return several ? DASHES[metric % DASHES.length] : "";
}

/**
 * The curves of a panel over the runs that are switched on. With several runs, colours tell runs
 * and dashes metrics.
 */
function curvesOf(panel) {
  const curves = [];
  DATA.runs.forEach((run, i) => {
    panel.curves.forEach(({ key, colour, label }, j) => {
      // of several runs the reference line of "answer only" is enough
      const left = several && key.startsWith("answer_only");
      if (!shown[i] || !run.curves[key] || left) return;
      const alone = label || panel.title;
      const name = several ? [run.name, label].filter(Boolean).join(", ") : alone;
      const look = { colour: colourOf(i, colour), dash: dashOf(j), label, name };
      curves.push({ ...run.curves[key], ...look, blind: run.blind[key.replace("rl.", "")] });
    });
  });
  return curves;
}

// ---------------------------------------------------------------- scales

/** Round steps between low and high, about `count` of them. */
function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const values = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step) {
    values.push(+v.toPrecision(12));
  }
  return values;
}

function extent(values) {
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  return [low, values.reduce((a, b) => Math.max(a, b), -Infinity)];
}

/** The values between which a panel lies; of a logarithmic one their exponents. */
function heightsOf(panel, curves, lines) {
  const values = lines.map((line) => line.value);
  for (const { y, e, blind } of curves) {
    values.push(...y, blind, ...(e ? y.map((value, i) => value + e[i]) : []));
  }
  const [low, high] = extent(values.filter((v) => v !== undefined && (!panel.log || v > 0)));
  if (panel.log) return [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high) + 1e-9)];
  const top = panel.percent ? Math.min(Math.max(1.02, low), 1.06 * high) : 1.06 * high;
  return [Math.min(0, low), top];
}

/** Scales of a panel: data to pixels. `right`: pixels that are left for labels. */
function frame(panel, curves, lines, width, height, right) {
  const [lowX, highX] = extent(curves.flatMap((curve) => curve.x));
  const [low, top] = heightsOf(panel, curves, lines);
  const high = top > low ? top : low + 1;
  const left = 46, upper = 8, bottom = height - 22, end = width - right;
  const turn = panel.log ? Math.log10 : (v) => v;
  return {
    x: (v) => left + ((v - lowX) / (highX - lowX || 1)) * (end - left),
    y: (v) => bottom - ((turn(v) - low) / (high - low)) * (bottom - upper),
    lowX, highX, low, high, left, top: upper, bottom, end,
  };
}

// ---------------------------------------------------------------- the parts of a picture

function path(f, xs, ys, log) {
  const points = xs.map((x, i) => [x, ys[i]]).filter(([, y]) => !log || y > 0);
  const steps = points.map(([x, y]) => `${f.x(x).toFixed(1)} ${f.y(y).toFixed(1)}`);
  return steps.length ? `M${steps.join("L")}` : "";
}

function horizontal(f, name, value, dash = null) {
  return stroke(name, f.left, f.y(value), f.end, f.y(value), dash);
}

function axes(f, panel) {
  const parts = [];
  const exponents = () => ticks(f.low, f.high, 3).filter(Number.isInteger);
  const even = () => ticks(f.low, f.high, panel.main ? 6 : 5);
  for (const v of panel.log ? exponents().map((exponent) => 10 ** exponent) : even()) {
    const label = panel.log ? v.toExponential(0).replace("e+0", "") : show(v, panel.percent);
    const place = { class: "axis", x: f.left - 6, y: f.y(v) + 4, "text-anchor": "end" };
    parts.push(horizontal(f, "grid", v), svg("text", place, label));
  }
  const columns = clamp((f.end - f.left) / 70, 2, 8);
  ticks(f.lowX, f.highX, columns).filter(Number.isInteger).forEach((v, i) => {
    const place = { class: "axis", x: f.x(v), y: f.bottom + 16, "text-anchor": "middle" };
    parts.push(svg("text", place, i ? `${v}` : `step ${v}`));
  });
  return parts;
}

function drawCurve(f, c, panel) {
  const parts = [];
  const line = (name, ys, dash) =>
    svg("path", { class: `${name} ${c.colour}`, "stroke-dasharray": dash,
      d: path(f, c.x, ys, panel.log) });
  if (c.blind !== undefined) parts.push(horizontal(f, `ref ${c.colour}`, c.blind, "2 3"));
  if (c.s && !several) parts.push(line("raw", c.y, null));
  parts.push(line("line", c.s || c.y, c.dash));
  c.x.forEach((x, i) => {
    const place = { class: `dot ${c.colour}`, cx: f.x(x), cy: f.y(c.y[i]), r: 3 };
    if (c.x.length < 30) parts.push(svg("circle", place));
  });
  (c.e || []).forEach((e, i) => {
    const x = f.x(c.x[i]);
    parts.push(stroke(c.colour, x, f.y(c.y[i] - e), x, f.y(c.y[i] + e)));
  });
  return parts;
}

/** R1-Zero's accuracy in the final test, of the runs that have one. */
function testsOf() {
  const tests = DATA.runs.map((run, i) => ({
    value: run.zero.accuracy, error: run.zero.stderr || 0, colour: colourOf(i, "red"),
    name: several ? `${run.name}, R1-Zero, test puzzles` : "R1-Zero, test puzzles",
  }));
  return tests.filter((test, i) => shown[i] && test.value !== undefined);
}

function drawTest(f, t) {
  const x = f.x(f.highX), y = f.y(t.value);
  const diamond = `M${x - 6} ${y}L${x} ${y - 6}L${x + 6} ${y}L${x} ${y + 6}Z`;
  return [stroke(t.colour, x, f.y(t.value - t.error), x, f.y(t.value + t.error)),
    svg("path", { class: `dot ${t.colour}`, d: diamond })];
}

// ---------------------------------------------------------------- labels

/** Heights about `gap` apart, each near where it wants to be: as in drawing.py. */
function spread(heights, gap, low, high) {
  const order = heights.map((_, i) => i).sort((a, b) => heights[a] - heights[b]);
  const placed = [...heights];
  for (let round = 0; round < 300; round++) {
    for (let k = 1; k < order.length; k++) {
      const before = order[k - 1], after = order[k];
      const push = Math.max(0, gap - placed[after] + placed[before]) / 2;
      placed[before] = Math.max(low, placed[before] - push);
      placed[after] = Math.min(high, placed[after] + push);
    }
  }
  return placed;
}

/** What stands beside the main panel: names of reference lines, curves and tests. */
function mainLabels(curves, lines, tests) {
  const labels = lines.map((l) => ({ ...l, text: `${l.label}  ${show(l.value, true)}` }));
  for (const { s, y, name, colour, dash } of curves) {
    const value = (s || y).at(-1);
    labels.push({ value, text: `${name}  ${show(value, true)}`, colour, dash });
  }
  for (const test of tests) {
    const figures = [test.value, test.error].map((share) => (100 * share).toFixed(1));
    labels.push({ ...test, text: `◆ ${test.name}  ${figures.join(" ± ")}%` });
  }
  return labels;
}

function drawLabels(f, labels) {
  const heights = labels.map((label) => f.y(label.value));
  const placed = spread(heights, 17, f.top, f.bottom);
  return labels.flatMap(({ text, colour, dash }, i) => {
    const y = placed[i], tie = `M${f.end + 2} ${heights[i]}L${f.end + 22} ${y}`;
    return [svg("path", { class: `raw ${colour}`, d: tie }),
      stroke(`ref ${colour}`, f.end + 22, y, f.end + 42, y, dash || ""),
      svg("text", { class: `own ${colour}`, x: f.end + 47, y: y + 4 }, text)];
  });
}

function legend(labels) {
  const items = labels.map((l) => el("li", {}, sample(l.colour, l.dash || ""), l.text));
  return labels.length ? [el("ul", { class: "legend" }, ...items)] : [];
}

/** The legend of a panel that is not the main one: which curve is which. */
function smallLegend(panel, curves) {
  if (panel.curves.length < 2) return [];
  const drawn = several ? panel.curves : curves;
  const labels = drawn.map(({ label, colour }, j) => (
    { text: label, colour: several ? "ink" : colour, dash: dashOf(j) }));
  return legend(labels.filter((label) => label.text));
}

// ---------------------------------------------------------------- one panel

function drawPanel(box, panel) {
  const curves = curvesOf(panel);
  box.hidden = curves.length === 0;
  box.replaceChildren();
  if (box.hidden) return;
  const width = Math.max(240, box.clientWidth), height = panel.main ? 340 : 170;
  const wide = panel.main && width > 720;
  const first = DATA.runs[shown.indexOf(true)];
  const lines = panel.main ? first.lines : [], tests = panel.main ? testsOf() : [];
  const f = frame(panel, curves, [...lines, ...tests], width, height, wide ? 330 : 16);
  const labels = panel.main ? mainLabels(curves, lines, tests) : [];
  const look = { viewBox: `0 0 ${width} ${height}`, height, tabindex: 0, role: "img" };
  const picture = svg("svg", { ...look, "aria-label": inWords(panel, curves) },
    ...axes(f, panel),
    ...lines.map((line) => horizontal(f, `ref ${line.colour}`, line.value, line.dash)),
    ...curves.flatMap((curve) => drawCurve(f, curve, panel)),
    ...tests.flatMap((test) => drawTest(f, test)),
    ...(wide ? drawLabels(f, labels) : []));
  if (panel.main) box.append(picture, ...(wide ? [] : legend(labels)));
  else box.append(el("h3", {}, panel.title), ...smallLegend(panel, curves), picture);
  if (several && lines.length) {
    box.append(el("p", { class: "soft small" }, `Reference lines: ${first.name}.`));
  }
  hover(box, picture, panel, curves, f, width);
}

function inWords(panel, curves) {
  const courses = curves.map(({ name, y }) =>
    `${name} from ${show(y[0], panel.percent)} to ${show(y.at(-1), panel.percent)}`);
  const help = "Left and right arrow keys read the values.";
  return `${panel.title}: ${courses.join("; ")}. ${help}`;
}

/** A cross-hair with the values at the step below the pointer, or where the arrow keys moved it. */
function hover(box, picture, panel, curves, f, width) {
  const steps = [...new Set(curves.flatMap((c) => c.x))].sort((a, b) => a - b);
  const cross = svg("line", { class: "cross", y1: f.top, y2: f.bottom, visibility: "hidden" });
  const tip = el("div", { class: "tip", hidden: true, role: "status" });
  picture.append(cross);
  box.append(tip);
  let at = steps.length - 1;

  function point(index) {
    at = clamp(index, 0, steps.length - 1);
    const x = f.x(steps[at]);
    fill(cross, { x1: x, x2: x, visibility: "visible" }, []);
    tip.replaceChildren(el("div", {}, `step ${steps[at]}`));
    for (const curve of curves) {
      const i = curve.x.indexOf(steps[at]);
      if (i < 0) continue;
      const error = curve.e ? ` ± ${show(curve.e[i], panel.percent)}` : "";
      tip.append(el("div", {}, `${curve.name}: ${show(curve.y[i], panel.percent)}${error}`));
    }
    tip.hidden = false;
    placeTip((x * picture.clientWidth) / width);
  }

  function placeTip(x) {
    const free = box.clientWidth - tip.offsetWidth;
    tip.style.top = `${picture.offsetTop + 4}px`;
    tip.style.left = `${Math.max(0, x + 10 > free ? x - 10 - tip.offsetWidth : x + 10)}px`;
  }

  function away() {
    tip.hidden = true;
    cross.setAttribute("visibility", "hidden");
  }

  function onKey(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") away();
    if (!move) return;
    event.preventDefault();
    point(tip.hidden ? at : at + move);
  }

  function onMove(event) {
    const place = picture.getBoundingClientRect();
    const x = ((event.clientX - place.left) * width) / picture.clientWidth;
    point(nearest(steps.map(f.x), x));
  }

  fill(picture, { pointermove: onMove, pointerleave: away, blur: away, keydown: onKey }, []);
}

// ---------------------------------------------------------------- all of them

function drawCurves() {
  const section = document.getElementById("curves");
  const boxes = [];
  const known = (curve) => DATA.runs.some((run) => run.curves[curve.key]);
  for (const chart of DATA.charts) {
    const panels = chart.panels.filter((panel) => panel.curves.some(known));
    if (!panels.length) continue;
    const grid = el("div", { class: "panels" });
    for (const panel of panels) {
      const box = el("div", { class: panel.main ? "panel main" : "panel" });
      boxes.push([box, panel]);
      grid.append(box);
    }
    const hint = el("p", { class: "soft" }, chart.hint);
    if (panels[0].main) {
      document.getElementById("accuracy").append(el("h2", {}, chart.title), grid, hint);
    } else {
      const title = el("summary", {}, chart.title);
      section.append(el("details", { toggle: () => redraw() }, title, hint, grid));
    }
  }
  const redraw = () => boxes.forEach(([box, panel]) => drawPanel(box, panel));
  if (several) document.getElementById("accuracy").prepend(chooseRuns(redraw));
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
      const last = shown.filter(Boolean).length === 1;
      if (!event.target.checked && last) event.target.checked = true; // one always stays
      shown[i] = event.target.checked;
      redraw();
    };
    const line = sample(colourOf(i), null, { width: 26, height: 10 });
    const input = el("input", { type: "checkbox", checked: true, change });
    box.append(el("label", {}, input, " ", line, ` ${run.name}`));
  });
  return box;
}

drawCurves();
