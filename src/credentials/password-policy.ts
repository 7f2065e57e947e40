/** Which passwords may be set. Length does the work (NIST SP 800-63B §5.1.1); no rules about kinds of characters. */
import { type FieldError, Refusal } from '../errors.ts';
import { passwordCharsMax, passwordCharsMin } from '../limits.ts';

const distinctCharsMin = 5;
/** A name shorter than this is in half of all passwords by chance. */
const usernameCharsMin = 3;

/** What guessers try first, of those long enough to pass otherwise; compared in lower case. */
const wellKnown = new Set([
  '123456789012',
  '1234567890123',
  '12345678901234',
  '1q2w3e4r5t6y',
  '1qaz2wsx3edc',
  'abcdefghijkl',
  'adminadminadmin',
  'administrator',
  'administrator1',
  'changemechangeme',
  'changeme1234',
  'changeme12345',
  'correct horse battery staple',
  'correcthorsebatterystaple',
  'defaultpassword',
  'iloveyouiloveyou',
  'letmeinletmein',
  'letmeinplease',
  'mypassword123',
  'p@ssw0rd1234',
  'password1234',
  'password12345',
  'password123456',
  'passwordpassword',
  'qazwsxedcrfv',
  'qwerty123456',
  'qwertyqwerty',
  'qwertyuiop12',
  'qwertyuiop123',
  'qwertyuiopasdfghjkl',
  'secretpassword',
  'supersecretpassword',
  'trustno1trustno1',
  'welcome12345',
  'welcomewelcome',
]);

/**
 * @param field the body's field that holds the password, for the answer
 * @throws Refusal `validation_failed` naming the field, never the password
 */
export function requireAcceptable(password: string, username: string, field: string): void {
  const message = complaint(password, username);
  if (message === undefined) return;
  const errors: FieldError[] = [{ field, message }];
  throw new Refusal('validation_failed', { errors });
}

function complaint(password: string, username: string): string | undefined {
  if (password.length < passwordCharsMin) return `must be at least ${passwordCharsMin} characters`;
  if (password.length > passwordCharsMax) return `must be at most ${passwordCharsMax} characters`;
  const lower = password.toLowerCase();
  if (wellKnown.has(lower) || new Set(lower).size < distinctCharsMin) return 'is too easily guessed';
  const name = username.toLowerCase();
  if (name.length >= usernameCharsMin && lower.includes(name)) return 'must not contain the username';
  return undefined;
}
