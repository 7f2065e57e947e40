/** /docs: the API page, Swagger UI from files of our own under a policy that lets it load nothing from elsewhere. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { Endpoint } from './endpoint.ts';

/** Swagger UI sets styles inline and draws its icons from data URLs; it needs nothing else beyond this origin. */
const pagePolicy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const cacheSeconds = 3_600;

interface Asset {
  readonly path: string;
  readonly contentType: string;
  /** The large ones are read when they are asked for. */
  readonly body: () => Promise<Buffer>;
}

/** @param prefix before the gateway's own paths; `/` for none */
export function docsEndpoints(prefix: string): Endpoint[] {
  const base = prefix === '/' ? '' : prefix;
  return assets(base).map(({ path, contentType, body }) => ({
    method: 'GET',
    path,
    permission: 'none',
    rateClass: 'public',
    durable: false,
    summary: 'The API page',
    hidden: path !== '/docs',
    answers: { 200: { description: 'A page for people.' } },
    answer: async () => ({
      status: 200,
      headers: {
        'Content-Type': contentType,
        'Content-Security-Policy': pagePolicy,
        'Cache-Control': path === '/docs' ? 'no-cache' : `public, max-age=${cacheSeconds}`,
      },
      body: await body(),
    }),
  }));
}

function assets(base: string): Asset[] {
  return [
    { path: '/docs', contentType: 'text/html; charset=utf-8', body: async () => Buffer.from(page(base)) },
    {
      path: '/docs/start.js',
      contentType: 'text/javascript; charset=utf-8',
      body: async () => Buffer.from(starter(base)),
    },
    distributed('swagger-ui.css', 'text/css; charset=utf-8'),
    distributed('swagger-ui-bundle.js', 'text/javascript; charset=utf-8'),
    distributed('favicon-32x32.png', 'image/png'),
  ];
}

function distributed(file: string, contentType: string): Asset {
  const path = createRequire(import.meta.url).resolve(`swagger-ui-dist/${file}`);
  return { path: `/docs/${file}`, contentType, body: () => readFile(path) };
}

function page(base: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Portcullis API</title>
<link rel="stylesheet" href="${base}/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="${base}/docs/favicon-32x32.png">
</head>
<body>
<div id="page"></div>
<script src="${base}/docs/swagger-ui-bundle.js"></script>
<script src="${base}/docs/start.js"></script>
</body>
</html>
`;
}

/** In a file of its own, since the page's policy runs no inline script. No validator badge: it would call a stranger. */
function starter(base: string): string {
  return `SwaggerUIBundle({ url: '${base}/openapi.json', dom_id: '#page', validatorUrl: null });\n`;
}
