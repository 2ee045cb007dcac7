#!lua flags=allow-oom
-- Moves an order's payment from one recovery point to the next, along the edges below and no others;
-- from a point to itself, it keeps what was learnt.
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
-- ARGV[6] what becomes of the hold's deadline:
--         ''          it stays
--         'waits'     Stripe has not answered yet: what the attempt has waited for that until now is
--                     added to the budget, for the shopper could do nothing
--         grace (ms)  it has so long, within the budget and never less than before the attempt
-- ARGV[7] intent the caller saw, or '': an order is not voided over one it has got meanwhile
-- ARGV[8] most that is added in one attempt (ms)
--
-- Replies:
--   MOVED phase      moved now, or it was there before
--   REFUSED phase    there is no edge from this phase, or the attempt or the intent is another

local EDGES = {
  paying = {paying = true, declined = true, voiding = true},
  voiding = {voiding = true, voided = true},
  committed = {committed = true, captured = true},
}

local order = redis.call('HMGET', KEYS[5], 'phase', 'attempt', 'hold', 'shopper', 'budget_until',
  'held_until', 'attempt_at', 'waited', 'pinned', 'intent')
local phase = order[1] or ''
local edges = EDGES[phase] or {}
if order[2] ~= ARGV[2] or (phase ~= ARGV[3] and not edges[ARGV[3]]) then
  return {'REFUSED', phase}
end
if ARGV[3] == 'voided' and phase == 'voiding' and (order[10] or '') ~= ARGV[7] then
  return {'REFUSED', phase}
end
local fields = cjson.decode(ARGV[4])
if phase == ARGV[3] and not edges[phase] then
  -- It rests; whatever is still to be done beside, such as a refund, stays to be done.
  for field, text in pairs(fields) do
    redis.call('HSET', KEYS[5], field, text)
  end
  return {'MOVED', phase}
end
local time = redis.call('TIME')
local seen = tonumber(redis.call('HGET', KEYS[1], 'clock') or '0')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)
local hold = redis.call('HMGET', KEYS[4], 'state', 'lines', 'amount', 'currency', 'fulfillment',
  'expires_at')

local deadline
-- A hold whose deadline has passed is not revived, even if the sweep has not been here yet.
if hold[1] == 'active' and tonumber(hold[6]) > now then
  local budget = tonumber(order[5])
  if ARGV[6] == 'waits' then
    local waited = math.min(math.max(0, now - tonumber(order[7])), tonumber(ARGV[8]))
    budget = budget + math.max(0, waited - tonumber(order[8] or '0'))
    fields.waited = string.format('%.0f', waited)
    fields.budget_until = string.format('%.0f', budget)
    deadline = math.max(budget, tonumber(order[6]))
  elseif ARGV[6] ~= '' then
    deadline = math.max(math.min(now + tonumber(ARGV[6]), budget), tonumber(order[6]))
  end
end

for field, text in pairs(fields) do
  redis.call('HSET', KEYS[5], field, text)
end
redis.call('HSET', KEYS[5], 'phase', ARGV[3])
if ARGV[3] == 'voided' and order[9] and hold[1] == 'active' then
  -- Its units were kept until it was known that nothing is charged: now they may go.
  redis.call('HDEL', KEYS[5], 'pinned')
  redis.call('ZADD', KEYS[2], now, order[3] .. ':' .. order[4])
  redis.call('HSET', KEYS[4], 'expires_at', string.format('%.0f', now))
end
if ARGV[5] == '' then
  redis.call('ZREM', KEYS[3], ARGV[1])
else
  redis.call('ZADD', KEYS[3], now + tonumber(ARGV[5]), ARGV[1])
end
if deadline then
  redis.call('HSET', KEYS[4], 'expires_at', string.format('%.0f', deadline))
  redis.call('ZADD', KEYS[2], deadline, order[3] .. ':' .. order[4])
  redis.pcall('SPUBLISH', KEYS[6], cjson.encode({holds = {{order[4], order[3], hold[1], hold[2],
    hold[3], hold[4], string.format('%.0f', deadline), hold[5]}}}))
end
return {'MOVED', ARGV[3]}
