// The rollout viewer: a step, a problem, and its whole group side by side.

const FIRST = 6000; // characters of a response shown at once
const BANDS = { change: [0.1, 0.5, 1, 2], entropy: [0.05, 0.3, 0.7, 1.2] }; // nats; from which each shade begins
const FILTERS = {
  all: () => true,
  right: (r) => r.right,
  wrong: (r) => !r.right,
  truncated: (r) => r.stopped === false,
};
const state = { run: 0, problem: 0, step: 0, filter: "all", colour: "change", marks: true };
const parts = {};

const samplesOf = () => DATA.runs[state.run].samples;
const problemOf = () => samplesOf().problems[state.problem];
const groupOf = (step) => problemOf().groups[step] || [];

// ---------------------------------------------------------------- colours

function shade(value, bands) {
  return bands.filter((b) => Math.abs(value) >= b).length;
}

/** The class that colours token i of a response. */
function tokenClass(r, i) {
  if (!r.cuts || state.colour === "none") return "tok";
  const value = (state.colour === "entropy" ? r.entropy[i] : r.logp[i] - r.base[i]) / 100;
  const level = shade(value, BANDS[state.colour]);
  if (!level) return "tok";
  return `tok ${state.colour === "entropy" ? "ent" : value > 0 ? "up" : "down"}${level}`;
}

function chance(hundredths) {
  const p = Math.exp(hundredths / 100);
  return p >= 0.01 || p === 0 ? `${(100 * p).toFixed(p > 0.995 ? 1 : 0)}%` : p.toExponential(1);
}

function describeToken(r, i, text) {
  const change = (r.logp[i] - r.base[i]) / 100;
  return `token ${i + 1} of ${r.tokens ?? r.cuts.length}, “${text.replace(/\n/g, "⏎")}”: probability ${chance(r.logp[i])} at this step, ` +
    `${chance(r.base[i])} under the base (${signed(change, 2)} nats); entropy ${(r.entropy[i] / 100).toFixed(2)} nats`;
}

// ---------------------------------------------------------------- one response

/** Pieces of a text between all boundaries of tokens and marks: [first, end, token, marks]. */
function pieces(r, end) {
  const starts = new Map(), cutAt = new Set([0, end]);
  let at = 0;
  (r.cuts || []).forEach((n, i) => {
    if (n) starts.set(at, i);
    at += n;
    cutAt.add(Math.min(at, end));
  });
  if (at < end) starts.set(at, -1); // text without a token: a forced beginning, say
  const marks = state.marks ? r.marks.filter((m) => m[0] < end) : [];
  for (const [first, last] of marks) cutAt.add(first).add(Math.min(last, end));
  const places = [...cutAt].filter((x) => x <= end).sort((a, b) => a - b);
  let token = -1;
  return places.slice(0, -1).map((first, k) => {
    token = starts.has(first) ? starts.get(first) : token;
    return [first, places[k + 1], token, marks.filter((m) => m[0] <= first && first < m[1])];
  });
}

/** A small label in front of what is marked. */
function tag(mark) {
  const [, , kind, what] = mark;
  if (kind === "hit" || kind === "miss") {
    const number = what.split(" ")[1], repeat = what.includes("a repeat");
    return el("span", { class: `tag ${kind}`, title: what }, `${number}${kind === "hit" ? "✓" : repeat ? "↻" : "✗"}`);
  }
  return kind === "switch" ? el("span", { class: "tag switch", title: what }, "⇄") : null;
}

