#!lua flags=allow-oom
-- Gives an active hold more time, up to a longest life. An expired hold is never revived.
--
-- KEYS[1] meta       hash    version, clock (ms)
-- KEYS[2] deadlines  zset    <hold>:<shopper> by deadline (ms)
-- KEYS[3] hold       hash
-- KEYS[4] order      hash    of this hold: while a payment is under way the payment decides
-- KEYS[5] news       channel
-- ARGV[1] hold
-- ARGV[2] shopper who asks
-- ARGV[3] time from now (ms)
-- ARGV[4] longest life from the reservation on (ms)
--
-- Replies:
--   HOLD id state lines amount currency expires_at fulfillment version   with the deadline of now
--   NOT_FOUND    no such hold, or another shopper's
--   ENDED state  committed, released or expired; also when the deadline has passed and the sweep
--                has not been here yet
-- Repeating it is safe: the deadline never moves back.

local hold = redis.call('HMGET', KEYS[3], 'shopper', 'state', 'lines', 'amount', 'currency',
  'expires_at', 'fulfillment', 'created_at')
if hold[1] ~= ARGV[2] then
  return {'NOT_FOUND'}
end
if hold[2] ~= 'active' then
  return {'ENDED', hold[2]}
end

local time = redis.call('TIME')
local seen = tonumber(redis.call('HGET', KEYS[1], 'clock') or '0')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)
local deadline = tonumber(hold[6])
if deadline <= now then
  return {'ENDED', 'expired'}
end
local longest = tonumber(hold[8]) + tonumber(ARGV[4])
local wanted = math.min(now + tonumber(ARGV[3]), longest)
if redis.call('HGET', KEYS[4], 'phase') ~= 'paying' and wanted > deadline then
  deadline = wanted
  redis.call('HSET', KEYS[3], 'expires_at', string.format('%.0f', deadline))
  redis.call('ZADD', KEYS[2], deadline, ARGV[1] .. ':' .. ARGV[2])
  redis.pcall('SPUBLISH', KEYS[5], cjson.encode({holds = {{ARGV[2], ARGV[1], hold[2], hold[3],
    hold[4], hold[5], string.format('%.0f', deadline), hold[7]}}}))
end
return {'HOLD', ARGV[1], hold[2], hold[3], hold[4], hold[5], string.format('%.0f', deadline),
  hold[7], redis.call('HGET', KEYS[1], 'version')}
