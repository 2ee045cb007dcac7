#!lua
-- Decides a list of reservations in order of arrival: each gets all its lines or none.
--
-- KEYS[1]      meta       hash    epoch, version, clock (ms), server, born
-- KEYS[2]      stock      hash    sku -> JSON rows, see rows() below
-- KEYS[3]      catalog    hash    sku -> JSON entry
-- KEYS[4]      shows      hash    <show>:state
-- KEYS[5]      deadlines  zset    <hold>:<shopper> by deadline (ms)
-- KEYS[6]      ledger     stream  movements
-- KEYS[7]      news       channel
-- KEYS[6+2i]   hold       hash    of request i
-- KEYS[7+2i]   shopper    hash    of request i
-- ARGV[1]      requests   JSON    [{hold, shopper, show, fingerprint, ttl_ms, fulfillment (JSON text),
--                                   location?, lines: [{sku, quantity}]}], no sku twice in one request
-- ARGV[2]      most active holds of one shopper
-- ARGV[3]      retention of the shopper's key (ms)
-- ARGV[4]      most that one payment can be (minor units)
-- ARGV[5]      replicas that must be there for anything to be sold
--
-- Replies, as JSON, for reading one long word costs the caller a fraction of many short ones: a list
-- of lists of words, one per request, in order:
--   HOLD id state lines amount currency expires_at fulfillment version
--                                 held, now or before: the hold's id is made of the caller's key
--   SOLD_OUT sku available        nothing was written
--   LIMIT sku limit               the shopper would have too many of this sku
--   HOLDS limit                   the shopper has too many holds
--   KEY_REUSED                    this hold id exists with another fingerprint
--   SHOW_NOT_LIVE state           state is empty when there is no such show
--   NOT_FOUND sku                 not in the catalogue
--   CURRENCIES                    the lines are priced in more than one currency
--   UNPAYABLE                     the total is nothing, or more than one payment can be
--   FROZEN                        this server may have lost writes of the shop: rebuild, then repeat
--   PAUSED                        too few replicas to sell anything: repeat it later
-- The caller repeats the whole list when the reply is lost. Needs memory, so it is refused when
-- Redis is out of it.

local requests = cjson.decode(ARGV[1])
local holds_limit = tonumber(ARGV[2])
local retention_ms = tonumber(ARGV[3])
local most_amount = tonumber(ARGV[4])
local least_replicas = tonumber(ARGV[5])

-- A server that was promoted or restarted may have lost writes: it serves the shop only after a rebuild.
local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)

local meta = redis.call('HMGET', KEYS[1], 'epoch', 'server', 'clock', 'version')

local time = redis.call('TIME')
local seen = tonumber(meta[3] or '0')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)
local version = tonumber(meta[4] or '0') + 1

-- First everything is read and decided in memory; then everything is written. Nothing can fail
-- once the first write has happened, for Lua has no rollback.
local stock, catalog, states, shoppers, born = {}, {}, {}, {}, {}
local held, changed = {}, {}

-- [location, on_hand, safety_stock, held, committed, next_unit, counted_at (ms)] per location
local function rows(sku)
  if not stock[sku] then
    stock[sku] = cjson.decode(redis.call('HGET', KEYS[2], sku) or '[]')
  end
  return stock[sku]
end

local function free(row)
  return math.max(0, row[2] - row[3] - row[4] - row[5])
end

local function available(sku, location)
  local units = 0
  for _, row in ipairs(rows(sku)) do
    if not location or row[1] == location then
      units = units + free(row)
    end
  end
  return units
end

local function entry(sku)
  if catalog[sku] == nil then
    local packed = redis.call('HGET', KEYS[3], sku)
    catalog[sku] = packed and cjson.decode(packed) or false
  end
  return catalog[sku]
end

local function show_state(show)
  if not states[show] then
    states[show] = redis.call('HGET', KEYS[4], show .. ':state') or ''
  end
  return states[show]
end

local function count(key, field)
  local counts = shoppers[key] or {}
  shoppers[key] = counts
  if not counts[field] then
    counts[field] = tonumber(redis.call('HGET', key, field) or '0')
  end
  return counts[field]
end

local function units_field(show, sku)
  return 'units:' .. show .. ':' .. sku
end

local function repeated(request, key)
  local hold = born[key]
  if not hold then
    local kept = redis.call('HMGET', key, 'state', 'lines', 'amount', 'currency', 'expires_at',
      'fulfillment', 'fingerprint')
    if not kept[1] then
      return nil
    end
    hold = {state = kept[1], lines = kept[2], amount = kept[3], currency = kept[4],
      expires_at = kept[5], fulfillment = kept[6], fingerprint = kept[7]}
  end
  -- What a gateway remembered of a lost hold is not what was asked for: see hold_restore.
  if hold.fingerprint ~= request.fingerprint and hold.fingerprint ~= '*' then
    return {'KEY_REUSED'}
  end
  return {'HOLD', request.hold, hold.state, hold.lines, hold.amount, hold.currency,
    hold.expires_at, hold.fulfillment}
end

local function paused()
  local online = 0
  for lag in string.gmatch(info, 'state=online[^\r]-,lag=(%d+)') do
    online = online + (tonumber(lag) <= 10 and 1 or 0)
  end
  return online < least_replicas
end

