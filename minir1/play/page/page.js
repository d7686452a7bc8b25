// What was asked, how it is judged, and what is shown. Text becomes text nodes, never markup.

const given = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);

function element(kind, className, text, ...children) {
  const node = document.createElement(kind);
  node.className = className;
  node.append(text, ...children);
  return node;
}

// The exact value, [numerator, denominator], of whole numbers, + - * / and brackets; else null.
function evaluate(text) {
  if (text.length > 256 || !/^[0-9+\-*/() ]+$/.test(text)) return null;
  const tokens = text.match(/[0-9]+|[^ ]/g) ?? [];
  let i = 0;
  const level = (operators, inner) => {
    let value = inner();
    while (value && i < tokens.length && operators.includes(tokens[i])) {
      const operator = tokens[i++], next = inner();
      if (!next || (operator === "/" && next[0] === 0n)) return null;
      const [[a, b], [c, d]] = [value, next];
      value = operator === "*" ? [a * c, b * d] : operator === "/" ? [a * d, b * c]
        : [operator === "+" ? a * d + c * b : a * d - c * b, b * d];
    }
    return value;
  };
  const atom = () => {
    const token = tokens[i++] ?? "", value = token === "(" ? sum() : null;
    if (token === "(") return tokens[i++] === ")" ? value : null;
    return /^(0|[1-9][0-9]*)$/.test(token) ? [BigInt(token), 1n] : null;
  };
  const sum = () => level("+-", () => level("*/", atom));
  const value = sum();
  return i === tokens.length ? value : null;
}

const numbersIn = text => (text.match(/[0-9]+/g) ?? []).map(Number);
const same = (some, others) => String([...some].sort()) === String([...others].sort());

// {question, numbers?, target?}: a puzzle in a wording that the base has read, a sum (it has no
// numbers), or any other text as it is.
function recognise(text) {
  const numbers = numbersIn(text);
  if (numbers.length > 2 && /^(use|using|make|reach)\b|^[0-9, ]+= *[0-9]+$/i.test(text)) {
    const total = numbers.reduce((a, b) => a + b), {wordings} = given;
    const target = /^(make|reach)/i.test(text) ? numbers.shift() : numbers.pop();
    const question = wordings[total % wordings.length]
      .replace("{n}", numbers.join(", ")).replace("{t}", target);
    return {question, numbers, target: BigInt(target)};
  }
  const bare = text.replaceAll("×", "*").replaceAll("÷", "/").replaceAll("−", "-")
    .replace(/^(what is|compute|how much is) /i, "").replace(/[ =?.]+$/, "");
  const value = evaluate(bare);
  if (!value || numbers.length < 2 || value[0] % value[1]) return {question: text};
  const question = `What is ${bare.replace(/ *([-+*/]) */g, " $1 ")}?`;
  return {question, target: value[0] / value[1]};
}

// {answer, kind, said}: what a response is worth; "open" where nothing can be checked.
function judge({numbers, target}, {text, stopped}) {
  const thought = "(?:<think>((?!<[/|a-z]+>).)*</think>)?";
  const form = new RegExp(`^${thought}\\s*<answer>([^<>]*)</answer>\\s*<[|]end[|]>$`, "s");
  const answer = text.match(form)?.[2].trim(), value = evaluate(answer ?? "");
  const wrong = reason => ({answer, kind: "wrong", said: `wrong: ${reason}`});
  if (answer === undefined) return wrong(stopped ? "there is no answer" : "it comes to no end");
  if (target === undefined) return {answer, kind: "open", said: `it says ${answer}`};
  if (!numbers && answer !== String(target)) return wrong(`it is ${target}`);
  if (!numbers) return {answer, kind: "right", said: "right"};
  if (!value) return wrong("that is no expression");
  if (value[0] !== target * value[1])
    return wrong(`that makes ${value[0] % value[1] ? "a fraction" : value[0] / value[1]}`);
  if (!same(numbersIn(answer), numbers)) return wrong("it uses other numbers");
  return {answer, kind: "right", said: `right: ${answer} = ${target}`};
}

class Card {
  constructor(model) {
    Object.assign(this, {model, cache: model.cache(), count: element("span", "count", "")});
    [this.text, this.panel] = [element("div", "text", ""), element("div", "", "")];
    this.verdict = element("p", "verdict", "");
    const head = element("div", "head", element("h2", "", model.name), this.count);
    at("models").append(element("section", "card", head, this.text, this.verdict, this.panel));
    this.text.addEventListener("click", event => this.pick(event.target));
    this.text.addEventListener("keydown", ({key, target}) => key === "Enter" && this.pick(target));
  }

  start(problem) {
    const prompt = `<|begin|>User: ${problem.question}\nAssistant:`;
    const prefix = at("at-once").checked ? "<answer>" : "", heat = Number(at("temperature").value);
    this.problem = problem;
    this.attempt = new Attempt(this.model, prompt, prefix, heat, this.cache);
    this.panel.replaceChildren();
    this.draw();
  }

  draw() {
    this.text.replaceChildren(element("span", "tag", this.attempt.prefix));
    this.verdict.replaceChildren();
    this.attempt.steps.forEach((_, i) => this.show(i));
  }

