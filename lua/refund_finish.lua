#!lua flags=allow-oom
-- Ends a refund once: failed, which frees its money and units for another; or done, which makes the
-- order its next version, tells the POS, and puts units back into the stock, all in one step.
--
-- KEYS[1] meta       hash    epoch, version, clock (ms)
-- KEYS[2] stock      hash    sku -> JSON rows, as in hold_reserve
-- KEYS[3] ledger     stream  movements
-- KEYS[4] orders     stream  events for the POS
-- KEYS[5] news       channel
-- KEYS[6] unsettled  zset    order by when to look at its payment (ms)
-- KEYS[7] shopper    hash
-- KEYS[8] order      hash
-- ARGV[1] order
-- ARGV[2] n          which of its refunds
-- ARGV[3] done or failed
-- ARGV[4] what the payment provider calls the refund, or the code of its refusal
-- ARGV[5] version of the order that the event follows; this and what comes after only if done
-- ARGV[6] event id
-- ARGV[7] event      the encoded CloudEvent
-- ARGV[8] state of the order as the event has it
--
-- Replies:
--   FINISHED state     done or failed, now or before
--   VERSION n          the order is another version meanwhile: encode the event anew
--   HANDED_OVER        the event calls the order canceled, but a unit had left already: likewise
--   NOT_FOUND          no such refund

local order = redis.call('HMGET', KEYS[8], 'refunds', 'order_version', 'show')
local refunds, pending = cjson.decode(order[1] or '[]'), 0
for _, refund in ipairs(refunds) do
  pending = pending + (refund.state == 'pending' and 1 or 0)
end
local refund = refunds[tonumber(ARGV[2])]
if not refund then
  return {'NOT_FOUND'}
end
if refund.state ~= 'pending' then
  return {'FINISHED', refund.state}
end
if ARGV[3] == 'failed' then
  refund.state, refund.code = 'failed', ARGV[4]
  redis.call('HSET', KEYS[8], 'refunds', cjson.encode(refunds))
  if pending == 1 then
    redis.call('ZREM', KEYS[6], ARGV[1])
  end
  return {'FINISHED', 'failed'}
end
local version = tonumber(order[2] or '1')
if version ~= tonumber(ARGV[5]) then
  return {'VERSION', tostring(version)}
end

-- Units not handed over yet were still committed; the others come back from the shopper.
local returned = refund.restock and refund.lines or {}
local stock, unsold, bought = {}, {}, {}
for i, line in ipairs(returned) do
  stock[line.sku] = stock[line.sku] or cjson.decode(redis.call('HGET', KEYS[2], line.sku) or '[]')
  local row
  for _, candidate in ipairs(stock[line.sku]) do
    if candidate[1] == line.location then
      row = candidate
    end
  end
  if not row then
    row = {line.location, 0, 0, 0, 0, 1, 0}
    table.insert(stock[line.sku], row)
  end
  unsold[i] = math.min(line.quantity, row[5])
  row[5] = row[5] - unsold[i]
  row[2] = row[2] + line.quantity - unsold[i]
  if unsold[i] < line.quantity then
    refund.handed_over = true
  end
  local field = 'units:' .. order[3] .. ':' .. line.sku
  bought[field] = bought[field] or tonumber(redis.call('HGET', KEYS[7], field) or '')
  if bought[field] then
    bought[field] = math.max(0, bought[field] - line.quantity)
  end
end
if ARGV[8] == 'canceled' and refund.handed_over then
  return {'HANDED_OVER'}
end
refund.state, refund.reference, refund.order_version = 'done', ARGV[4], version + 1

redis.call('HSET', KEYS[8], 'refunds', cjson.encode(refunds), 'order_version', version + 1,
  'order_state', ARGV[8], 'event_id', ARGV[6], 'event', ARGV[7])
redis.call('XADD', KEYS[4], '*', 'order', ARGV[1], 'event_id', ARGV[6], 'event', ARGV[7])
if pending == 1 then
  redis.call('ZREM', KEYS[6], ARGV[1])
end
if #returned == 0 then
  return {'FINISHED', 'done'}
end
local changed = redis.call('HINCRBY', KEYS[1], 'version', 1)
for i, line in ipairs(returned) do
  redis.call('XADD', KEYS[3], '*', 'kind', 'returned', 'sku', line.sku, 'location', line.location,
    'quantity', line.quantity, 'on_hand', line.quantity - unsold[i], 'safety_stock', 0, 'held', 0,
    'committed', -unsold[i], 'reference', ARGV[1], 'version', changed, 'source', 'refund',
    'reason', refund.reason or '')
end
for field, units in pairs(bought) do
  redis.call('HSET', KEYS[7], field, units)
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
  epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch')), version = changed, stock = items,
  at = tonumber(redis.call('HGET', KEYS[1], 'clock'))}))
return {'FINISHED', 'done'}
