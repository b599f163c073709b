// The state of the page, all of it in the fragment of its address, which no server sees.

const DEFAULTS = {
  view: "runs", q: "", state: "all", result: "", monitor: "", last: "", sort: "-started", at: "",
  run: "", span: "", closed: "", from: "", to: "", fold: "1", follow: "0", theme: "",
};
const OF_RUN = ["span", "closed", "from", "to"];

const address = {
  state: { ...DEFAULTS },
  onChange: () => {},

  read() {
    const said = new URLSearchParams(location.hash.slice(1));
    for (const key of Object.keys(DEFAULTS)) {
      this.state[key] = said.has(key) ? said.get(key) : DEFAULTS[key];
    }
  },

  /** Changes some keys. Another view or run is a step in the history; filters and zoom are not. */
  set(changes, options = {}) {
    const before = this.text();
    const isStep = ["view", "run"].some((key) => key in changes && changes[key] !== this.state[key]);
    if ("run" in changes && changes.run !== this.state.run) {
      for (const key of OF_RUN) this.state[key] = DEFAULTS[key];
    }
    Object.assign(this.state, changes);
    const after = this.text();
    if (before === after) return;
    const target = `${location.pathname}${location.search}${after}`;
    if (isStep && !options.quiet) history.pushState(null, "", target);
    else history.replaceState(null, "", target);
    this.onChange();
  },

  text(changes = {}) {
    const state = { ...this.state, ...changes };
    const said = new URLSearchParams();
    for (const [key, value] of Object.entries(state)) {
      if (value !== DEFAULTS[key]) said.set(key, value);
    }
    const text = said.toString();
    return text ? `#${text}` : "#";
  },

  /** The address of another view with the same filters and colours. */
  to(changes) {
    const fresh = "run" in changes ? Object.fromEntries(OF_RUN.map((key) => [key, DEFAULTS[key]])) : {};
    return this.text({ ...fresh, ...changes });
  },

  start(onChange) {
    this.onChange = onChange;
    this.read();
    const reread = () => {
      this.read();
      this.onChange();
    };
    addEventListener("popstate", reread);
    addEventListener("hashchange", reread);
  },
};
