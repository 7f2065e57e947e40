/** What the primary and its workers say to each other, over the channel that node:cluster opens between them. */
import { deserialize, serialize } from 'node:v8';
import type { JWK } from 'jose';
import type { RateClass } from '../exchange.ts';

/** A class as a bucket needs it: its name, capacity, and how it refills. */
export type BucketClass = readonly [
  name: string,
  capacity: number,
  refillUnits: number,
  refillPeriodUs: number,
];

export function bucketClassOf({ name, capacity, refillUnits, refillPeriodUs }: RateClass): BucketClass {
  return [name, capacity, refillUnits, refillPeriodUs];
}

export function rateClassFrom([name, capacity, refillUnits, refillPeriodUs]: BucketClass): RateClass {
  return { name, capacity, refillUnits, refillPeriodUs };
}

/** Units asked for of one bucket. */
export type TakeItem = readonly [bucketClass: BucketClass, partition: string, cost: number];
/** What was decided: whether they were there, what is left, and the milliseconds of a `RateDecision`. */
export type TakeAnswer = readonly [admitted: boolean, remaining: number, fullInMs: number, retryInMs: number];

/** What the primary asks of a worker, and what it answers. */
export interface Questions {
  /** Answers with its `MetricSnapshot`s, packed. */
  metrics: { with: undefined; answer: string };
  jwks: { with: undefined; answer: readonly JWK[] };
  /** Opens all that a configuration needs and serves nobody with it yet. Answers with what is in the way. */
  prepare: { with: string; answer: readonly string[] };
  /** Puts in force what was prepared. Answers with what is in the way. */
  commit: { with: undefined; answer: readonly string[] };
  abandon: { with: undefined; answer: null };
  /** Looks at what is revoked, beginning now. */
  catch_up: { with: undefined; answer: null };
}
export type QuestionName = keyof Questions;

export type ToWorker =
  | { readonly kind: 'begin'; readonly loaded: string; readonly number: number; readonly leads: boolean }
  | { readonly kind: 'ask'; readonly id: number; readonly question: QuestionName; readonly with: unknown }
  | { readonly kind: 'taken'; readonly batch: number; readonly answers: readonly TakeAnswer[] }
  | { readonly kind: 'exhausted'; readonly id: number; readonly isEmpty: boolean }
  /** So much is missing by now from the bucket of failures of an address, all workers together. */
  | {
      readonly kind: 'failures';
      readonly bucketClass: BucketClass;
      readonly partition: string;
      readonly debtTicks: number;
    }
  | { readonly kind: 'written'; readonly id: number; readonly error: string | undefined }
  | { readonly kind: 'caught_up'; readonly id: number }
  /** Another worker has come or gone: the audit log is to vouch for what it has left. */
  | { readonly kind: 'sign' }
  | { readonly kind: 'reopen' }
  | { readonly kind: 'refused'; readonly reasons: readonly string[] }
  | { readonly kind: 'stop' };

export type ToPrimary =
  /** It hears now what it is told. */
  | { readonly kind: 'ready' }
  | { readonly kind: 'listening'; readonly traffic: string; readonly hasUsers: boolean }
  | { readonly kind: 'cannot_start'; readonly sentences: readonly string[] }
  | { readonly kind: 'answer'; readonly id: number; readonly answer: unknown }
  | { readonly kind: 'take'; readonly batch: number; readonly items: readonly TakeItem[] }
  | {
      readonly kind: 'exhaust';
      readonly id: number;
      readonly bucketClass: BucketClass;
      readonly partition: string;
    }
  | { readonly kind: 'forget'; readonly bucketClass: BucketClass; readonly partition: string }
  | { readonly kind: 'failed'; readonly bucketClass: BucketClass; readonly partition: string }
  | { readonly kind: 'write'; readonly id: number; readonly text: string }
  /** It has changed something in the database: the others are to look. */
  | { readonly kind: 'changed'; readonly id: number };

/** JSON, which the channel speaks, would lose what is `undefined`, infinite, or no number. */
export function packed(value: unknown): string {
  return serialize(value).toString('base64');
}

/** @returns what was packed; the channel is between processes of one program, which agree on what it is */
export function unpacked<Value>(text: string): Value {
  return deserialize(Buffer.from(text, 'base64')) as Value;
}
