#!lua flags=allow-oom
-- Ends holds whose deadline has passed: their units are on sale again, and a payment that was under
-- way will be voided. The caller reads what is due from the deadlines and names it here; each is
-- looked at again, for it may have been extended, committed or released since.
--
-- KEYS[1]      meta       hash    epoch, version, clock (ms), server
-- KEYS[2]      stock      hash    sku -> JSON rows, as in hold_reserve
-- KEYS[3]      deadlines  zset    <hold>:<shopper> by deadline (ms)
-- KEYS[4]      ledger     stream  movements
-- KEYS[5]      news       channel
-- KEYS[6]      unsettled  zset    order by when to look at its payment (ms)
-- KEYS[4+3i]   hold       hash    of hold i
-- KEYS[5+3i]   shopper    hash    of hold i
-- KEYS[6+3i]   order      hash    of hold i
-- ARGV[1]      due        JSON    [{hold, shopper, order}]
-- ARGV[2]      retention of a hold (ms)
-- ARGV[3]      how long a payment that was under way is left open (ms): who approves meanwhile still
--              gets the units, if they are there
--
-- A payment whose method may take the money at once keeps its units: it is cancelled first, and its
-- hold named here again when that is done.
--
-- Replies:
--   EXPIRED id ...   the holds that expired by this call
--   FROZEN           this server may have lost writes of the shop: nothing lapses before a rebuild

-- A server that was promoted or restarted may have lost writes: it serves the shop only after a rebuild.
local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'server')
if meta[1] and meta[2] ~= here then
  return {'FROZEN'}
end

local due = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local seen = tonumber(redis.call('HGET', KEYS[1], 'clock') or '0')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)

-- Read and decide first, then write: see hold_reserve.
local stock, expired, gone, later, pinned = {}, {}, {}, {}, {}
for i, one in ipairs(due) do
  local hold = redis.call('HMGET', KEYS[4 + 3 * i], 'state', 'expires_at', 'lines', 'amount',
    'currency', 'fulfillment', 'show')
  local order = redis.call('HMGET', KEYS[6 + 3 * i], 'phase', 'pinned')
  if hold[1] ~= 'active' then
    gone[#gone + 1] = one
  elseif tonumber(hold[2]) <= now and order[2] and (order[1] == 'paying' or order[1] == 'voiding') then
    pinned[#pinned + 1] = {id = one.hold, shopper = one.shopper, order = one.order, at = i,
      phase = order[1]}
  elseif tonumber(hold[2]) <= now then
    local lines = cjson.decode(hold[3])
    for _, line in ipairs(lines) do
      stock[line.sku] = stock[line.sku] or cjson.decode(redis.call('HGET', KEYS[2], line.sku))
      for _, row in ipairs(stock[line.sku]) do
        if row[1] == line.location then
          row[4] = row[4] - line.quantity
        end
      end
    end
    expired[#expired + 1] = {id = one.hold, shopper = one.shopper, order = one.order, at = i,
      lines = lines, show = hold[7], phase = order[1],
      told = {one.shopper, one.hold, 'expired', hold[3], hold[4], hold[5], hold[2], hold[6]}}
  else
    later[#later + 1] = {one, hold[2]}
  end
end

redis.call('HSET', KEYS[1], 'clock', string.format('%.0f', now))
for _, one in ipairs(gone) do
  redis.call('ZREM', KEYS[3], one.hold .. ':' .. one.shopper)
end
-- A deadline that is not the hold's own would be named again, before those behind it, for ever.
for _, one in ipairs(later) do
  redis.call('ZADD', KEYS[3], one[2], one[1].hold .. ':' .. one[1].shopper)
end
for _, kept in ipairs(pinned) do
  redis.call('ZREM', KEYS[3], kept.id .. ':' .. kept.shopper)
  if kept.phase == 'paying' then
    redis.call('HSET', KEYS[6 + 3 * kept.at], 'phase', 'voiding', 'reason', 'expired')
    redis.call('ZADD', KEYS[6], now, kept.order)
  end
end
if #expired == 0 then
  return {'EXPIRED'}
end
local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
local ids, told = {'EXPIRED'}, {}
for n, hold in ipairs(expired) do
  local shopper_key = KEYS[5 + 3 * hold.at]
  redis.call('HSET', KEYS[4 + 3 * hold.at], 'state', 'expired')
  redis.call('PEXPIRE', KEYS[4 + 3 * hold.at], ARGV[2])
  redis.call('ZREM', KEYS[3], hold.id .. ':' .. hold.shopper)
  redis.call('HDEL', shopper_key, 'hold:' .. hold.id)
  redis.call('HINCRBY', shopper_key, 'holds', -1)
  for _, line in ipairs(hold.lines) do
    redis.call('HINCRBY', shopper_key, 'units:' .. hold.show .. ':' .. line.sku, -line.quantity)
    redis.call('XADD', KEYS[4], '*', 'kind', 'expired', 'sku', line.sku, 'location', line.location,
      'quantity', line.quantity, 'on_hand', 0, 'safety_stock', 0, 'held', -line.quantity,
      'committed', 0, 'reference', hold.id, 'version', version)
  end
  if hold.phase == 'declined' then
    -- Its intent was cancelled when it was declined.
    redis.call('HSET', KEYS[6 + 3 * hold.at], 'phase', 'voided', 'reason', 'expired')
  elseif hold.phase == 'paying' then
    redis.call('HSET', KEYS[6 + 3 * hold.at], 'phase', 'voiding', 'reason', 'expired')
    redis.call('ZADD', KEYS[6], now + tonumber(ARGV[3]), hold.order)
  end
  ids[n + 1], told[n] = hold.id, hold.told
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
  epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch')), version = version, stock = items,
  holds = told, at = now}))
return ids
