// The views of the page over recorded answers: node views.mjs URL (of a farspan, for the page itself).

import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { assertAccessible, eventually, idsOf, PHONE, startBrowser, stateOf } from "./browser.mjs";
import { anEvening, aRun, ended, HOSTILE, recorded, retried, times } from "./recorded.mjs";

const farspan = process.argv[2];
let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser.close());

const rowsIn = (page) => page.locator("#rows .row:not([hidden])");
const counts = (page, words) => eventually(words, page, () => document.querySelector("#counts").textContent, (text) => text === words);

async function withPage(runs, options, body) {
  const api = await recorded(farspan, runs, options);
  const page = await browser.open(api.url + (options.hash ?? ""), options);
  try {
    await body(page, api);
    await page.done(options);
  } finally {
    api.close();
  }
}

test("the table has live and ended runs, and both colour schemes and a phone are accessible", async () => {
  for (const options of [{}, { colorScheme: "dark" }, { viewport: PHONE }]) {
    await withPage(anEvening(60), options, async (page) => {
      await counts(page, "40 live, 20 ended");
      const what = JSON.stringify(options);
      await assertAccessible(page, `the table ${what}`);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, `no sideways scroll ${what}`);
    });
  }
});

test("filters narrow the table, stand in the address, and outlive a reload", async () => {
  const runs = anEvening(60);
  const failures = runs.filter((run) => run.result === "failure").length;
  assert.ok(failures > 1);
  await withPage(runs, {}, async (page) => {
    await page.selectOption("#state", "ended");
    await page.selectOption("#result", "failure");
    await counts(page, `${failures} of 60 workflows`);
    assert.deepEqual(stateOf(page), { state: "ended", result: "failure" });
    assert.deepEqual(await page.$$eval("#rows .row:not([hidden]) .c-state", (cells) => cells.map((cell) => cell.textContent)), Array(failures).fill("✗failure"));
    await page.reload();
    await counts(page, `${failures} of 60 workflows`);
    const [id] = await idsOf(page);
    await page.fill("#q", id.slice(0, 8).toUpperCase());
    await counts(page, "1 of 60 workflows");
    await page.fill("#q", "no such workflow");
    await counts(page, "0 of 60 workflows");
    assert.equal(await page.textContent("#empty"), "No workflow matches the filters.");
    await page.click("#clear");
    await counts(page, "40 live, 20 ended");
    assert.deepEqual(stateOf(page), {});
    await page.selectOption("#last", "900");
    await eventually("only what lives or ended lately", page, () => document.querySelector("#counts").textContent, (text) => /^4\d of 60/.test(text));
  });
});

test("a head of a column sorts, and says so", async () => {
  await withPage(anEvening(60), {}, async (page) => {
    await counts(page, "40 live, 20 ended");
    await page.click('[data-sort="name"] button');
    await eventually("by name", page, () => document.querySelector('[data-sort="name"]').getAttribute("aria-sort"), (said) => said === "ascending");
    const ids = await idsOf(page);
    assert.deepEqual(ids, [...ids].sort());
    await page.click('[data-sort="name"] button');
    await eventually("turned round", page, () => document.querySelector('[data-sort="name"]').getAttribute("aria-sort"), (said) => said === "descending");
    assert.deepEqual(stateOf(page), { sort: "-name" });
    const down = await idsOf(page);
    assert.deepEqual(down, [...down].sort().reverse());
  });
});

test("the keys move, open, go back, search and help", async () => {
  await withPage(anEvening(60), {}, async (page) => {
    await counts(page, "40 live, 20 ended");
    const [first, second] = await idsOf(page);
    const chosen = () => eventually("a chosen row", page, () => document.querySelector('#rows [aria-selected="true"] .id')?.textContent ?? "", Boolean);
    await page.keyboard.press("j");
    assert.equal(await chosen(), first);
    await page.keyboard.press("j");
    await eventually("the second row", page, () => document.querySelector('#rows [aria-selected="true"] .id')?.textContent, (id) => id === second);
    await page.keyboard.press("Enter");
    await eventually("the run", page, () => document.querySelector("#run-title").textContent, (title) => title === second);
    assert.ok(stateOf(page).run);
    await page.keyboard.press("Escape");
    await page.waitForSelector("#runs:not([hidden])");
    assert.equal(stateOf(page).run, undefined);
    await page.keyboard.press("k");
    await eventually("the first row again", page, () => document.querySelector('#rows [aria-selected="true"] .id')?.textContent, (id) => id === first);
    await page.keyboard.press("?");
    await page.waitForSelector("#help[open]");
    await assertAccessible(page, "the help");
    await page.keyboard.press("Escape");
    await page.waitForSelector("#help", { state: "hidden" });
    await page.keyboard.press("/");
    await eventually("the cursor in the search", page, () => document.activeElement.id, (id) => id === "q");
    await page.keyboard.type("jjj");
    assert.equal(await page.inputValue("#q"), "jjj");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await counts(page, "40 live, 20 ended");
    await page.keyboard.press("e");
    await page.waitForSelector("#exports:not([hidden])");
    await page.goBack();
    await page.waitForSelector("#runs:not([hidden])");
  });
});

