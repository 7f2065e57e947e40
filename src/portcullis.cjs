#!/usr/bin/env node
// Plain JavaScript that any Node can read: says which Node is needed before one chokes on TypeScript.
const needed = 26;
if (Number(process.versions.node.split('.')[0]) < needed) {
  process.stderr.write(
    `portcullis: this is Node ${process.versions.node}; Portcullis needs Node ${needed} or later.\n` +
      'In a checkout, `npm ci` brings the right one along: then run `npm start`, or `npx --no portcullis`.\n',
  );
  process.exitCode = 1;
} else {
  require('./without-types.cjs')
    .prepare()
    .then(() => import('./main.ts'))
    .then(({ main }) => main());
}
