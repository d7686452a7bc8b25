// The model in plain JavaScript, one token at a time: the functions of minir1/model.py and
// minir1/tokenizer.py. Numbers are kept in float32 and added up in float64.
"use strict";

// out[r] = sum over c of w[from + r * columns + c] * x[c]; columns are even
function multiply(out, w, from, x, rows, columns) {
  for (let r = 0, at = from; r < rows; r++) {
    let a = 0, b = 0;
    for (let c = 0; c < columns; c += 2) {
      a += w[at++] * x[c];
      b += w[at++] * x[c + 1];
    }
    out[r] = a + b;
  }
  return out;
}

function normalise(x, weight, eps) {
  let squares = 0;
  for (let i = 0; i < weight.length; i++) squares += x[i] * x[i];
  const scale = 1 / Math.sqrt(squares / weight.length + eps);
  return weight.map((w, i) => x[i] * scale * w);
}

const sigmoid = x => 1 / (1 + Math.exp(-x));

function softmax(values, temperature = 1) {
  const top = Math.max(...values);
  const shares = values.map(value => Math.exp((value - top) / temperature));
  const sum = shares.reduce((a, b) => a + b);
  return shares.map(share => share / sum);
}

class Model {
  // given: name, config, budget (tokens of a response), turns (radians a position), codec,
  // weights ([name, shape, in int8?]) and blob: their numbers in this order, int8 behind a scale
  // per row
  constructor(given) {
    Object.assign(this, given, {codec: new Codec(given.codec), w: {}});
    const bytes = Uint8Array.from(atob(given.blob), character => character.charCodeAt(0));
    let at = 0;
    const floats = count => new Float32Array(bytes.slice(at, at += 4 * count).buffer);
    for (const [name, shape, packed] of given.weights) {
      const size = shape.reduce((a, b) => a * b), columns = shape.at(-1);
      const scales = packed && floats(size / columns);
      this.w[name] = packed ? Float32Array.from(new Int8Array(bytes.buffer, at, size),
        (value, i) => value * scales[Math.floor(i / columns)]) : floats(size);
      if (packed) at += size;
    }
  }

  // What attention keeps of the tokens read so far. It is cut by lowering its length.
  cache() {
    const {layers, positions, kv_rank, rope_width} = this.config;
    const size = positions * (kv_rank + rope_width);
    return {length: 0, layers: Array.from({length: layers}, () => new Float32Array(size))};
  }

  // Reads one token; returns the logits of what follows it.
  read(id, cache) {
    const c = this.config, x = this.w["embed.weight"].slice(id * c.width, (id + 1) * c.width);
    const norm = name => normalise(x, this.w[name], c.norm_eps);
    const add = y => y.forEach((value, i) => { x[i] += value; });
    for (let layer = 0; layer < c.layers; layer++) {
      const name = `blocks.${layer}.`, sparse = c.experts && layer >= c.dense_layers;
      add(this.attend(name + "attention.", norm(name + "norm_1.weight"), cache, layer));
      add(this[sparse ? "experts" : "swiglu"](name + "mixer.", norm(name + "norm_2.weight")));
    }
    cache.length++;
    return this.linear("head.weight", norm("norm.weight")).subarray(0, this.codec.tokens.length);
  }

  // A matrix times x; of a stack of matrices, one part.
  linear(name, x, part = 0, parts = 1) {
    const w = this.w[name], rows = w.length / x.length / parts;
    return multiply(new Float32Array(rows), w, part * rows * x.length, x, rows, x.length);
  }

  rotate(x, from, position) {
    this.turns.forEach((turn, i) => {
      const angle = Math.fround(position * turn), cos = Math.cos(angle), sin = Math.sin(angle);
      const place = from + 2 * i, [a, b] = x.subarray(place);
      x.set([a * cos - b * sin, b * cos + a * sin], place);
    });
  }

  // Latent attention, absorbed: of each token one latent and one turned key, shared by all heads.
  attend(name, x, cache, layer) {
    const c = this.config, w = this.w, position = cache.length, store = cache.layers[layer];
    const R = c.kv_rank, C = c.nope_width, J = c.rope_width, U = c.value_width, W = R + J;
    const [query, key] = ["q_up.weight", "kv_down.weight"].map(w => this.linear(name + w, x));
    store.set(normalise(key, w[name + "kv_norm.weight"], c.norm_eps), position * W);
    store.set(key.subarray(R), position * W + R);
    this.rotate(store, position * W + R, position);
    const up = w[name + "kv_up.weight"], mixed = new Float32Array(c.heads * U);
    for (let head = 0; head < c.heads; head++) {
      const from = head * (C + J), upFrom = head * (C + U) * R, q = new Float32Array(W);
      this.rotate(query, from + C, position);
      for (let i = 0; i < C; i++)
        for (let r = 0; r < R; r++) q[r] += query[from + i] * up[upFrom + i * R + r];
      q.set(query.subarray(from + C, from + C + J), R);
      const scores = multiply(new Float32Array(position + 1), store, 0, q, position + 1, W);
      const shares = softmax(scores, Math.sqrt(C + J)), latent = new Float32Array(R);
      for (let s = 0; s <= position; s++)
        for (let r = 0; r < R; r++) latent[r] += shares[s] * store[s * W + r];
      multiply(mixed.subarray(head * U), up, upFrom + C * R, latent, U, R);
    }
    return this.linear(name + "out.weight", mixed);
  }

