/**
 * Reads a log from its first line to its last and says whether it is what was written, with nothing but the public
 * key. Memory does not grow with the log: of each chain only its head is kept, and of the lines themselves the hashes
 * of the last few.
 *
 * The first fault ends the check: what comes after it proves nothing. Which of two neighbours was altered is often
 * told only by the line that follows in the same chain, so that one is waited for.
 */

import { auditUnsignedRecordsMax } from '../limits.ts';
import { hashOf, type Link, noHash, type Place, placeIn, signedPart } from './chain.ts';
import { type FileNumber, headerOf, joinedIn, linksOfOneMax, type TornLine } from './log-files.ts';
import type { VerifyingKey } from './signing.ts';

/** Where a line stands. */
export interface At {
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

export type FaultKind =
  | 'altered'
  | 'removed'
  | 'inserted'
  | 'reordered'
  | 'cut_off'
  | 'bad_signature'
  | 'unknown_key'
  | 'beginning';

export interface Fault extends At {
  readonly kind: FaultKind;
  /** A sentence for people. */
  readonly why: string;
}

/** What is no fault, and yet something an operator should know. */
export interface Note extends At {
  readonly kind: 'torn' | 'unsigned_chain' | 'earlier_files' | 'open_chain';
  readonly why: string;
}

export interface Verdict {
  readonly fault: Fault | undefined;
  readonly notes: readonly Note[];
  readonly records: number;
  /**
   * Records that their own process has not signed for (nor the head given covers): whoever can write to the file
   * could have made them.
   */
  readonly unproven: number;
  /** The first of them. */
  readonly unprovenFrom: At | undefined;
  /** The last records of processes that were killed before they could sign for them; the next one found them so. */
  readonly vouched: number;
  /** The last line of the chain that was written to last; to be kept elsewhere. */
  readonly head: Link | undefined;
}

interface ChainState {
  seq: number;
  hash: string;
  at: At;
  /** Up to here a signature of its own covers it. */
  signedSeq: number;
  /** Up to here a signature of another process says that it was there. */
  seenSeq: number;
  /** The first record that no signature of its own covers. */
  unsignedAt: At | undefined;
  /** Whether there is any signature of its own. */
  isSigned: boolean;
  ended: boolean;
  /** Where it stood when the first file begins that is looked at, if it is older than that. */
  from: Link | undefined;
  /** Signed by another process, which has seen it in the file before that one: a line to come, or one to join behind. */
  claim: { readonly link: Link; readonly at: At } | undefined;
  /** Which line of all it began with, and which was the last; by which of them it has signed, and by which before that. */
  begunAt: number;
  lastAt: number;
  signedAt: number;
  signedBeforeAt: number;
  /**
   * Some of what it has not signed came when a process had signed that began after its own last signature: it may have
   * been dead by then, and anyone could add that. One that ran beside it all the time says nothing of its end.
   */
  isLate: boolean;
}

/** A fault whose culprit the next line of the chain tells. */
interface Suspicion {
  readonly chain: string;
  /** The line before, and the line that does not fit it. */
  readonly before: { readonly at: At; readonly seq: number; readonly hash: string };
  readonly found: { readonly at: At; readonly place: Place; readonly hash: string };
  /** Of the line found, when it is a checkpoint. */
  readonly isSigned: boolean | undefined;
  /** Its place is right, but its signature is not. */
  readonly badSignature: boolean;
  readonly provenUpTo: At | undefined;
  readonly broken: At | undefined;
}

/** A line that is neither a record nor a header. */
interface Broken extends TornLine {
  readonly at: At;
  /** Which line of all. */
  readonly index: number;
  /** Checkpoints before it, or before those that had more to tell. */
  checkpoints: number;
}

/** Hashes of so many last lines are kept: another process vouches for a line within moments. */
const recentMax = 65_536;
/** Chains that are kept in full; each run of a changing command has one. */
const chainsMax = 20_000;
/** For one that can be forgotten; so many killed processes at the beginning of a log keep all that follow. */
const chainsLookedAtMax = 1_000;
/** A forger can begin one with every line, and memory has its bound. */
const chainsOpenMax = 100_000;
/** More than a process tells of. */
const brokenMax = 512;
const notesMax = 100;
/** A line of another process is vouched for by the next checkpoint of each one, or the one after it. */
const checkpointsToVouch = 2;
/** Records that a killed process can have left unsigned: some seconds of all it can write. */
const vouchedMax = 10 * auditUnsignedRecordsMax;

export class Verifier {
  readonly #keys: ReadonlyMap<string, VerifyingKey>;
  readonly #head: Link | undefined;
  readonly #chains = new Map<string, ChainState>();
  readonly #recent: string[] = [];
  readonly #broken: Broken[] = [];
  readonly #notes: Note[] = [];
  #recentAt = 0;
  #lines = 0;
  /** Which line of all was the last that is no broken one. */
  #lastGood = 0;
  #records = 0;
  #checkpoints = 0;
  /** Which line of all the youngest process began with that has signed anything. */
  #youngestSigner = 0;
  /** The file whose first line is still to come. */
  #unbegun: string | undefined;
  #number: FileNumber | undefined;
  /** What the first line of this file says, and whether files before the first of its log were not looked at. */
  #begun: FileNumber | undefined;
  #isWithoutEarlier = false;
  #lastChain: string | undefined;
  #lastProof: At | undefined;
  #headMet = false;
  #suspicion: Suspicion | undefined;
  #fault: Fault | undefined;

