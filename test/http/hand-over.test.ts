/** Memory of what was passed on. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Writable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { handOver } from '../../src/http/hand-over.ts';

const size = 65_536;

/** A socket, and whoever reads the other end. */
async function pair(t: Test): Promise<{ writer: Socket; reader: Socket }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const reader = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [writer] = (await once(server, 'connection')) as [Socket];
  t.teardown(() => {
    writer.destroy();
    reader.destroy();
    server.close();
  });
  return { writer, reader };
}

t.test('what was written arrives whole, and its memory is given back', async (t) => {
  const { writer, reader } = await pair(t);
  const chunks = Array.from({ length: 200 }, (_, index) => Buffer.alloc(size, index));
  const expected = Buffer.concat(chunks);
  for (const chunk of chunks) handOver(writer, chunk);
  writer.end();
  t.ok(expected.equals(await buffer(reader)));
  t.strictSame(
    chunks.map((chunk) => chunk.byteLength),
    chunks.map(() => 0),
  );
});

t.test('memory is kept until it is written', async (t) => {
  let written: () => void = () => undefined;
  const slow = new Writable({
    highWaterMark: 1,
    write: (_chunk, _encoding, done) => {
      written = done;
    },
  });
  const [first, second] = [Buffer.alloc(size, 'a'), Buffer.alloc(size, 'b')];
  t.equal(handOver(slow, first), false, 'and what write says is told');
  handOver(slow, second);
  t.equal(first.byteLength, size);
  written();
  await new Promise(setImmediate);
  t.equal(first.byteLength, 0);
  t.equal(second.byteLength, size);
  t.equal(second[0], 98);
});

t.test('what was never written is given back when the writer is gone', async (t) => {
  const { writer } = await pair(t);
  const chunks = Array.from({ length: 200 }, () => Buffer.alloc(size));
  writer.on('error', () => undefined);
  for (const chunk of chunks) handOver(writer, chunk);
  writer.destroy();
  await once(writer, 'close');
  await new Promise(setImmediate);
  t.ok(chunks.every((chunk) => chunk.byteLength === 0));
});

t.test('memory that others share is left alone', async (t) => {
  const { writer, reader } = await pair(t);
  const whole = Buffer.alloc(2 * size, 'a');
  const small = Buffer.from('small');
  const arrived = buffer(reader);
  handOver(writer, whole.subarray(0, size));
  handOver(writer, small);
  writer.end();
  t.equal((await arrived).length, size + small.length);
  t.equal(whole[size], 97);
  t.equal(small.toString(), 'small');
});
