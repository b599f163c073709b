// What farspan says: all runs once, then what changes, by one long poll at a time. And whether the connection holds.

const WAIT_S = 25;
const ANSWER_MS_MAX = 10_000;
/** At most one answer with changes in this time, however many runs change. */
const CALM_MS = 900;
const RETRY_MS = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000];
const PAGE_OF_RUNS = 1000;
const TOKEN = "farspan.token";

/** The server asks for its token. */
class TokenNeeded extends Error {}
/** The server does not know the thing. */
class NotThere extends Error {}

const feed = {
  /** The runs by their id; each is `{ summary, text, ... }` of `readRun`. */
  runs: new Map(),
  monitors: [],
  /** Why no workflow is polled, or `null`. */
  held: null,
  version: null,
  live: 0,
  ended: 0,
  /** `connecting`, `there`, `lost` or `token`. */
  link: "connecting",
  lostSince: null,
  trouble: "",
  nextTry: null,
  /** The server's clock less this computer's monotonic one, in ms. */
  offset: null,
  heardAt: null,
  onData: () => {},
  onLink: () => {},
  wake: null,

  /** The server's time. While the connection is lost it stands still: nothing is known of the time since. */
  now() {
    if (this.offset === null) return Date.now();
    const mono = this.link === "there" ? performance.now() : this.heardAt;
    return mono + this.offset;
  },

  /** How old the data is, in ms. */
  age() {
    return this.heardAt === null ? 0 : performance.now() - this.heardAt;
  },

  async ask(path, waitMs = 0) {
    const headers = { Accept: "application/json" };
    const token = sessionStorage.getItem(TOKEN);
    if (token) headers.Authorization = `Bearer ${token}`;
    const response = await fetch(path, {
      headers, cache: "no-store", credentials: "omit", redirect: "error",
      signal: AbortSignal.timeout(waitMs + ANSWER_MS_MAX),
    });
    if (response.status === 401) throw new TokenNeeded("the endpoint needs its token");
    if (response.status === 404) throw new NotThere("farspan answered 404");
    if (!response.ok) {
      const words = (await response.text()).slice(0, 200).trim();
      throw new Error(`farspan answered ${response.status}${words ? `: ${words}` : ""}`);
    }
    return response.json();
  },

  async start() {
    for (let failures = 0; ; ) {
      if (document.hidden) await becomesVisible();
      try {
        if (this.version === null) await this.loadAll();
        // After a loss farspan is asked for an answer at once: a long poll would leave the banner for its whole wait.
        await this.takeChanges(this.link === "there" ? WAIT_S : 0);
        failures = 0;
      } catch (trouble) {
        failures += 1;
        await this.lose(trouble, RETRY_MS[Math.min(failures, RETRY_MS.length) - 1]);
      }
    }
  },

  async loadAll() {
    const runs = new Map();
    const isEmpty = this.runs.size === 0;
    let first = null, after = null;
    do {
      const more = after === null ? "" : `&after=${encodeURIComponent(after)}`;
      const page = await this.ask(`/api/workflows?state=all&limit=${PAGE_OF_RUNS}${more}`);
      first ??= page;
      this.hear(page);
      for (const summary of page.workflows) runs.set(summary.run, readRun(summary));
      after = page.next ?? null;
      if (isEmpty && after !== null) {
        // The latest runs are seen while the others come.
        this.runs = runs;
        this.hold();
        this.onData(null);
      }
    } while (after !== null);
    this.runs = runs;
    // What changed while the pages came is in the next answer once more.
    this.version = first.version;
    this.hold();
    this.onData(null);
  },

  async takeChanges(waitS) {
    const answer = await this.ask(`/api/changes?since=${this.version}&wait=${waitS}`, waitS * 1000);
    this.hear(answer);
    this.hold();
    if (answer.reset) {
      this.version = null;
      return;
    }
    const ended = [];
    for (const summary of answer.workflows) {
      const before = this.runs.get(summary.run);
      const run = readRun(summary);
      if (before && before.state !== "ended" && run.state === "ended") ended.push(run);
      this.runs.set(summary.run, run);
    }
    for (const run of answer.gone ?? []) this.runs.delete(run);
    this.version = answer.version;
    this.onData(ended);
    // A full answer is not the last: the rest comes at once.
    if (answer.workflows.length < PAGE_OF_RUNS) await pause(CALM_MS);
  },

  hear(answer) {
    this.heardAt = performance.now();
    const now = time(answer.now);
    if (now !== null) this.offset = now - this.heardAt;
    this.live = answer.live ?? this.live;
    this.ended = answer.ended ?? this.ended;
    this.held = answer.held ?? null;
    this.monitors = answer.monitors ?? this.monitors;
  },

  hold() {
    if (this.link === "there") return;
    this.link = "there";
    this.lostSince = null;
    this.trouble = "";
    this.onLink();
  },

  async lose(trouble, waitMs) {
    this.link = trouble instanceof TokenNeeded ? "token" : "lost";
    this.lostSince ??= Date.now();
    this.trouble = reason(trouble);
    this.nextTry = this.link === "token" ? null : Date.now() + waitMs;
    this.onLink();
    const woken = new Promise((resolve) => {
      this.wake = resolve;
    });
    await (this.link === "token" ? woken : Promise.race([pause(waitMs), woken]));
    this.wake = null;
  },

  tryNow() {
    this.wake?.();
  },

  bringToken(token) {
    sessionStorage.setItem(TOKEN, token);
    this.tryNow();
  },
};

function reason(trouble) {
  if (trouble.name === "TimeoutError") return "no answer in time";
  if (trouble instanceof TypeError) return "farspan cannot be reached";
  return trouble.message;
}

/** A summary with what the page asks of it again and again. */
function readRun(summary) {
  const received = time(summary.received), started = time(summary.started), ended = time(summary.ended);
  const queued = time(summary.queued);
  const begin = Math.min(...[received, started, queued].filter((at) => at !== null));
  return {
    id: summary.run,
    summary,
    state: summary.state,
    result: summary.result ?? null,
    /** The class of its colours. */
    look: summary.state === "ended" ? summary.result ?? "ended" : summary.state,
    begin: Number.isFinite(begin) ? begin : 0,
    received, queued, started, ended,
    workflow: oneLine(summary.workflow_id),
    error: summary.error ? oneLine(summary.error) : "",
    lastPoll: time(summary.last_poll?.at),
    nextPoll: time(summary.next_poll?.at),
    text: [summary.workflow_id, summary.name, summary.monitor, summary.status, summary.error, summary.trace?.trace_id]
      .filter(Boolean).join("\n").toLowerCase(),
  };
}

/** From the start, or from when farspan heard of it, to its end or `now`. */
function durationOf(run, now) {
  return Math.max(0, (run.ended ?? now) - (run.started ?? run.begin));
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function becomesVisible() {
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
  });
}
