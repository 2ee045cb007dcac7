#!lua flags=allow-oom
-- Makes a hold a sale: its units get their numbers, and the order's event is appended for the POS
-- in the same step, so that neither can be without the other.
--
-- KEYS[1]  meta       hash    epoch, version, clock (ms), server
-- KEYS[2]  stock      hash    sku -> JSON rows, as in hold_reserve
-- KEYS[3]  deadlines  zset    <hold>:<shopper> by deadline (ms)
-- KEYS[4]  ledger     stream  movements
-- KEYS[5]  orders     stream  events for the POS
-- KEYS[6]  news       channel
-- KEYS[7]  unsettled  zset    order by when to look at its payment (ms)
-- KEYS[8]  hold       hash
-- KEYS[9]  shopper    hash
-- KEYS[10] order      hash
-- ARGV[1]  order
-- ARGV[2]  attempt that authorized the money
-- ARGV[3]  event id
-- ARGV[4]  event    the encoded CloudEvent
-- ARGV[5]  when the sweep looks at it (ms from now)
-- ARGV[6]  retention of the hold (ms): as long as the order's, for the same key must stay the same hold
-- ARGV[7]  intent whose money it is; kept with the sale, for only that is ever captured
--
-- Replies:
--   COMMITTED units   JSON [[sku, location, first unit number, units]]; committed now or before.
--                     The caller waits for the replicas, then captures the money.
--   REFUSED phase     the order is not paying under this attempt, or was sold for another intent:
--                     never capture, settle it again
--   ENDED state       the hold is over: the money must be voided
--   FROZEN            this server may have lost writes of the shop: rebuild, then repeat

-- A server that was promoted or restarted may have lost writes: it serves the shop only after a rebuild.
local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'server')
if meta[1] and meta[2] ~= here then
  return {'FROZEN'}
end

local order = redis.call('HMGET', KEYS[10], 'phase', 'attempt', 'units', 'hold', 'shopper', 'pinned',
  'intent', 'given_back')
local sold = order[1] == 'committed' or order[1] == 'captured'
if sold and order[7] ~= ARGV[7] then
  return {'REFUSED', order[1]}
end
if sold then
  -- WAIT counts from this connection's last write on, so that a repetition must write as well.
  redis.call('HSET', KEYS[10], 'units', order[3])
  return {'COMMITTED', order[3]}
end
-- A pinned payment may turn out to have taken the money while it was being cancelled.
local settling = order[1] == 'paying' or (order[1] == 'voiding' and order[6] and not order[8])
if not settling or order[2] ~= ARGV[2] then
  return {'REFUSED', order[1] or ''}
end
local hold = redis.call('HMGET', KEYS[8], 'state', 'lines', 'amount', 'currency', 'expires_at',
  'fulfillment')
if hold[1] ~= 'active' then
  return {'ENDED', hold[1] or ''}
end

local lines, stock, units = cjson.decode(hold[2]), {}, {}
for i, line in ipairs(lines) do
  stock[line.sku] = stock[line.sku] or cjson.decode(redis.call('HGET', KEYS[2], line.sku))
  for _, row in ipairs(stock[line.sku]) do
    if row[1] == line.location then
      units[i] = {line.sku, line.location, row[6], line.quantity}
      row[4] = row[4] - line.quantity
      row[5] = row[5] + line.quantity
      row[6] = row[6] + line.quantity
    end
  end
end
local time = redis.call('TIME')
local seen = tonumber(redis.call('HGET', KEYS[1], 'clock') or '0')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)
local numbered = cjson.encode(units)

local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[1], 'clock', string.format('%.0f', now))
local items = {}
for sku, rows in pairs(stock) do
  redis.call('HSET', KEYS[2], sku, cjson.encode(rows))
  local left = 0
  for _, row in ipairs(rows) do
    left = left + math.max(0, row[2] - row[3] - row[4] - row[5])
  end
  items[sku] = left
end
redis.call('HSET', KEYS[8], 'state', 'committed')
redis.call('PEXPIRE', KEYS[8], ARGV[6])
redis.call('ZREM', KEYS[3], order[4] .. ':' .. order[5])
redis.call('HDEL', KEYS[9], 'hold:' .. order[4])
redis.call('HSET', KEYS[9], 'order:' .. ARGV[1], string.format('%.0f', now))
redis.call('HINCRBY', KEYS[9], 'holds', -1)
redis.call('HDEL', KEYS[10], 'reason', 'pinned')
redis.call('HSET', KEYS[10], 'phase', 'committed', 'intent', ARGV[7], 'units', numbered, 'event_id', ARGV[3],
  'event', ARGV[4], 'committed_at', string.format('%.0f', now))
for i, line in ipairs(lines) do
  redis.call('XADD', KEYS[4], '*', 'kind', 'committed', 'sku', line.sku, 'location', line.location,
    'quantity', line.quantity, 'on_hand', 0, 'safety_stock', 0, 'held', -line.quantity,
    'committed', line.quantity, 'reference', order[4], 'version', version,
    'first_unit', units[i][3])
end
redis.call('XADD', KEYS[5], '*', 'order', ARGV[1], 'event_id', ARGV[3], 'units', numbered,
  'event', ARGV[4])
redis.call('ZADD', KEYS[7], now + tonumber(ARGV[5]), ARGV[1])
redis.pcall('SPUBLISH', KEYS[6], cjson.encode({
  epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch')), version = version, stock = items, at = now,
  holds = {{order[5], order[4], 'committed', hold[2], hold[3], hold[4], hold[5], hold[6]}}}))
return {'COMMITTED', numbered}