function textOf(r, all) {
  const characters = Array.from(r.text);
  const end = all ? characters.length : Math.min(FIRST, characters.length);
  const box = el("div", { class: "text", lang: "" });
  for (const [first, last, token, marks] of pieces(r, end)) {
    for (const mark of marks) if (mark[0] === first && tag(mark)) box.append(tag(mark));
    const names = marks.filter((m) => !["hit", "miss"].includes(m[2])).map((m) => `m-${m[2]}`);
    const known = token >= 0 && r.cuts;
    const piece = el("span", { class: [known ? tokenClass(r, token) : "", ...names].join(" ").trim() || null }, characters.slice(first, last).join(""));
    if (known) piece.dataset.token = token;
    if (marks.length) piece.dataset.marks = marks.map((m) => m[3]).join(", ");
    box.append(piece);
  }
  if (end < characters.length) {
    const rest = (characters.length - end).toLocaleString("en");
    const more = el("button", { type: "button", click: () => box.replaceWith(textOf(r, true)) }, `show ${rest} more characters`);
    box.append(el("p", {}, more));
  } else if (r.more) box.append(el("p", { class: "soft small" }, `… ${r.more.toLocaleString("en")} more characters are not on this page`));
  return box;
}

function tell(box, r, span) {
  box.querySelectorAll(".here").forEach((other) => other.classList.remove("here"));
  span.classList.add("here");
  const i = Number(span.dataset.token);
  const text = [...box.querySelectorAll(`[data-token="${i}"]`)].map((piece) => piece.textContent).join("");
  const marks = span.dataset.marks ? ` · ${span.dataset.marks}` : "";
  parts.said.textContent = span.dataset.token === undefined ? marks.slice(3) : describeToken(r, i, text) + marks;
}

