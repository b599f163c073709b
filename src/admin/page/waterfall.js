// One run as a waterfall that grows: its stages nested, on a time axis with folds and zoom.

/** Detail is asked for at most once in this time. */
const DETAIL_CALM_MS = 1000;
const MARKS_MAX = 40;
const ZOOM_STEP = 1.6;
const WINDOW_MS_MIN = 5;

const waterfall = {
  /** The run whose detail is here: the answer of `/api/workflows/{run}`, and what the page made of it. */
  run: null,
  detail: null,
  spans: [],
  rowsShown: [],
  gaps: [],
  axis: makeAxis(0, 1),
  whole: { from: 0, to: 1 },
  asking: false,
  askedFor: null,
  askedAt: -Infinity,
  note: "",

  start() {
    this.rows = makeRows(byId("waterfall"), byId("spans"), { make: makeSpanRow, fill: (row, item) => this.fill(row, item) });
    byId("spans").addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (!row?.item) return;
      if (event.target.closest(".twist")) this.toggle(row.item.span.id);
      address.set({ span: row.item.span.id });
    });
    byId("zoom-in").addEventListener("click", () => this.zoom(ZOOM_STEP));
    byId("zoom-out").addEventListener("click", () => this.zoom(1 / ZOOM_STEP));
    byId("zoom-all").addEventListener("click", () => address.set({ from: "", to: "" }));
    byId("fold").addEventListener("click", () => this.toggleFold());
    byId("follow").addEventListener("click", () => this.toggleFollow());
    this.listenToPointer();
  },

  close() {
    this.run = null;
    this.detail = null;
    this.askedFor = null;
    this.note = "";
  },

  /** Asks for the detail where it is not there, or the run has changed since. */
  async keepFresh() {
    const id = address.state.run;
    if (!id || this.asking || feed.link !== "there") return;
    if (this.run !== id) {
      this.close();
      this.run = id;
      this.askedAt = -Infinity;
    }
    const known = feed.runs.get(id);
    const isStale = this.askedFor === null || (known && known.summary !== this.askedFor);
    if (!isStale || performance.now() - this.askedAt < DETAIL_CALM_MS) return;
    this.asking = true;
    this.askedAt = performance.now();
    try {
      const detail = await feed.ask(`/api/workflows/${encodeURIComponent(id)}`);
      if (address.state.run !== id) return;
      this.detail = detail;
      this.askedFor = known?.summary ?? detail;
      this.note = "";
      this.take(detail);
    } catch (trouble) {
      this.askedFor = known?.summary ?? {};
      this.note = trouble instanceof NotThere
        ? "farspan no longer knows this workflow. It keeps those that ended last."
        : `The stages cannot be shown: ${reason(trouble)}.`;
    } finally {
      this.asking = false;
    }
    update();
  },

  take(detail) {
    this.read = readRun(detail);
    const rootId = detail.trace?.root_span_id ?? "root";
    const root = readSpan({
      ...detail, id: rootId, parent: null, kind: "workflow", events: detail.events ?? [], attributes: detail.attributes ?? {},
    });
    root.queued ??= null;
    const spans = (detail.spans ?? []).filter((span) => span.id !== rootId).map(readSpan);
    const byParent = new Map();
    const known = new Set(spans.map((span) => span.id));
    for (const span of spans) {
      const parent = known.has(span.parent) && span.parent !== span.id ? span.parent : root.id;
      if (!byParent.has(parent)) byParent.set(parent, []);
      byParent.get(parent).push(span);
    }
    for (const children of byParent.values()) {
      children.sort((a, b) => (a.begin ?? Infinity) - (b.begin ?? Infinity) || a.attempt - b.attempt || 0);
      const names = new Map();
      for (const span of children) names.set(span.name, (names.get(span.name) ?? 0) + 1);
      for (const span of children) span.isAttempt = span.attempt > 1 || (span.attempt === 1 && names.get(span.name) > 1);
    }
    this.root = root;
    this.byParent = byParent;
    this.spans = [root, ...spans];
  },

  /** After an answer and after a change of the address. */
  update(now) {
    if (!this.detail) return this.showHead(now);
    const closed = new Set(address.state.closed.split(",").filter(Boolean));
    this.rowsShown = [];
    const seen = new Set();
    const add = (span, depth) => {
      if (seen.has(span.id)) return;
      seen.add(span.id);
      const children = this.byParent.get(span.id) ?? [];
      const isClosed = closed.has(span.id);
      this.rowsShown.push({ span, depth, hasChildren: children.length > 0, isClosed });
      if (!isClosed) for (const child of children) add(child, depth + 1);
    };
    add(this.root, 0);
    this.rows.set(this.rowsShown);
    attribute(byId("waterfall"), "aria-rowcount", this.rowsShown.length + 1);
    this.tick(now);
    this.showAside(now);
    if (address.state.follow === "1") this.revealRunning();
  },

  /** Moves what moves with time. */
  tick(now) {
    this.showHead(now);
    if (!this.detail) return;
    this.findTimes(now);
    attribute(byId("fold"), "aria-pressed", address.state.fold === "1");
    attribute(byId("follow"), "aria-pressed", address.state.follow === "1");
    const folded = this.axis.pieces.filter((piece) => piece.isFold);
    const hidden = folded.reduce((sum, piece) => sum + piece.to - piece.from, 0);
    say(byId("window"), [
      `${humanise(this.axis.to - this.axis.from)} from ${clock(this.axis.from, now)}`,
      folded.length ? `${coarse(hidden)} folded` : "",
    ].filter(Boolean).join(", "));
    drawTicks(byId("run-axis"), this.axis);
    this.rows.draw();
    const chosen = this.rows.rowOf((row) => row.item.span.id === this.chosenId());
    attribute(byId("waterfall"), "aria-activedescendant", chosen?.id ?? null);
  },

  findTimes(now) {
    const isLive = this.root.state !== "ended";
    const begins = this.spans.map((span) => span.begin).filter((at) => at !== null);
    const from = begins.length ? begins.reduce((a, b) => Math.min(a, b)) : this.read.begin;
    const last = this.spans.reduce((latest, span) => Math.max(latest, span.ended ?? latest), this.root.ended ?? from);
    const to = isLive ? Math.max(now, last) : last;
    const leaves = this.spans.filter((span) => !this.byParent.has(span.id) && span !== this.root && span.started !== null);
    this.gaps = gapsBetween(leaves.map((span) => ({ from: span.started, to: span.ended ?? now })), from, to);
    const gaps = address.state.fold === "1" ? this.gaps : [];
    const open = to - from - gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0);
    const margin = isLive ? Math.max(500, open * 0.04) : Math.max(1, open * 0.01);
    this.whole = { from, to: to + margin };
    let window = this.window();
    if (window && address.state.follow === "1" && isLive) {
      const width = window.to - window.from;
      window = { from: now + width * 0.03 - width, to: now + width * 0.03 };
    }
    const laneWidth = Math.max(1, byId("run-axis").clientWidth);
    const { from: begin, to: end } = window ?? this.whole;
    this.axis = makeAxis(begin, end, gaps, 26 / laneWidth);
  },

  window() {
    const from = parseFloat(address.state.from), to = parseFloat(address.state.to);
    return Number.isFinite(from) && Number.isFinite(to) && to > from ? { from, to } : null;
  },

  showHead(now) {
    const run = this.detail ? this.read : feed.runs.get(address.state.run);
    const note = byId("run-note");
    const leftOut = this.detail?.left_out ? `${count(this.detail.left_out, "more stage is", "more stages are")} not shown: there are too many.` : "";
    note.hidden = this.note === "" && leftOut === "" && (run !== undefined || feed.link !== "there");
    say(note, this.note || leftOut || "farspan is asked for this workflow.");
    byId("falls").hidden = byId("tools").hidden = !this.detail;
    byId("facts").hidden = !run;
    if (!run) return say(byId("run-title"), oneLine(address.state.run));
    say(byId("run-title"), run.workflow);
    byId("run-state").className = `state ${classOf(run.look)}`;
    say(byId("run-state"), `${SIGNS[run.look] ?? "·"} ${run.result ?? run.state}`);
    byId("run-error").hidden = !run.error;
    say(byId("run-error"), run.error);
    showFacts(run, now);
  },

  chosenId() {
    const { span } = address.state;
    return this.spans.some((some) => some.id === span) ? span : this.root?.id;
  },

  move(by) {
    const at = this.rowsShown.findIndex((row) => row.span.id === this.chosenId());
    const index = Math.min(this.rowsShown.length - 1, Math.max(0, at + by));
    if (index < 0) return;
    address.set({ span: this.rowsShown[index].span.id });
    this.rows.reveal(index);
  },

  toggle(id = this.chosenId()) {
    if (!this.byParent?.has(id)) return;
    const closed = new Set(address.state.closed.split(",").filter(Boolean));
    if (!closed.delete(id)) closed.add(id);
    address.set({ closed: [...closed].join(",") });
  },

  toggleFold() {
    address.set({ fold: address.state.fold === "1" ? "0" : "1" });
  },

  toggleFollow() {
    address.set({ follow: address.state.follow === "1" ? "0" : "1" });
  },

  revealRunning() {
    const index = this.rowsShown.findLastIndex((row) => row.span.state === "running");
    if (index > 0) this.rows.reveal(index);
  },

  /** Around a place of the axis, or around its middle. */
  zoom(factor, place = 0.5) {
    if (!this.detail) return;
    const { from, to } = this.axis;
    const middle = timeAt(this.axis, place);
    const width = Math.max(WINDOW_MS_MIN, (to - from) / factor);
    this.show(middle - (middle - from) * (width / (to - from)), width);
  },

  pan(share) {
    const { from, to } = this.axis;
    if (this.window()) this.show(from + (to - from) * share, to - from);
  },

  /** A window inside of the whole; the whole itself needs no words in the address. */
  show(from, width) {
    const { whole } = this;
    if (width >= whole.to - whole.from) return address.set({ from: "", to: "" });
    const begin = Math.min(Math.max(from, whole.from), whole.to - width);
    address.set({ from: begin.toFixed(0), to: Math.max(begin + 1, begin + width).toFixed(0) });
  },

  listenToPointer() {
    const axis = byId("run-axis");
    const placeIn = (event) => {
      const box = axis.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    };
    let start = null;
    const mark = axis.parentElement.appendChild(element("i", "range"));
    mark.hidden = true;
    axis.addEventListener("pointerdown", (event) => {
      start = placeIn(event);
      axis.setPointerCapture(event.pointerId);
    });
    axis.addEventListener("pointermove", (event) => {
      if (start === null) return;
      const at = placeIn(event);
      mark.hidden = false;
      mark.style.left = percent(Math.min(start, at));
      mark.style.width = percent(Math.abs(at - start));
    });
    const end = (event) => {
      if (start !== null && event.type === "pointerup") {
        const [left, right] = [start, placeIn(event)].sort((a, b) => a - b);
        const from = timeAt(this.axis, left);
        if (right - left > 0.01) this.show(from, Math.max(WINDOW_MS_MIN, timeAt(this.axis, right) - from));
      }
      start = null;
      mark.hidden = true;
    };
    axis.addEventListener("pointerup", end);
    axis.addEventListener("pointercancel", end);
    byId("waterfall").addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP, placeIn(event));
    }, { passive: false });
  },

  fill(row, item) {
    const { span, depth, hasChildren, isClosed } = item;
    const now = feed.now();
    const { cells } = row;
    const look = classOf(span.look);
    if (row.item?.span !== span) {
      row.id = `span-${span.id}`;
      say(cells.label, span.name);
      attribute(cells.name, "title", span.name);
      say(cells.attempt, span.isAttempt ? `attempt ${span.attempt}` : "");
      cells.attempt.hidden = !span.isAttempt;
      cells.bar.className = `bar ${look}`;
      cells.result.className = `w-result state ${look}`;
      say(cells.result, `${SIGNS[span.look] ?? "·"} ${span.error || (span.result ?? span.state)}`);
      attribute(cells.result, "title", span.error || null);
    }
    row.item = item;
    cells.name.style.paddingLeft = `${Math.min(depth, 12) * 14 + 4}px`;
    attribute(row, "aria-level", depth + 1);
    attribute(row, "aria-expanded", hasChildren ? !isClosed : null);
    attribute(row, "aria-selected", span.id === this.chosenId());
    say(cells.twist, hasChildren ? (isClosed ? "▸" : "▾") : "");
    const end = span.ended ?? now, begin = span.started ?? end;
    placeBar(cells.queue, this.axis, span.queued ?? span.begin ?? begin, Math.min(begin, end));
    placeBar(cells.bar, this.axis, begin, span.started === null ? begin : Math.max(end, begin + 0.001));
    const duration = span.started === null ? null : end - span.started;
    say(cells.duration, span.started === null ? "" : span.ended === null ? coarse(duration) : humanise(duration));
    this.placeMarks(cells.lane, span);
  },

  placeMarks(lane, span) {
    const folds = this.axis.pieces.filter((piece) => piece.isFold);
    place(lane.folds, "folded", lane, folds, (mark, piece) => {
      mark.style.left = percent(piece.x0);
      mark.style.width = percent(piece.x1 - piece.x0);
    });
    const events = span.events.filter((event) => {
      const x = placeOf(this.axis, event.at);
      return x >= 0 && x <= 1;
    });
    place(lane.marks, "mark", lane, events.slice(0, MARKS_MAX), (mark, event) => {
      mark.style.left = percent(placeOf(this.axis, event.at));
      attribute(mark, "title", `${event.name} ${exact(event.at)}`);
    });
  },

  showAside(now) {
    const aside = byId("aside");
    const span = this.spans.find((some) => some.id === this.chosenId());
    if (!span || (this.asideOf === span && aside.childElementCount)) return;
    this.asideOf = span;
    aside.replaceChildren(element("h3", "", `${span.name}${span.isAttempt ? `, attempt ${span.attempt}` : ""}`));
    if (span.error) aside.append(element("p", "failed", span.error));
    const queue = span.queued !== null && span.started !== null ? span.started - span.queued : null;
    aside.append(list("facts", [
      ["Status", span.status],
      ["Queued", timeWords(span.queued, now)],
      ["In the queue", queue === null ? "" : humanise(queue)],
      ["Started", timeWords(span.started, now)],
      ["Ended", timeWords(span.ended, now)],
      ["Span id", span.id],
    ]));
    if (span.events.length) {
      aside.append(element("h4", "", "Events"), list("facts", span.events.map((event) => [
        timeWords(event.at, now),
        [event.name, ...Object.entries(event.attributes).map(([key, value]) => `${key}=${value}`)].join(" "),
      ])));
    }
    const attributes = Object.entries(span.attributes);
    if (attributes.length) aside.append(element("h4", "", "Attributes"), list("facts", attributes));
  },
};

