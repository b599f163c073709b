// The last exports, with the collector's words.

const EXPORTS_EVERY_MS = 3000;

const exportLog = {
  asking: false,
  askedAt: -Infinity,

  async keepFresh() {
    if (address.state.view !== "exports" || this.asking || feed.link !== "there") return;
    if (performance.now() - this.askedAt < EXPORTS_EVERY_MS) return;
    this.asking = true;
    this.askedAt = performance.now();
    const note = byId("exports-note");
    try {
      const { exports } = await feed.ask("/api/exports");
      this.show(exports);
      note.hidden = exports.length > 0;
      say(note, "Nothing was exported yet.");
    } catch (trouble) {
      note.hidden = false;
      say(note, `The exports cannot be shown: ${reason(trouble)}.`);
    } finally {
      this.asking = false;
    }
  },

  show(exports) {
    const now = feed.now();
    const rows = byId("export-rows");
    while (rows.children.length > exports.length) rows.lastChild.remove();
    exports.forEach((sent, i) => {
      const row = rows.children[i] ?? rows.appendChild(makeExportRow());
      const at = time(sent.at);
      const look = sent.result === "delivered" ? "success" : sent.result === "will be sent again" ? "waiting" : "failure";
      const texts = [
        clock(at, now), `${SIGNS[look]} ${oneLine(sent.result)}`, String(sent.spans), sent.rejected ? String(sent.rejected) : "",
        bytes(sent.bytes), Number.isFinite(sent.duration) ? humanise(sent.duration * 1000) : "", sent.status === null ? "none" : String(sent.status),
        sent.message ? oneLine(sent.message) : "", sent.url ? oneLine(sent.url) : "",
      ];
      texts.forEach((text, cell) => say(row.children[cell], text));
      attribute(row.children[0], "title", exact(at));
      row.children[1].className = `state ${look}`;
    });
  },
};

function makeExportRow() {
  const row = element("tr");
  ["", "state", "number", "number", "number", "number", "number", "words", "url"].forEach((name) => row.append(element("td", name)));
  return row;
}
