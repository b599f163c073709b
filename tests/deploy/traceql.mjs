// Reads a JSON array of TraceQL queries from standard input and ends with 1 if one of them cannot be parsed.
import { readFileSync } from "node:fs";
import { parser } from "@grafana/lezer-traceql";

let wrong = 0;
const queries = JSON.parse(readFileSync(0, "utf8"));
for (const query of queries) {
  parser.parse(query).iterate({
    enter(node) {
      if (node.type.isError) {
        wrong += 1;
        console.error(`at ${node.from}: ${query}`);
      }
    },
  });
}
if (queries.length === 0) {
  console.error("no query");
  wrong += 1;
}
process.exit(wrong === 0 ? 0 : 1);
