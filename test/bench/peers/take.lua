-- A token bucket as it is commonly written: KEYS[1], capacity, units a second.
local now = redis.call('TIME')
local us = now[1] * 1000000 + now[2]
local state = redis.call('HMGET', KEYS[1], 'units', 'us')
local capacity = tonumber(ARGV[1])
local units = tonumber(state[1]) or capacity
local since = us - (tonumber(state[2]) or us)
units = math.min(capacity, units + since * tonumber(ARGV[2]) / 1000000)
local admitted = units >= 1
if admitted then units = units - 1 end
redis.call('HSET', KEYS[1], 'units', units, 'us', us)
redis.call('PEXPIRE', KEYS[1], 10000)
return { admitted and 1 or 0, math.floor(units) }