  // Token i, and the verdict behind the last one.
  show(i) {
    const {id, shares} = this.attempt.steps[i], codec = this.model.codec;
    const token = element("span", "token", codec.decode([id]));
    token.classList.toggle("tag", codec.special.has(token.textContent));
    token.classList.toggle("answer", /<answer>[^<]*$/.test(this.text.textContent));
    token.style.setProperty("--doubt", `${Math.round(75 * (1 - shares[id]))}%`);
    Object.assign(token, {tabIndex: 0, role: "button", place: i});
    this.text.append(token);
    this.count.textContent = `${i + 1} tokens`;
    if (i + 1 < this.attempt.steps.length || !this.attempt.done) return;
    const {kind, said} = judge(this.problem, this.attempt);
    this.verdict.replaceChildren(element("span", kind, said));
  }

  // What else could have stood where a token stands.
  pick(token) {
    if (token.place === undefined) return;
    for (const node of this.text.children) node.classList.toggle("picked", node === token);
    const {id, shares} = this.attempt.steps[token.place];
    const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]).slice(0, 6);
    const rows = [...new Set([...order, id])].map(other => {
      const text = this.model.codec.decode([other]).replaceAll(" ", "␣").replaceAll("\n", "⏎");
      const chance = `${(100 * shares[other]).toFixed(1)}%`, kind = other === id ? "chosen" : "";
      const row = this.row("button", kind, text, chance, shares[other]);
      row.addEventListener("click", () => {
        this.attempt.fork(token.place, other);
        this.panel.replaceChildren();
        this.draw();
        run([this]);
      });
      return row;
    });
    const hint = element("p", "", "Or it could have written (tap one, and it goes on from there):");
    this.panel.replaceChildren(element("div", "panel", hint, ...rows));
  }

  row(tag, kind, left, right, share) {
    const row = element(tag, `row ${kind}`, element("code", "", left), element("span", "", right));
    row.style.setProperty("--share", `${100 * share}%`);
    return row;
  }

  // The answers of many attempts, the most frequent first.
  vote(verdicts, total) {
    const tally = new Map();
    for (const {answer = "no answer", kind} of verdicts)
      tally.set(answer, {answer, kind, n: (tally.get(answer)?.n ?? 0) + 1});
    const order = [...tally.values()].sort((a, b) => b.n - a.n), rest = order.splice(6);
    const rows = order.map(({answer, kind, n}) =>
      this.row("div", kind, answer, `${n} of ${total}`, n / total));
    const right = verdicts.filter(({kind}) => kind === "right").length;
    const checked = this.problem.target === undefined ? "" : `, ${right} of them right`;
    const head = `${verdicts.length} samples${checked}. The first line wins the vote.`;
    const more = rest.length ? [`and ${rest.length} other answers`] : [];
    this.panel.replaceChildren(element("div", "panel", element("p", "", head), ...rows, ...more));
  }
}

const cards = given.models.map(one => new Card(new Model(one)));
const frame = () => new Promise(requestAnimationFrame);
let turn = 0;  // whoever asks takes it; what still runs for an earlier one stops

// The cards write side by side, a token each per so many frames; at pace 0 as fast as they can.
async function run(writing) {
  for (const mine = ++turn; mine === turn && writing.some(card => !card.attempt.done);) {
    const pace = Number(at("pace").value), until = performance.now() + 12;
    do {
      for (const card of writing.filter(card => !card.attempt.done)) {
        card.attempt.step();
        card.show(card.attempt.steps.length - 1);
      }
    } while (!pace && performance.now() < until && writing.some(card => !card.attempt.done));
    for (let i = 0; i < (pace || 1); i++) await frame();
  }
}

async function many(total = 16) {
  const problem = ask(), verdicts = cards.map(() => []), mine = ++turn;
  let tokens = 0, seconds = 0;
  for (let i = 0; i < total * cards.length && problem; i++) {
    const k = i % cards.length, card = cards[k];
    if (i >= cards.length) card.start(problem);
    while (!card.attempt.done) {
      const from = performance.now();
      for (; !card.attempt.done && performance.now() < from + 25; tokens++) card.attempt.step();
      seconds += (performance.now() - from) / 1000;
      await frame();
      if (mine !== turn) return;
    }
    card.draw();
    verdicts[k].push(judge(problem, card.attempt));
    card.vote(verdicts[k], total);
    at("speed").textContent = `Here: ${Math.round(tokens / seconds)} tokens per second.`;
  }
}

// The problem, ready to be answered; null if it cannot be asked.
function ask() {
  const text = at("question").value.trim(), problem = recognise(text);
  const checked = problem.target === undefined ? " (neither a puzzle nor a sum: not checked)" : "";
  at("note").textContent = `Asked: ${problem.question}${checked}`;
  try {
    for (const card of cards) card.start(problem);
    return problem;
  } catch (fault) {
    at("note").textContent = fault.message;
    return null;
  }
}

at("examples").addEventListener("click", ({target}) => {
  if (target.type === "button") at("question").value = target.textContent;
  if (target.type === "button") at("ask").requestSubmit();
});
at("ask").addEventListener("submit", event => {
  event.preventDefault();
  if (ask()) run(cards);
});
at("many").addEventListener("click", () => many());
at("temperature").addEventListener("input", event => { at("degrees").value = event.target.value; });
if (matchMedia("(prefers-reduced-motion: reduce)").matches) at("pace").value = "0";
if (ask()) run(cards);
