// How the page writes times, durations and sizes. Pure.

const RESULTS = ["success", "failure", "error", "timeout", "cancellation", "skip"];
const SIGNS = {
  waiting: "◌", running: "●", ended: "■",
  success: "✓", failure: "✗", error: "✗", timeout: "⧖", cancellation: "⊘", skip: "⊘",
};

/** An RFC 3339 text as milliseconds since 1970; `null` for no time. */
function time(text) {
  const ms = typeof text === "string" ? Date.parse(text) : NaN;
  return Number.isFinite(ms) ? ms : null;
}

/** A duration as people say it, the same as on the terminal: `850ms`, `12.3s`, `4m 01s`, `1h 12m 03s`, `2d 03h 04m`. */
function humanise(ms) {
  if (ms === null || !Number.isFinite(ms)) return "";
  ms = Math.max(0, ms);
  const two = (n) => String(n).padStart(2, "0");
  const s = Math.floor(ms / 1000), m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
  if (s < 1) return `${Math.floor(ms)}ms`;
  if (m < 1) return `${s}.${Math.floor((ms % 1000) / 100)}s`;
  if (h < 1) return `${m}m ${two(s % 60)}s`;
  if (d < 1) return `${h}h ${two(m % 60)}m ${two(s % 60)}s`;
  return `${d}d ${two(h % 24)}h ${two(m % 60)}m`;
}

/** The same in whole seconds, for what changes each second. */
function coarse(ms) {
  if (ms === null || !Number.isFinite(ms)) return "";
  const whole = Math.max(0, Math.floor(ms / 1000));
  return whole < 60 ? `${whole}s` : humanise(whole * 1000);
}

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minuteFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const yearFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** A time of this viewer's clock: `14:03:59`, with the day where it is not that of `now`. */
function clock(ms, now) {
  if (ms === null) return "";
  const at = new Date(ms), today = new Date(now);
  if (at.toDateString() === today.toDateString()) return clockFormat.format(at);
  const day = at.getFullYear() === today.getFullYear() ? dayFormat : yearFormat;
  return `${day.format(at)} ${clockFormat.format(at)}`;
}

/** The same time for a machine, in UTC. */
function exact(ms) {
  return ms === null ? "" : new Date(ms).toISOString();
}

function bytes(n) {
  if (!Number.isFinite(n)) return "";
  if (n < 1024) return `${n} B`;
  if (n < 1024 * 1024) return `${(n / 1024).toFixed(1)} KiB`;
  return `${(n / 1024 / 1024).toFixed(1)} MiB`;
}

/** `a` or `b`, whichever the number asks for. */
function count(n, one, many) {
  return `${n} ${n === 1 ? one : many}`;
}

/** Text from outside as one line that a viewer can trust: nothing in it reorders or hides. */
function oneLine(text) {
  return String(text).replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

const byId = (id) => document.getElementById(id);

/** Writes a text only where it changes. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** An element with a class and a text; text from outside enters the page here and in `say` alone. */
function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function attribute(element, name, value) {
  if (value === null || value === false || value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, String(value));
  }
}
