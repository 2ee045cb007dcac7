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
-- ARGV[3] '1'        the units stay off sale: they are another order's, whose sale this server lost.
--                    They stay counted as sold, in the stead of that one's, until it is restored
--
-- Replies:
--   FAILED           undone now, or before
--   REFUSED phase    it is not committed, or its money is captured

local order = redis.call('HMGET', KEYS[7], 'phase', 'lines', 'hold', 'show')
if order[1] == 'failed' then
  return {'FAILED'}
end
if order[1] ~= 'committed' then
  return {'REFUSED', order[1] or ''}
end
local stay = ARGV[3] == '1'

-- What was handed over meanwhile is gone: it does not come back on sale.
local lines, stock, back = cjson.decode(order[2]), {}, {}
for i, line in ipairs(stay and {} or lines) do
  stock[line.sku] = stock[line.sku] or cjson.decode(redis.call('HGET', KEYS[2], line.sku))
  for _, row in ipairs(stock[line.sku]) do
    if row[1] == line.location then
      back[i] = math.min(line.quantity, row[5])
      row[5] = row[5] - back[i]
    end
  end
end

local known = redis.call('EXISTS', KEYS[6]) == 1
redis.call('HSET', KEYS[7], 'phase', 'failed', 'reason', ARGV[2])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[6], 'order:' .. ARGV[1])
for _, line in ipairs(known and lines or {}) do
  redis.call('HINCRBY', KEYS[6], 'units:' .. order[4] .. ':' .. line.sku, -line.quantity)
end
if stay then
  return {'FAILED'}
end
local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
for i, line in ipairs(lines) do
  redis.call('XADD', KEYS[3], '*', 'kind', 'released', 'sku', line.sku, 'location', line.location,
    'quantity', back[i], 'on_hand', 0, 'safety_stock', 0, 'held', 0, 'committed', -back[i],
    'reference', ARGV[1], 'version', version)
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
redis.pcall('SPUBLISH', KEYS[4], cjson.encode({
  epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch')), version = version, stock = items,
  at = tonumber(redis.call('HGET', KEYS[1], 'clock'))}))
return {'FAILED'}
