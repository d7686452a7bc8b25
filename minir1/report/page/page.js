"use strict";
// What every part of the page uses. Text reaches the page by append() and setAttribute() alone: it is never parsed as HTML.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUN_COLOURS = ["blue", "red", "green", "purple", "orange", "sky", "ink", "grey"];

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
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

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/** A number for people: 79.5%, 1.2e+5, 0.034. */
function show(value, percent) {
  if (percent) return `${+(100 * value).toPrecision(3)}%`;
  return Math.abs(value) >= 1e4 ? `${+(value / 1e3).toPrecision(3)} k` : `${+value.toPrecision(3)}`;
}

function signed(value, digits) {
  const text = value.toFixed(digits);
  return Number(text) > 0 ? `+${text}` : text.replace("-", "−");
}

function theme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
}

document.getElementById("theme").addEventListener("click", theme);
