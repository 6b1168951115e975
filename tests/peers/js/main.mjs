// ts-mls as a peer: `node main.mjs --port N` serves the interop interface on 127.0.0.1 and prints `listening
// N`.
//
// Port 0 takes a free port. With --as-published the library runs without the corrections of corrections.mjs.

import { register } from "node:module";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: { port: { type: "string", default: "0" }, "as-published": { type: "boolean", default: false } },
});

// Hooks see only what is loaded after they were registered, so the rest is imported from here.
if (!values["as-published"]) register("./corrections.mjs", import.meta.url);
const { serve } = await import("./server.mjs");

const { port, stop } = await serve(Number(values.port));
process.once("SIGTERM", stop);
process.once("SIGINT", stop);
console.log(`listening ${port}`);
