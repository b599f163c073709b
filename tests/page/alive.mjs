// The page over a farspan at work, which the caller starts: node alive.mjs URL. Where farspan has to stop or to start
// again, the caller is asked on standard output and answers on standard input.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import test, { after, before } from "node:test";
import { assertAccessible, eventually, idsOf, startBrowser } from "./browser.mjs";

const farspan = process.argv[2];
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let browser;
before(async () => {
  browser = await startBrowser();
});
after(async () => {
  await browser.close();
  process.stdin.destroy();
});

async function askCaller(words) {
  console.log(`please ${words}`);
  const { value } = await answers.next();
  assert.equal(value, "done");
}

async function submit(id) {
  const answer = await fetch(`${farspan}/api/workflows`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ WorkflowId: id }) });
  assert.equal(answer.status, 202, await answer.text());
}

const stateOfRow = (id) => [...document.querySelectorAll("#rows .row:not([hidden])")].find((row) => row.querySelector(".id").textContent === id)?.querySelector(".c-state span:last-child").textContent;

test("a workflow appears, runs, grows stage by stage, ends, and its trace is linked when it has left", async () => {
  const page = await browser.open(farspan);
  await eventually("an empty table", page, () => document.querySelector("#empty").textContent, (text) => text.startsWith("No workflow yet."));
  await submit("first");
  await eventually("it runs", page, stateOfRow, (state) => state === "running", "first");
  assert.deepEqual(await idsOf(page), ["first"]);
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  // The root, then one stage after the other, each running before it ends.
  const stages = () => [...document.querySelectorAll("#spans .row:not([hidden])")].map((row) => `${row.querySelector(".label").textContent} ${row.querySelector(".bar").className}`);
  const seen = new Set();
  await eventually("the whole waterfall", page, stages, (rows) => {
    rows.forEach((row) => seen.add(row));
    return rows.length === 4 && rows.every((row) => /bar (success|failure)$/.test(row));
  });
  // The first stage may be over before the page looks for the first time.
  for (const name of ["Processor", "OutputGenerator"]) assert.ok(seen.has(`${name} bar running`), `${name} ran: ${[...seen]}`);
  await assertAccessible(page, "a run that has ended");
  const link = page.locator(".fact-trace a");
  await link.waitFor();
  const id = await page.textContent(".fact-trace code");
  assert.match(id, /^[0-9a-f]{32}$/);
  assert.equal(await link.getAttribute("href"), `http://tempo.example/trace/${id}`);
  assert.match(await page.textContent(".fact-last dd"), /ago/);
  await page.keyboard.press("e");
  await eventually("the batch in the log of exports", page, () => document.querySelector("#export-rows").textContent, (text) => text.includes("✓ delivered") && text.includes("200"));
  await page.done();
});

test("an id that is markup is text, here as in the API", async () => {
  const page = await browser.open(`${farspan}/#state=live`);
  // An id with a slash or a control character is refused before the page could show it.
  const id = "<img src=x onerror=alert(1)><svg onload=alert(2)>&lt;b&gt;";
  await submit(id);
  await eventually("its row", page, () => document.querySelector("#rows .row:not([hidden]) .id")?.textContent ?? "", (text) => text === id);
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#spans .row");
  assert.equal(await page.locator("main img, main svg").count(), 0);
  await page.done();
});

test("the policy and the headers stand on the answer, and nothing is asked of any other place", async () => {
  const page = await browser.open("about:blank");
  const asked = new Set();
  page.on("request", (request) => asked.add(new URL(request.url()).origin));
  const answer = await page.goto(farspan);
  await page.waitForSelector("#link.there");
  const headers = answer.headers();
  assert.match(headers["content-security-policy"], /^default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'; img-src data:; connect-src 'self';/);
  assert.equal(headers["x-content-type-options"], "nosniff");
  assert.equal(headers["referrer-policy"], "no-referrer");
  assert.deepEqual([...asked].filter((origin) => origin !== "null"), [new URL(farspan).origin]);
  // A script and a style that are not the page's own do nothing.
  const blocked = await page.evaluate(() => {
    const script = document.createElement("script");
    try {
      script.textContent = "globalThis.ran = true";
      document.body.append(script);
    } catch {}
    return globalThis.ran === undefined;
  });
  assert.ok(blocked);
  await page.close();
});

test("the page outlives a stop and a start of farspan, and shows what the new one knows", async () => {
  const page = await browser.open(farspan);
  await page.waitForSelector("#rows .row");
  await askCaller("stop farspan");
  await page.waitForSelector("#banner:not([hidden])");
  assert.ok((await idsOf(page)).includes("first"), "what was known stays in sight");
  await askCaller("start farspan");
  // The page may connect again by itself first, and then it hides the button.
  await page.$eval("#retry", (button) => button.click());
  await page.waitForSelector("#banner", { state: "hidden" });
  await submit("second");
  await eventually("the new workflow", page, stateOfRow, Boolean, "second");
  await page.done({ isCutOff: true });
});
