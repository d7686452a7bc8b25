// The rollout viewer: a step, a problem, and its whole group side by side.

const FIRST = 6000; // characters of a response shown at once
// nats; from which each shade begins
const BANDS = { change: [0.1, 0.5, 1, 2], entropy: [0.05, 0.3, 0.7, 1.2] };
const FILTERS = {
  all: () => true,
  right: (r) => r.right,
  wrong: (r) => !r.right,
  truncated: (r) => r.stopped === false,
};
const COLOURINGS = { change: "log-prob change", entropy: "entropy", none: "nothing" };
const state = { run: 0, problem: 0, step: 0, filter: "all", colour: "change", marks: true };
const parts = {}; // the elements of the viewer, by name

const samplesOf = () => DATA.runs[state.run].samples;
const problemOf = () => samplesOf().problems[state.problem];
const groupOf = (step) => problemOf().groups[step] || [];
const rightOf = (group) => group.filter(FILTERS.right).length;
const note = (...text) => el("p", { class: "soft small" }, ...text);

// ---------------------------------------------------------------- tokens

/** The class that colours token i of a response. */
function tokenClass(r, i) {
  if (state.colour === "none") return "tok";
  const entropy = state.colour === "entropy";
  const value = (entropy ? r.entropy[i] : r.logp[i] - r.base[i]) / 100;
  const level = BANDS[state.colour].filter((band) => Math.abs(value) >= band).length;
  const side = value > 0 ? "up" : "down";
  return level ? `tok ${entropy ? "ent" : side}${level}` : "tok";
}

function chance(hundredths) {
  const p = Math.exp(hundredths / 100);
  return p >= 0.01 || p === 0 ? `${(100 * p).toFixed(p > 0.995 ? 1 : 0)}%` : p.toExponential(1);
}

function describeToken(r, i, text) {
  const change = signed((r.logp[i] - r.base[i]) / 100, 2);
  const place = `token ${i + 1} of ${r.tokens ?? r.cuts.length}, “${text.replace(/\n/g, "⏎")}”`;
  const now = `probability ${chance(r.logp[i])} at this step`;
  const before = `${chance(r.base[i])} under the base (${change} nats)`;
  return `${place}: ${now}, ${before}; entropy ${(r.entropy[i] / 100).toFixed(2)} nats`;
}

// ---------------------------------------------------------------- one response

/** Pieces of a text between all boundaries of tokens and marks: [first, end, token, marks]. */
function pieces(r, end) {
  const starts = new Map(), boundaries = new Set([0, end]);
  let at = 0;
  (r.cuts || []).forEach((n, i) => {
    if (n) starts.set(at, i);
    at += n;
    boundaries.add(Math.min(at, end));
  });
  if (at < end) starts.set(at, -1); // text without a token: a forced beginning, say
  const marks = state.marks ? r.marks.filter((mark) => mark[0] < end) : [];
  for (const [first, last] of marks) boundaries.add(first).add(Math.min(last, end));
  const places = [...boundaries].filter((x) => x <= end).sort((a, b) => a - b);
  let token = -1;
  return places.slice(0, -1).map((first, k) => {
    token = starts.has(first) ? starts.get(first) : token;
    return [first, places[k + 1], token, marks.filter((m) => m[0] <= first && first < m[1])];
  });
}

/** The small label in front of what is marked, if it has one. */
function tagsOf([, , kind, what]) {
  const failed = what.includes("a repeat") ? "↻" : "✗";
  const number = what.split(" ")[1];
  const texts = { hit: `${number}✓`, miss: `${number}${failed}`, switch: "⇄" };
  return kind in texts ? [el("span", { class: `tag ${kind}`, title: what }, texts[kind])] : [];
}