  /** @param head a place known from elsewhere, which must be in the log */
  constructor(keys: readonly VerifyingKey[], head?: Link) {
    this.#keys = new Map(keys.map((key) => [key.id, key]));
    this.#head = head;
  }

  /** Whether there is no need to read on. */
  get done(): boolean {
    return this.#fault !== undefined;
  }

  /** What comes next is the first line of this file. */
  beginFile(file: string): void {
    this.#requireLine();
    this.#unbegun = file;
  }

  /** The next line, without its line end. @param ended whether it had one */
  take(line: Buffer, at: At, ended: boolean): void {
    if (this.#fault !== undefined) return;
    this.#lines += 1;
    if (this.#unbegun !== undefined && !this.#begins(line, at, ended)) return;
    // A process that has found a torn end may have ended it at the same time as its writer.
    if (line.length === 0 && ended) return;
    const place = ended ? placeIn(line) : undefined;
    const isHeader = place === undefined && ended && isHeaderLine(line);
    const joined = place === undefined && ended ? joinedIn(line.toString('latin1')) : undefined;
    if (place !== undefined || isHeader || joined !== undefined) this.#lastGood = this.#lines;
    if (place !== undefined) this.#takeRecord(line, place, at);
    else if (isHeader) this.#takeHeader(line, at);
    else if (joined !== undefined) this.#takeJoined(line, joined, at);
    else this.#takeBroken(line, at);
  }

  /** What is to be said when no line follows. */
  finish(): Verdict {
    this.#requireLine();
    this.#fault ??= this.#suspectedFault(undefined) ?? this.#faultAtEnd();
    const unproven = this.#unproven();
    return {
      fault: this.#fault,
      notes: this.#notes,
      records: this.#records,
      unproven: unproven.count,
      unprovenFrom: unproven.from,
      vouched: unproven.vouched,
      head: this.#lastHead(),
    };
  }

  /** Whether a file begins as it must. */
  #begins(line: Buffer, at: At, ended: boolean): boolean {
    this.#unbegun = undefined;
    this.#begun = headerOf(line.toString('latin1'));
    if (ended && isHeaderLine(line)) return true;
    this.#fail('beginning', at, noHeader);
    return false;
  }

  #requireLine(): void {
    if (this.#unbegun !== undefined) this.#fail('beginning', { file: this.#unbegun, line: 1 }, noHeader);
    this.#unbegun = undefined;
  }

  #takeRecord(line: Buffer, place: Place, at: At): void {
    const hash = hashOf(line);
    if (this.#suspicion?.chain === place.chain) {
      if (waitsFor(this.#suspicion, place)) this.#fault = this.#suspectedFault({ place, hash });
      return;
    }
    const state = this.#chains.get(place.chain) ?? this.#begin(place, at);
    if (state === undefined) return;
    if (!this.#follows(state, line, place, hash, at)) return;
    this.#records += 1;
    state.seq = place.seq;
    state.hash = hash;
    state.at = at;
    state.unsignedAt ??= at;
    state.isLate ||= this.#youngestSigner > state.signedAt;
    state.lastAt = this.#lines;
    this.#compareClaim(state, hash, at);
    this.#lastChain = place.chain;
    this.#remember(hash);
    if (this.#head !== undefined) this.#compareHead(this.#head, place, hash, at);
    if (place.sig !== undefined) this.#takeCheckpoint(line, place, state, at);
  }

  #begin(place: Place, at: At): ChainState | undefined {
    const state = newChain({ seq: place.seq === 1 ? 0 : place.seq, hash: noHash }, at, this.#lines);
    if (place.seq === 1) {
      this.#chains.set(place.chain, state);
      this.#forgetOld(at);
      return state;
    }
    const broken = this.#broken[0];
    if (broken !== undefined) this.#failBroken(broken);
    else {
      const why = `chain ${short(place.chain)} begins here at record ${place.seq}: what came before was removed, or this is not its place`;
      this.#fail('removed', at, why);
    }
    return undefined;
  }

  /** Whether the line is the next one of its chain. */
  #follows(state: ChainState, line: Buffer, place: Place, hash: string, at: At): boolean {
    if (state.ended) {
      const why = `chain ${short(place.chain)} has ended at record ${state.seq}, so nothing can follow: this was put here, or replayed`;
      this.#fail(place.seq <= state.seq ? 'reordered' : 'inserted', at, why);
      return false;
    }
    if (place.seq === state.seq + 1 && place.prev === state.hash) return true;
    const isSigned = place.sig === undefined ? undefined : this.#isGenuine(line.toString(), place.sig);
    this.#suspect(state, { at, place, hash }, { badSignature: false, isSigned });
    return false;
  }

  #suspect(
    { at, seq, hash }: ChainState,
    found: Suspicion['found'],
    signature: Pick<Suspicion, 'badSignature' | 'isSigned'>,
  ): void {
    // One at a time: the first is the one that is told.
    this.#suspicion ??= {
      chain: found.place.chain,
      before: { at, seq, hash },
      found,
      ...signature,
      provenUpTo: this.#lastProof,
      broken: this.#broken[0]?.at,
    };
  }

  /** @param next the line that follows in the chain; none when the log ends */
  #suspectedFault(next: { place: Place; hash: string } | undefined): Fault | undefined {
    if (this.#suspicion === undefined) return undefined;
    const { before, found, badSignature, isSigned, provenUpTo, broken } = this.#suspicion;
    const { place } = found;
    const goesOn = next === undefined ? isSigned !== false : next.place.prev === found.hash;
    if (badSignature) return goesOn ? forged(found.at, provenUpTo) : altered(found.at, place);
    if (broken !== undefined) return { ...broken, kind: 'altered', why: 'this is no record any more' };
    if (place.seq > before.seq + 1) {
      if (place.prev === before.hash) return altered(found.at, place);
      const missing = `record ${before.seq + 1} of chain ${short(place.chain)} should stand before this one (record ${place.seq})`;
      const isLater = next !== undefined && next.place.seq === before.seq + 1;
      return isLater
        ? { ...found.at, kind: 'reordered', why: `${missing}, and comes after it` }
        : { ...found.at, kind: 'removed', why: missing };
    }
    if (place.seq === before.seq + 1) {
      return goesOn && before.seq > 0
        ? altered(before.at, { ...place, seq: before.seq })
        : altered(found.at, place);
    }
    if (place.prev === before.hash && !goesOn) return altered(found.at, place);
    const why = `record ${place.seq} of chain ${short(place.chain)} stands here after record ${before.seq}: one of the two was put here, moved, or replayed`;
    return { ...found.at, kind: goesOn ? 'inserted' : 'reordered', why };
  }

  #takeCheckpoint(line: Buffer, place: Place, state: ChainState, at: At): void {
    const text = line.toString();
    const said = parse(text);
    if (said === undefined || !this.#isSigned(text, said, place.sig ?? '', at)) {
      if (this.#fault !== undefined) return;
      this.#suspect(state, { at, place, hash: state.hash }, { badSignature: true, isSigned: undefined });
      return;
    }
    this.#checkpoints += 1;
    state.signedSeq = place.seq;
    state.isSigned = true;
    state.unsignedAt = undefined;
    state.isLate = false;
    state.ended = said.end === true;
    state.signedBeforeAt = state.signedAt;
    state.signedAt = this.#lines;
    this.#youngestSigner = Math.max(this.#youngestSigner, state.begunAt);
    this.#lastProof = at;
    this.#forgive(said.torn ?? []);
    for (const link of said.links ?? []) this.#vouch(link, at);
  }

  #isGenuine(text: string, signature: string): boolean {
    return this.#keys.get(String(parse(text)?.key))?.verifies(signedPart(text), signature) ?? false;
  }