/** Elements of one kind in a lane, used again from draw to draw. */
function place(pool, className, lane, items, set) {
  while (pool.length < items.length) pool.push(lane.appendChild(element("i", className)));
  pool.forEach((made, i) => {
    made.hidden = i >= items.length;
    if (i < items.length) set(made, items[i]);
  });
}

function makeSpanRow(row) {
  const cell = (className) => makeCell(row, className);
  const cells = { name: cell("w-name") };
  cells.twist = cells.name.appendChild(element("span", "twist"));
  attribute(cells.twist, "aria-hidden", "true");
  cells.label = cells.name.appendChild(element("span", "label"));
  cells.attempt = cells.name.appendChild(element("span", "attempt"));
  cells.lane = cell("w-lane").appendChild(element("div", "lane"));
  attribute(cells.lane, "aria-hidden", "true");
  cells.queue = cells.lane.appendChild(element("i", "queue"));
  cells.bar = cells.lane.appendChild(element("i", "bar"));
  cells.lane.folds = [];
  cells.lane.marks = [];
  cells.duration = cell("w-duration");
  cells.result = cell("w-result state");
  row.cells = cells;
}

function readSpan(span) {
  const queued = time(span.queued), started = time(span.started), ended = time(span.ended);
  const result = span.result ?? null;
  return {
    id: String(span.id),
    parent: span.parent,
    name: oneLine(span.name ?? ""),
    attempt: span.attempt ?? 0,
    isAttempt: false,
    state: span.state,
    status: span.status ? oneLine(span.status) : "",
    result,
    look: span.state === "ended" ? result ?? "ended" : span.state,
    queued, started, ended,
    begin: queued === null ? started : started === null ? queued : Math.min(queued, started),
    error: span.error ? oneLine(span.error) : "",
    attributes: Object.fromEntries(Object.entries(span.attributes ?? {}).map(([key, value]) => [oneLine(key), oneLine(value)])),
    events: (span.events ?? [])
      .map((event) => ({
        at: time(event.at),
        name: oneLine(event.name),
        attributes: Object.fromEntries(Object.entries(event.attributes ?? {}).map(([key, value]) => [oneLine(key), oneLine(value)])),
      }))
      .filter((event) => event.at !== null),
  };
}

function timeWords(ms, now) {
  return ms === null ? "" : { text: clock(ms, now), title: exact(ms) };
}

/** Terms with their texts; an empty text has no line. */
function list(className, pairs) {
  const made = element("dl", className);
  for (const [term, said] of pairs) {
    const text = said?.text ?? said;
    if (text === "" || text === undefined || text === null) continue;
    const line = made.appendChild(element("div"));
    line.append(element("dt", "", term?.text ?? term), element("dd", "", String(text)));
    attribute(line, "title", term?.title ?? said?.title ?? null);
  }
  return made;
}
