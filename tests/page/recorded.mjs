// A farspan with recorded answers: states that take hours, or that the scripted API does not have. The page itself and
// its headers come from the built binary.

import { createServer } from "node:http";

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE;
const iso = (ms) => (ms === null ? null : new Date(ms).toISOString());
const hex = (n, digits) => n.toString(16).padStart(digits, "0");
const stage = (id, parent, name, times, more = {}) => ({
  id, parent, name, kind: "stage", state: times.ended ? "ended" : times.started ? "running" : "waiting", status: "Processing", result: null,
  attempt: 1, queued: null, started: null, ended: null, error: null, attributes: {}, events: [], ...times, ...more,
});

/** Serves the page of `page` (`http://host:port`) with these runs, until `close`. `laterPages`: what the second page of runs waits for. */
export async function recorded(page, runs, { token = null, exports = [], laterPages = null } = {}) {
  const state = { runs: new Map(runs.map((run) => [run.run, run])), version: 1, changed: new Map(), waiting: new Set(), isDown: false, requests: [], held: null };
  const live = () => [...state.runs.values()].filter((run) => run.state !== "ended").length;
  const head = () => ({ now: iso(Date.now()), version: state.version, live: live(), ended: state.runs.size - live(), held: state.held, monitors: [{ name: "risk-engine", url: "http://risk-engine.internal:8080", paused_until: null, refuses_credentials: false }] });
  const summary = ({ spans, events, attributes, ...rest }) => rest;
  const routes = {
    "/api/workflows": async (query) => {
      if (query.has("after")) await laterPages;
      const all = [...state.runs.values()], from = Number(query.get("after") ?? 0), limit = Number(query.get("limit") ?? 100);
      const next = from + limit < all.length ? String(from + limit) : null;
      return { ...head(), matching: all.length, workflows: all.slice(from, from + limit).map(summary), next };
    },
    "/api/changes": async (query) => {
      const since = Number(query.get("since"));
      if (since === state.version) {
        await new Promise((resolve) => {
          state.waiting.add(resolve);
          setTimeout(resolve, Number(query.get("wait") ?? 0) * 1000).unref();
        });
      }
      const changed = [...state.changed].filter(([, version]) => version > since).map(([run]) => summary(state.runs.get(run)));
      return { ...head(), reset: since > state.version, workflows: changed, gone: [] };
    },
    "/api/exports": () => ({ exports }),
  };
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, "http://x");
    state.requests.push(url.pathname);
    if (state.isDown) return request.socket.destroy();
    const answer = (status, body) => {
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(JSON.stringify(body));
    };
    try {
      if (url.pathname === "/") {
        const from = await fetch(page);
        const text = await from.text();
        response.writeHead(from.status, Object.fromEntries([...from.headers].filter(([name]) => !["connection", "content-length", "date"].includes(name))));
        return response.end(text);
      }
      if (token && request.headers.authorization !== `Bearer ${token}`) return answer(401, { error: "the token is needed" });
      const one = url.pathname.match(/^\/api\/workflows\/([^/]+)$/);
      if (one) {
        const run = state.runs.get(decodeURIComponent(one[1]));
        return run ? answer(200, { spans: [], events: [], attributes: {}, left_out: 0, ...run }) : answer(404, { error: "no such workflow" });
      }
      const route = routes[url.pathname];
      return route ? answer(200, await route(url.searchParams)) : answer(404, { error: "there is nothing here" });
    } catch (error) {
      return answer(500, { error: String(error) });
    }
  });
  const listen = (port) => new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  await listen(0);
  const { port } = server.address();
  return {
    url: `http://127.0.0.1:${port}/`,
    requests: state.requests,
    change(run, more) {
      state.version += 1;
      state.runs.set(run.run, { ...(state.runs.get(run.run) ?? run), ...more });
      state.changed.set(run.run, state.version);
      for (const wake of state.waiting) wake();
      state.waiting.clear();
    },
    hold(why) {
      state.held = why;
    },
    async lose() {
      state.isDown = true;
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
    async come() {
      state.isDown = false;
      await listen(port);
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A run that began `ago` ms ago. */
export function aRun(number, ago, more = {}) {
  const now = Date.now(), id = hex(number, 32), started = now - ago;
  return {
    run: id, workflow_id: `${hex(0x3e2fef36 + number * 7919, 8)}-109f-4f99-af10-${hex(number, 12)}`, monitor: "risk-engine", name: "Workflow",
    state: "running", status: "Processing", result: null, error: null, received: iso(started - 2000), started: iso(started), ended: null, queued: iso(started - 5000),
    stages: { total: 3, waiting: 1, running: 1, ended: 1, failed: 0 },
    last_poll: { at: iso(now - 3000), result: "unchanged", error: null }, next_poll: { at: iso(now + 7000), why: null },
    trace: { trace_id: id.replace(/^0/, "a"), root_span_id: hex(number, 16), sampled: true, exported: false, url: null },
    ...more,
  };
}

export function ended(run, ms, result = "success", more = {}) {
  const end = Math.min(Date.now(), Date.parse(run.started) + ms);
  return {
    ...run, state: "ended", status: result === "success" ? "Completed" : "Failed", result, ended: iso(end), next_poll: null,
    stages: { total: 3, waiting: 0, running: 0, ended: 3, failed: result === "success" ? 0 : 1 },
    trace: { ...run.trace, exported: true, url: `http://grafana.internal:3000/explore?trace=${run.trace.trace_id}` }, ...more,
  };
}

/** Live and ended runs as a risk engine has them in an evening. */
export function anEvening(count) {
  const results = ["success", "success", "success", "failure", "success", "timeout", "success", "cancellation", "success", "error"];
  return Array.from({ length: count }, (_, i) => {
    const ago = ((i * 2654435761) % 9973) / 9973 * 4 * HOUR + 20 * SECOND;
    const run = aRun(i + 1, ago);
    if (i % 3 === 1) {
      const result = results[i % results.length];
      const error = result === "success" ? null : "Entity failed: OutputGenerator";
      return ended(run, 20 * MINUTE + ((i * 104729) % (2 * HOUR)), result, { error });
    }
    if (i % 11 === 5) {
      const stages = { total: 0, waiting: 0, running: 0, ended: 0, failed: 0 };
      return { ...run, state: "waiting", status: "Null", started: null, stages, received: iso(Date.now() - (ago % (10 * MINUTE))), queued: null };
    }
    if (i % 17 === 4) {
      return { ...run, last_poll: { at: iso(Date.now() - 40_000), result: "unavailable", error: "HTTP 503 Service Unavailable" }, next_poll: { at: iso(Date.now() + 20_000), why: "backoff" } };
    }
    return run;
  });
}

/** A run with nested stages, three attempts of one, a stage in the queue, and idle hours in the middle. */
export function retried() {
  const now = Date.now(), at = (ago) => iso(now - ago);
  const run = aRun(4242, 9 * HOUR, { stages: { total: 9, waiting: 1, running: 2, ended: 6, failed: 2 } });
  const root = run.trace.root_span_id;
  const event = (ago, name) => ({ at: at(ago), name, attributes: {} });
  const failed = { result: "failure", status: "Failed", error: "Disk quota exceeded on /mnt/risk/out" };
  const good = { result: "success", status: "Completed" };
  return {
    ...run,
    attributes: { workflowId: run.workflow_id, startTime: run.started, "cicd.pipeline.name": "Workflow", desk: "rates" },
    events: [event(9 * HOUR + 5000, "Submitted"), event(9 * HOUR, "Processing")],
    spans: [
      stage("01", root, "DataLoader", { queued: at(9 * HOUR), started: at(9 * HOUR - 4 * MINUTE), ended: at(8.8 * HOUR) }, { ...good, attributes: { type: "DataLoader", id: "9f623b49" }, events: [event(9 * HOUR - 4 * MINUTE, "Processing"), event(8.8 * HOUR, "Completed")] }),
      stage("02", root, "Processor", { queued: at(8.8 * HOUR), started: at(8.7 * HOUR) }, { events: [event(8.7 * HOUR, "Processing")] }),
      stage("03", "02", "price EUR", { queued: at(8.7 * HOUR), started: at(8.6 * HOUR), ended: at(8.1 * HOUR) }, good),
      stage("04", "02", "price USD", { queued: at(8.7 * HOUR), started: at(8.5 * HOUR), ended: at(8.2 * HOUR) }, failed),
      stage("05", "02", "price USD", { queued: at(8.2 * HOUR), started: at(8.1 * HOUR), ended: at(7.9 * HOUR) }, { ...failed, attempt: 2 }),
      stage("06", "02", "price USD", { queued: at(1.2 * HOUR), started: at(0.9 * HOUR) }, { attempt: 3, events: [event(0.9 * HOUR, "Processing")] }),
      stage("07", "02", "aggregate", { queued: at(0.5 * HOUR) }),
      stage("08", root, "Notify", { queued: at(1.1 * HOUR), started: at(1.1 * HOUR), ended: at(1.0 * HOUR) }, { result: "skip", status: "Skipped" }),
    ],
  };
}

/** Text that a page which trusts its data would run, reorder or hide. */
export const HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\u202egnp.exe\u0000\u200b&lt;b&gt;";
export const times = { SECOND, MINUTE, HOUR, iso };
