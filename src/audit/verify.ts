/**
 * Reads a log from its first line to its last and says whether it is what was written, with nothing but the public
 * key. Memory does not grow with the log: of each chain only its head is kept, and of the lines themselves the hashes
 * of the last few.
 *
 * The first fault ends the check: what comes after it proves nothing. Which of two neighbours was altered is often
 * told only by the line that follows in the same chain, so that one is waited for.
 */

import { auditLookBackMs, auditUnsignedRecordsMax } from '../limits.ts';
import { hashOf, type Link, noHash, type Place, placeIn, signedPart } from './chain.ts';
import { type FileNumber, headerOf, joinedIn, type PlacedLink, partsOf, type TornLine } from './log-files.ts';
import type { VerifyingKey } from './signing.ts';
import type { At, Fault, FaultKind, Note, Verdict } from './verdict.ts';
import {
  type ChainState,
  fromBefore,
  isUntouched,
  type Moment,
  nameOf,
  newChain,
  short,
} from './verify-chain.ts';
import { type Suspicion, suspectedFault, waitsFor } from './verify-suspicion.ts';
import { BrokenLines, checkpointsToVouch } from './verify-torn.ts';

/** Hashes of so many last lines are kept: another process vouches for a line within moments. */
const recentMax = 65_536;
/** Chains that are kept in full; each run of a changing command has one. */
const chainsMax = 20_000;
/** For one that can be forgotten; so many killed processes at the beginning of a log keep all that follow. */
const chainsLookedAtMax = 1_000;
/** A forger can begin one with every line, and memory has its bound. */
const chainsOpenMax = 100_000;
const notesMax = 100;
/** Checkpoints within `auditLookBackMs`. */
const twiceMax = 8_192;
/** Records that a killed process can have left unsigned: some seconds of all it can write. */
const vouchedMax = 10 * auditUnsignedRecordsMax;

export class Verifier {
  readonly #keys: ReadonlyMap<string, VerifyingKey>;
  readonly #head: Link | undefined;
  readonly #chains = new Map<string, ChainState>();
  readonly #recent: string[] = [];
  readonly #broken: BrokenLines;
  readonly #notes: Note[] = [];
  #recentAt = 0;
  #lines = 0;
  /** Which line of all was the last that is no broken one. */
  #lastGood = 0;
  #records = 0;
  #checkpoints = 0;
  /** Of processes that are alone with their file. */
  #aloneCheckpoints = 0;
  /** Some process has signed twice since this line of all: what it did not know of then was put there later. */
  #twiceSince = 0;
  /** The same, but at least `auditLookBackMs` ago; and what is too young for that. */
  #twiceLongSince = 0;
  readonly #twice: Array<{ readonly line: number; readonly ms: number }> = [];
  /** Which line of all the youngest process began with that has signed anything. */
  #youngestSigner = 0;
  /** The file whose first line is still to come. */
  #unbegun: string | undefined;
  #number: FileNumber | undefined;
  /** What the first line of this file says, and which line of all that is. */
  #begun: FileNumber | undefined;
  #begunAt = 0;
  #empty: At | undefined;
  /** The first file of this log that is looked at. */
  #firstFile = 1;
  #lastChain: string | undefined;
  #lastProof: At | undefined;
  #headMet = false;
  #suspicion: Suspicion | undefined;
  #fault: Fault | undefined;