function textOf(r, all) {
  const characters = Array.from(r.text);
  const end = all ? characters.length : Math.min(FIRST, characters.length);
  const box = el("div", { class: "text", lang: "" });
  for (const [first, last, token, marks] of pieces(r, end)) {
    box.append(...marks.filter((mark) => mark[0] === first).flatMap(tagsOf));
    const known = token >= 0 && r.cuts;
    const names = marks.map((mark) => mark[2]).filter((kind) => !["hit", "miss"].includes(kind));
    const classes = [known ? tokenClass(r, token) : "", ...names.map((kind) => `m-${kind}`)];
    const piece = el("span", { class: classes.join(" ").trim() || null });
    piece.append(characters.slice(first, last).join(""));
    if (known) piece.dataset.token = token;
    if (marks.length) piece.dataset.marks = marks.map((mark) => mark[3]).join(", ");
    box.append(piece);
  }
  const rest = characters.length - end;
  if (rest) {
    const click = () => box.replaceWith(textOf(r, true));
    const label = `show ${rest.toLocaleString("en")} more characters`;
    box.append(el("p", {}, el("button", { type: "button", click }, label)));
  } else if (r.more) {
    box.append(note(`… ${r.more.toLocaleString("en")} more characters are not on this page`));
  }
  return box;
}

/** Read a token or a mark out in the line at the bottom. */
function tell(box, r, span) {
  box.querySelectorAll(".here").forEach((other) => other.classList.remove("here"));
  span.classList.add("here");
  const i = Number(span.dataset.token), marks = span.dataset.marks || "";
  const together = [...box.querySelectorAll(`[data-token="${i}"]`)];
  const token = span.dataset.token === undefined ? ""
    : describeToken(r, i, together.map((piece) => piece.textContent).join(""));
  parts.said.textContent = [token, marks].filter(Boolean).join(" · ");
}