local function refusal(request, shopper)
  if least_replicas > 0 and paused() then
    return {'PAUSED'}
  end
  local state = show_state(request.show)
  if state ~= 'live' then
    return {'SHOW_NOT_LIVE', state}
  end
  if count(shopper, 'holds') >= holds_limit then
    return {'HOLDS', tostring(holds_limit)}
  end
  local currency, amount = nil, 0
  for _, line in ipairs(request.lines) do
    local product = entry(line.sku)
    if not product then
      return {'NOT_FOUND', line.sku}
    end
    currency = currency or product.price.currency
    if product.price.currency ~= currency then
      return {'CURRENCIES'}
    end
    amount = amount + product.price.amount * line.quantity
    local limit = product.limit_per_shopper
    if limit and count(shopper, units_field(request.show, line.sku)) + line.quantity > limit then
      return {'LIMIT', line.sku, tostring(limit)}
    end
    local left = available(line.sku, request.location)
    if left < line.quantity then
      return {'SOLD_OUT', line.sku, tostring(left)}
    end
  end
  if amount == 0 or amount > most_amount then
    return {'UNPAYABLE'}
  end
end

-- Takes the units from the locations in their order, so that one line may become several.
local function take(request, shopper)
  local lines, amount, currency = {}, 0, nil
  for _, line in ipairs(request.lines) do
    local price, left = entry(line.sku).price, line.quantity
    currency = price.currency
    amount = amount + price.amount * line.quantity
    for _, row in ipairs(rows(line.sku)) do
      local units = math.min(left, free(row))
      if units > 0 and (not request.location or row[1] == request.location) then
        row[4] = row[4] + units
        left = left - units
        lines[#lines + 1] = {sku = line.sku, quantity = units, location = row[1],
          unit_price = {amount = price.amount, currency = currency}}
      end
    end
    changed[line.sku] = true
    local field = units_field(request.show, line.sku)
    shoppers[shopper][field] = count(shopper, field) + line.quantity
  end
  shoppers[shopper].holds = shoppers[shopper].holds + 1
  return lines, amount, currency
end

local function decide(request, key, shopper)
  if meta[1] and meta[2] ~= here then
    return {'FROZEN'}
  end
  local answer = repeated(request, key) or refusal(request, shopper)
  if answer then
    return answer
  end
  local lines, amount, currency = take(request, shopper)
  local hold = {id = request.hold, shopper = request.shopper, key = key, shopper_key = shopper,
    show = request.show, fingerprint = request.fingerprint, fulfillment = request.fulfillment,
    state = 'active', taken = lines, lines = cjson.encode(lines),
    amount = string.format('%.0f', amount), currency = currency,
    expires_at = string.format('%.0f', now + request.ttl_ms)}
  born[key] = hold
  held[#held + 1] = hold
  return {'HOLD', hold.id, hold.state, hold.lines, hold.amount, hold.currency, hold.expires_at,
    hold.fulfillment}
end

local replies = {}
for i, request in ipairs(requests) do
  replies[i] = decide(request, KEYS[6 + 2 * i], KEYS[7 + 2 * i])
end

if #held == 0 then
  for _, reply in ipairs(replies) do
    if reply[1] == 'HOLD' then
      reply[9] = tostring(version - 1)
    end
  end
  return cjson.encode(replies)
end

redis.call('HSET', KEYS[1], 'version', version, 'clock', string.format('%.0f', now))
if not meta[1] then
  redis.call('HSET', KEYS[1], 'epoch', 1, 'server', here, 'born', time[1] .. '.' .. time[2])
end
local items, told = {}, {}
for sku in pairs(changed) do
  redis.call('HSET', KEYS[2], sku, cjson.encode(rows(sku)))
  items[sku] = available(sku)
end
for i, hold in ipairs(held) do
  redis.call('HSET', hold.key, 'state', 'active', 'shopper', hold.shopper, 'show', hold.show,
    'lines', hold.lines, 'amount', hold.amount, 'currency', hold.currency,
    'expires_at', hold.expires_at, 'fulfillment', hold.fulfillment,
    'fingerprint', hold.fingerprint, 'created_at', string.format('%.0f', now))
  redis.call('HSET', hold.shopper_key, 'hold:' .. hold.id, hold.show)
  redis.call('ZADD', KEYS[5], hold.expires_at, hold.id .. ':' .. hold.shopper)
  for _, line in ipairs(hold.taken) do
    redis.call('XADD', KEYS[6], '*', 'kind', 'held', 'sku', line.sku, 'location', line.location,
      'quantity', line.quantity, 'on_hand', 0, 'safety_stock', 0, 'held', line.quantity,
      'committed', 0, 'reference', hold.id, 'version', version)
  end
  told[i] = {hold.shopper, hold.id, 'active', hold.lines, hold.amount, hold.currency,
    hold.expires_at, hold.fulfillment}
end
for key, counts in pairs(shoppers) do
  for field, units in pairs(counts) do
    if units > 0 then
      redis.call('HSET', key, field, units)
    end
  end
  if redis.call('EXISTS', key) == 1 then
    redis.call('PEXPIRE', key, retention_ms)
  end
end
redis.pcall('SPUBLISH', KEYS[7], cjson.encode({
  epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch')), version = version, stock = items,
  holds = told, at = now}))
for _, reply in ipairs(replies) do
  if reply[1] == 'HOLD' then
    reply[9] = tostring(version)
  end
end
return cjson.encode(replies)
