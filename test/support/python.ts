/** A Python that has PyJWT and what it verifies Ed25519 with: Debian's own before one that stands in front of it. */
import { spawnSync } from 'node:child_process';

/** @param modules that it has to have; `undefined` when no Python has them */
export function pythonWith(...modules: readonly string[]): string | undefined {
  const has = (python: string) =>
    spawnSync(python, ['-c', `import ${modules.join(', ')}`], { stdio: 'ignore' }).status === 0;
  return ['/usr/bin/python3', 'python3'].find(has);
}
