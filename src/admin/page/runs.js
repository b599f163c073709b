// The table of runs: filter, sort, the chosen row, and what each row shows.

const STATE_ORDER = { running: 0, waiting: 1, ended: 2 };
const SORTS = {
  started: (run) => run.started ?? run.begin,
  duration: (run, now) => durationOf(run, now),
  name: (run) => run.workflow,
  state: (run) => `${STATE_ORDER[run.state] ?? 3}${run.result ?? ""}`,
  next_poll: (run) => run.nextPoll ?? Infinity,
};

const table = {
  /** What the filters leave, in the order of the table. */
  shown: [],
  indexOf: new Map(),
  axis: makeAxis(0, 1),
  /** Times in which some run was under way, merged; the end of the last is `null` while it goes on. */
  busy: [],
  from: 0,

  start() {
    this.rows = makeRows(byId("table"), byId("rows"), { make: makeRunRow, fill: (row, run) => this.fill(row, run) });
    byId("rows").addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (!row?.run) return;
      address.set({ at: row.run.id, run: row.run.id });
    });
    for (const head of document.querySelectorAll("#columns [data-sort]")) {
      head.firstElementChild.addEventListener("click", () => this.sortBy(head.dataset.sort));
    }
    for (const key of ["q", "state", "result", "monitor", "last"]) {
      byId(key).addEventListener("input", () => address.set({ [key]: byId(key).value }));
    }
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("filters").addEventListener("reset", (event) => {
      event.preventDefault();
      this.clear();
    });
  },

  sortBy(key) {
    const { sort } = address.state;
    const isNew = sort.replace("-", "") !== key;
    const descends = isNew ? ["started", "duration"].includes(key) : !sort.startsWith("-");
    address.set({ sort: `${descends ? "-" : ""}${key}` });
  },

  clear() {
    address.set({ q: "", state: "all", result: "", monitor: "", last: "" });
  },

  isFiltered() {
    return ["q", "result", "monitor", "last"].some((key) => address.state[key] !== "") || address.state.state !== "all";
  },

  /** Filters and sorts again: after an answer and after a change of the filters. */
  update(now) {
    const { q, state, result, monitor, last, sort } = address.state;
    const since = last ? now - Number(last) * 1000 : -Infinity;
    const words = q.toLowerCase().split(/\s+/).filter(Boolean);
    this.shown = [...feed.runs.values()].filter((run) =>
      (state === "all" || run.state === state || (state === "live" && run.state !== "ended"))
      && (!monitor || run.summary.monitor === monitor)
      && (!result || (result === "unsuccessful" ? run.result !== null && run.result !== "success" : run.result === result))
      && (run.ended ?? Infinity) >= since
      && words.every((word) => run.text.includes(word)));
    const key = SORTS[sort.replace("-", "")] ?? SORTS.started;
    const sign = sort.startsWith("-") ? -1 : 1;
    const keyed = this.shown.map((run) => [key(run, now), run]);
    keyed.sort(([a, x], [b, y]) => (a < b ? -sign : a > b ? sign : x.id < y.id ? -1 : 1));
    this.shown = keyed.map(([, run]) => run);
    this.indexOf = new Map(this.shown.map((run, index) => [run.id, index]));
    this.findBusyTimes(since);
    this.rows.set(this.shown);
    this.showControls();
  },

  findBusyTimes(since) {
    const byBegin = [...this.shown].sort((a, b) => a.begin - b.begin);
    this.from = byBegin.length ? Math.max(since, byBegin[0].begin) : 0;
    this.busy = [];
    for (const run of byBegin) {
      const last = this.busy[this.busy.length - 1];
      const to = run.ended ?? Infinity;
      if (last && run.begin <= last.to) last.to = Math.max(last.to, to);
      else this.busy.push({ from: run.begin, to });
    }
  },

  showControls() {
    const { sort } = address.state;
    for (const key of ["q", "state", "result", "last"]) {
      if (byId(key).value !== address.state[key] && document.activeElement !== byId(key)) byId(key).value = address.state[key];
    }
    const choice = byId("monitor");
    const names = feed.monitors.map((monitor) => monitor.name);
    if (address.state.monitor && !names.includes(address.state.monitor)) names.push(address.state.monitor);
    if (choice.options.length !== names.length + 1) {
      choice.replaceChildren(choice.options[0]);
      for (const name of names) {
        const option = element("option", "", oneLine(name));
        option.value = name;
        choice.append(option);
      }
    }
    if (document.activeElement !== choice) choice.value = address.state.monitor;
    for (const head of document.querySelectorAll("#columns [data-sort]")) {
      const isSorted = sort.replace("-", "") === head.dataset.sort;
      attribute(head, "aria-sort", isSorted ? (sort.startsWith("-") ? "descending" : "ascending") : null);
    }
    byId("clear").hidden = !this.isFiltered();
    const all = feed.runs.size;
    say(byId("counts"), this.isFiltered()
      ? `${this.shown.length} of ${count(all, "workflow", "workflows")}`
      : `${feed.live} live, ${feed.ended} ended`);
    attribute(byId("table"), "aria-rowcount", this.shown.length + 1);
    const empty = byId("empty");
    empty.hidden = this.shown.length > 0 || feed.version === null;
    say(empty, this.isFiltered() ? "No workflow matches the filters." : "No workflow yet. It appears here when its start event arrives.");
  },

  /** Moves what moves with time. No element is made for it. */
  tick(now) {
    const isLive = this.shown.some((run) => run.state !== "ended");
    const until = this.busy.reduce((last, busy) => Math.max(last, Math.min(busy.to, now)), this.from);
    const to = isLive ? now : until;
    const margin = Math.max(1000, (to - this.from) * 0.02);
    const busy = this.busy.map((some) => ({ from: some.from, to: Math.min(some.to, to) }));
    this.axis = makeAxis(this.from, to + margin, gapsBetween(busy, this.from, to), 0.02);
    drawTicks(byId("table-axis"), this.axis);
    this.rows.draw();
    const chosen = this.rows.rowOf((row) => row.run.id === address.state.at);
    attribute(byId("table"), "aria-activedescendant", chosen?.id ?? null);
    overview.draw(now);
  },

  /** The chosen run, moved by so many rows. */
  move(by) {
    if (!this.shown.length) return;
    const at = this.indexOf.get(address.state.at) ?? -1;
    const index = Math.min(this.shown.length - 1, Math.max(0, at + by));
    address.set({ at: this.shown[index].id });
    this.rows.reveal(index);
  },

  open() {
    const index = this.indexOf.get(address.state.at);
    if (index !== undefined) address.set({ run: this.shown[index].id });
  },

  fill(row, run) {
    const now = feed.now();
    const { cells } = row;
    if (row.run !== run) {
      row.run = run;
      row.id = `run-${run.id}`;
      const look = classOf(run.look);
      cells.state.className = `c-state state ${look}`;
      say(cells.sign, SIGNS[run.look] ?? "·");
      say(cells.word, run.result ?? run.state);
      say(cells.workflow, run.workflow);
      say(cells.below, run.error || `${oneLine(run.summary.name ?? "")} · ${oneLine(run.summary.monitor ?? "")}`);
      cells.below.classList.toggle("failed", run.error !== "");
      attribute(cells.name, "title", run.error ? `${run.workflow}\n${run.error}` : run.workflow);
      showStages(cells, run.summary.stages ?? {});
      cells.bar.className = `bar ${look}`;
      attribute(cells.started, "title", exact(run.started));
    }
    attribute(row, "aria-selected", address.state.at === run.id);
    say(cells.started, run.started === null ? "not yet" : clock(run.started, now));
    say(cells.duration, run.state === "ended" ? humanise(durationOf(run, now)) : coarse(durationOf(run, now)));
    // The bar begins where the run began; before it, what it waited.
    const end = run.ended ?? now, begin = run.started ?? end;
    placeBar(cells.queue, this.axis, run.begin, Math.min(begin, end));
    placeBar(cells.bar, this.axis, begin, end);
    const polls = pollWords(run, now);
    say(cells.polls, polls.text);
    cells.polls.classList.toggle("trouble", polls.isTrouble);
    attribute(cells.polls, "title", polls.title);
  },
};

