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
const sizeOf = ({ groups }) => Math.max(...Object.values(groups).map((group) => group.length));
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
  box.append(head, note(facts.join(" · ")));
  const group = groupOf(samplesOf().steps[state.step]);
  if (count > 1 && r.advantage !== undefined) box.append(note(why(r, group)));
  box.append(textOf(r, false));
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

// ---------------------------------------------------------------- a group learns

/** Which way GRPO pushes a response: 1 up, -1 down, 0 not at all or not known. */
const pushOf = (r) => Math.sign(Math.round(1e3 * (r.advantage ?? 0)));

function why(r, group) {
  const push = pushOf(r);
  if (!push) return "not pushed: its reward is its group's mean";
  const verdict = r.right ? "right" : "wrong", cut = r.stopped === false ? ", cut off" : "";
  const others = `in a group with ${rightOf(group)} of ${group.length} right`;
  return `${push > 0 ? "▲ pushed up" : "▼ pushed down"}: ${verdict}${cut}, ${others}`;
}

/** For at most twelve kept steps: how many are right, and which way each is pushed. */
function lessons() {
  const all = samplesOf().steps.map((step, i) => [step, i]);
  const kept = all.filter(([step]) => groupOf(step).length);
  const every = Math.ceil(kept.length / 12);
  return kept.filter((_, k) => (kept.length - 1 - k) % every === 0).map(([step, i]) => {
    const group = groupOf(step), tokens = group.reduce((sum, r) => sum + (r.tokens ?? 0), 0);
    const marks = group.map((r) => el("span", { class: r.right ? "good" : "bad",
      title: why(r, group) }, ["▼", "•", "▲"][pushOf(r) + 1]));
    const look = { type: "button", "aria-pressed": String(i === state.step),
      click: () => go({ step: i }) };
    const words = `${rightOf(group)} of ${group.length} right, ` +
      `${Math.round(tokens / group.length)} tokens each`;
    return el("li", {}, el("button", look, stepName(step)), words, el("span", {}, ...marks));
  });
}

/** From the first step to the last, a second and a half each. */
function play() {
  clearInterval(parts.clock);
  go({ step: 0 });
  parts.clock = setInterval(() => {
    if (state.step >= samplesOf().steps.length - 1) clearInterval(parts.clock);
    else go({ step: state.step + 1 });
  }, 1500);
}

function watch() {
  if (sizeOf(problemOf()) < 2) return [];
  return [
    el("h3", {}, "Watch a group learn ", el("button", { type: "button", click: play }, "▶ play")),
    el("ol", { class: "lessons" }, ...lessons()),
    note("A mark is a response: green right, red wrong; ▲ pushed up, ▼ pushed down, • not pushed. ",
      "So GRPO would push these; they are held out, and nothing is learned from them."),
  ];
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
  parts.watch.replaceChildren(...watch());
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
      const size = sizeOf(problem) > 1 ? `  (${sizeOf(problem)} responses)` : "";
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

/** How far the share of right responses moved from a problem's first kept group to its last. */
function changeOf({ groups }, steps) {
  const kept = steps.map((step) => groups[step]).filter(Boolean);
  const [first, last] = [kept[0], kept.at(-1)].map((group) => rightOf(group) / group.length);
  return Math.abs(last - first);
}

/** The index of the problem that changed most; whole groups come before single responses. */
function mostChanged({ steps, problems }) {
  const ranks = problems.map((p) => changeOf(p, steps) + 2 * (sizeOf(p) > 1));
  return ranks.indexOf(Math.max(...ranks));
}

/** The first response of a group that is like most of it: right or wrong. */
function typical(group) {
  const right = 2 * rightOf(group) >= group.length;
  return group.find((r) => r.right === right);
}

function drawPair() {
  const { steps, problems } = samplesOf(), { groups, question } = problemOf();
  const kept = steps.filter((step) => groups[step]), ends = new Set([kept[0], kept.at(-1)]);
  const side = (step) => {
    const r = typical(groups[step]), [right, size] = [rightOf(groups[step]), groups[step].length];
    const head = el("p", {}, el("strong", {}, stepName(step)), ` · ${r.tokens ?? "?"} tokens `,
      el("span", { class: "verdict" }, r.right ? "✓ right" : "✗ wrong"),
      size > 1 ? `, as ${r.right ? right : size - right} of ${size} are` : "");
    return el("div", { class: r.right ? "card right" : "card" }, head,
      textOf({ ...r, marks: r.marks.filter(isAttempt), cuts: null }, false));
  };
  document.getElementById("pair").append(
    el("h2", {}, ends.size > 1 ? "The puzzle that changed most" : "One held-out problem"),
    el("p", { class: "question" }, question),
    el("div", { class: "cards" }, ...[...ends].map(side)),
    note(`One of ${problems.length} held-out problems, below. Boxes count attempts: ✓ hits.`));
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
  state.problem = mostChanged(samplesOf());
  if (!several) drawPair();
  state.step = samplesOf().steps.length - 1;
  const box = el("div", { role: "group", "aria-label": "rollout viewer", keydown: onKey });
  box.append(...controls(runs));
  const looks = { question: "", watch: "", about: " soft", key: "", cards: "",
    note: " soft small", said: "" };
  for (const [name, look] of Object.entries(looks)) {
    parts[name] = el("div", { class: name + look });
    box.append(parts[name]);
  }
  fill(parts.said, { id: "said", role: "status", "aria-live": "polite" }, []);
  section.append(box);
  draw();
}

drawRollouts();
