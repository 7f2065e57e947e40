/** Reads server-sent events (WHATWG HTML §9.2.6), as far as the audit stream makes use of them. */

export interface StreamEvent {
  /** The last id that was given, by this event or before it. */
  readonly id: string | undefined;
  /** `message` unless given. */
  readonly name: string;
  /** Empty where only an id was told. */
  readonly data: string;
}

/** One event is shorter. */
const eventCharsMax = 1024 * 1024;

/** @throws Error for an event longer than any of ours */
export async function* readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<StreamEvent> {
  const decoder = new TextDecoder();
  let rest = '';
  let id: string | undefined;
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    const blocks = rest.split('\n\n');
    rest = blocks.pop() ?? '';
    if (rest.length > eventCharsMax) throw new Error('an event without an end');
    for (const block of blocks) {
      const event = parse(block, id);
      id = event.id;
      yield event;
    }
  }
}

function parse(block: string, lastId: string | undefined): StreamEvent {
  const fields = new Map<string, string>();
  for (const line of block.split('\n')) {
    const [, name = '', value = ''] = /^([a-z]+):? ?(.*)$/s.exec(line) ?? [];
    if (name === 'data' && fields.has('data')) fields.set('data', `${fields.get('data')}\n${value}`);
    else fields.set(name, value);
  }
  const data = fields.get('data') ?? '';
  const name = fields.get('event') ?? (data === '' ? 'id' : 'message');
  return { id: fields.get('id') ?? lastId, name, data };
}
