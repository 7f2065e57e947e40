// Plain JavaScript, since it is what makes TypeScript run. Node would take the types out in this process, and keep the
// 35 MiB of a WebAssembly compiler for good: a process of its own does it at start, and gives all of it back.
const { execFile } = require('node:child_process');
const { readdirSync, readFileSync } = require('node:fs');
const { registerHooks, stripTypeScriptTypes } = require('node:module');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');
const { getEnvironmentData, isMainThread, setEnvironmentData } = require('node:worker_threads');

/** Under this name a thread finds what the main one has. */
const key = 'portcullis: sources without types';

/** A module of another's has types of its own, if any. */
function loadFrom(sources) {
  registerHooks({
    load(url, context, nextLoad) {
      const source = sources.get(url);
      return source === undefined ? nextLoad(url, context) : { format: 'module', source, shortCircuit: true };
    },
  });
}

/** Every module below this folder, by its URL; each line and column stays where it was. */
function sourcesWithoutTypes() {
  const names = readdirSync(__dirname, { recursive: true }).filter((name) => name.endsWith('.ts'));
  return names.map((name) => {
    const path = join(__dirname, name);
    return [pathToFileURL(path).href, stripTypeScriptTypes(readFileSync(path, 'utf8'), { mode: 'strip' })];
  });
}

/** Resolves when modules can be loaded. Where no process may be started, Node takes the types out itself. */
function prepare() {
  // What is compiled here runs once: better quickly compiled than quick.
  const args = ['--no-warnings', '--liftoff-only', __filename];
  const options = { env: {}, maxBuffer: sourceBytesMax };
  return new Promise((resolve) => {
    execFile(process.execPath, args, options, (error, stdout) => {
      if (error === null) {
        const sources = new Map(JSON.parse(stdout));
        setEnvironmentData(key, sources);
        loadFrom(sources);
      }
      resolve();
    });
  });
}

/** Of all modules together. */
const sourceBytesMax = 64 * 1024 ** 2;

if (require.main === module) {
  process.stdout.write(JSON.stringify(sourcesWithoutTypes()));
} else if (!isMainThread) {
  const sources = getEnvironmentData(key);
  if (sources !== undefined) loadFrom(sources);
}

module.exports = { prepare };
