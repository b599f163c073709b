// Headless Chromium for the tests of the page, and what must hold of each page: no console message, no serious fault.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Where `tests/page/install` has put the modules. */
const require = createRequire(join(process.env.PAGE_MODULES, "x"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
/** What a lost connection and a needed token write into the console by themselves. */
const OF_THE_NETWORK = /Failed to load resource: (net::ERR_|the server responded with a status of (401|404|503))/;
const WAIT_MS = 30_000;

export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };

export async function startBrowser() {
  const profile = mkdtempSync(join(tmpdir(), "farspan-page-"));
  const context = await chromium.launchPersistentContext(profile, { executablePath: "/usr/bin/chromium", args: FLAGS, viewport: DESKTOP });
  const browser = context.browser();
  return {
    /** A page of its own with its own storage; `close` fails on messages in the console. */
    async open(url, { viewport = DESKTOP, colorScheme = "light", reducedMotion = "no-preference", permissions = [] } = {}) {
      const page = await browser.newPage({ viewport, colorScheme, reducedMotion, permissions });
      page.setDefaultTimeout(WAIT_MS);
      const messages = [];
      page.on("console", (message) => messages.push(`${message.type()}: ${message.text()}`));
      page.on("pageerror", (error) => messages.push(`error: ${error.stack}`));
      page.on("dialog", (dialog) => {
        messages.push(`dialog: ${dialog.message()}`);
        dialog.dismiss();
      });
      await page.goto(url);
      page.done = async ({ isCutOff = false } = {}) => {
        const unexpected = messages.filter((message) => !(isCutOff && OF_THE_NETWORK.test(message)));
        assert.deepEqual(unexpected, [], "messages in the console");
        await page.close();
      };
      return page;
    },
    async close() {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** Holds the page against the rules of WCAG that axe knows. */
export async function assertAccessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  const words = serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.any.concat(node.all).map((some) => some.message).join("; ")}`).slice(0, 3).join("\n  ")}`);
  assert.deepEqual(words, [], `serious faults of ${what}`);
}

/** Waits until `read` (in the page) gives what `test` wants; fails with what it gave last. */
export async function eventually(what, page, read, test, argument) {
  const until = Date.now() + WAIT_MS;
  for (;;) {
    const seen = await page.evaluate(read, argument);
    if (test(seen)) return seen;
    if (Date.now() > until) assert.fail(`${what}: last seen ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The state of the page, as its address has it. */
export const stateOf = (page) => Object.fromEntries(new URLSearchParams(new URL(page.url()).hash.slice(1)));
/** The ids of the runs that are in the page, from top to bottom. */
export const idsOf = (page) => page.$$eval("#rows .row:not([hidden])", (rows) => rows
  .sort((a, b) => Number(a.getAttribute("aria-rowindex")) - Number(b.getAttribute("aria-rowindex")))
  .map((row) => row.querySelector(".id").textContent));