  swiglu(name, x, [gate, up, down] = ["gate.weight", "up.weight", "down.weight"], ...part) {
    const gates = this.linear(name + gate, x, ...part), ups = this.linear(name + up, x, ...part);
    return this.linear(name + down, gates.map((g, i) => g * sigmoid(g) * ups[i]), ...part);
  }

  // The router's best few, weighed by their scores, and the expert that all tokens share.
  experts(name, x) {
    const c = this.config, bias = this.w[name + "bias_E"];
    const scores = this.linear(name + "router", x).map(sigmoid);
    const chosen = [...scores.keys()]
      .sort((a, b) => scores[b] + bias[b] - scores[a] - bias[a]).slice(0, c.top_k);
    const sum = chosen.reduce((total, e) => total + scores[e], 1e-20);
    const out = c.shared_experts ? this.swiglu(name + "shared.", x) : new Float32Array(c.width);
    for (const e of chosen) {
      const y = this.swiglu(name, x, ["gate_EFD", "up_EFD", "down_EDF"], e, c.experts);
      for (let i = 0; i < c.width; i++) out[i] += y[i] * scores[e] / sum * c.routed_scale;
    }
    return out;
  }
}

// A byte-pair encoding over UTF-8 bytes, each written as a printable character (as in GPT-2).
class Codec {
  constructor({vocab, merges, special, pieces}) {
    const plain = byte => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    let next = 256;
    this.letters = Array.from({length: 256}, (_, b) => String.fromCharCode(plain(b) ? b : next++));
    this.ids = new Map(Object.entries(vocab));
    this.tokens = [];
    for (const [token, id] of this.ids) this.tokens[id] = token;
    this.ranks = new Map(merges.map((pair, rank) => [pair.join(" "), rank]));
    this.special = new Set(special);
    const tags = special.map(token => token.replaceAll("|", "[|]")).join("|");
    this.pieces = new RegExp(`${tags}|${pieces}`, "gu");
  }

  encode(text) {
    return (text.match(this.pieces) ?? []).flatMap(piece => this.special.has(piece)
      ? [this.ids.get(piece)] : this.merge(piece).map(token => this.ids.get(token)));
  }

  // The pair of the lowest rank is merged first, the leftmost of equals, until none is known.
  merge(piece) {
    const parts = [...new TextEncoder().encode(piece)].map(byte => this.letters[byte]);
    const rank = i => this.ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
    for (;;) {
      let best = 0;
      for (let i = 1; i + 1 < parts.length; i++) if (rank(i) < rank(best)) best = i;
      if (rank(best) === Infinity) return parts;
      parts.splice(best, 2, parts[best] + parts[best + 1]);
    }
  }

  decode(ids) {
    const bytes = ids.map(id => this.tokens[id]).flatMap(token => this.special.has(token)
      ? [...new TextEncoder().encode(token)] : [...token].map(l => this.letters.indexOf(l)));
    return new TextDecoder("utf-8", {ignoreBOM: true}).decode(Uint8Array.from(bytes));
  }
}

class Attempt {
  // A response to a prompt. Attempts of one model may share a cache, one after the other.
  constructor(model, prompt, prefix, temperature, cache) {
    Object.assign(this, {model, prefix, temperature, cache, steps: []});
    this.prompt = model.codec.encode(prompt + prefix);
    this.room = Math.min(model.budget, model.config.positions - this.prompt.length);
    if (this.room < 1) throw new RangeError("This question is too long for the model.");
    cache.length = 0;
  }

  get ids() { return this.steps.map(step => step.id); }
  get text() { return this.prefix + this.model.codec.decode(this.ids); }
  get stopped() { return this.steps.at(-1)?.id === this.model.codec.ids.get("<|end|>"); }
  get done() { return this.stopped || this.steps.length >= this.room; }

  // One more token, drawn or given, is kept beside the distribution that it was drawn from.
  step(given) {
    const known = [...this.prompt, ...this.ids];
    while (this.cache.length < known.length)
      this.logits = this.model.read(known[this.cache.length], this.cache);
    const shares = softmax(this.logits, this.temperature || 1);
    let left = this.temperature ? Math.random() : 2;
    const drawn = shares.findIndex(share => (left -= share) < 0);  // -1 where it is greedy
    const id = given ?? (drawn < 0 ? shares.indexOf(Math.max(...shares)) : drawn);
    this.steps.push({id, shares});
  }

  // Back to before token i, and another one in its place.
  fork(i, id) {
    this.steps.length = i;
    this.cache.length = this.prompt.length + i - 1;  // the last one is read again, for its logits
    this.step(id);
  }
}
