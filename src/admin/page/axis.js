// A time axis: times to places from 0 to 1, with gaps folded. Pure, but for `drawTicks`.

const STEPS_S = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
  3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];
/** Less than this share of the whole is no gap worth folding. */
const GAP_SHARE = 0.12;
/** From one tick to the next, at least. */
const TICK_PX = 50;
/** All folds together take at most this share of the width. */
const FOLDS_SHARE_MAX = 0.4;

/** The times in which nothing ran, between `from` and `to`, that are long enough to fold. */
function gapsBetween(spans, from, to) {
  const least = Math.max(1000, (to - from) * GAP_SHARE);
  const gaps = [];
  let until = from;
  for (const span of [...spans].sort((a, b) => a.from - b.from)) {
    if (span.from - until > least) gaps.push({ from: until, to: span.from });
    until = Math.max(until, span.to);
  }
  if (spans.length > 0 && to - until > least) gaps.push({ from: until, to });
  return spans.length > 0 ? gaps : [];
}

/** `foldWidth` is the width of one fold as a share of the whole. */
function makeAxis(from, to, gaps = [], foldWidth = 0.03) {
  if (!(to > from)) to = from + 1;
  const folds = gaps
    .map((gap) => ({ from: Math.max(gap.from, from), to: Math.min(gap.to, to) }))
    .filter((gap) => gap.to - gap.from > (to - from) * foldWidth);
  const width = folds.length ? Math.min(foldWidth, FOLDS_SHARE_MAX / folds.length) : 0;
  const folded = folds.reduce((sum, gap) => sum + gap.to - gap.from, 0);
  // Nothing is left between the folds: then nothing is folded.
  const open = to - from - folded;
  const kept = open > 0 ? folds : [];
  const scale = open > 0 ? (1 - width * kept.length) / open : 1 / (to - from);
  const pieces = [];
  let at = from, x = 0;
  const add = (until, span, isFold) => {
    if (until > at) pieces.push({ from: at, to: until, x0: x, x1: x + span, isFold });
    x += span;
    at = until;
  };
  for (const gap of kept) {
    add(gap.from, (gap.from - at) * scale, false);
    add(gap.to, width, true);
  }
  add(to, (to - at) * scale, false);
  return { from, to, pieces };
}

/** Where a time lies: below 0 and above 1 outside of the axis. */
function placeOf(axis, at) {
  const { pieces } = axis;
  let piece = pieces[0];
  for (let i = 1; i < pieces.length && at >= pieces[i].from; i++) piece = pieces[i];
  return piece.x0 + ((at - piece.from) / (piece.to - piece.from)) * (piece.x1 - piece.x0);
}

/** The time at a place. */
function timeAt(axis, x) {
  const { pieces } = axis;
  let piece = pieces[0];
  for (let i = 1; i < pieces.length && x >= pieces[i].x0; i++) piece = pieces[i];
  return piece.from + ((x - piece.x0) / (piece.x1 - piece.x0)) * (piece.to - piece.from);
}

/** Round times with their places and words, for an axis that is so many pixels wide. */
function ticksOf(axis, widthPx) {
  const open = axis.pieces.filter((piece) => !piece.isFold);
  const total = open.reduce((sum, piece) => sum + piece.to - piece.from, 0);
  const share = open.reduce((sum, piece) => sum + piece.x1 - piece.x0, 0);
  // Times with seconds and milliseconds need more room.
  let step = 0, apart = 0;
  for (const [px, least] of [[TICK_PX, 60_000], [TICK_PX + 18, 1000], [TICK_PX + 46, 0]]) {
    apart = Math.min(1, px / Math.max(1, widthPx));
    const needed = (total / share) * apart;
    step = (STEPS_S.find((s) => s * 1000 >= needed) ?? STEPS_S[STEPS_S.length - 1]) * 1000;
    if (step >= least) break;
  }
  const zone = new Date(axis.from).getTimezoneOffset() * 60_000;
  const ticks = [];
  let lastDay = null, lastX = -1;
  for (const piece of open) {
    for (let at = Math.ceil((piece.from - zone) / step) * step + zone; at < piece.to; at += step) {
      const x = placeOf(axis, at);
      if (x - lastX < apart * 0.9 || x > 1 - apart * 0.85) continue;
      const day = new Date(at).toDateString();
      ticks.push({ x, text: tickText(at, step, day !== lastDay && (lastDay !== null || step >= 86_400_000)) });
      lastDay = day;
      lastX = x;
    }
  }
  return ticks;
}

function tickText(at, step, isNewDay) {
  const date = new Date(at);
  if (step < 1000) return `${clockFormat.format(date)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
  const hours = step < 60_000 ? clockFormat.format(date) : minuteFormat.format(date);
  if (step >= 86_400_000) return dayFormat.format(date);
  return isNewDay ? dayFormat.format(date) : hours;
}

/** Draws the ticks into an element; its children are used again. */
function drawTicks(into, axis) {
  const ticks = ticksOf(axis, into.clientWidth);
  while (into.children.length > ticks.length) into.lastChild.remove();
  ticks.forEach((tick, i) => {
    const drawn = into.children[i] ?? into.appendChild(element("span", "tick"));
    say(drawn, tick.text);
    drawn.style.left = percent(tick.x);
  });
}

function percent(x) {
  return `${(Math.min(1, Math.max(0, x)) * 100).toFixed(3)}%`;
}
