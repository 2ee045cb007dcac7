#!lua flags=allow-oom
-- Begins a payment for a hold, or the next attempt after a decline: writes the order's record and
-- lets the hold live as long as our own queue and then the payment may take, within the budget.
--
-- KEYS[1] meta       hash    epoch, clock (ms), server
-- KEYS[2] deadlines  zset    <hold>:<shopper> by deadline (ms)
-- KEYS[3] unsettled  zset    order by when to look at its payment (ms)
-- KEYS[4] hold       hash
-- KEYS[5] order      hash    of this hold
-- KEYS[6] news       channel
-- ARGV[1] hold
-- ARGV[2] shopper who asks
-- ARGV[3] order
-- ARGV[4] total the shopper saw (minor units)
-- ARGV[5] its currency
-- ARGV[6] token of the payment method
-- ARGV[7] details JSON of text fields to keep with the order
-- ARGV[8] budget for the payment, from its first attempt on (ms)
-- ARGV[9] when the sweep looks at it (ms from now)
-- ARGV[10] retention of the order (ms)
-- ARGV[11] longest that our queue may keep it waiting before the budget counts (ms)
-- ARGV[12] '1' when its method may take the money at once: the units then stay held until such a
--          payment has ended; else ''
-- ARGV[13] most attempts
-- ARGV[14] replicas that must be there for anything to be sold
--
-- Replies:
--   PAYING attempt             begun now, or by an earlier copy of this request: settle it
--   IN_PROGRESS                an attempt with another method is under way, or is being voided
--   TOTAL_CHANGED amount currency   the hold's own total; nothing was begun
--   DONE phase                 sold, or this very method was tried before: read the order
--   LIMIT attempts             no more methods may be tried
--   ENDED state                the hold is over
--   NOT_FOUND                  no such hold, or another shopper's
--   UNKNOWN phase              a newer version moved the order, whose money nobody here can judge:
--                              nothing was begun; a gateway of that version will say more
--   FROZEN                     this server may have lost writes of the shop: rebuild, then repeat
--   PAUSED                     too few replicas to sell anything: repeat it later

-- A server that was promoted or restarted may have lost writes: it serves the shop only after a rebuild.
local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)
local least_replicas = tonumber(ARGV[14])

local function paused()
  local online = 0
  for lag in string.gmatch(info, 'state=online[^\r]-,lag=(%d+)') do
    online = online + (tonumber(lag) <= 10 and 1 or 0)
  end
  return online < least_replicas
end

local meta = redis.call('HMGET', KEYS[1], 'epoch', 'server')
if meta[1] and meta[2] ~= here then
  return {'FROZEN'}
end

local hold = redis.call('HMGET', KEYS[4], 'shopper', 'state', 'expires_at', 'amount', 'currency',
  'lines', 'show', 'fulfillment')
local order = redis.call('HMGET', KEYS[5], 'phase', 'attempt', 'token', 'budget_until', 'tried')
local phase = order[1]
if hold[1] ~= ARGV[2] then
  return {'NOT_FOUND'}
end
local known = {paying = true, declined = true, committed = true, captured = true, failed = true,
  voiding = true, voided = true}
if phase and not known[phase] then
  -- Another attempt would forget the intent of this one, and could charge a second time.
  return {'UNKNOWN', phase}
end
if hold[2] == 'committed' or phase == 'committed' or phase == 'captured' or phase == 'failed' then
  return {'DONE', phase}
end
if hold[2] ~= 'active' then
  return {'ENDED', hold[2]}
end
if hold[4] ~= ARGV[4] or hold[5] ~= ARGV[5] then
  return {'TOTAL_CHANGED', hold[4], hold[5]}
end
if phase == 'paying' then
  if order[3] == ARGV[6] then
    return {'PAYING', order[2]}
  end
  return {'IN_PROGRESS'}
end
if phase == 'voiding' then
  -- The next attempt would forget the intent that is still to be cancelled.
  return {'IN_PROGRESS'}
end
if least_replicas > 0 and paused() then
  return {'PAUSED'}
end
local tried = order[5] or ' '
if phase and string.find(tried, ' ' .. ARGV[6] .. ' ', 1, true) then
  -- A late copy of a request that was declined; another attempt needs another token.
  return {'DONE', phase}
end
if tonumber(order[2] or '0') >= tonumber(ARGV[13]) then
  return {'LIMIT', ARGV[13]}
end

local time = redis.call('TIME')
local seen = tonumber(redis.call('HGET', KEYS[1], 'clock') or '0')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)
if tonumber(hold[3]) <= now then
  return {'ENDED', 'expired'}
end
local details = cjson.decode(ARGV[7])
local attempt = tonumber(order[2] or '0') + 1
local until_ms = tonumber(order[4] or now + tonumber(ARGV[8]))
local deadline = math.max(tonumber(hold[3]), until_ms + tonumber(ARGV[11]))

redis.call('HDEL', KEYS[5], 'intent', 'client_secret', 'decline_code', 'asked_at', 'ship_to',
  'reason', 'pinned', 'waited', 'given_back', 'traceparent')
for field, text in pairs(details) do
  redis.call('HSET', KEYS[5], field, text)
end
redis.call('HSET', KEYS[5], 'phase', 'paying', 'pay_state', 'queued', 'attempt', attempt,
  'token', ARGV[6], 'tried', tried .. ARGV[6] .. ' ',
  'epoch', redis.call('HGET', KEYS[1], 'epoch') or '1', 'hold', ARGV[1],
  'shopper', ARGV[2], 'show', hold[7], 'amount', hold[4], 'currency', hold[5],
  'lines', hold[6], 'fulfillment', hold[8], 'attempt_at', string.format('%.0f', now),
  'budget_until', string.format('%.0f', until_ms), 'held_until', hold[3])
if ARGV[12] ~= '' then
  redis.call('HSET', KEYS[5], 'pinned', ARGV[12])
end
redis.call('PEXPIRE', KEYS[5], ARGV[10])
redis.call('HSET', KEYS[4], 'expires_at', string.format('%.0f', deadline))
redis.call('ZADD', KEYS[2], deadline, ARGV[1] .. ':' .. ARGV[2])
redis.call('ZADD', KEYS[3], now + tonumber(ARGV[9]), ARGV[3])
redis.call('HSET', KEYS[1], 'clock', string.format('%.0f', now))
redis.pcall('SPUBLISH', KEYS[6], cjson.encode({holds = {{ARGV[2], ARGV[1], 'active', hold[6],
  hold[4], hold[5], string.format('%.0f', deadline), hold[8]}}}))
return {'PAYING', tostring(attempt)}