test("a waterfall nests, tells attempts apart, folds idle hours, zooms and follows", async () => {
  const run = retried();
  await withPage([run], { hash: `#run=${run.run}`, permissions: ["clipboard-read", "clipboard-write"] }, async (page) => {
    await page.waitForSelector("#spans .row");
    const rows = () => page.$$eval("#spans .row:not([hidden])", (all) => all.map((row) => `${row.getAttribute("aria-level")} ${row.querySelector(".w-name").textContent.replace(/^[▸▾]/, "")}`));
    const expected = ["1 Workflow", "2 DataLoader", "2 Processor", "3 price EUR", "3 price USDattempt 1", "3 price USDattempt 2", "3 price USDattempt 3", "3 aggregate", "2 Notify"];
    assert.deepEqual((await rows()).sort(), [...expected].sort());
    await assertAccessible(page, "the waterfall");
    const looks = await page.evaluate(() => {
      const style = (selector) => getComputedStyle(document.querySelector(selector)).backgroundImage;
      return { running: style("#spans .bar.running"), queue: style("#spans .queue"), waiting: [...document.querySelectorAll("#spans .row")].find((row) => row.textContent.includes("aggregate")).querySelector(".bar").hidden };
    });
    assert.match(looks.running, /repeating-linear-gradient/);
    assert.match(looks.queue, /repeating-linear-gradient/);
    assert.equal(looks.waiting, true, "what waits has no bar yet");
    assert.match(await page.textContent("#window"), /6h 48m 0\ds folded/);
    const widthOf = () => page.$eval("#spans .row:not([hidden]) .bar.failure", (bar) => bar.getBoundingClientRect().width);
    const folded = await widthOf();
    await page.keyboard.press("g");
    await eventually("unfolded", page, () => document.querySelector("#window").textContent, (text) => !text.includes("folded"));
    assert.ok(await widthOf() < folded / 2, "idle hours squeeze the rest when they are not folded");
    await page.click("#fold");
    await eventually("folded again", page, () => document.querySelector("#window").textContent, (text) => text.includes("folded"));
    // Enter on a stage folds what is below it.
    for (const key of ["j", "j", "Enter"]) await page.keyboard.press(key);
    await eventually("the stage is closed", page, () => document.querySelectorAll("#spans .row:not([hidden])").length, (n) => n === 4);
    assert.deepEqual(stateOf(page), { run: run.run, span: "02", closed: "02" });
    await page.keyboard.press("Enter");
    await page.keyboard.press("+");
    await eventually("zoomed in", page, () => location.hash, (hash) => /from=\d+&to=\d+/.test(hash));
    const zoomed = stateOf(page);
    assert.ok(Number(zoomed.to) - Number(zoomed.from) < 7 * times.HOUR);
    await page.keyboard.press("f");
    await eventually("follows now", page, () => document.querySelector("#follow").getAttribute("aria-pressed"), (said) => said === "true");
    const running = page.locator("#spans .row:not([hidden])").filter({ hasText: "attempt 3" }).locator(".bar");
    assert.ok((await running.boundingBox()).width > 0, "now is in view");
    await page.keyboard.press("0");
    await eventually("the whole run", page, () => location.hash, (hash) => !hash.includes("from="));
    const axis = await page.locator("#run-axis").boundingBox();
    await page.mouse.move(axis.x + axis.width * 0.1, axis.y + 10);
    await page.mouse.down();
    await page.mouse.move(axis.x + axis.width * 0.3, axis.y + 10, { steps: 4 });
    await page.mouse.up();
    await eventually("a range that was drawn", page, () => location.hash, (hash) => /from=\d+&to=\d+/.test(hash));
    // The stage's own error, its times and its queue.
    await page.locator("#spans .row").filter({ hasText: "attempt 2" }).click();
    await eventually("the error", page, () => document.querySelector("#aside").textContent, (text) => text.includes("Disk quota exceeded on /mnt/risk/out") && text.includes("In the queue6m 00s"));
    await page.keyboard.press("c");
    await eventually("the trace id is copied", page, () => navigator.clipboard.readText(), (text) => text === run.trace.trace_id);
  });
});

