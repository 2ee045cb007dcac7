#!lua flags=allow-oom
-- Gives a hold back on its shopper's word: its units are on sale again at once, and a payment that
-- was under way will be voided.
--
-- KEYS[1] meta       hash    epoch, version, clock (ms), server
-- KEYS[2] stock      hash    sku -> JSON rows, as in hold_reserve
-- KEYS[3] deadlines  zset    <hold>:<shopper> by deadline (ms)
-- KEYS[4] ledger     stream  movements
-- KEYS[5] news       channel
-- KEYS[6] unsettled  zset    order by when to look at its payment (ms)
-- KEYS[7] hold       hash
-- KEYS[8] shopper    hash
-- KEYS[9] order      hash    of this hold
-- ARGV[1] hold
-- ARGV[2] shopper who asks
-- ARGV[3] order
-- ARGV[4] retention of the hold (ms)
--
-- Replies:
--   HOLD id state lines amount currency expires_at fulfillment version   released, now or before;
--                still active when its payment's method may take the money at once: it is cancelled
--                first, and the hold expires when that is done
--   NOT_FOUND    no such hold, or another shopper's
--   ENDED state  committed or expired before
--   FROZEN       this server may have lost writes of the shop, and the hold be a sale: rebuild, then
--                repeat

-- A server that was promoted or restarted may have lost writes: it serves the shop only after a rebuild.
local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'server')
if meta[1] and meta[2] ~= here then
  return {'FROZEN'}
end

local hold = redis.call('HMGET', KEYS[7], 'shopper', 'state', 'lines', 'amount', 'currency',
  'expires_at', 'fulfillment', 'show')
if hold[1] ~= ARGV[2] then
  return {'NOT_FOUND'}
end
if hold[2] == 'released' then
  return {'HOLD', ARGV[1], hold[2], hold[3], hold[4], hold[5], hold[6], hold[7],
    redis.call('HGET', KEYS[1], 'version')}
end
if hold[2] ~= 'active' then
  return {'ENDED', hold[2]}
end

local order = redis.call('HMGET', KEYS[9], 'phase', 'pinned')
local phase = order[1]
if order[2] and (phase == 'paying' or phase == 'voiding') then
  if phase == 'paying' then
    redis.call('HSET', KEYS[9], 'phase', 'voiding', 'reason', 'released')
    redis.call('ZADD', KEYS[6], 0, ARGV[3])
    redis.call('ZREM', KEYS[3], ARGV[1] .. ':' .. ARGV[2])
  end
  return {'HOLD', ARGV[1], hold[2], hold[3], hold[4], hold[5], hold[6], hold[7],
    redis.call('HGET', KEYS[1], 'version')}
end

local lines = cjson.decode(hold[3])
local stock = {}
for _, line in ipairs(lines) do
  stock[line.sku] = stock[line.sku] or cjson.decode(redis.call('HGET', KEYS[2], line.sku))
  for _, row in ipairs(stock[line.sku]) do
    if row[1] == line.location then
      row[4] = row[4] - line.quantity
    end
  end
end
local time = redis.call('TIME')
local seen = tonumber(redis.call('HGET', KEYS[1], 'clock') or '0')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)

local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[1], 'clock', string.format('%.0f', now))
redis.call('HSET', KEYS[7], 'state', 'released')
redis.call('PEXPIRE', KEYS[7], ARGV[4])
redis.call('ZREM', KEYS[3], ARGV[1] .. ':' .. ARGV[2])
redis.call('HDEL', KEYS[8], 'hold:' .. ARGV[1])
redis.call('HINCRBY', KEYS[8], 'holds', -1)
for _, line in ipairs(lines) do
  redis.call('HINCRBY', KEYS[8], 'units:' .. hold[8] .. ':' .. line.sku, -line.quantity)
  redis.call('XADD', KEYS[4], '*', 'kind', 'released', 'sku', line.sku, 'location', line.location,
    'quantity', line.quantity, 'on_hand', 0, 'safety_stock', 0, 'held', -line.quantity,
    'committed', 0, 'reference', ARGV[1], 'version', version)
end
if phase == 'declined' then
  -- Its intent was cancelled when it was declined.
  redis.call('HSET', KEYS[9], 'phase', 'voided', 'reason', 'released')
elseif phase == 'paying' then
  redis.call('HSET', KEYS[9], 'phase', 'voiding', 'reason', 'released')
  redis.call('ZADD', KEYS[6], now, ARGV[3])
end
local items = {}
for sku, rows in pairs(stock) do
  redis.call('HSET', KEYS[2], sku, cjson.encode(rows))
  local units = 0
  for _, row in ipairs(rows) do
    units = units + math.max(0, row[2] - row[3] - row[4] - row[5])
  end
  items[sku] = units
end
redis.pcall('SPUBLISH', KEYS[5], cjson.encode({
  epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch')), version = version, stock = items, at = now,
  holds = {{ARGV[2], ARGV[1], 'released', hold[3], hold[4], hold[5], hold[6], hold[7]}}}))
return {'HOLD', ARGV[1], 'released', hold[3], hold[4], hold[5], hold[6], hold[7],
  tostring(version)}
