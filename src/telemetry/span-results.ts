/** What became of spans: sent; lost to a full queue, to a receiver that did not take them, or to the end of the program. */
export const spanResults = ['exported', 'queue_full', 'export_failed', 'shutdown'] as const;
export type SpanResult = (typeof spanResults)[number];
