-- Key, and a token bucket in Redis: one round trip a request, as Kong and APISIX do it.
local redis = require "nginx.redis"
local subject = ngx.var.subject
if subject == "" then return ngx.exit(401) end
local red = redis:new()
red:set_timeout(1000)
local ok, failure = red:connect("127.0.0.1", @@REDIS_PORT@@)
if not ok then
  ngx.log(ngx.ERR, failure)
  return ngx.exit(503)
end
local taken, trouble = red:evalsha("@@SCRIPT@@", 1, "bench:" .. subject, 1000000, 1000000)
if not taken then
  ngx.log(ngx.ERR, trouble)
  return ngx.exit(503)
end
red:set_keepalive(60000, 64)
ngx.header["X-RateLimit-Limit"] = 1000000
ngx.header["X-RateLimit-Remaining"] = taken[2]
if taken[1] == 0 then return ngx.exit(429) end
