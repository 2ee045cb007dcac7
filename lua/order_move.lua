#!lua flags=allow-oom
-- Moves an order's payment from one recovery point to the next, along the edges below and no others.
--
-- KEYS[1] meta       hash    clock (ms)
-- KEYS[2] deadlines  zset    <hold>:<shopper> by deadline (ms)
-- KEYS[3] unsettled  zset    order by when to look at its payment (ms)
-- KEYS[4] hold       hash
-- KEYS[5] order      hash
-- KEYS[6] news       channel
-- ARGV[1] order
-- ARGV[2] attempt the caller saw: a late copy of an earlier attempt moves nothing
-- ARGV[3] phase to move to
-- ARGV[4] fields     JSON of text fields to keep with the order
-- ARGV[5] when the sweep looks at it again (ms from now), or '' when it need not
-- ARGV[6] grace the hold still has (ms), within the payment's budget and never less than it had
--         before the attempt; or '' to leave it
--
-- Replies:
--   MOVED phase      moved now, or it was there before
--   REFUSED phase    there is no edge from this phase, or the attempt is another

local EDGES = {
  paying = {paying = true, declined = true, voiding = true},
  voiding = {voided = true},
  committed = {captured = true},
}

local order = redis.call('HMGET', KEYS[5], 'phase', 'attempt', 'hold', 'shopper', 'budget_until',
  'held_until')
local phase = order[1] or ''
local edges = EDGES[phase] or {}
if order[2] ~= ARGV[2] or (phase ~= ARGV[3] and not edges[ARGV[3]]) then
  return {'REFUSED', phase}
end
local fields = cjson.decode(ARGV[4])
local time = redis.call('TIME')
local seen = tonumber(redis.call('HGET', KEYS[1], 'clock') or '0')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)
local hold = redis.call('HMGET', KEYS[4], 'state', 'lines', 'amount', 'currency', 'fulfillment',
  'expires_at')

for field, text in pairs(fields) do
  redis.call('HSET', KEYS[5], field, text)
end
redis.call('HSET', KEYS[5], 'phase', ARGV[3])
if ARGV[5] == '' then
  redis.call('ZREM', KEYS[3], ARGV[1])
else
  redis.call('ZADD', KEYS[3], now + tonumber(ARGV[5]), ARGV[1])
end
-- A hold whose deadline has passed is not revived, even if the sweep has not been here yet.
if ARGV[6] ~= '' and hold[1] == 'active' and tonumber(hold[6]) > now then
  local grace = math.min(now + tonumber(ARGV[6]), tonumber(order[5]))
  local deadline = math.max(grace, tonumber(order[6]))
  redis.call('HSET', KEYS[4], 'expires_at', string.format('%.0f', deadline))
  redis.call('ZADD', KEYS[2], deadline, order[3] .. ':' .. order[4])
  redis.pcall('SPUBLISH', KEYS[6], cjson.encode({holds = {{order[4], order[3], hold[1], hold[2],
    hold[3], hold[4], string.format('%.0f', deadline), hold[5]}}}))
end
return {'MOVED', ARGV[3]}