function card(r, place, count) {
  const verdict = r.right ? "right" : "wrong";
  const cut = r.stopped === false ? ", cut at the token limit" : "";
  const facts = [`#${place + 1}`, `${r.tokens ?? "?"} tokens`];
  if (r.reward !== undefined) facts.push(`reward ${+r.reward.toFixed(3)}`);
  if (r.format === 0) facts.push("not well formed");
  if (r.language < 1) facts.push(`${Math.round(100 * r.language)}% in its language`);
  const head = el("p", {}, el("span", { class: "verdict" }, `${r.right ? "✓" : "✗"} ${verdict}`));
  head.append(cut);
  if (r.advantage !== undefined) {
    const look = { class: "advantage", title: "advantage" };
    head.append(el("span", look, `A = ${signed(r.advantage, 2)}`));
  }
  const box = el("article", { class: r.right ? "card right" : "card", tabindex: 0,
    "aria-label": `response ${place + 1} of ${count}: ${verdict}${cut}` });
  box.append(head, note(facts.join(" · ")), textOf(r, false));
  const look = (event) => {
    const span = event.target.closest("[data-token], [data-marks]");
    if (span) tell(box, r, span);
  };
  const onKey = (event) => {
    const move = { n: 1, p: -1 }[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = [...box.querySelectorAll("[data-token]")];
    const here = all.findIndex((span) => span.classList.contains("here"));
    const next = all[clamp(here + move, 0, all.length - 1)];
    if (next) tell(box, r, next);
  };
  return fill(box, { mouseover: look, click: look, keydown: onKey }, []);
}

// ---------------------------------------------------------------- the group

function aboutGroup(group) {
  if (!group.length) return "No response of this problem was kept at this step.";
  const words = [`${rightOf(group)} of ${group.length} right`];
  const rewards = group.map((r) => r.reward).filter((v) => v !== undefined);
  if (group.length > 1 && rewards.length === group.length) {
    const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
    const squares = rewards.reduce((a, b) => a + (b - mean) ** 2, 0);
    const std = Math.sqrt(squares / (rewards.length - 1));
    words.push(`reward ${mean.toFixed(2)} on average, standard deviation ${std.toFixed(2)}`);
    words.push(std < 1e-6
      ? "all rewards are equal, so every advantage is 0: nothing to learn from"
      : "A, the advantage, is how far a reward lies above the group's mean");
  }
  if (group.length === 1) words.push("one response was kept, not the group");
  return words.join(" · ");
}

/** What the shades mean, and what the marks mean. */
function key(group) {
  const box = el("p", { class: "key" });
  const shades = (name, sign, levels, bands) => levels.map((level) =>
    el("span", { class: `sw ${name}${level}` }, `${sign}${bands[level - 1]}`));
  if (!group.some((r) => r.cuts)) box.append("No log-probs were kept for these responses.");
  else if (state.colour === "change") {
    box.append("log-prob against the base, nats:",
      ...shades("down", "≤ −", [4, 3, 2, 1], BANDS.change),
      ...shades("up", "≥ +", [1, 2, 3, 4], BANDS.change),
      "A policy picks what it likes, so its own samples lean towards blue.");
  } else if (state.colour === "entropy") {
    box.append("entropy where the token was drawn, nats:",
      ...shades("ent", "≥ ", [1, 2, 3, 4], BANDS.entropy));
  }
  const tag = (name, text, meaning) => el("span", {}, el("span", { class: name }, text), meaning);
  const mark = (kind, meaning) => el("span", { class: `m-${kind}` }, meaning);
  if (state.marks) {
    box.append(tag("tag hit", "1✓", "attempt that hits"), tag("tag", "2✗", "misses"),
      tag("tag", "3↻", "repeats"), mark("yes", "check"), mark("no", "false check"),
      mark("reflect", "reflection"), tag("tag switch", "⇄", "language switch"));
  }
  return box;
}

function stepName(step) {
  if (step < 0) return "step not given";
  return step === 0 ? "step 0, the base" : `step ${step}`;
}

function draw() {
  const { steps, problems, note: left } = samplesOf();
  const step = steps[state.step], group = groupOf(step);
  fillProblems(problems);
  fill(parts.slider, { max: steps.length - 1, "aria-valuetext": stepName(step) }, []);
  parts.slider.value = state.step;
  parts.step.textContent = stepName(step);
  parts.question.textContent = problemOf().question;
  parts.about.textContent = aboutGroup(group);
  for (const [name, button] of Object.entries(parts.filters)) {
    button.setAttribute("aria-pressed", String(name === state.filter));
    button.textContent = `${name} ${group.filter(FILTERS[name]).length}`;
  }
  for (const [name, button] of Object.entries(parts.colours)) {
    button.setAttribute("aria-pressed", String(name === state.colour));
  }
  parts.key.replaceChildren(key(group));
  const cards = group.map((r, i) => FILTERS[state.filter](r) && card(r, i, group.length));
  parts.cards.replaceChildren(...cards.filter(Boolean));
  if (group.length && !parts.cards.children.length) {
    parts.cards.append(el("p", { class: "soft" }, `None of these responses is ${state.filter}.`));
  }
  parts.note.textContent = left ? `To keep this page small it holds ${left}.` : "";
  parts.said.textContent =
    "Point at a token, or press n and p in a response, to read its probability.";
}

function fillProblems(problems) {
  if (parts.problem.dataset.run !== String(state.run)) {
    parts.problem.dataset.run = state.run;
    parts.problem.replaceChildren(...problems.map((problem, i) => {
      const largest = Math.max(...Object.values(problem.groups).map((group) => group.length));
      const size = largest > 1 ? `  (${largest} responses)` : "";
      return el("option", { value: i }, `${problem.question || "(no question)"}${size}`);
    }));
  }
  parts.problem.value = state.problem;
}

/** Change the state and draw; what lies outside is brought back to the nearest that exists. */
function go(change) {
  const before = samplesOf().steps[state.step];
  Object.assign(state, change);
  const { steps, problems } = samplesOf();
  if ("run" in change) state.step = nearest(steps, before);
  state.step = clamp(state.step, 0, steps.length - 1);
  state.problem = clamp(state.problem, 0, problems.length - 1);
  const focus = document.activeElement && parts.cards.contains(document.activeElement);
  draw();
  if (focus) (parts.cards.querySelector("article") || parts.slider).focus({ preventScroll: true });
}

// ---------------------------------------------------------------- controls

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === "SELECT") return;
  const moves = {
    ArrowLeft: { step: state.step - 1 }, ArrowRight: { step: state.step + 1 },
    Home: { step: 0 }, End: { step: Infinity },
    ArrowUp: { problem: state.problem - 1 }, ArrowDown: { problem: state.problem + 1 },
  };
  if (!(event.key in moves)) return;
  event.preventDefault();
  go(moves[event.key]);
}

/** Buttons of which one is pressed: [name -> button, the box around them]. */
function toggles(texts, label, choose) {
  const buttons = {};
  for (const [name, text] of Object.entries(texts)) {
    const look = { type: "button", "aria-pressed": "false", click: () => choose(name) };
    buttons[name] = el("button", look, text);
  }
  const title = el("span", { class: "soft small" }, label);
  return [buttons, el("fieldset", { "aria-label": label }, title, ...Object.values(buttons))];
}

