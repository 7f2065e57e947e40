/** The section `audit` of gateway.yaml. */
import { z } from 'zod';
import { personalFields } from '../audit/pseudonyms.ts';
import { filePath, oneOf, section } from './forms.ts';
import { auditReaders, httpSink, redisStreamSink, stdoutSink } from './sink-schema.ts';
import { duration, flag, integer, size } from './units.ts';

const sinkRule = 'one of file, stdout, redis_stream or http';

const rotate = section({
  /** Bytes a file may have; it goes over by what is written in one go, 4 MiB at most. */
  size: size(64 * 1024, 1024 ** 4).default(256 * 1024 ** 2),
  /** Since the file was begun; without it, only its size counts. */
  age: duration(60_000, 366 * 86_400_000).optional(),
  /** Files kept beside the one in use; without it, all are. */
  keep: integer(1, 100_000).optional(),
});

const auditSink = z.discriminatedUnion(
  'type',
  [
    section({
      type: z.literal('file', { error: sinkRule }),
      path: filePath('audit.log'),
      /** Force each durable record to the disk itself (fdatasync), not only to the kernel. */
      fsync: flag.default(true),
      rotate: rotate.prefault({}),
    }),
    stdoutSink,
    redisStreamSink,
    httpSink,
  ],
  {
    error: (issue) =>
      issue.code === 'invalid_union' ? sinkRule : 'a map such as { type: file, path: audit.log }',
  },
);

export const audit = section({
  sinks: z
    .array(auditSink, { error: 'a list such as [{ type: file, path: audit.log }]' })
    .min(1, { error: 'a list of at least one sink' })
    .max(16, { error: 'a list of at most 16 sinks' }),
  readers: auditReaders,
  /** A PEM file (PKCS#8, Ed25519) that signs heads of the log; without it, one is generated and kept. */
  signing_key: filePath('/run/keys/audit.pem').optional(),
  /** What is written as a keyed hash. */
  pseudonymize: z
    .array(oneOf(personalFields), { error: `a list of ${personalFields.join(' and ')}` })
    .max(personalFields.length, { error: `a list of ${personalFields.join(' and ')}, each once` })
    .default([]),
  /** The key of that hash; empty: one is generated and kept. */
  pseudonym_key: z.string({ error: 'a secret of at least 32 bytes' }).default(''),
  /** What becomes of reads while the log cannot be written. Changes are refused in any case. */
  unrecorded_reads: oneOf(['refuse', 'allow']).default('refuse'),
});