  /** Makes a fault itself only of a key that is not known. */
  #isSigned(text: string, { key: id }: Said, signature: string, at: At): boolean {
    const key = this.#keys.get(String(id));
    if (key !== undefined) return key.verifies(signedPart(text), signature);
    const why = `this is signed with the key ${String(id).slice(0, 16)}, which is none of those given (${[...this.#keys.keys()].join(', ')})`;
    this.#fail('unknown_key', at, why);
    return false;
  }

  #takeHeader(line: Buffer, at: At): void {
    const text = line.toString();
    const said = parse(text);
    const header = headerOf(text);
    if (header === undefined || !this.#isSignedHeader(text, said, at)) return;
    if (!this.#numberFits(header, at)) return;
    const isFirst = this.#number === undefined || this.#number.log !== header.log;
    if (isFirst) this.#isWithoutEarlier = header.file > 1;
    this.#number = header;
    this.#lastProof = at;
    for (const link of said?.links ?? []) {
      if (isFirst && !this.#chains.has(link.chain))
        this.#chains.set(link.chain, fromBefore(link, at, this.#lines));
      else this.#vouch(link, at);
    }
    if (isFirst && header.file > 1)
      this.#note(
        'earlier_files',
        at,
        `this is file ${header.file} of its log: those before it were not looked at`,
      );
  }

  /** Another process goes on here, whose lines so far are in the file before this one. */
  #takeJoined(line: Buffer, { log, file }: FileNumber, at: At): void {
    const text = line.toString();
    const said = parse(text);
    if (!this.#isSignedHeader(text, said, at)) return;
    // Signed for one file, it must not stand for what is missing from another.
    if (log !== this.#begun?.log || file !== this.#begun.file) {
      this.#fail('reordered', at, `this line belongs to file ${file} of its log, and was put here`);
      return;
    }
    for (const link of said?.links ?? []) {
      const state = this.#chains.get(link.chain);
      const { claim } = state ?? {};
      // It may have gone on in a file that is not looked at, after the header of this one was written.
      const isBehind =
        state === undefined ? this.#isWithoutEarlier : isUntouched(state) && link.seq > state.seq;
      if (isBehind && (claim === undefined || claim.link.seq <= link.seq))
        this.#chains.set(link.chain, fromBefore(link, at, this.#lines));
      else this.#vouch(link, at);
    }
  }

  #isSignedHeader(text: string, said: Said | undefined, at: At): boolean {
    const signature = /,"sig":"([\w-]{86})"\}$/.exec(text)?.[1];
    if (said === undefined || signature === undefined) {
      this.#fail('altered', at, 'this header of a file is damaged');
      return false;
    }
    if (this.#isSigned(text, said, signature, at)) return true;
    if (this.#fault === undefined)
      this.#fail('bad_signature', at, 'the signature of this header of a file is not of what it says');
    return false;
  }

  #numberFits({ log, file }: { log: string; file: number }, at: At): boolean {
    if (this.#number === undefined || this.#number.log !== log || file === this.#number.file + 1) return true;
    const why =
      file > this.#number.file
        ? `file ${this.#number.file} of the log is followed by file ${file}: what is between them is missing`
        : `file ${file} of the log comes after file ${this.#number.file}: it is here twice, or not in its place`;
    this.#fail(file > this.#number.file ? 'removed' : 'reordered', at, why);
    return false;
  }

  /** Another process has said, signed, that this line stood before. */
  #vouch(link: Link, at: At): void {
    if (this.#fault !== undefined) return;
    const state = this.#chains.get(link.chain);
    const isHead = state?.hash === link.hash;
    if (state !== undefined && (isHead || this.#recent.includes(link.hash))) {
      state.seenSeq = Math.max(state.seenSeq, link.seq);
      return;
    }
    // Of what stands in files that are not looked at, nothing can be said.
    const from = state?.from;
    if (from !== undefined && (link.seq < from.seq || link.hash === from.hash)) return;
    if (state?.from !== undefined && isUntouched(state) && link.seq > state.seq) {
      if (state.claim === undefined || state.claim.link.seq < link.seq) state.claim = { link, at };
      return;
    }
    const [broken] = this.#broken;
    if (broken !== undefined) this.#failBroken(broken);
    const name = nameOf(link);
    if (state === undefined || state.seq < link.seq) {
      const where = state === undefined ? at : state.at;
      this.#fail(
        state === undefined ? 'removed' : 'cut_off',
        where,
        `${name} stood before line ${at.line} of ${at.file} and is gone`,
      );
      return;
    }
    this.#fail('altered', state.at, `${name} was another one when line ${at.line} of ${at.file} was written`);
  }

  #takeBroken(line: Buffer, at: At): void {
    const { length: bytes } = line;
    this.#broken.push({ bytes, hash: hashOf(line), at, index: this.#lines, checkpoints: this.#checkpoints });
    // What is torn lacks its end; JSON that is whole would be read as a record, and no process of ours has written it.
    if (placeIn(line) === undefined && isWhole(line.toString())) this.#fail('inserted', at, noChain);
    else if (this.#broken.length > brokenMax)
      this.#fail('altered', at, 'this and lines before it are no records');
  }

  /** Lines that were torn, as the process says that has ended them. */
  #forgive(torn: readonly TornLine[]): void {
    for (const { bytes, hash } of torn) {
      const index = this.#broken.findIndex((one) => one.bytes === bytes && one.hash === hash);
      const [found] = index === -1 ? [] : this.#broken.splice(index, 1);
      if (found === undefined) this.#knowWhole(hash);
      else
        this.#note('torn', found.at, 'a line cut short by a crash or a full disk; the log goes on behind it');
    }
    // One checkpoint has no room for all that a full disk has torn: the next one goes on.
    if (torn.length >= linksOfOneMax) for (const one of this.#broken) one.checkpoints = this.#checkpoints;
    const [oldest] = this.#broken;
    if (oldest === undefined || this.#checkpoints - oldest.checkpoints < checkpointsToVouch) return;
    // Only the process knows of it that has torn it, or has found it so; those beside it sign meanwhile.
    const writers = [...this.#chains.values()].filter(({ ended }) => !ended).length;
    if (this.#checkpoints - oldest.checkpoints >= checkpointsToVouch * Math.max(1, writers))
      this.#failBroken(oldest);
  }

  /** What lacked nothing but its line end is a record again. */
  #knowWhole(hash: string): void {
    for (const state of this.#chains.values()) if (state.hash === hash) state.seenSeq = state.seq;
  }

  #failBroken({ at }: Broken): void {
    this.#fail('altered', at, noRecord);
  }

  /** What another process has seen of it in the file before is what stands here. */
  #compareClaim(state: ChainState, hash: string, at: At): void {
    const { claim, seq } = state;
    if (claim === undefined || seq < claim.link.seq) return;
    if (claim.link.hash !== hash) this.#fail('altered', at, `${nameOf(claim.link)} was another one before`);
    state.claim = undefined;
  }

  #compareHead(head: Link, place: Place, hash: string, at: At): void {
    if (place.chain !== head.chain || place.seq !== head.seq) return;
    if (hash !== head.hash)
      this.#fail(
        'altered',
        at,
        'this record, or one before it in its chain, is not the one of the head given',
      );
    this.#headMet = true;
    const state = this.#chains.get(place.chain);
    if (state === undefined) return;
    state.signedSeq = place.seq;
    state.unsignedAt = undefined;
  }