function controls(runs) {
  const choose = (name) => (event) => go({ [name]: Number(event.target.value) });
  parts.slider = el("input", { type: "range", min: 0, max: 0, step: 1, value: 0,
    "aria-label": "training step", input: choose("step") });
  parts.step = el("strong", { id: "step" });
  parts.problem = el("select", { "aria-label": "problem", change: choose("problem") });
  const check = (event) => go({ marks: event.target.checked });
  const marks = el("input", { type: "checkbox", checked: true, change: check });
  const options = runs.map((i) => el("option", { value: i }, DATA.runs[i].name));
  const run = el("select", { "aria-label": "run", change: choose("run") }, ...options);
  const names = Object.fromEntries(Object.keys(FILTERS).map((name) => [name, name]));
  let filters, colours;
  [parts.filters, filters] = toggles(names, "show", (filter) => go({ filter }));
  [parts.colours, colours] = toggles(COLOURINGS, "colour by", (colour) => go({ colour }));
  const bar = (...children) => el("div", { class: "bar" }, ...children);
  return [
    bar(runs.length > 1 ? el("label", {}, "run", run) : "",
      el("label", {}, "problem", parts.problem)),
    el("div", { class: "slide" }, parts.step, parts.slider),
    bar(filters, colours, el("label", {}, marks, "marks")),
  ];
}

// ---------------------------------------------------------------- before and after

const isAttempt = (mark) => ["hit", "miss"].includes(mark[2]);

/** A problem's first response at the first and at the last kept step. Best is one that went from
 * wrong to right with more than one attempt; of several the shortest. */
function choosePair({ steps, problems }) {
  const pairs = problems.map(({ question, groups }) => {
    const [before, after] = [steps[0], steps.at(-1)].map((step) => (groups[step] || [])[0]);
    if (!before || !after) return null;
    const once = after.marks.filter(isAttempt).length < 2;
    const rank = !before.right && after.right ? Number(once) : 2;
    return { question, before, after, rank, size: before.text.length + after.text.length };
  });
  return pairs.filter(Boolean).sort((a, b) => a.rank - b.rank || a.size - b.size)[0];
}

function drawPair() {
  const { steps, problems } = samplesOf(), pair = choosePair(samplesOf());
  if (!pair) return;
  const side = (r, step) => {
    const head = el("p", {}, el("strong", {}, stepName(step)), ` · ${r.tokens ?? "?"} tokens `,
      el("span", { class: "verdict" }, r.right ? "✓ right" : "✗ wrong"));
    return el("div", { class: r.right ? "card right" : "card" }, head,
      textOf({ ...r, marks: r.marks.filter(isAttempt), cuts: null }, false));
  };
  const both = steps.length > 1 ? [side(pair.before, steps[0])] : [];
  const chosen = pair.rank < 2 ? "Chosen for this change. " : "";
  document.getElementById("pair").append(
    el("h2", {}, both.length ? "One held-out problem, before and after" : "One held-out problem"),
    el("p", { class: "question" }, pair.question),
    el("div", { class: "cards" }, ...both, side(pair.after, steps.at(-1))),
    note(`One of ${problems.length}, below. ${chosen}Boxes count attempts: ✓ hits the target.`));
}

function drawRollouts() {
  const section = document.getElementById("rollouts");
  const runs = [...DATA.runs.keys()].filter((i) => DATA.runs[i].samples.problems.length);
  const intro = el("p", { class: "soft" }, "This run has kept no responses.");
  section.append(intro);
  if (!runs.length) return;
  intro.textContent = "Held-out problems, asked again and again during training. " +
    "Inside the viewer ← and → change the step, ↑ and ↓ the problem.";
  state.run = runs[0];
  if (!several) drawPair();
  state.step = samplesOf().steps.length - 1;
  const box = el("div", { role: "group", "aria-label": "rollout viewer", keydown: onKey });
  box.append(...controls(runs));
  const looks = { question: "", about: " soft", key: "", cards: "", note: " soft small", said: "" };
  for (const [name, look] of Object.entries(looks)) {
    parts[name] = el("div", { class: name + look });
    box.append(parts[name]);
  }
  fill(parts.said, { id: "said", role: "status", "aria-live": "polite" }, []);
  section.append(box);
  draw();
}

drawRollouts();
