// Puts the parts together: views, keys, colours, the connection, and the one clock of the page.

const TICK_MS = 1000;
const THEMES = ["", "dark", "light"];

function main() {
  address.start(update);
  table.start();
  overview.start();
  waterfall.start();
  startFacts();
  startButtons();
  addEventListener("keydown", onKey);
  feed.onLink = () => {
    showLink();
    update();
  };
  feed.onData = (ended) => {
    if (ended?.length) announce(ended);
    update();
  };
  showLink();
  update();
  setInterval(() => requestAnimationFrame(tick), TICK_MS);
  feed.start();
}

/** After an answer or a change of the address: everything that is seen, in the next frame. */
let updating = false;
function update() {
  if (updating) return;
  updating = true;
  requestAnimationFrame(() => {
    updating = false;
    const { view, run, theme } = address.state;
    showTheme(theme);
    showLinks();
    const now = feed.now();
    showTroubles(now);
    show(run ? "run" : view === "exports" ? "exports" : "runs");
    if (run) {
      waterfall.keepFresh();
      waterfall.update(now);
    } else if (view === "exports") {
      exportLog.keepFresh();
    } else {
      table.update(now);
      table.tick(now);
    }
    showTitle();
  });
}

function tick() {
  const now = feed.now();
  showLinkAge();
  if (address.state.run) {
    waterfall.keepFresh();
    waterfall.tick(now);
  } else if (address.state.view === "exports") {
    exportLog.keepFresh();
  } else if (feed.version !== null) {
    table.tick(now);
  }
}

let shownView = null;
function show(view) {
  for (const id of ["runs", "run", "exports"]) byId(id).hidden = id !== view;
  if (view === shownView) return;
  const isFirst = shownView === null;
  shownView = view;
  if (view !== "run") waterfall.close();
  const target = { runs: "table", run: "waterfall" }[view];
  if (target && !isFirst) {
    // The waterfall is hidden until its stages are here.
    byId("falls").hidden = false;
    byId(target).focus({ preventScroll: true });
  }
  if (view === "runs") {
    table.update(feed.now());
    const index = table.indexOf.get(address.state.at);
    if (index !== undefined) table.rows.reveal(index);
  }
}

function showLinks() {
  const { view, run } = address.state;
  attribute(byId("home"), "href", address.to({ view: "runs", run: "" }));
  attribute(byId("back"), "href", address.to({ view: "runs", run: "" }));
  attribute(byId("to-runs"), "href", address.to({ view: "runs", run: "" }));
  attribute(byId("to-exports"), "href", address.to({ view: "exports", run: "" }));
  attribute(byId("to-runs"), "aria-current", view === "runs" && !run ? "page" : null);
  attribute(byId("to-exports"), "aria-current", view === "exports" && !run ? "page" : null);
}

function showTitle() {
  const run = feed.runs.get(address.state.run);
  const text = run ? `${SIGNS[run.look] ?? "·"} ${run.workflow} · farspan` : `${feed.live} live · farspan`;
  if (document.title !== text) document.title = text;
}

function showTheme(theme) {
  const root = document.documentElement;
  if ((root.dataset.theme ?? "") !== theme) {
    if (theme === "dark" || theme === "light") root.dataset.theme = theme;
    else delete root.dataset.theme;
    overview.forgetColours();
  }
  const words = `Colours: ${THEMES.includes(theme) && theme ? theme : "as the system"}`;
  attribute(byId("theme"), "aria-label", words);
  attribute(byId("theme"), "title", words);
}

function showLink() {
  const { link } = feed;
  const words = { connecting: "connecting", there: "connected", lost: "connection lost", token: "token needed" };
  byId("link").className = link;
  say(byId("link"), words[link]);
  document.body.classList.toggle("stale", link === "lost");
  byId("banner").hidden = link !== "lost";
  if (link === "lost") {
    const known = feed.version !== null || feed.heardAt !== null;
    say(byId("banner-text"), `The connection to farspan is lost since ${clock(feed.lostSince, Date.now())}: ${feed.trouble}.${known ? " What you see is old." : ""}`);
  }
  showLinkAge();
  const dialog = byId("token");
  if (link === "token") {
    say(byId("token-note"), sessionStorage.getItem(TOKEN) ? "farspan refused that token." : "It stays in this tab until the tab is closed.");
    if (!dialog.open) dialog.showModal();
  } else if (dialog.open) {
    dialog.close();
  }
}

