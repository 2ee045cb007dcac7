#!lua flags=allow-oom
-- Undoes a commit whose money could not be captured: the units are on sale again and the POS will
-- never hear of the order, for nothing is delivered before its money is captured.
--
-- KEYS[1] meta       hash    epoch, version, clock (ms)
-- KEYS[2] stock      hash    sku -> JSON rows, as in hold_reserve
-- KEYS[3] ledger     stream  movements
-- KEYS[4] news       channel
-- KEYS[5] unsettled  zset    order by when to look at its payment (ms)
-- KEYS[6] shopper    hash
-- KEYS[7] order      hash
-- ARGV[1] order
-- ARGV[2] reason     a word for the record
--
-- Replies:
--   FAILED           undone now, or before
--   REFUSED phase    it is not committed, or its money is captured

local order = redis.call('HMGET', KEYS[7], 'phase', 'lines', 'hold', 'show', 'units')
if order[1] == 'failed' then
  return {'FAILED'}
end
if order[1] ~= 'committed' then
  return {'REFUSED', order[1] or ''}
end

-- What was handed over meanwhile is gone: it does not come back on sale.
local lines, units, stock, back = cjson.decode(order[2]), cjson.decode(order[5]), {}, {}
for i, line in ipairs(lines) do
  stock[line.sku] = stock[line.sku] or cjson.decode(redis.call('HGET', KEYS[2], line.sku))
  for _, row in ipairs(stock[line.sku]) do
    if row[1] == line.location then
      back[i] = math.min(line.quantity, row[5])
      row[5] = row[5] - back[i]
    end
  end
end

local known = redis.call('EXISTS', KEYS[6]) == 1
local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[7], 'phase', 'failed', 'reason', ARGV[2])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[6], 'order:' .. ARGV[1])
for i, line in ipairs(lines) do
  if known then
    redis.call('HINCRBY', KEYS[6], 'units:' .. order[4] .. ':' .. line.sku, -line.quantity)
  end
  redis.call('XADD', KEYS[3], '*', 'kind', 'released', 'sku', line.sku, 'location', line.location,
    'quantity', back[i], 'on_hand', 0, 'safety_stock', 0, 'held', 0, 'committed', -back[i],
    'reference', ARGV[1], 'version', version, 'first_unit', units[i][3])
end
local items = {}
for sku, rows in pairs(stock) do
  redis.call('HSET', KEYS[2], sku, cjson.encode(rows))
  local left = 0
  for _, row in ipairs(rows) do
    left = left + math.max(0, row[2] - row[3] - row[4] - row[5])
  end
  items[sku] = left
end
redis.pcall('SPUBLISH', KEYS[4], cjson.encode({
  epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch')), version = version, stock = items,
  at = tonumber(redis.call('HGET', KEYS[1], 'clock'))}))
return {'FAILED'}
