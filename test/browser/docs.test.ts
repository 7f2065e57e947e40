import { chromium } from 'playwright-core';
import t from 'tap';
import { startTestGateway } from '../support/gateway.ts';
import { startTestRegistry } from '../support/registry.ts';

/** Quiet: nothing of the browser's own goes anywhere. */
const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

t.test(
  'a person opens /docs in a browser, authorizes with a key, calls GET /tools and sees the answer',
  async (t) => {
    const registry = await startTestRegistry(t.testdir());
    t.teardown(() => registry.close());
    const gateway = await startTestGateway({
      directory: t.testdir({ whole: {} }),
      registry,
    });
    t.teardown(() => gateway.close());
    const { key } = gateway.first.key;
    const tool = await fetch(`${gateway.trafficUrl}/tools`, {
      method: 'POST',
      headers: { 'x-api-key': key, 'content-type': 'application/json' },
      body: JSON.stringify({
        name: 'get_weather',
        description: 'Current weather of a city',
        inputSchema: { type: 'object' },
        version: '1.0.0',
        server: { url: 'https://weather.example/mcp', transport: 'streamable-http' },
      }),
    });
    t.equal(tool.status, 201, await tool.text());

    const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: flags });
    t.teardown(() => browser.close());
    const page = await browser.newPage();
    const complaints: string[] = [];
    const asked: string[] = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('request', (request) => asked.push(request.url()));

    await page.goto(`${gateway.trafficUrl}/docs`);
    await page.getByRole('button', { name: 'Authorize' }).first().click();
    const dialog = page.locator('.dialog-ux');
    await dialog.locator('input').last().fill(key);
    await dialog.getByRole('button', { name: 'Apply credentials' }).last().click();
    await dialog.getByRole('button', { name: 'Close' }).last().click();

    const operation = page.locator('.opblock-get', { has: page.locator('[data-path="/tools"]') });
    await operation.locator('.opblock-summary').click();
    await operation.getByRole('button', { name: 'Try it out' }).click();
    await operation.getByRole('button', { name: 'Execute' }).click();
    const answer = operation.locator('.live-responses-table');
    await answer.locator('.response-col_status', { hasText: '200' }).waitFor();
    t.match(await answer.innerText(), 'get_weather');

    t.strictSame(complaints, [], 'nothing is complained of in the console');
    const elsewhere = asked.filter((url) => !url.startsWith(gateway.trafficUrl) && !url.startsWith('data:'));
    t.strictSame(elsewhere, [], 'no request leaves for another place');
    t.ok(asked.some((url) => url.endsWith('/tools') || url.includes('/tools?')));
  },
);