  #faultAtEnd(): Fault | undefined {
    // What stands at the very end may be torn, and nobody was there yet to say so.
    const inside = this.#broken.find(
      ({ index, checkpoints }) => index < this.#lastGood && this.#checkpoints > checkpoints,
    );
    if (inside !== undefined) return { ...inside.at, kind: 'altered', why: noRecord };
    return this.#headFault() ?? this.#strangerFault() ?? this.#claimFault();
  }

  #headFault(): Fault | undefined {
    const head = this.#head;
    if (head === undefined || this.#headMet) return undefined;
    const state = this.#chains.get(head.chain);
    const at = state?.at ?? this.#lastProof ?? { file: '', line: 0 };
    const ends = state === undefined ? 'it is not in the log at all' : `its last record here is ${state.seq}`;
    return {
      ...at,
      kind: 'cut_off',
      why: `record ${head.seq} of chain ${short(head.chain)} is known from elsewhere, and ${ends}`,
    };
  }

  #claimFault(): Fault | undefined {
    const claimed = [...this.#chains.values()].find(({ claim }) => claim !== undefined);
    if (claimed?.claim === undefined) return undefined;
    const { link, at } = claimed.claim;
    const why = `${nameOf(link)} stood before line ${at.line} of ${at.file} and is gone`;
    return { ...claimed.at, kind: 'cut_off', why };
  }

  /** A line without a signature is vouched for by others soon, or nobody knows it. */
  #strangerFault(): Fault | undefined {
    const twiceSince = [...this.#chains.values()].reduce(
      (latest, { signedBeforeAt }) => Math.max(latest, signedBeforeAt),
      0,
    );
    for (const [chain, state] of this.#chains) {
      if (state.unsignedAt === undefined || state.seenSeq >= state.seq) continue;
      if (twiceSince <= state.lastAt) continue;
      const why = `this record of chain ${short(chain)} is not signed, and ${checkpointsToVouch} later checkpoints of a process that ran meanwhile do not know it: it was put here (or its process was killed in the moment of a rotation)`;
      return { ...state.unsignedAt, kind: 'inserted', why };
    }
    return undefined;
  }

  /** What a process did not sign for itself; what it could not, since it was killed, is told apart. */
  #unproven(): { count: number; vouched: number; from: At | undefined } {
    let count = 0;
    let vouched = 0;
    let from: At | undefined;
    for (const [chain, state] of this.#chains) {
      const { at, signedSeq, unsignedAt } = state;
      if (!state.ended && chain !== this.#lastChain) this.#note('open_chain', at, openChain(chain));
      if (unsignedAt === undefined) continue;
      const left = state.seq - signedSeq;
      const isSeen = state.seenSeq >= state.seq;
      if (isSeen) this.#note('unsigned_chain', unsignedAt, unsignedChain(chain, left));
      // A process leaves no more than this, and not later; and one that never signed may be none of ours.
      if (isSeen && state.isSigned && !state.isLate && left <= vouchedMax) vouched += left;
      else {
        count += left;
        from ??= unsignedAt;
      }
    }
    if (this.#broken.length > 0) {
      const [torn] = this.#broken;
      count += this.#broken.length;
      from ??= torn?.at;
      if (torn !== undefined)
        this.#note('torn', torn.at, 'the log ends in the middle of a line: a crash, or its end was cut off');
    }
    return { count, vouched, from };
  }

  #lastHead(): Link | undefined {
    const state = this.#lastChain === undefined ? undefined : this.#chains.get(this.#lastChain);
    return this.#lastChain === undefined || state === undefined
      ? undefined
      : { chain: this.#lastChain, seq: state.seq, hash: state.hash };
  }

  #remember(hash: string): void {
    this.#recent[this.#recentAt] = hash;
    this.#recentAt = (this.#recentAt + 1) % recentMax;
  }

  #forgetOld(at: At): void {
    if (this.#chains.size <= chainsMax) return;
    let looked = 0;
    for (const [chain, { ended, unsignedAt }] of this.#chains) {
      looked += 1;
      if (looked > chainsLookedAtMax) break;
      if (!ended || unsignedAt !== undefined) continue;
      this.#chains.delete(chain);
      return;
    }
    if (this.#chains.size > chainsOpenMax)
      this.#fail(
        'inserted',
        at,
        `${chainsOpenMax} processes before this one have no end: no log has so many`,
      );
  }

  #note(kind: Note['kind'], at: At, why: string): void {
    if (this.#notes.length < notesMax) this.#notes.push({ ...at, kind, why });
  }

  #fail(kind: FaultKind, at: At, why: string): void {
    this.#fault ??= this.#suspectedFault(undefined) ?? { ...at, kind, why };
  }
}