test("a run grows where it is open, and its link comes when its root span has left", async () => {
  const run = aRun(7, times.MINUTE, { spans: [] });
  const at = (ago) => times.iso(Date.now() - ago);
  const stage = (id, more) => ({ id, parent: run.trace.root_span_id, name: `stage ${id}`, kind: "stage", state: "running", status: "Processing", result: null, attempt: 1, queued: null, started: at(20_000), ended: null, error: null, attributes: {}, events: [], ...more });
  await withPage([run], { hash: `#run=${run.run}` }, async (page, api) => {
    await page.waitForSelector("#spans .row");
    const width = () => page.$eval("#spans .row:not([hidden]) .bar", (bar) => bar.getBoundingClientRect().width);
    api.change(run, { spans: [stage("a", {})] });
    await eventually("the first stage", page, () => document.querySelectorAll("#spans .row:not([hidden])").length, (n) => n === 2);
    const duration = await page.textContent(".fact-duration dd");
    await eventually("time goes on", page, () => document.querySelector(".fact-duration dd").textContent, (text) => text !== duration);
    assert.ok(await width() > 0);
    api.change(run, { spans: [stage("a", { state: "ended", result: "success", ended: at(0) }), stage("b", {})] });
    await eventually("the second stage", page, () => document.querySelectorAll("#spans .row:not([hidden])").length, (n) => n === 3);
    const url = "http://grafana.internal/explore?trace=7";
    const link = page.locator(".fact-trace a");
    api.change(run, { ...ended(run, times.MINUTE), spans: [], trace: { ...run.trace, url } });
    await eventually("no link yet", page, () => document.querySelector(".fact-trace dd").textContent, (text) => text.includes("the link appears when the root span has left"));
    assert.equal(await link.isVisible(), false);
    api.change(run, { ...ended(run, times.MINUTE), trace: { ...run.trace, exported: true, url } });
    await link.waitFor();
    assert.equal(await link.getAttribute("href"), url);
    // What is no web address is no link.
    api.change(run, { trace: { ...run.trace, exported: true, url: "javascript:alert(1)" } });
    await link.waitFor({ state: "hidden" });
    assert.equal(await link.getAttribute("href"), null);
  });
});

test("each row says when it was polled, when it is polled next, and why not", async () => {
  const at = (ms) => times.iso(Date.now() + ms);
  const runs = [
    aRun(1, 1000, { workflow_id: "calm", last_poll: { at: at(-3000), result: "unchanged", error: null }, next_poll: { at: at(60_000), why: null } }),
    aRun(2, 2000, { workflow_id: "paused", last_poll: { at: at(-3000), result: "rate_limited", error: "429" }, next_poll: { at: at(90_000), why: "host paused" } }),
    aRun(3, 3000, { workflow_id: "asked", last_poll: null, next_poll: { at: at(-10), why: "under way" } }),
  ];
  await withPage(runs, {}, async (page, api) => {
    await counts(page, "3 live, 0 ended");
    const polls = () => page.$$eval("#rows .row:not([hidden])", (rows) => Object.fromEntries(rows.map((row) => [row.querySelector(".id").textContent, row.querySelector(".c-polls").textContent])));
    const said = await polls();
    assert.match(said.calm, /^\ds ago · in (1m 00s|5\ds)$/);
    assert.match(said.paused, /^\ds ago \(rate limited\) · host paused, in 1m \d\ds$/);
    assert.equal(said.asked, "not polled · under way");
    api.hold("store in trouble");
    api.change(runs[0], {});
    await eventually("what holds farspan", page, () => document.querySelector("#troubles").textContent, (text) => text === "No workflow is polled: store in trouble.");
  });
});

