#!lua flags=allow-oom
-- Sells what a shopper's bank approved after the hold had lapsed: if the units are still there they
-- are held again and committed in one step, for the price of the hold. The hold itself stays expired.
--
-- KEYS[1]  meta       hash    epoch, version, clock (ms), server
-- KEYS[2]  stock      hash    sku -> JSON rows, as in hold_reserve
-- KEYS[3]  catalog    hash    sku -> JSON entry
-- KEYS[4]  ledger     stream  movements
-- KEYS[5]  orders     stream  events for the POS
-- KEYS[6]  news       channel
-- KEYS[7]  unsettled  zset    order by when to look at its payment (ms)
-- KEYS[8]  shopper    hash
-- KEYS[9]  order      hash
-- ARGV[1]  order
-- ARGV[2]  attempt that authorized the money
-- ARGV[3]  event id
-- ARGV[4]  event    the encoded CloudEvent
-- ARGV[5]  when the sweep looks at it (ms from now)
-- ARGV[6]  intent whose money it is; kept with the sale
--
-- Replies:
--   COMMITTED units   as hold_commit; now or before
--   GONE              the units are not there any more, or the shopper has all of them one may have
--   REFUSED phase     the order is not being voided for its hold's expiry, under this attempt; or
--                     its money goes back already, or it was sold for another intent
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

local order = redis.call('HMGET', KEYS[9], 'phase', 'attempt', 'units', 'hold', 'lines', 'reason',
  'show', 'intent', 'given_back')
local sold = order[1] == 'committed' or order[1] == 'captured'
if sold and order[8] ~= ARGV[6] then
  return {'REFUSED', order[1]}
end
if sold then
  -- WAIT counts from this connection's last write on, so that a repetition must write as well.
  redis.call('HSET', KEYS[9], 'units', order[3])
  return {'COMMITTED', order[3]}
end
if order[1] ~= 'voiding' or order[2] ~= ARGV[2] or order[6] ~= 'expired' or order[9] then
  return {'REFUSED', order[1] or ''}
end

local function free(row)
  return math.max(0, row[2] - row[3] - row[4] - row[5])
end

local lines, stock, units, wanted = cjson.decode(order[5]), {}, {}, {}
for i, line in ipairs(lines) do
  stock[line.sku] = stock[line.sku] or cjson.decode(redis.call('HGET', KEYS[2], line.sku) or '[]')
  wanted[line.sku] = (wanted[line.sku] or 0) + line.quantity
  for _, row in ipairs(stock[line.sku]) do
    if row[1] == line.location and free(row) >= line.quantity then
      units[i] = {line.sku, line.location, row[6], line.quantity}
      row[5] = row[5] + line.quantity
      row[6] = row[6] + line.quantity
    end
  end
  if not units[i] then
    return {'GONE'}
  end
end
for sku, quantity in pairs(wanted) do
  local packed = redis.call('HGET', KEYS[3], sku)
  local limit = packed and cjson.decode(packed).limit_per_shopper
  local bought = tonumber(redis.call('HGET', KEYS[8], 'units:' .. order[7] .. ':' .. sku) or '0')
  if limit and bought + quantity > limit then
    return {'GONE'}
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
  redis.call('HINCRBY', KEYS[8], 'units:' .. order[7] .. ':' .. sku, wanted[sku])
  local left = 0
  for _, row in ipairs(rows) do
    left = left + free(row)
  end
  items[sku] = left
end
redis.call('HSET', KEYS[8], 'order:' .. ARGV[1], string.format('%.0f', now))
redis.call('HDEL', KEYS[9], 'reason')
redis.call('HSET', KEYS[9], 'phase', 'committed', 'intent', ARGV[6], 'units', numbered, 'event_id', ARGV[3],
  'event', ARGV[4], 'committed_at', string.format('%.0f', now))
for i, line in ipairs(lines) do
  redis.call('XADD', KEYS[4], '*', 'kind', 'held', 'sku', line.sku, 'location', line.location,
    'quantity', line.quantity, 'on_hand', 0, 'safety_stock', 0, 'held', line.quantity,
    'committed', 0, 'reference', order[4], 'version', version)
  redis.call('XADD', KEYS[4], '*', 'kind', 'committed', 'sku', line.sku, 'location', line.location,
    'quantity', line.quantity, 'on_hand', 0, 'safety_stock', 0, 'held', -line.quantity,
    'committed', line.quantity, 'reference', order[4], 'version', version,
    'first_unit', units[i][3])
end
redis.call('XADD', KEYS[5], '*', 'order', ARGV[1], 'event_id', ARGV[3], 'units', numbered,
  'event', ARGV[4])
redis.call('ZADD', KEYS[7], now + tonumber(ARGV[5]), ARGV[1])
redis.pcall('SPUBLISH', KEYS[6], cjson.encode({
  epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch')), version = version, stock = items, at = now}))
return {'COMMITTED', numbered}
