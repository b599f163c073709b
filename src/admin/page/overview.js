// All runs of the table on one time axis, as a picture: a row of pixels for each, failures on top.

const AXIS_PX = 16;
const LANE_PX_MAX = 8;
/** Failures are drawn over the rest, each of them while they cover no more than this share of the picture. */
const LOUD_SHARE_MAX = 0.25;

const overview = {
  colours: null,
  lanes: [],

  start() {
    this.canvas = byId("overview-canvas");
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return this.runAt((event.clientX - box.left) / box.width, event.clientY - box.top);
    };
    this.canvas.addEventListener("pointermove", (event) => {
      const run = at(event);
      say(byId("overview-hint"), run ? `${run.workflow} · ${run.result ?? run.state} · ${coarse(durationOf(run, feed.now()))}` : "");
      this.canvas.style.cursor = run ? "pointer" : "";
    });
    this.canvas.addEventListener("pointerleave", () => say(byId("overview-hint"), ""));
    this.canvas.addEventListener("click", (event) => {
      const run = at(event);
      if (run) address.set({ at: run.id, run: run.id });
    });
    new ResizeObserver(() => {
      if (feed.version !== null) this.draw(feed.now());
    }).observe(this.canvas);
  },

  /** After a change of the colour scheme. */
  forgetColours() {
    this.colours = null;
  },

  readColours() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    this.colours = Object.fromEntries(
      ["waiting", "running", "ended", "success", "failure", "error", "timeout", "cancellation", "skip", "faint", "line", "text"]
        .map((name) => [name, of(name)]));
  },

  draw(now) {
    if (!this.colours) this.readColours();
    const { canvas, colours } = this;
    const scale = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const { axis } = table;
    this.drawAxis(pen, axis, now, width, height);
    this.lanes = [...table.shown].sort((a, b) => a.begin - b.begin || (a.id < b.id ? -1 : 1));
    this.lanePx = Math.min(LANE_PX_MAX, (height - AXIS_PX) / Math.max(1, this.lanes.length));
    const thick = Math.max(1, this.lanePx - (this.lanePx > 3 ? 1 : 0));
    const isLoud = (run) => ["failure", "error", "timeout"].includes(run.look);
    const loudCount = this.lanes.filter(isLoud).length;
    const loudRows = Math.max(LOUD_SHARE_MAX * (height - AXIS_PX), loudCount * this.lanePx);
    // Of more failures than there are rows for them, one of so many is drawn.
    const oneOf = Math.max(1, loudCount / loudRows);
    let loudSeen = 0;
    const isLeftOut = (run) => {
      loudSeen += 1;
      return Math.floor(loudSeen / oneOf) === Math.floor((loudSeen - 1) / oneOf) && run.id !== address.state.at;
    };
    for (const loud of [false, true]) {
      this.lanes.forEach((run, lane) => {
        if (isLoud(run) !== loud || (loud && isLeftOut(run))) return;
        const y = this.lanePx < 1 ? Math.floor(lane * this.lanePx) : lane * this.lanePx;
        const x = placeOf(axis, run.begin) * width;
        const end = placeOf(axis, run.ended ?? now) * width;
        pen.fillStyle = colours[classOf(run.look)];
        pen.fillRect(x, y, Math.max(1.5, end - x), thick);
        if (run.id === address.state.at) {
          pen.strokeStyle = colours.text;
          pen.lineWidth = 1;
          pen.strokeRect(x - 1.5, y - 1.5, Math.max(1.5, end - x) + 3, thick + 3);
        }
      });
    }
    this.describe(now);
  },

  drawAxis(pen, axis, now, width, height) {
    const { colours } = this;
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "bottom";
    for (const tick of ticksOf(axis, width)) {
      const x = Math.round(tick.x * width) + 0.5;
      pen.fillStyle = colours.line;
      pen.fillRect(x, 0, 1, height - AXIS_PX + 3);
      pen.fillStyle = colours.faint;
      pen.fillText(tick.text, x + 3, height);
    }
    for (const piece of axis.pieces.filter((some) => some.isFold)) {
      pen.fillStyle = colours.line;
      pen.fillRect(piece.x0 * width, 0, (piece.x1 - piece.x0) * width, height - AXIS_PX);
    }
    if (table.shown.some((run) => run.state !== "ended")) {
      pen.fillStyle = colours.text;
      pen.fillRect(Math.round(placeOf(axis, now) * width), 0, 1, height - AXIS_PX + 3);
    }
  },

  runAt(x, y) {
    const lane = Math.floor(y / this.lanePx);
    return this.lanes[lane] && y < this.canvas.clientHeight - AXIS_PX ? this.lanes[lane] : null;
  },

  /** What the picture shows, in words. */
  describe(now) {
    const by = (test) => this.lanes.filter(test).length;
    const words = [
      `${by((run) => run.state === "running")} running`,
      `${by((run) => run.state === "waiting")} waiting`,
      `${by((run) => run.result === "success")} succeeded`,
      `${by((run) => run.result !== null && run.result !== "success")} not successful`,
    ].join(", ");
    const since = this.lanes.length ? ` from ${clock(table.from, now)} on` : "";
    attribute(this.canvas, "aria-label", `${count(this.lanes.length, "workflow", "workflows")} on one time axis${since}: ${words}`);
  },
};