function card(r, place, count) {
  const verdict = r.right ? "✓ right" : "✗ wrong";
  const cut = r.stopped === false ? ", cut at the token limit" : "";
  const name = `response ${place + 1} of ${count}`;
  const facts = [`${r.tokens ?? "?"} tokens`, r.reward === undefined ? "" : `reward ${+r.reward.toFixed(3)}`,
    r.format === 0 ? "not well formed" : "", r.language < 1 ? `${Math.round(100 * r.language)}% in its language` : ""];
  const head = el("p", {}, el("span", { class: "verdict" }, verdict), cut,
    r.advantage === undefined ? "" : el("span", { class: "advantage", title: "advantage" }, `A = ${signed(r.advantage, 2)}`));
  const box = el("article", { class: r.right ? "card right" : "card", tabindex: 0, "aria-label": `${name}: ${verdict.slice(2)}${cut}` },
    head, el("p", { class: "soft small" }, `#${place + 1} · ${facts.filter(Boolean).join(" · ")}`), textOf(r, false));
  const look = (event) => {
    const span = event.target.closest("[data-token], [data-marks]");
    if (span) tell(box, r, span);
  };
  box.addEventListener("mouseover", look);
  box.addEventListener("click", look);
  box.addEventListener("keydown", (event) => {
    const move = { n: 1, p: -1 }[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = [...box.querySelectorAll("[data-token]")];
    const next = all[clamp(all.findIndex((s) => s.classList.contains("here")) + move, 0, all.length - 1)];
    if (next) tell(box, r, next);
  });
  return box;
}

// ---------------------------------------------------------------- the group

function aboutGroup(group) {
  const right = group.filter((r) => r.right).length;
  const said = [`${right} of ${group.length} right`];
  const rewards = group.map((r) => r.reward).filter((v) => v !== undefined);
  if (group.length > 1 && rewards.length === group.length) {
    const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
    const std = Math.sqrt(rewards.reduce((a, b) => a + (b - mean) ** 2, 0) / (rewards.length - 1));
    said.push(`reward ${mean.toFixed(2)} on average, standard deviation ${std.toFixed(2)}`);
    said.push(std < 1e-6 ? "all rewards are equal, so every advantage is 0: nothing to learn from"
      : "A, the advantage, is how far a reward lies above the group's mean");
  }
  if (group.length === 1) said.push("one response was kept, not the group");
  return said.join(" · ");
}

/** What the shades mean, and what the marks mean. */
function key(group) {
  const sw = (name, text) => el("span", { class: `sw ${name}` }, text);
  const known = group.some((r) => r.cuts);
  const box = el("p", { class: "key" });
  if (!known) box.append("No log-probs were kept for these responses.");
  else if (state.colour === "change") {
    box.append("log-prob against the base, nats:", ...[4, 3, 2, 1].map((k) => sw(`down${k}`, `≤ −${BANDS.change[k - 1]}`)),
      ...[1, 2, 3, 4].map((k) => sw(`up${k}`, `≥ +${BANDS.change[k - 1]}`)),
      "A policy picks what it likes, so its own samples lean towards blue.");
  } else if (state.colour === "entropy") {
    box.append("entropy where the token was drawn, nats:", ...[1, 2, 3, 4].map((k) => sw(`ent${k}`, `≥ ${BANDS.entropy[k - 1]}`)));
  }
  if (state.marks) {
    box.append(el("span", {}, el("span", { class: "tag hit" }, "1✓"), "attempt that hits"), el("span", {}, el("span", { class: "tag" }, "2✗"), "misses"),
      el("span", {}, el("span", { class: "tag" }, "3↻"), "repeats"), el("span", { class: "m-yes" }, "check"), el("span", { class: "m-no" }, "false check"),
      el("span", { class: "m-reflect" }, "reflection"), el("span", {}, el("span", { class: "tag switch" }, "⇄"), "language switch"));
  }
  return box;
}

function drawHistory(steps) {
  parts.history.replaceChildren(...steps.map((step, i) => {
    const group = groupOf(step), share = group.length ? group.filter((r) => r.right).length / group.length : 0;
    const bar = svg("svg", { viewBox: "0 0 10 100", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { x: 0, width: 10, y: 100 - 100 * share, height: 100 * share }));
    const said = `${stepName(step)}: ${Math.round(100 * share)}% right`;
    return el("button", { type: "button", tabindex: -1, title: said, "aria-label": said, "aria-current": i === state.step ? "true" : null,
      click: () => go({ step: i }) }, bar);
  }));
}

function stepName(step) {
  return step < 0 ? "step not given" : step === 0 ? "step 0, the base" : `step ${step}`;
}

function draw() {
  const { steps, problems, note } = samplesOf(), step = steps[state.step], group = groupOf(step);
  fillProblems(problems);
  parts.slider.max = steps.length - 1;
  parts.slider.value = state.step;
  parts.slider.setAttribute("aria-valuetext", stepName(step));
  parts.step.textContent = stepName(step);
  drawHistory(steps);
  parts.question.textContent = problemOf().question;
  parts.about.textContent = group.length ? aboutGroup(group) : "No response of this problem was kept at this step.";
  for (const [name, button] of Object.entries(parts.filters)) {
    button.setAttribute("aria-pressed", String(name === state.filter));
    button.textContent = `${name} ${group.filter(FILTERS[name]).length}`;
  }
  for (const [name, button] of Object.entries(parts.colours)) button.setAttribute("aria-pressed", String(name === state.colour));
  parts.key.replaceChildren(key(group));
  const kept = group.map((r, i) => [r, i]).filter(([r]) => FILTERS[state.filter](r));
  parts.cards.replaceChildren(...kept.map(([r, i]) => card(r, i, group.length)));
  if (group.length && !kept.length) parts.cards.append(el("p", { class: "soft" }, `None of these responses is ${state.filter}.`));
  parts.note.textContent = note ? `To keep this page small it holds ${note}.` : "";
  parts.said.textContent = "Point at a token, or press n and p in a response, to read its probability.";
}

function fillProblems(problems) {
  if (parts.problem.dataset.run === String(state.run)) return void (parts.problem.value = state.problem);
  parts.problem.dataset.run = state.run;
  parts.problem.replaceChildren(...problems.map((p, i) => {
    const largest = Math.max(...Object.values(p.groups).map((g) => g.length));
    return el("option", { value: i }, `${p.question || "(no question)"}${largest > 1 ? `  (${largest} responses)` : ""}`);
  }));
  parts.problem.value = state.problem;
}

/** Change the state and draw; what lies outside is brought back to the nearest that exists. */
function go(change) {
  const before = samplesOf().steps[state.step];
  Object.assign(state, change);
  const { steps, problems } = samplesOf();
  if ("run" in change) state.step = steps.reduce((best, s, i) => (Math.abs(s - before) < Math.abs(steps[best] - before) ? i : best), 0);
  state.step = clamp(state.step, 0, steps.length - 1);
  state.problem = clamp(state.problem, 0, problems.length - 1);
  const focus = document.activeElement && parts.cards.contains(document.activeElement);
  draw();
  if (focus) (parts.cards.querySelector("article") || parts.slider).focus({ preventScroll: true });
}

// ---------------------------------------------------------------- controls

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === "SELECT") return;
  const moves = { ArrowLeft: { step: state.step - 1 }, ArrowRight: { step: state.step + 1 }, Home: { step: 0 }, End: { step: Infinity },
    ArrowUp: { problem: state.problem - 1 }, ArrowDown: { problem: state.problem + 1 } };
  if (!(event.key in moves)) return;
  event.preventDefault();
  go(moves[event.key]);
}