const noHeader =
  'the file does not begin with its signed header: its beginning was cut off, or never was of this log';
const noChain = 'this looks like a record, and stands in no chain: it was put here';
const noRecord = 'this is no record, and no line that was torn by a crash or a full disk';

/** A record that is missing may come later: that one is waited for; else the next line of the chain tells. */
function waitsFor({ before, found }: Suspicion, { seq }: Place): boolean {
  const isGap = found.place.seq > before.seq + 1 && found.place.prev !== before.hash;
  return !isGap || seq === before.seq + 1;
}

function isHeaderLine(line: Buffer): boolean {
  return headerOf(line.toString('latin1')) !== undefined;
}

/** What a signed line says that concerns the chain. */
interface Said {
  readonly key?: unknown;
  readonly links?: readonly Link[];
  readonly torn?: readonly TornLine[];
  readonly end?: unknown;
}

/** Whether it is one JSON object from its beginning to its end. */
function isWhole(text: string): boolean {
  return text.trimStart().startsWith('{') && parse(text) !== undefined;
}

function parse(text: string): Said | undefined {
  try {
    return JSON.parse(text) as Said;
  } catch {
    return undefined;
  }
}

/** @param line which of all it begins with */
function newChain({ seq, hash }: Pick<Link, 'seq' | 'hash'>, at: At, line: number): ChainState {
  return {
    seq,
    hash,
    at,
    signedSeq: seq,
    seenSeq: seq,
    unsignedAt: undefined,
    isSigned: false,
    ended: false,
    from: undefined,
    claim: undefined,
    begunAt: line,
    lastAt: line,
    signedAt: 0,
    signedBeforeAt: 0,
    isLate: false,
  };
}

