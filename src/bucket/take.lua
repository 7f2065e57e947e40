-- One bucket, one atomic step: settle what a replica says of its lease, refill, take, lease ahead.
-- The arithmetic is that of arithmetic.ts, in whole ticks and microseconds below 2^53, which doubles hold exactly.
--
-- KEYS[1]  the bucket: "debt at born" and then "expiry units" for each lease time, or nothing, which is full
-- ARGV     full  ticks of the whole bucket        refill  ticks a microsecond       unit  ticks of one unit
--          cost  units of one request             count   requests that ask         ahead units wished on lease
--          born expiry spent kept returned: of units leased before, how many were spent, are kept, come back
-- Answers  requests admitted, units leased, whether what is kept may be kept, debt, expiry, born

local full, refill, unit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local cost, count, ahead = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

-- A lease lasts from two to three seconds, so that there are few times to remember, however many replicas.
local lease_us, lease_step_us = 2000000, 1000000
-- A clock further back than this was set; waiting for it to catch up would refill nothing all the while.
local clock_back_us_max = 60000000

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local debt, at, born, leased, leases = 0, now, now, 0, {}
local stored = redis.call('GET', KEYS[1])
if stored then
  local numbers = {}
  for word in string.gmatch(stored, '%d+') do
    numbers[#numbers + 1] = tonumber(word)
  end
  debt, at, born = math.min(numbers[1], full), numbers[2], numbers[3]
  if at - now > clock_back_us_max then
    at = now
  else
    for index = 4, #numbers - 1, 2 do
      leases[#leases + 1] = { expiry = numbers[index], units = numbers[index + 1] }
      leased = leased + numbers[index + 1]
    end
  end
end

-- The class was made smaller meanwhile.
if leased * unit > full then
  leased, leases = 0, {}
end
-- Its units are worth more ticks than those that were leased: giving them back must not leave less than no debt.
debt = math.max(debt, leased * unit)

-- What is on lease is not in the bucket: it refills only up to the rest, or a lease spent late would come on top.
local function refill_until(moment)
  if moment > at then
    debt = math.max(leased * unit, debt - (moment - at) * refill)
    at = moment
  end
end

-- A lease that ends counts as spent, and flows back only from then on.
while leases[1] and leases[1].expiry <= math.max(now, at) do
  refill_until(leases[1].expiry)
  leased = leased - leases[1].units
  table.remove(leases, 1)
end
refill_until(now)

local kept = 0
if ARGV[7] then
  local expiry, spent = tonumber(ARGV[8]), tonumber(ARGV[9])
  local held, returned = tonumber(ARGV[10]), tonumber(ARGV[11])
  for _, lease in ipairs(leases) do
    if born == tonumber(ARGV[7]) and lease.expiry == expiry and lease.units >= spent + held + returned then
      lease.units = lease.units - spent - held - returned
      leased = leased - spent - returned
      debt = debt - returned * unit
      kept = held
    end
  end
end

local price = cost * unit
local admitted = math.max(0, math.min(count, math.floor((full - debt) / price)))
debt = debt + admitted * price

-- Never more than a quarter of what is left to one, nor more than half of the bucket to all.
local left = math.floor((full - debt) / unit)
local lease = math.max(0, math.min(ahead, math.floor(left / 4), math.floor(full / unit / 2) - leased))
debt = debt + lease * unit
leased = leased + lease
local expiry = math.ceil((at + lease_us) / lease_step_us) * lease_step_us
if lease + kept > 0 then
  local last = leases[#leases]
  if last and last.expiry == expiry then
    last.units = last.units + lease + kept
  else
    leases[#leases + 1] = { expiry = expiry, units = lease + kept }
  end
end

-- Gone once it is full again and nothing is on lease, which is what nothing stored means.
local last_expiry = leases[#leases] and leases[#leases].expiry or at
local idle_us = last_expiry - math.min(now, at) + debt / refill
if debt > 0 or leased > 0 then
  local words = { string.format('%.0f %.0f %.0f', debt, at, born) }
  for _, one in ipairs(leases) do
    if one.units > 0 then
      words[#words + 1] = string.format('%.0f %.0f', one.expiry, one.units)
    end
  end
  redis.call('SET', KEYS[1], table.concat(words, ' '), 'PX', string.format('%.0f', math.ceil(idle_us / 1000) + 1000))
elseif stored then
  redis.call('DEL', KEYS[1])
end

return { admitted, lease, kept, debt, expiry, born }