function toggles(names, label, choose) {
  const buttons = Object.fromEntries(Object.entries(names).map(([name, text]) => [name,
    el("button", { type: "button", "aria-pressed": "false", click: () => choose(name) }, text)]));
  return [buttons, el("fieldset", { "aria-label": label }, el("span", { class: "soft small" }, label), ...Object.values(buttons))];
}

function controls(runs) {
  const choose = (name) => (event) => go({ [name]: Number(event.target.value) });
  parts.slider = el("input", { type: "range", min: 0, max: 0, step: 1, value: 0, "aria-label": "training step", input: choose("step") });
  parts.step = el("strong", { id: "step" });
  parts.problem = el("select", { "aria-label": "problem", change: choose("problem") });
  const marks = el("input", { type: "checkbox", checked: true, change: (event) => go({ marks: event.target.checked }) });
  const run = el("select", { "aria-label": "run", change: choose("run") }, ...runs.map(([name, i]) => el("option", { value: i }, name)));
  let filters, colours;
  [parts.filters, filters] = toggles({ all: "all", right: "right", wrong: "wrong", truncated: "truncated" }, "show", (filter) => go({ filter }));
  [parts.colours, colours] = toggles({ change: "log-prob change", entropy: "entropy", none: "nothing" }, "colour by", (colour) => go({ colour }));
  parts.history = el("div", { class: "history", role: "group", "aria-label": "share right at each kept step" });
  return [
    el("div", { class: "bar" }, runs.length > 1 ? el("label", {}, "run", run) : "", el("label", {}, "problem", parts.problem)),
    el("div", { class: "slide" }, parts.step, parts.history, parts.slider),
    el("div", { class: "bar" }, filters, colours, el("label", {}, marks, "marks")),
  ];
}

function drawRollouts() {
  const section = document.getElementById("rollouts");
  const runs = DATA.runs.map((run, i) => [run.name, i]).filter(([, i]) => DATA.runs[i].samples.problems.length);
  section.append(el("h2", { id: "rollouts-title" }, "Rollouts"));
  if (!runs.length) return void section.append(el("p", { class: "soft" }, "This run has kept no responses."));
  state.run = runs[0][1];
  state.step = Infinity;
  const box = el("div", { role: "group", "aria-label": "rollout viewer", keydown: onKey });
  for (const name of ["question", "about", "key", "cards", "note", "said"]) parts[name] = el("div", { class: name });
  parts.about.classList.add("soft");
  parts.note.classList.add("soft", "small");
  fill(parts.said, { id: "said", role: "status", "aria-live": "polite" }, []);
  box.append(...controls(runs), parts.question, parts.about, parts.key, parts.cards, parts.note, parts.said);
  section.append(el("p", { class: "soft" }, "Held-out problems, asked again and again during training. Inside the viewer ← and → change the step, " +
    "↑ and ↓ the problem."), box);
  state.step = samplesOf().steps.length - 1;
  draw();
}

drawRollouts();