function makeRunRow(row) {
  const cell = (className) => makeCell(row, className);
  const cells = { state: cell("c-state") };
  cells.sign = cells.state.appendChild(element("span", "sign-text"));
  attribute(cells.sign, "aria-hidden", "true");
  cells.word = cells.state.appendChild(element("span"));
  cells.name = cell("c-name");
  cells.workflow = cells.name.appendChild(element("span", "id"));
  cells.below = cells.name.appendChild(element("span", "below"));
  cells.stages = cell("c-stages");
  cells.stagesText = cells.stages.appendChild(element("span"));
  cells.stagesBar = cells.stages.appendChild(element("span", "share"));
  cells.parts = ["failed", "done", "running"].map((name) => cells.stagesBar.appendChild(element("i", name)));
  cells.started = cell("c-started");
  cells.duration = cell("c-duration");
  const lane = cell("c-lane").appendChild(element("div", "lane"));
  attribute(lane, "aria-hidden", "true");
  cells.queue = lane.appendChild(element("i", "queue"));
  cells.bar = lane.appendChild(element("i", "bar"));
  cells.polls = cell("c-polls");
  row.cells = cells;
}

function showStages(cells, stages) {
  const total = stages.total ?? 0, ended = stages.ended ?? 0, failed = stages.failed ?? 0;
  say(cells.stagesText, total ? `${ended}/${total}${failed ? `, ${failed} failed` : ""}` : "");
  cells.stagesBar.hidden = !total;
  const widths = [failed, ended - failed, stages.running ?? 0];
  cells.parts.forEach((part, i) => {
    part.style.width = percent(total ? widths[i] / total : 0);
  });
}