  /** @param head a place known from elsewhere, which must be in the log */
  constructor(keys: readonly VerifyingKey[], head?: Link) {
    this.#keys = new Map(keys.map((key) => [key.id, key]));
    this.#head = head;
    this.#broken = new BrokenLines((at) => this.#note('torn', at, tornByItself));
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

  /** The last file holds nothing, not even its header. */
  noteEmpty(file: string): void {
    this.#requireLine();
    this.#empty = { file, line: 1 };
    this.#note('empty_file', this.#empty, emptyFile);
  }

  /** The next line, without its line end. @param ended whether it had one */
  take(line: Buffer, at: At, ended: boolean): void {
    for (const part of partsOf(line)) {
      const isFirst = part !== line && part.byteOffset === line.byteOffset;
      if (isFirst) this.#takeHalf(part, at);
      else this.#takeLine(part, at, ended);
    }
  }

  /** Somebody else's line stands right behind it: its own end came too late. */
  #takeHalf(half: Buffer, at: At): void {
    if (this.#fault !== undefined) return;
    this.#lines += 1;
    if (this.#unbegun === undefined) this.#takeBroken(half, at);
    else this.#begins(half, at, false);
  }

  #takeLine(line: Buffer, at: At, ended: boolean): void {
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
    this.#fault ??= this.#suspectedFault() ?? this.#faultAtEnd();
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
    this.#begunAt = this.#lines;
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
      if (waitsFor(this.#suspicion, place)) this.#fault = suspectedFault(this.#suspicion, { place, hash });
      return;
    }
    const state = this.#chains.get(place.chain) ?? this.#begin(place, at);
    if (state === undefined) return;
    if (!this.#follows(state, line, place, hash, at) || !this.#mayStandHere(state, place, at)) return;
    this.#records += 1;
    state.seq = place.seq;
    state.hash = hash;
    state.at = at;
    state.unsignedAt ??= at;
    state.isLate ||= state.isInCompany
      ? this.#youngestSigner > state.signedAt
      : this.#checkpoints > state.checkpointsAtLast;
    state.lastAt = this.#lines;
    state.checkpointsAtLast = this.#checkpoints;
    state.aloneAtLast = this.#aloneCheckpoints;
    this.#lastChain = place.chain;
    this.#remember(hash);
    if (this.#head !== undefined) this.#compareHead(this.#head, place, hash, at);
    if (place.sig !== undefined) this.#takeCheckpoint(line, place, state, at);
  }

  #now(): Moment {
    return { line: this.#lines, checkpoints: this.#checkpoints, aloneCheckpoints: this.#aloneCheckpoints };
  }

  #begin(place: Place, at: At): ChainState | undefined {
    const state = newChain({ seq: place.seq === 1 ? 0 : place.seq, hash: noHash }, at, this.#now());
    if (place.seq === 1) {
      this.#chains.set(place.chain, state);
      this.#forgetOld(at);
      return state;
    }
    const broken = this.#broken.first;
    if (broken !== undefined) this.#fail('altered', broken, noRecord);
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

  /** One that writes beside others goes on in the next file by its header, which is its own, or by a line that says so. */
  #mayStandHere(state: ChainState, { chain }: Place, at: At): boolean {
    const hasCome = state.seq === 0 || Math.max(state.lastAt, state.joinedAt) >= this.#begunAt;
    if (hasCome || !state.isInCompany) return true;
    this.#fail('removed', at, `the line by which chain ${short(chain)} has joined this file is gone`);
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
      broken: this.#broken.first,
    };
  }

  #suspectedFault(): Fault | undefined {
    return this.#suspicion && suspectedFault(this.#suspicion, undefined);
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
    state.isInCompany = said.company === true;
    if (!state.isInCompany) this.#aloneCheckpoints += 1;
    state.checkpointsAtLast = this.#checkpoints;
    state.aloneAtLast = this.#aloneCheckpoints;
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
    this.#ageTwice(Number(said.timestamp) * 1000);
    for (const link of said.links ?? []) this.#vouch(link, at);
    this.#twiceSince = Math.max(this.#twiceSince, state.signedBeforeAt);
    if (state.signedBeforeAt > 0)
      this.#twice.push({ line: state.signedBeforeAt, ms: Number(said.timestamp) * 1000 });
  }

  #ageTwice(nowMs: number): void {
    for (let [oldest] = this.#twice; oldest !== undefined; [oldest] = this.#twice) {
      if (oldest.ms > nowMs - auditLookBackMs && this.#twice.length < twiceMax) return;
      this.#twiceLongSince = Math.max(this.#twiceLongSince, oldest.line);
      this.#twice.shift();
    }
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
    if (isFirst) this.#firstFile = header.file;
    this.#number = header;
    this.#lastProof = at;
    for (const link of said?.links ?? []) {
      if (isFirst && !this.#chains.has(link.chain))
        this.#chains.set(link.chain, fromBefore(link, at, this.#now()));
      else this.#vouch(link, at);
    }
    // The last is that of the process that has begun the file.
    const own = this.#chains.get(said?.links?.at(-1)?.chain ?? '');
    if (own !== undefined) own.joinedAt = this.#lines;
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
    for (const link of said?.links ?? []) this.#join(link, at);
  }

  #join(link: PlacedLink, at: At): void {
    const state = this.#chains.get(link.chain);
    if (
      state !== undefined &&
      Math.max(state.joinedAt, isUntouched(state) ? 0 : state.lastAt) > this.#begunAt
    ) {
      const why = `chain ${short(link.chain)} has gone on in this file before: this line was put here, or moved`;
      this.#fail('reordered', at, why);
      return;
    }
    // It may have gone on in a file that is not looked at, after the header of the first one was written.
    const isBehind = state === undefined || (isUntouched(state) && link.seq > state.seq);
    if (isBehind && this.#isNotLookedAt(link))
      this.#chains.set(link.chain, fromBefore(link, at, this.#now()));
    else this.#vouch(link, at);
    const joined = this.#chains.get(link.chain);
    if (joined === undefined) return;
    joined.isInCompany = true;
    joined.joinedAt = this.#lines;
  }

  /** One without a file has come from another log. */
  #isNotLookedAt({ chain, file }: PlacedLink): boolean {
    return file === undefined ? !this.#chains.has(chain) : file < this.#firstFile;
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
  #vouch(link: PlacedLink, at: At): void {
    if (this.#fault !== undefined) return;
    const state = this.#chains.get(link.chain);
    const isHead = state?.hash === link.hash;
    if (state !== undefined && (isHead || this.#recent.includes(link.hash))) {
      // What had been there for long would have been known to whoever has signed since.
      if (link.seq > state.seenSeq && this.#twiceLongSince > state.lastAt) state.isLate = true;
      state.seenSeq = Math.max(state.seenSeq, link.seq);
      return;
    }
    if (this.#isBefore(link, state)) return;
    const broken = this.#broken.first;
    if (broken !== undefined) this.#fail('altered', broken, noRecord);
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

  /** Of what stands in files that are not looked at, nothing can be said; but that no line in one that is comes before it. */
  #isBefore(link: PlacedLink, state: ChainState | undefined): boolean {
    if (state?.from?.hash === link.hash) return true;
    if (link.file === undefined || link.file >= this.#firstFile) return false;
    return state === undefined || isUntouched(state) || link.seq <= (state.from?.seq ?? 0);
  }

  #takeBroken(line: Buffer, at: At): void {
    const where = {
      at,
      index: this.#lines,
      since: this.#youngestSigner,
      checkpoints: this.#checkpoints,
    };
    const isBearable = this.#broken.add(line, where);
    // What is torn lacks its end; JSON that is whole would be read as a record, and no process of ours has written it.
    if (placeIn(line) === undefined && isWhole(line.toString())) this.#fail('inserted', at, noChain);
    else if (!isBearable) this.#fail('altered', at, 'this and lines before it are no records');
  }

  /** Lines that were torn, as the process says that has ended them. */
  #forgive(torn: readonly TornLine[]): void {
    this.#broken.tell(torn, this.#checkpoints, (hash) => this.#knowWhole(hash));
    const writers = () => [...this.#chains.values()].filter(({ ended }) => !ended).length;
    const overdue = this.#broken.overdue(this.#checkpoints, writers);
    if (overdue !== undefined) this.#fail('altered', overdue, noRecord);
  }

  /** What lacked nothing but its line end is a record again. */
  #knowWhole(hash: string): void {
    for (const state of this.#chains.values()) if (state.hash === hash) state.seenSeq = state.seq;
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
    const inside = this.#broken.inside(this.#lastGood, this.#checkpoints);
    if (inside !== undefined) return { ...inside, kind: 'altered', why: noRecord };
    return this.#headFault() ?? this.#strangerFault();
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

  /** A line without a signature is vouched for by others soon, or nobody knows it. */
  #strangerFault(): Fault | undefined {
    for (const [chain, state] of this.#chains) {
      if (state.unsignedAt === undefined || state.seenSeq >= state.seq) continue;
      const isMissed = this.#aloneCheckpoints - state.aloneAtLast >= checkpointsToVouch;
      if (!isMissed && this.#twiceSince <= state.lastAt) continue;
      const why = `this record of chain ${short(chain)} is not signed, and ${checkpointsToVouch} later checkpoints do not know it: it was put here (or its process was killed in the moment of a rotation)`;
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
    const torn = this.#torn();
    const empty = this.#empty === undefined ? 0 : 1;
    return {
      count: count + torn.unproven + empty,
      vouched: vouched + torn.left,
      from: from ?? torn.from ?? this.#empty,
    };
  }

  /** Half lines: those that killed processes left, and those of which nobody knows who has begun them. */
  #torn(): { unproven: number; left: number; from: At | undefined } {
    const killed = [...this.#chains.values()].flatMap(({ ended, lastAt }) => (ended ? [] : [lastAt]));
    const { left, strange, surplus } = this.#broken.explained(killed);
    for (const at of left) this.#note('torn', at, tornByCrash);
    for (const at of strange) this.#note('torn', at, tornByNobody);
    const { first, untold } = this.#broken;
    if (first !== undefined) this.#note('torn', first, tornEnd);
    return { unproven: strange.length + surplus + untold, left: left.length, from: strange[0] ?? first };
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
    this.#fault ??= this.#suspectedFault() ?? { ...at, kind, why };
  }
}

const tornByItself = 'a line cut short by a full disk, which its process has written anew behind it';
const tornByCrash = 'a line cut short by a crash; the log goes on behind it';
const tornByNobody =
  'this begins like a line of ours, and no process is known to have been killed here: one was before it could write more, or it was put here';
const tornEnd = 'the log ends in the middle of a line: a crash, or its end was cut off';
const emptyFile =
  'the last file is empty: its process was killed as it began it, or what stood there was removed';
const noHeader =
  'the file does not begin with its signed header: its beginning was cut off, or never was of this log';
const noChain = 'this looks like a record, and stands in no chain: it was put here';
const noRecord = 'this is no record, and no line that was torn by a crash or a full disk';

function isHeaderLine(line: Buffer): boolean {
  return headerOf(line.toString('latin1')) !== undefined;
}

/** What a signed line says that concerns the chain. */
interface Said {
  readonly key?: unknown;
  readonly timestamp?: unknown;
  readonly company?: unknown;
  readonly links?: readonly PlacedLink[];
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

function openChain(chain: string): string {
  return `chain ${short(chain)} has no end: its process still runs, was killed, or its last lines were cut off`;
}

function unsignedChain(chain: string, count: number): string {
  return `the last ${count} records of chain ${short(chain)} were never signed for by the process that wrote them; another one has signed that it found them so`;
}
