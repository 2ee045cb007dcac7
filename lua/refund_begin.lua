#!lua
-- Reserves a refund under its caller's key, so that no other can have the same money or units; the
-- sweep sees to it until it is done or has failed.
--
-- KEYS[1] meta       hash    clock (ms)
-- KEYS[2] unsettled  zset    order by when to look at its payment (ms)
-- KEYS[3] order      hash
-- ARGV[1] order
-- ARGV[2] key of the caller
-- ARGV[3] fingerprint of the request
-- ARGV[4] amount (minor units), or '' for the price of the lines
-- ARGV[5] its currency, or ''
-- ARGV[6] lines      JSON [{sku, quantity}], no sku twice; or ''. Without amount and lines: all that
--                    is left of both
-- ARGV[7] '1' if the units go back into the stock
-- ARGV[8] reason     a text, or ''
-- ARGV[9] when the sweep looks at it (ms from now)
-- ARGV[10] retention of the order (ms)
-- ARGV[11] most refunds of one order
-- ARGV[12] '1' to ask only whether it is reserved, and by which replicas: nothing new is begun
--
-- Replies:
--   BEGUN n                    reserved now, as the order's nth refund
--   REPEATED n                 reserved by an earlier copy of this request
--   KEY_REUSED                 the key came before with another request
--   NOT_FOUND                  no such order; or asked only, and there is no such refund
--   NOT_CAPTURED phase         there is no money to give back
--   CURRENCY currency          the order's, which is another
--   TOO_MUCH left              more than is left (minor units)
--   TOO_MANY sku units left    more units of a sku than are left; how many and how much is left
--   FREE                       these lines cost nothing
--   FULL limit                 the order has too many refunds

local order = redis.call('HMGET', KEYS[3], 'phase', 'amount', 'currency', 'lines', 'refunds')
if not order[1] then
  return {'NOT_FOUND'}
end
if order[1] ~= 'captured' then
  return {'NOT_CAPTURED', order[1]}
end
local refunds, known = cjson.decode(order[5] or '[]'), nil
for _, refund in ipairs(refunds) do
  if refund.key == ARGV[2] then
    known = refund
  end
end
if known and known.fingerprint ~= ARGV[3] then
  return {'KEY_REUSED'}
end
if known then
  -- WAIT counts from this connection's last write on, so that a repetition must write as well.
  redis.call('HSET', KEYS[3], 'refunds', order[5])
  return {'REPEATED', tostring(known.n)}
end
if ARGV[12] ~= '' then
  return {'NOT_FOUND'}
end
if #refunds >= tonumber(ARGV[11]) then
  return {'FULL', ARGV[11]}
end
if ARGV[5] ~= '' and ARGV[5] ~= order[3] then
  return {'CURRENCY', order[3]}
end

-- What is left: all that was sold, less every refund that is done or may still be.
local money, sold = tonumber(order[2]), cjson.decode(order[4])
for _, refund in ipairs(refunds) do
  if refund.state ~= 'failed' then
    money = money - refund.amount
    for _, line in ipairs(refund.lines or {}) do
      for _, left in ipairs(sold) do
        if left.sku == line.sku and left.location == line.location then
          left.quantity = left.quantity - line.quantity
        end
      end
    end
  end
end

local lines, price = {}, 0

-- Reserves units of a sold line; returns how many there were.
local function claim(left, wanted)
  local units = math.min(left.quantity, wanted)
  if units > 0 then
    lines[#lines + 1] = {sku = left.sku, quantity = units, location = left.location,
      unit_price = left.unit_price}
    price = price + units * left.unit_price.amount
  end
  return units
end

local whole = ARGV[4] == '' and ARGV[6] == ''
if whole then
  for _, left in ipairs(sold) do
    claim(left, left.quantity)
  end
elseif ARGV[6] ~= '' then
  for _, asked in ipairs(cjson.decode(ARGV[6])) do
    local missing = asked.quantity
    for _, left in ipairs(sold) do
      if left.sku == asked.sku then
        missing = missing - claim(left, missing)
      end
    end
    if missing > 0 then
      return {'TOO_MANY', asked.sku, tostring(asked.quantity - missing),
        string.format('%.0f', money)}
    end
  end
end
local amount = tonumber(ARGV[4]) or (whole and money or price)
if amount > money or money == 0 then
  return {'TOO_MUCH', string.format('%.0f', money)}
end
if amount == 0 then
  return {'FREE'}
end
local time = redis.call('TIME')
local seen = tonumber(redis.call('HGET', KEYS[1], 'clock') or '0')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)
local n = #refunds + 1
refunds[n] = {n = n, key = ARGV[2], fingerprint = ARGV[3], amount = amount, state = 'pending',
  restock = ARGV[7] == '1'}
-- An empty table would be written as an object.
if #lines > 0 then
  refunds[n].lines = lines
end
if ARGV[8] ~= '' then
  refunds[n].reason = ARGV[8]
end

redis.call('HSET', KEYS[3], 'refunds', cjson.encode(refunds))
redis.call('PEXPIRE', KEYS[3], ARGV[10])
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[9]), ARGV[1])
return {'BEGUN', tostring(n)}