test("hostile names stay text", async () => {
  const run = aRun(13, times.MINUTE, { workflow_id: HOSTILE, monitor: HOSTILE, name: HOSTILE, status: HOSTILE, error: HOSTILE, attributes: { [HOSTILE]: HOSTILE }, events: [{ at: times.iso(Date.now() - 5000), name: HOSTILE, attributes: { [HOSTILE]: HOSTILE } }] });
  run.spans = [{ id: HOSTILE, parent: run.trace.root_span_id, name: HOSTILE, kind: "stage", state: "ended", status: HOSTILE, result: HOSTILE, attempt: 1, queued: null, started: run.started, ended: run.started, error: HOSTILE, attributes: {}, events: [] }];
  const exports = [{ at: run.started, spans: 1, bytes: 1, duration: 1, status: 400, result: "refused for good", rejected: 1, message: HOSTILE, url: HOSTILE }];
  await withPage([run], { exports }, async (page) => {
    await counts(page, "1 live, 0 ended");
    const harmless = HOSTILE.replace(/[\u202e\u0000\u200b]/g, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
    assert.deepEqual(await idsOf(page), [harmless]);
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await eventually("the run", page, () => document.querySelector("#aside").textContent, (text) => text.includes("<img src=x onerror=alert(1)>"));
    await page.locator("#spans .row").nth(1).click();
    await page.keyboard.press("e");
    await eventually("the export", page, () => document.querySelector("#export-rows").textContent, (text) => text.includes("<script>alert(2)</script>"));
    assert.equal(await page.evaluate(() => document.querySelectorAll("img, main script, #export-rows b").length), 0);
    await assertAccessible(page, "the exports");
  });
});

test("500 live runs are calm: no element is made while nothing happens", async () => {
  const runs = Array.from({ length: 500 }, (_, i) => aRun(i + 1, 1000 * i + 60_000));
  await withPage(runs, {}, async (page) => {
    await counts(page, "500 live, 0 ended");
    const seen = await page.evaluate(async () => {
      let made = 0;
      const watch = new MutationObserver((changes) => {
        for (const change of changes) made += [...change.addedNodes].filter((node) => node.nodeType === Node.ELEMENT_NODE).length;
      });
      watch.observe(document.body, { childList: true, subtree: true });
      const duration = () => document.querySelector("#rows .c-duration").textContent;
      const before = duration(), ticks = new Set();
      while (ticks.size < 3) {
        await new Promise((resolve) => requestAnimationFrame(resolve));
        if (duration() !== before) ticks.add(duration());
      }
      return { made, rows: document.querySelectorAll("#rows .row").length };
    });
    assert.equal(seen.made, 0, "elements made in three ticks");
    assert.ok(seen.rows < 40, `${seen.rows} rows are in the page`);
  });
});

test("5,000 runs are usable: the last row is one key away, a filter finds one of them, and the page stays small", async (t) => {
  const runs = anEvening(5000);
  let release;
  const laterPages = new Promise((resolve) => {
    release = resolve;
  });
  await withPage(runs, { laterPages }, async (page, api) => {
    const rowCount = (n) => eventually(`${n} rows`, page, () => document.querySelector("#table").getAttribute("aria-rowcount"), (said) => said === String(n + 1));
    await page.evaluate(() => {
      globalThis.longest = 0;
      const keep = (list) => {
        for (const task of list.getEntries()) globalThis.longest = Math.max(globalThis.longest, task.duration);
      };
      new PerformanceObserver(keep).observe({ type: "longtask", buffered: true });
    });
    // The first of five pages is shown while the others are under way.
    await rowCount(1000);
    assert.ok(await rowsIn(page).count() > 10);
    release();
    await rowCount(5000);
    await page.keyboard.press("End");
    await eventually("the last row", page, () => document.querySelector('#rows [aria-selected="true"]')?.getAttribute("aria-rowindex"), (n) => n === "5001");
    for (const run of runs.slice(0, 500)) api.change(run, { status: "Rechecked" });
    await page.click('[data-sort="duration"] button');
    await eventually("by duration", page, () => document.querySelector('[data-sort="duration"]').getAttribute("aria-sort"), Boolean);
    await page.fill("#q", "rechecked");
    await counts(page, "500 of 5000 workflows");
    await page.fill("#q", runs[4321].workflow_id);
    await counts(page, "1 of 5000 workflows");
    assert.deepEqual(await idsOf(page), [runs[4321].workflow_id]);
    await page.fill("#q", "");
    const size = await page.evaluate(() => ({ rows: document.querySelectorAll("#rows .row").length, elements: document.querySelectorAll("*").length }));
    assert.ok(size.rows < 40 && size.elements < 1200, JSON.stringify(size));
    t.diagnostic(`${size.elements} elements; the longest task took ${await page.evaluate(() => Math.round(globalThis.longest))} ms`);
  });
});

test("the picture of thousands shows each failure where they are few, and their share where they are many", async () => {
  const redOf = async (runs) => {
    let red;
    await withPage(runs, {}, async (page) => {
      await eventually("all runs", page, () => document.querySelector("#table").getAttribute("aria-rowcount"), (n) => n === String(runs.length + 1));
      red = await eventually("the picture", page, () => {
        const canvas = document.querySelector("#overview-canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const seen = { red: 0, blue: 0 };
        for (let i = 0; i < data.length; i += 4) {
          if (data[i + 3] < 255) continue;
          if (data[i] > data[i + 2] + 60) seen.red += 1;
          else if (data[i + 2] > data[i] + 60) seen.blue += 1;
        }
        return seen;
      }, ({ blue }) => blue > 1000);
    });
    return red;
  };
  const live = (i) => aRun(i + 1, times.HOUR);
  const few = await redOf(Array.from({ length: 3000 }, (_, i) => (i % 1000 === 500 ? ended(live(i), times.HOUR, "failure") : live(i))));
  assert.ok(few.red > 500, `three failures: ${JSON.stringify(few)}`);
  const many = await redOf(Array.from({ length: 3000 }, (_, i) => (i % 4 === 1 ? ended(live(i), times.HOUR, "failure") : live(i))));
  assert.ok(many.red < many.blue && many.red * 10 > many.blue, `a quarter failed: ${JSON.stringify(many)}`);
});

test("a lost connection is said, the data is grey and stands still, and it goes on by itself", async () => {
  const run = aRun(5, times.MINUTE);
  await withPage([run], { isCutOff: true }, async (page, api) => {
    await counts(page, "1 live, 0 ended");
    await api.lose();
    await page.waitForSelector("#banner:not([hidden])");
    assert.match(await page.textContent("#banner-text"), /^The connection to farspan is lost since \d\d:\d\d:\d\d: farspan cannot be reached\. What you see is old\.$/);
    await assertAccessible(page, "the lost connection");
    const duration = () => document.querySelector("#rows .c-duration").textContent;
    const before = await page.evaluate(duration);
    await eventually("the second pause is longer", page, () => document.querySelector("#banner-next").textContent, (text) => /Next try in [2-4]s/.test(text));
    assert.match(await page.textContent("#banner-next"), /^The data is \d+s old\./);
    assert.equal(await page.evaluate(duration), before, "nothing is known of the time since");
    assert.match(await page.$eval("main", (main) => getComputedStyle(main).filter), /grayscale/);
    await api.come();
    api.change(run, ended(run, times.MINUTE, "failure", { error: "while away" }));
    await page.click("#retry");
    await page.waitForSelector("#banner", { state: "hidden" });
    await counts(page, "0 live, 1 ended");
    assert.equal(await page.textContent("#rows .c-name .below"), "while away");
  });
});

test("the page asks for the token, keeps it in its tab alone, and says when it is wrong", async () => {
  await withPage([aRun(1, 1000)], { token: "s3cret", isCutOff: true }, async (page, api) => {
    await page.waitForSelector("#token[open]");
    await assertAccessible(page, "the question for the token");
    await page.fill("#token-text", "wrong");
    await page.keyboard.press("Enter");
    await eventually("it was refused", page, () => document.querySelector("#token-note").textContent, (text) => text === "farspan refused that token.");
    await page.fill("#token-text", "s3cret");
    await page.keyboard.press("Enter");
    await counts(page, "1 live, 0 ended");
    assert.deepEqual(await page.evaluate(() => [location.href.includes("s3cret"), localStorage.length, document.cookie]), [false, 0, ""]);
    assert.ok(!api.requests.some((path) => path.includes("s3cret")));
    await page.reload();
    await counts(page, "1 live, 0 ended");
  });
});

test("colours follow the system, and the switch in the address beats it", async () => {
  await withPage([aRun(1, 1000)], { colorScheme: "dark", reducedMotion: "reduce" }, async (page) => {
    const paper = () => getComputedStyle(document.body).backgroundColor;
    const dark = await page.evaluate(paper);
    await page.click("#theme");
    await page.click("#theme");
    await eventually("light", page, paper, (colour) => colour === "rgb(255, 255, 255)");
    assert.deepEqual(stateOf(page), { theme: "light" });
    assert.notEqual(dark, "rgb(255, 255, 255)");
    assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  });
});
