-- What wrk sends, in turn: a file with a request a line (method, path, bytes of body, then headers, between tabs), and
-- what it says at the end. With a mean pause in milliseconds each connection rests between two requests.
local requests = {}
local turn = 0
local pause = 0

function init(args)
  for line in io.lines(args[1]) do
    local fields = {}
    for field in (line .. "\t"):gmatch("(.-)\t") do fields[#fields + 1] = field end
    local headers = {}
    for index = 4, #fields do
      local name, value = fields[index]:match("^([^:]+): (.*)$")
      headers[name] = value
    end
    local bytes = tonumber(fields[3])
    requests[#requests + 1] = wrk.format(fields[1], fields[2], headers, bytes > 0 and ("x"):rep(bytes) or nil)
  end
  -- Anywhere: a run is shorter than a long file.
  math.randomseed(os.time())
  turn = math.random(0, #requests - 1)
  pause = tonumber(args[2] or "0")
  if pause > 0 then
    function delay() return math.random(0, 2 * pause) end
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n@{"requests":%d,"seconds":%f,"refused":%d,"broken":%d,"p50Ms":%f,"p99Ms":%f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
