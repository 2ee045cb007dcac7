#!lua
-- Applies what the physical world reports: receipts, walk-in sales, counts, returns, hand-overs.
--
-- KEYS[1]    meta      hash    epoch, version, clock (ms), server, born
-- KEYS[2]    stock     hash    sku -> JSON rows, as in hold_reserve
-- KEYS[3]    ledger    stream  movements
-- KEYS[4]    news      channel
-- KEYS[4+i]  movement  string  the answer to movement i, kept to answer its repetition
-- ARGV[1]    movements JSON    [{reference_id, kind, sku, location, quantity, at (ms), source, reason,
--                              fingerprint, initial?}], no reference twice; initial: only where the
--                              location has no stock of this sku yet
-- ARGV[2]    retention of the answers (ms)
--
-- Replies, one per movement, in order:
--   APPLIED available          units of the sku now available; negative is a shortfall
--   DUPLICATE available        applied before, under this reference
--   SUPERSEDED available       it happened before a count that has already seen it
--   KEY_REUSED available       this reference came before with other content
--   NOT_COMMITTED available    more was handed over than was sold
-- Physical facts are never refused for lack of stock.

-- A new shop is served by the server it was opened on.
local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)

local movements = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local seen = tonumber(redis.call('HGET', KEYS[1], 'clock') or '0')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)
local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0') + 1

-- Read and decide first, then write: see hold_reserve.
local stock, changed, entries, answers = {}, {}, {}, {}

local function rows(sku)
  if not stock[sku] then
    stock[sku] = cjson.decode(redis.call('HGET', KEYS[2], sku) or '[]')
  end
  return stock[sku]
end

local function row_of(sku, location)
  for _, row in ipairs(rows(sku)) do
    if row[1] == location then
      return row, false
    end
  end
  return {location, 0, 0, 0, 0, 1, 0}, true
end

local function left(sku)
  local units = 0
  for _, row in ipairs(rows(sku)) do
    units = units + row[2] - row[3] - row[4] - row[5]
  end
  return units
end

local function apply(move)
  local row, new = row_of(move.sku, move.location)
  -- A row that sale_restore made has sales of a lost stock, and no stock yet.
  if move.initial and not new and row[7] >= 0 then
    return 'SUPERSEDED'
  end
  local before = {row[2], row[3], row[5]}
  local counted = move.at <= row[7]
  if move.kind == 'fulfilled' then
    if move.quantity > row[5] then
      return 'NOT_COMMITTED'
    end
    row[5] = row[5] - move.quantity
    row[2] = row[2] - (counted and 0 or move.quantity)
  elseif move.kind == 'safety_stock' then
    row[3] = move.quantity
  elseif counted then
    return 'SUPERSEDED'
  elseif move.kind == 'counted' then
    -- A clock that is ahead must not take away what is yet to happen.
    row[2], row[7] = move.quantity, math.min(move.at, now)
  else
    row[2] = row[2] + move.quantity
  end
  row[7] = math.max(0, row[7])
  if new then
    table.insert(rows(move.sku), row)
  end
  changed[move.sku] = true
  entries[#entries + 1] = {move, row[2] - before[1], row[3] - before[2], row[5] - before[3]}
  return 'APPLIED'
end

local replies = {}
for i, move in ipairs(movements) do
  local kept = redis.call('GET', KEYS[4 + i])
  local status
  if not kept then
    status = apply(move)
    if status == 'APPLIED' or status == 'SUPERSEDED' then
      answers[#answers + 1] = {KEYS[4 + i], status .. ' ' .. move.fingerprint}
    end
  elseif string.match(kept, '%S+$') ~= move.fingerprint then
    status = 'KEY_REUSED'
  else
    status = string.match(kept, '^%S+') == 'APPLIED' and 'DUPLICATE' or 'SUPERSEDED'
    -- WAIT counts from this connection's last write on, so that a repetition must write as well.
    answers[#answers + 1] = {KEYS[4 + i], kept}
  end
  replies[i] = {status, tostring(left(move.sku))}
end

for _, answer in ipairs(answers) do
  redis.call('SET', answer[1], answer[2], 'PX', ARGV[2])
end
if #entries == 0 then
  return replies
end
redis.call('HSET', KEYS[1], 'version', version)
if redis.call('HSETNX', KEYS[1], 'epoch', 1) == 1 then
  redis.call('HSET', KEYS[1], 'server', here, 'born', time[1] .. '.' .. time[2])
end
if redis.call('HGET', KEYS[1], 'server') == here then
  redis.call('HSET', KEYS[1], 'clock', string.format('%.0f', now))
end
for _, entry in ipairs(entries) do
  local move = entry[1]
  redis.call('XADD', KEYS[3], '*', 'kind', move.kind, 'sku', move.sku, 'location', move.location,
    'quantity', move.quantity, 'on_hand', entry[2], 'safety_stock', entry[3], 'held', 0,
    'committed', entry[4], 'reference', move.reference_id, 'version', version,
    'source', move.source, 'reason', move.reason or '', 'occurred_at', string.format('%.0f', move.at))
end
local items = {}
for sku in pairs(changed) do
  redis.call('HSET', KEYS[2], sku, cjson.encode(rows(sku)))
  local units = 0
  for _, row in ipairs(rows(sku)) do
    units = units + math.max(0, row[2] - row[3] - row[4] - row[5])
  end
  items[sku] = units
end
redis.pcall('SPUBLISH', KEYS[4], cjson.encode({
  epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch')), version = version, stock = items, at = now}))
return replies
