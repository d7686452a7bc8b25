"use strict";
// What every part of the page uses. Text reaches the page by append() and setAttribute() alone: it
// is never parsed as HTML.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUN_COLOURS = ["blue", "red", "green", "purple", "orange", "sky", "ink", "grey"];

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children);
  return node;
}

/** An element: its attributes (a function is a listener), its children (strings become text). */
function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/** A straight line of an SVG. */
function stroke(name, x1, y1, x2, y2, dash = null) {
  return svg("line", { class: name, x1, x2, y1, y2, "stroke-dasharray": dash });
}

/** A short line that shows a colour in a legend. */
function sample(colour, dash = null, size = {}) {
  const line = stroke(`line ${colour}`, 0, 5, 26, 5, dash);
  return svg("svg", { viewBox: "0 0 26 10", ...size, "aria-hidden": "true" }, line);
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/** The index of the value that is nearest to `wanted`; of several the first. */
function nearest(values, wanted) {
  const distances = values.map((value) => Math.abs(value - wanted));
  return distances.indexOf(Math.min(...distances));
}

/** A number for people: 79.5%, 1.2e+5, 0.034. */
function show(value, percent) {
  if (percent) return `${+(100 * value).toPrecision(3)}%`;
  if (Math.abs(value) >= 1e4) return `${+(value / 1e3).toPrecision(3)} k`;
  return `${+value.toPrecision(3)}`;
}

function signed(value, digits) {
  const text = value.toFixed(digits);
  return Number(text) > 0 ? `+${text}` : text.replace("-", "−");
}

function theme() {
  const chosen = document.documentElement.dataset.theme;
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
}

document.getElementById("theme").addEventListener("click", theme);