function placeBar(bar, axis, from, to) {
  const left = placeOf(axis, from), right = placeOf(axis, to);
  const isSeen = to > from && right > 0 && left < 1;
  if (bar.hidden === isSeen) bar.hidden = !isSeen;
  if (!isSeen) return;
  const x = percent(left);
  if (bar.style.left !== x) bar.style.left = x;
  const width = percent(Math.min(1, right) - Math.max(0, left));
  if (bar.style.width !== width) bar.style.width = width;
}

/** When it was polled, when it is polled next, and why not sooner. */
function pollWords(run, now) {
  const { last_poll: last, next_poll: next } = run.summary;
  const ago = run.lastPoll === null ? "not polled" : `${coarse(now - run.lastPoll)} ago`;
  const isBad = Boolean(last) && !["ok", "unchanged"].includes(last.result);
  const lastWords = isBad ? `${ago} (${oneLine(last.result).replaceAll("_", " ")})` : ago;
  const title = [
    run.lastPoll === null ? "" : `Last poll: ${exact(run.lastPoll)}, ${oneLine(last.result)}`,
    last?.error ? oneLine(last.error) : "",
    run.nextPoll === null ? "" : `Next poll: ${exact(run.nextPoll)}`,
  ].filter(Boolean).join("\n");
  if (run.state === "ended") return { text: lastWords, isTrouble: false, title };
  const due = run.nextPoll === null ? "" : run.nextPoll <= now ? "due" : `in ${coarse(run.nextPoll - now + 999)}`;
  const why = next?.why ? oneLine(next.why) : "";
  const nextWords = why === "under way" ? why : [why, due].filter(Boolean).join(", ") || "due";
  return { text: `${lastWords} · ${nextWords}`, isTrouble: isBad || (why !== "" && why !== "under way"), title };
}

/** Words of the house become classes; any other word is drawn as `ended`. */
function classOf(look) {
  return RESULTS.includes(look) || ["waiting", "running"].includes(look) ? look : "ended";
}