function showLinkAge() {
  if (feed.link !== "lost") return;
  const wait = Math.max(0, Math.ceil((feed.nextTry - Date.now()) / 1000));
  const age = feed.heardAt === null ? "" : `The data is ${coarse(feed.age())} old. `;
  say(byId("banner-next"), `${age}${wait > 0 ? `Next try in ${wait}s.` : "Trying now."}`);
}

/** What holds farspan as a whole, or one API. */
function showTroubles(now) {
  const lines = [];
  if (feed.held) lines.push(`No workflow is polled: ${oneLine(feed.held)}.`);
  for (const monitor of feed.monitors) {
    const name = `${oneLine(monitor.name)} (${oneLine(monitor.url ?? "")})`;
    const until = time(monitor.paused_until);
    if (monitor.refuses_credentials) lines.push(`The API of ${name} refuses the credentials.`);
    if (until !== null && until > now) lines.push(`The API of ${name} asked to be left alone until ${clock(until, now)}.`);
  }
  const shown = byId("troubles");
  shown.hidden = lines.length === 0;
  while (shown.children.length > lines.length) shown.lastChild.remove();
  lines.forEach((line, i) => say(shown.children[i] ?? shown.appendChild(element("li")), line));
}

function announce(ended) {
  const words = ended.length > 3
    ? `${ended.length} workflows ended, ${ended.filter((run) => run.result !== "success").length} of them without success.`
    : ended.map((run) => `${run.workflow} ended: ${run.result ?? "ended"}.`).join(" ");
  say(byId("news"), words);
}

function startButtons() {
  byId("theme").addEventListener("click", () => {
    address.set({ theme: THEMES[(THEMES.indexOf(address.state.theme) + 1) % THEMES.length] });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    overview.forgetColours();
    update();
  });
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  byId("help-close").addEventListener("click", () => byId("help").close());
  byId("retry").addEventListener("click", () => feed.tryNow());
  byId("token").addEventListener("cancel", (event) => event.preventDefault());
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId("token-text");
    feed.bringToken(text.value);
    text.value = "";
  });
}

const KEYS_OF_RUNS = {
  Enter: () => table.open(),
  Escape: () => table.clear(),
};
const KEYS_OF_RUN = {
  Enter: () => waterfall.toggle(),
  Escape: () => address.set({ run: "" }),
  "+": () => waterfall.zoom(ZOOM_STEP),
  "=": () => waterfall.zoom(ZOOM_STEP),
  "-": () => waterfall.zoom(1 / ZOOM_STEP),
  0: () => address.set({ from: "", to: "" }),
  h: () => waterfall.pan(-0.25),
  l: () => waterfall.pan(0.25),
  g: () => waterfall.toggleFold(),
  f: () => waterfall.toggleFollow(),
  c: () => copyTraceId(),
};
const KEYS_OF_EXPORTS = { Escape: () => address.set({ view: "runs" }) };

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const { target } = event;
  if (target.matches("input, select, textarea")) {
    if (event.key === "Escape" || (event.key === "Enter" && target.id === "q")) {
      event.preventDefault();
      target.blur();
      byId("table").focus({ preventScroll: true });
    }
    return;
  }
  // Enter on a link or button is theirs.
  if (event.key === "Enter" && target.matches("a, button")) return;
  const { run, view } = address.state;
  const list = run ? waterfall : view === "exports" ? null : table;
  const steps = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
  const everywhere = {
    "?": () => byId("help").showModal(),
    "/": () => {
      address.set({ run: "", view: "runs" });
      requestAnimationFrame(() => requestAnimationFrame(() => byId("q").focus()));
    },
    e: () => address.set({ run: "", view: "exports" }),
  };
  const own = run ? KEYS_OF_RUN : list ? KEYS_OF_RUNS : KEYS_OF_EXPORTS;
  const act = own[event.key] ?? everywhere[event.key] ?? (list && event.key in steps ? () => step(list, steps[event.key]) : null);
  if (!act) return;
  event.preventDefault();
  act();
}

function step(list, by) {
  list.move(by);
  // Enter is for the row now, not for a button that was used before.
  byId(list === table ? "table" : "waterfall").focus({ preventScroll: true });
}

main();
