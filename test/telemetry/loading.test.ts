/** OpenTelemetry costs a third of a second and 45 MB: whoever does not trace does not pay. */
import { once } from 'node:events';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { programEnv, startProgram } from '../support/program.ts';

/** Tells of every module of OpenTelemetry that is resolved. */
const watch = `data:text/javascript,${encodeURIComponent(`
import { registerHooks } from 'node:module';
registerHooks({
  resolve(specifier, context, next) {
    if (specifier.startsWith('@opentelemetry/')) console.error('RESOLVED ' + specifier);
    return next(specifier, context);
  },
});`)}`;

/** The modules resolved by the time the program listens. */
async function resolved(t: Test, env: NodeJS.ProcessEnv): Promise<string[]> {
  const directory = t.testdir();
  const program = startProgram(['start'], {
    ...programEnv(directory),
    DATABASE_URL: `sqlite:${join(directory, 'portcullis.db')}`,
    LOG_LEVEL: 'info',
    NODE_OPTIONS: `--import=${watch}`,
    ...env,
  });
  t.teardown(() => program.stop('SIGKILL'));
  for (let events = 0; events < 1_000 && !program.stderr().includes('portcullis is listening'); events += 1)
    await once(program.child.stderr as NodeJS.ReadableStream, 'data');
  const { stderr, exitCode } = await program.stop();
  t.equal(exitCode, 0);
  // prom-client asks for its small api, whoever traces or not.
  return [...stderr.matchAll(/^RESOLVED (.*)$/gm)]
    .map(([, name = '']) => name)
    .filter((name) => name !== '@opentelemetry/api');
}

t.test('without an endpoint nothing of OpenTelemetry is loaded', async (t) => {
  t.strictSame(await resolved(t, { OTEL_EXPORTER_OTLP_ENDPOINT: '' }), []);
});

t.test('with one it is', async (t) => {
  const names = await resolved(t, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' });
  t.ok(names.includes('@opentelemetry/sdk-node'));
});
