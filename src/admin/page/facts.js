// What is known of the opened run besides its stages: its times, its polls, its trace.

const FACTS = [
  ["name", "Name"], ["monitor", "Monitor"], ["status", "Status"], ["duration", "Duration"], ["received", "Heard of"],
  ["queued", "Queued"], ["started", "Started"], ["ended", "Ended"], ["stages", "Stages"], ["last", "Last poll"],
  ["next", "Next poll"], ["trace", "Trace"],
];
const facts = {};

function startFacts() {
  for (const [key, term] of FACTS) {
    const line = byId("facts").appendChild(element("div", `fact-${key}`));
    line.append(element("dt", "", term));
    facts[key] = line.appendChild(element("dd"));
  }
  const { trace } = facts;
  trace.append(element("code"), element("button", "", "Copy"), element("a"), element("span", "faint"));
  const [, copy, link] = trace.children;
  attribute(copy, "type", "button");
  attribute(copy, "aria-label", "Copy the trace id");
  copy.addEventListener("click", copyTraceId);
  attribute(link, "rel", "noreferrer noopener");
  attribute(link, "target", "_blank");
  say(link, "Open the trace");
}

function showFacts(run, now) {
  const { summary } = run;
  const fact = (key, text, title = null) => {
    say(facts[key], text);
    facts[key].parentElement.hidden = text === "";
    attribute(facts[key], "title", title);
  };
  const stages = summary.stages ?? {};
  const { last_poll: last, next_poll: next } = summary;
  const ago = (at) => `${clock(at, now)}, ${coarse(now - at)} ago`;
  fact("name", oneLine(summary.name ?? ""));
  fact("monitor", oneLine(summary.monitor ?? ""));
  fact("status", oneLine(summary.status ?? ""));
  fact("duration", run.state === "ended" ? humanise(durationOf(run, now)) : coarse(durationOf(run, now)));
  fact("received", clock(run.received, now), exact(run.received));
  fact("queued", clock(run.queued, now), exact(run.queued));
  fact("started", run.started === null ? "not yet" : clock(run.started, now), exact(run.started));
  fact("ended", clock(run.ended, now), exact(run.ended));
  fact("stages", [["running", stages.running], ["waiting", stages.waiting], ["ended", stages.ended], ["failed", stages.failed]]
    .filter(([, n]) => n > 0).map(([word, n]) => `${n} ${word}`).join(", "));
  const said = last?.error ? `: ${oneLine(last.error)}` : "";
  fact("last", run.lastPoll === null ? "" : `${ago(run.lastPoll)}, ${oneLine(last.result).replaceAll("_", " ")}${said}`, exact(run.lastPoll));
  const due = run.nextPoll === null ? "" : run.nextPoll <= now ? "due now" : `${clock(run.nextPoll, now)}, in ${coarse(run.nextPoll - now + 999)}`;
  const isUnderWay = next?.why === "under way";
  const why = next?.why ? `waits: ${oneLine(next.why)}` : "";
  fact("next", run.state === "ended" ? "" : isUnderWay ? "under way" : [due, why].filter(Boolean).join("; ") || "due", exact(run.nextPoll));
  showTrace(summary.trace);
}

function showTrace(trace) {
  facts.trace.parentElement.hidden = !trace?.trace_id;
  if (!trace?.trace_id) return;
  const [id, , link, note] = facts.trace.children;
  say(id, oneLine(trace.trace_id));
  const isLink = typeof trace.url === "string" && /^https?:\/\//i.test(trace.url);
  link.hidden = !(isLink && trace.exported);
  attribute(link, "href", link.hidden ? null : trace.url);
  say(note, trace.sampled === false ? "not sampled: its spans are not exported"
    : trace.exported ? (isLink ? "" : "exported")
    : isLink ? "the link appears when the root span has left" : "the root span has not left yet");
}

async function copyTraceId() {
  const id = facts.trace.firstElementChild.textContent;
  if (!id) return;
  try {
    await navigator.clipboard.writeText(id);
  } catch {
    // Only https and this computer itself have the clipboard's interface: the older way needs a selection.
    const box = document.body.appendChild(element("textarea", "unseen"));
    box.value = id;
    box.select();
    document.execCommand("copy");
    box.remove();
  }
  const button = facts.trace.children[1];
  say(button, "Copied");
  say(byId("news"), "The trace id is copied.");
  setTimeout(() => say(button, "Copy"), 1500);
}
