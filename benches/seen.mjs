// What viewers cost: 500 live workflows, each polled every 10 s, first without a viewer, then with the page open in
// Chromium, and with the page and a scrape of /metrics each second. All in one run; the API is in this process.
//
//     tests/page/install && node benches/seen.mjs target/release/farspan [SECONDS]

import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
process.env.PAGE_MODULES ??= join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "page");
const { startBrowser } = await import(join(root, "tests/page/browser.mjs"));

const WORKFLOWS = 500, INTERVAL_MS = 10_000;
const seconds = Number(process.argv[3] ?? 40);
const polled = new Map(), gaps = [];
/** What the first case cost; the others are told as multiples of it. */
let first = null;
const begun = new Date().toISOString();
const api = createServer((request, response) => {
  const now = performance.now(), id = request.url.split("/").pop();
  if (polled.has(id)) gaps.push(now - polled.get(id));
  polled.set(id, now);
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify({
    workflowId: id, workflowStatus: "Processing", workflowStartTime: begun, isComplete: false,
    workflowEntities: { DataLoader: { entityType: "DataLoader", entityId: "1", entityStatus: "Processing", entityStartTime: begun, isComplete: false } },
  }));
});
api.keepAliveTimeout = 120_000;
const listen = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const apiPort = await listen(api);
const probe = createServer(), port = await listen(probe);
await new Promise((resolve) => probe.close(resolve));
const url = `http://127.0.0.1:${port}`;
const farspan = spawn(process.argv[2], ["run"], {
  env: { PATH: process.env.PATH, FARSPAN_API_BASE_URL: `http://127.0.0.1:${apiPort}`, FARSPAN_ADMIN_LISTEN: `127.0.0.1:${port}`, FARSPAN_STATE: "none", OTEL_TRACES_EXPORTER: "none", FARSPAN_LOG: "warn" },
  stdio: ["ignore", "inherit", "inherit"],
});
try {
  await measure();
} finally {
  farspan.kill("SIGTERM");
  api.closeAllConnections();
  api.close();
}

async function measure() {
  const events = Array.from({ length: WORKFLOWS }, (_, i) => JSON.stringify({ WorkflowId: `workflow-${i}` })).join("\n");
  for (let tries = 0; ; tries++) {
    const posted = await fetch(`${url}/api/workflows`, { method: "POST", headers: { "Content-Type": "application/x-ndjson" }, body: events }).catch(() => null);
    if (posted?.status === 202) break;
    if (tries > 100) throw new Error("farspan takes no events");
    await pause(100);
  }
  while (polled.size < WORKFLOWS) await pause(100);
  await pause(INTERVAL_MS);
  report("no viewer", await during(seconds));
  const browser = await startBrowser();
  const page = await browser.open(url);
  await page.waitForFunction((n) => document.querySelector("#counts").textContent.startsWith(`${n} live`), WORKFLOWS);
  report("the page open", await during(seconds));
  const metrics = await fetch(`${url}/metrics`);
  if (metrics.ok) {
    const scrape = setInterval(() => fetch(`${url}/metrics`).then((answer) => answer.text()), 1000);
    report("the page open, /metrics each second", await during(seconds));
    clearInterval(scrape);
  } else {
    console.log(`/metrics answers ${metrics.status}: not measured`);
  }
  await page.done({ isCutOff: true });
  await browser.close();
}

/** CPU of the loop and of the other threads in ns, and how much later than its interval each poll came. */
async function during(forSeconds) {
  gaps.length = 0;
  const before = threads();
  await pause(forSeconds * 1000);
  const after = threads();
  const late = gaps.map((gap) => Math.abs(gap - INTERVAL_MS)).sort((a, b) => a - b);
  const spent = (test) => [...after].filter(([id]) => test(id)).reduce((sum, [id, ns]) => sum + ns - (before.get(id) ?? 0), 0);
  return { polls: gaps.length, late, loop: spent((id) => id === farspan.pid), others: spent((id) => id !== farspan.pid), forSeconds };
}

function threads() {
  const folder = `/proc/${farspan.pid}/task`;
  return new Map(readdirSync(folder).map((id) => [Number(id), Number(readFileSync(`${folder}/${id}/schedstat`, "utf8").split(" ")[0])]));
}

function report(what, { polls, late, loop, others, forSeconds }) {
  const share = (ns) => `${((ns / (forSeconds * 1e9)) * 100).toFixed(2)} %`;
  first ??= { loop, all: loop + others };
  const at = (p) => `${late[Math.min(late.length - 1, Math.floor(late.length * p))]?.toFixed(1)} ms`;
  console.log(`${what}: ${polls} polls; loop ${share(loop)} of a core (${(loop / first.loop).toFixed(2)} x), all threads ${share(loop + others)} (${((loop + others) / first.all).toFixed(2)} x); `
    + `from one poll to the next, off its interval: p50 ${at(0.5)}, p99 ${at(0.99)}`);
}
