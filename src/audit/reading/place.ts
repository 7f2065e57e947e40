/** A place in the log that stays one when its file is renamed: which file, by its first line, and how far into it. */

export interface Place {
  /** 16 hex digits. */
  readonly file: string;
  readonly offset: number;
}

/** As it stands in a cursor and in an event's id: `<file>-<offset>`. */
export function placeText({ file, offset }: Place): string {
  return `${file}-${offset.toString(36)}`;
}

/** `undefined` when it is none. */
export function parsePlace(text: string): Place | undefined {
  const match = /^([0-9a-f]{16})-([0-9a-z]{1,10})$/.exec(text);
  return match === null ? undefined : { file: match[1] ?? '', offset: Number.parseInt(match[2] ?? '', 36) };
}
