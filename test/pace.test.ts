import t from 'tap';
import { Allowance } from '../src/pace.ts';

t.test('nothing moves for the stall time, and then it is used up', async (t) => {
  const allowance = new Allowance({ minRate: 100, stallMs: 3_000 });
  for (let second = 0; second < 3; second += 1) t.equal(allowance.isUsedUp(1_000, 0), false);
  t.equal(allowance.isUsedUp(1_000, 0), true);
});

t.test('at the rate it lasts for ever, and above it wins back no more than the stall time', async (t) => {
  const allowance = new Allowance({ minRate: 100, stallMs: 3_000 });
  for (let second = 0; second < 100; second += 1) t.equal(allowance.isUsedUp(1_000, 100), false);
  allowance.isUsedUp(1_000, 1_000_000);
  for (let second = 0; second < 3; second += 1) t.equal(allowance.isUsedUp(1_000, 0), false);
  t.equal(allowance.isUsedUp(1_000, 0), true);
});

t.test('at half the rate it is used up in twice the stall time', async (t) => {
  const allowance = new Allowance({ minRate: 100, stallMs: 3_000 });
  for (let second = 0; second < 6; second += 1) t.equal(allowance.isUsedUp(1_000, 50), false);
  t.equal(allowance.isUsedUp(1_000, 50), true);
});

t.test('time in which nobody waited does not count', async (t) => {
  const allowance = new Allowance({ minRate: 100, stallMs: 1_000 });
  for (let second = 0; second < 100; second += 1) t.equal(allowance.isUsedUp(0, 0), false);
});

t.test('a rate of 0 asks for no more than a byte within the stall time', async (t) => {
  const allowance = new Allowance({ minRate: 0, stallMs: 2_000 });
  for (let second = 0; second < 100; second += 1)
    t.equal(allowance.isUsedUp(1_000, second % 2), false, String(second));
  allowance.isUsedUp(1_000, 0);
  allowance.isUsedUp(1_000, 0);
  t.equal(allowance.isUsedUp(1_000, 0), true);
});
