#!lua flags=allow-oom
-- Writes a sale again that the claims table or Stripe knows and this server has lost: its units are
-- sold, whatever the stock says. Only while the shop is frozen, so that nobody else gets them first.
--
-- KEYS[1] meta       hash    epoch, version, clock (ms), server
-- KEYS[2] stock      hash    sku -> JSON rows, as in hold_reserve
-- KEYS[3] deadlines  zset    <hold>:<shopper> by deadline (ms)
-- KEYS[4] ledger     stream  movements
-- KEYS[5] orders     stream  events for the POS
-- KEYS[6] unsettled  zset    order by when to look at its payment (ms)
-- KEYS[7] hold       hash
-- KEYS[8] shopper    hash
-- KEYS[9] order      hash
-- ARGV[1] order
-- ARGV[2] hold
-- ARGV[3] shopper
-- ARGV[4] units      JSON [[sku, location, first unit number, units]], as hold_commit answers them
-- ARGV[5] fields     JSON of text fields of the order's record. With event_id and event, if they are
--                    known, the POS is told again of a committed sale; of a captured one reconciling
--                    looks first whether the stream has it
-- ARGV[6] phase      committed: its money is still to be captured; or captured
-- ARGV[7] retention of the order and its hold (ms)
-- ARGV[8] retention of the shopper's key (ms)
--
-- Replies:
--   RESTORED         written now
--   KEPT phase       it is a sale here, or was one, or its money is known to go back: nothing to do
--   SERVING          the shop is not frozen

local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)

local meta = redis.call('HMGET', KEYS[1], 'epoch', 'server', 'clock', 'version')
if meta[1] and meta[2] == here then
  return {'SERVING'}
end
local units, fields = cjson.decode(ARGV[4]), cjson.decode(ARGV[5])
local order = redis.call('HMGET', KEYS[9], 'phase', 'given_back')
local phase = order[1]
local given_back = order[2] and order[2] == fields.intent
if phase == 'committed' or phase == 'captured' or phase == 'failed' or given_back then
  return {'KEPT', phase}
end

local time = redis.call('TIME')
local seen = tonumber(meta[3] or '0')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)
local state = redis.call('HGET', KEYS[7], 'state')
local held = state == 'active'

-- Read and decide first, then write: see hold_reserve.
local stock = {}
for _, unit in ipairs(units) do
  local sku, location, first, quantity = unit[1], unit[2], unit[3], unit[4]
  stock[sku] = stock[sku] or cjson.decode(redis.call('HGET', KEYS[2], sku) or '[]')
  local row
  for _, one in ipairs(stock[sku]) do
    row = one[1] == location and one or row
  end
  if not row then
    -- Nothing of it was ever counted, as far as this server knows: see stock_move.
    row = {location, 0, 0, 0, 0, 1, -1}
    table.insert(stock[sku], row)
  end
  row[4] = row[4] - (held and quantity or 0)
  row[5] = row[5] + quantity
  row[6] = math.max(row[6], first + quantity)
end

local version = tonumber(meta[4] or '0') + 1
-- The clock stays: it tells how far back sales may be missing, see shop_state.
redis.call('HSET', KEYS[1], 'version', version)
for sku, rows in pairs(stock) do
  redis.call('HSET', KEYS[2], sku, cjson.encode(rows))
end
for _, unit in ipairs(units) do
  redis.call('XADD', KEYS[4], '*', 'kind', 'committed', 'sku', unit[1], 'location', unit[2],
    'quantity', unit[4], 'on_hand', 0, 'safety_stock', 0, 'held', held and -unit[4] or 0,
    'committed', unit[4], 'reference', ARGV[2], 'version', version, 'first_unit', unit[3])
  if not state then
    redis.call('HINCRBY', KEYS[8], 'units:' .. fields.show .. ':' .. unit[1], unit[4])
  end
end
if held then
  redis.call('HINCRBY', KEYS[8], 'holds', -1)
end
redis.call('HSET', KEYS[7], 'state', 'committed')
if not state then
  redis.call('HSET', KEYS[7], 'shopper', ARGV[3], 'show', fields.show, 'lines', fields.lines,
    'amount', fields.amount, 'currency', fields.currency, 'fulfillment', fields.fulfillment,
    'expires_at', string.format('%.0f', now), 'fingerprint', '*')
end
redis.call('PEXPIRE', KEYS[7], ARGV[7])
redis.call('ZREM', KEYS[3], ARGV[2] .. ':' .. ARGV[3])
redis.call('HDEL', KEYS[8], 'hold:' .. ARGV[2])
redis.call('HSET', KEYS[8], 'order:' .. ARGV[1], string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[8], ARGV[8])
for field, text in pairs(fields) do
  redis.call('HSET', KEYS[9], field, text)
end
redis.call('HDEL', KEYS[9], 'reason', 'pinned')
redis.call('HSET', KEYS[9], 'phase', ARGV[6], 'units', ARGV[4], 'committed_at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[9], ARGV[7])
if ARGV[6] == 'committed' then
  redis.call('ZADD', KEYS[6], now, ARGV[1])
else
  redis.call('ZREM', KEYS[6], ARGV[1])
end
if ARGV[6] == 'committed' and fields.event and fields.event_id then
  redis.call('XADD', KEYS[5], '*', 'order', ARGV[1], 'event_id', fields.event_id, 'units', ARGV[4],
    'event', fields.event)
end
return {'RESTORED'}
