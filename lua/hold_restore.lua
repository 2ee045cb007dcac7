#!lua
-- Brings back holds that a server has lost and the gateways of their shoppers still know, as far as
-- the units are left.
--
-- KEYS[1]      meta       hash    epoch, version, clock (ms)
-- KEYS[2]      stock      hash    sku -> JSON rows, as in hold_reserve
-- KEYS[3]      deadlines  zset    <hold>:<shopper> by deadline (ms)
-- KEYS[4]      ledger     stream  movements
-- KEYS[5]      news       channel
-- KEYS[4+2i]   hold       hash    of hold i
-- KEYS[5+2i]   shopper    hash    of hold i
-- ARGV[1]      holds      JSON    [{hold, shopper, show, lines (JSON text), amount, currency,
--                                   expires_at (ms), fulfillment (JSON text)}]
-- ARGV[2]      time a hold has at least when it comes back (ms)
-- ARGV[3]      retention of the shopper's key (ms)
--
-- Replies, one per hold, in order:
--   KEPT state    it is known: nothing to do
--   RESTORED      its units are held again
--   GONE          they are not there any more: tell the shopper

local holds = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local seen = tonumber(redis.call('HGET', KEYS[1], 'clock') or '0')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)
local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0') + 1

-- Read and decide first, then write: see hold_reserve.
local stock, restored, replies = {}, {}, {}

local function free(row)
  return math.max(0, row[2] - row[3] - row[4] - row[5])
end

local function kept(line)
  stock[line.sku] = stock[line.sku] or cjson.decode(redis.call('HGET', KEYS[2], line.sku) or '[]')
  for _, row in ipairs(stock[line.sku]) do
    if row[1] == line.location then
      return row
    end
  end
end

local function take_back(lines)
  for _, line in ipairs(lines) do
    local row = kept(line)
    if not row or free(row) < line.quantity then
      return false
    end
  end
  for _, line in ipairs(lines) do
    local row = kept(line)
    row[4] = row[4] + line.quantity
  end
  return true
end

for i, one in ipairs(holds) do
  local state = redis.call('HGET', KEYS[4 + 2 * i], 'state')
  local lines = cjson.decode(one.lines)
  if state then
    replies[i] = {'KEPT', state}
  elseif not take_back(lines) then
    replies[i] = {'GONE'}
  else
    one.taken, one.key, one.shopper_key = lines, KEYS[4 + 2 * i], KEYS[5 + 2 * i]
    one.expires_at = string.format('%.0f', math.max(one.expires_at, now + tonumber(ARGV[2])))
    restored[#restored + 1] = one
    replies[i] = {'RESTORED'}
  end
end
if #restored == 0 then
  return replies
end

-- The clock stays: it tells how far back sales may be missing, see shop_state.
redis.call('HSET', KEYS[1], 'version', version)
local items, told = {}, {}
for sku, rows in pairs(stock) do
  redis.call('HSET', KEYS[2], sku, cjson.encode(rows))
  local left = 0
  for _, row in ipairs(rows) do
    left = left + free(row)
  end
  items[sku] = left
end
for i, hold in ipairs(restored) do
  -- What was asked for is not known any more: the same key may come with any request.
  redis.call('HSET', hold.key, 'state', 'active', 'shopper', hold.shopper, 'show', hold.show,
    'lines', hold.lines, 'amount', hold.amount, 'currency', hold.currency,
    'expires_at', hold.expires_at, 'fulfillment', hold.fulfillment,
    'fingerprint', '*', 'created_at', string.format('%.0f', now))
  redis.call('ZADD', KEYS[3], hold.expires_at, hold.hold .. ':' .. hold.shopper)
  redis.call('HSET', hold.shopper_key, 'hold:' .. hold.hold, hold.show)
  redis.call('HINCRBY', hold.shopper_key, 'holds', 1)
  for _, line in ipairs(hold.taken) do
    redis.call('HINCRBY', hold.shopper_key, 'units:' .. hold.show .. ':' .. line.sku, line.quantity)
    redis.call('XADD', KEYS[4], '*', 'kind', 'held', 'sku', line.sku, 'location', line.location,
      'quantity', line.quantity, 'on_hand', 0, 'safety_stock', 0, 'held', line.quantity,
      'committed', 0, 'reference', hold.hold, 'version', version)
  end
  redis.call('PEXPIRE', hold.shopper_key, ARGV[3])
  told[i] = {hold.shopper, hold.hold, 'active', hold.lines, hold.amount, hold.currency,
    hold.expires_at, hold.fulfillment}
end
redis.pcall('SPUBLISH', KEYS[5], cjson.encode({
  epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch')), version = version, stock = items,
  holds = told, at = now}))
return replies
