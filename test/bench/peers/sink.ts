/** An upstream for large bodies: takes any, and gives `?bytes=N` of zeros. `node sink.ts PORT` */
import { createServer } from 'node:http';
import { Readable } from 'node:stream';

const chunk = Buffer.alloc(64 * 1024);

function* zeros(bytes: number): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= chunk.length)
    yield chunk.subarray(0, Math.min(left, chunk.length));
}

createServer((request, response) => {
  const bytes = Number(new URL(request.url ?? '/', 'http://sink').searchParams.get('bytes') ?? 0);
  request.resume().on('end', () => {
    response.writeHead(200, { 'Content-Length': bytes, 'Content-Type': 'application/octet-stream' });
    Readable.from(zeros(bytes)).pipe(response);
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