/** A chain that goes on from a file that is not looked at. */
function fromBefore(link: Link, at: At, line: number): ChainState {
  return { ...newChain(link, at, line), from: link, isSigned: true, signedAt: line };
}

/** Nothing of it has come in the files that are looked at. */
function isUntouched({ from, seq }: ChainState): boolean {
  return from?.seq === seq;
}

function nameOf({ chain, seq }: Link): string {
  return `record ${seq} of chain ${short(chain)}`;
}

function openChain(chain: string): string {
  return `chain ${short(chain)} has no end: its process still runs, was killed, or its last lines were cut off`;
}

function unsignedChain(chain: string, count: number): string {
  return `the last ${count} records of chain ${short(chain)} were never signed for by the process that wrote them; another one has signed that it found them so`;
}

function altered(at: At, { chain, seq }: { chain: string; seq: number }): Fault {
  return { ...at, kind: 'altered', why: `record ${seq} of chain ${short(chain)} is not what was written` };
}

function forged(at: At, provenUpTo: At | undefined): Fault {
  const from = provenUpTo === undefined ? 'the beginning' : `line ${provenUpTo.line} of ${provenUpTo.file}`;
  const why = `the signature is not of what stands here: between ${from} and this line something was altered, and the hashes were made to fit`;
  return { ...at, kind: 'bad_signature', why };
}

function short(chain: string): string {
  return chain.slice(0, 8);
}
