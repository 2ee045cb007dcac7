#!lua flags=allow-oom
-- Takes out of an order who bought it: its record keeps units and money, its entries leave the
-- stream, and the POS hears of it by one more version without contact, all in one step.
--
-- KEYS[1]   meta    hash    epoch, clock (ms), server
-- KEYS[2]   orders  stream  events for the POS
-- KEYS[3]   order   hash
-- KEYS[3+i] parked  hash    entry id -> JSON record, of webhook i
-- ARGV[1] order
-- ARGV[2] shopper whose it is
-- ARGV[3] pseudonym  to stand for the shopper from now on; nobody's own id
-- ARGV[4] version of the order that the caller saw
-- ARGV[5] event id   of the next version, or '' when there is nothing to tell
-- ARGV[6] event      the encoded CloudEvent, or ''
-- ARGV[7] entries    JSON [entry id], all that the stream, or a webhook's parked deliveries, have of it
-- ARGV[8] retention of the order (ms)
-- ARGV[9] '1' to ask only whether it may be: nothing is written
--
-- Replies:
--   ERASED             now, or by an earlier copy of this request
--   MAY                asked only: it may be
--   UNDER_WAY phase    its payment, or a refund, is under way
--   UNDELIVERED group  this webhook has not acknowledged all of its entries
--   VERSION n          the order is another version meanwhile: encode the event anew
--   NOT_FOUND          no such order, or another shopper's
--   FROZEN             this server may have lost writes of the shop: rebuild, then repeat

-- A server that was promoted or restarted may have lost writes: it serves the shop only after a rebuild.
local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'server')
if meta[1] and meta[2] ~= here then
  return {'FROZEN'}
end

local order = redis.call('HMGET', KEYS[3], 'phase', 'shopper', 'refunds', 'order_version', 'restored')
local phase = order[1]
if order[2] == ARGV[3] then
  -- WAIT counts from this connection's last write on, so that a repetition must write as well.
  redis.call('HSET', KEYS[3], 'shopper', ARGV[3])
  return {'ERASED'}
end
if order[2] ~= ARGV[2] then
  return {'NOT_FOUND'}
end
if phase == 'paying' or phase == 'voiding' or phase == 'committed' then
  return {'UNDER_WAY', phase}
end
for _, refund in ipairs(cjson.decode(order[3] or '[]')) do
  if refund.state == 'pending' then
    return {'UNDER_WAY', 'refunding'}
  end
end
if (order[4] or '1') ~= ARGV[4] then
  return {'VERSION', order[4] or '1'}
end

local function earlier(one, other)
  local ms, seq = string.match(one, '^(%d+)%-(%d+)$')
  local other_ms, other_seq = string.match(other, '^(%d+)%-(%d+)$')
  if ms ~= other_ms then
    return tonumber(ms) < tonumber(other_ms)
  end
  return tonumber(seq) < tonumber(other_seq)
end

local groups = {}
if redis.call('EXISTS', KEYS[2]) == 1 then
  for i, facts in ipairs(redis.call('XINFO', 'GROUPS', KEYS[2])) do
    groups[i] = {}
    for at = 1, #facts, 2 do
      groups[i][facts[at]] = facts[at + 1]
    end
  end
end
local entries, there = cjson.decode(ARGV[7]), {}
-- Appended again when reconciling, maybe since the caller looked.
entries[#entries + 1] = order[5] or nil
for _, id in ipairs(entries) do
  local entry = redis.call('XRANGE', KEYS[2], id, id)[1]
  if entry and entry[2][2] == ARGV[1] then
    for _, group in ipairs(groups) do
      if earlier(group['last-delivered-id'], id)
        or #redis.call('XPENDING', KEYS[2], group.name, id, id, 1) > 0 then
        return {'UNDELIVERED', group.name}
      end
    end
    there[#there + 1] = id
  end
end
if ARGV[9] ~= '' then
  return {'MAY'}
end
local time = redis.call('TIME')
local seen = tonumber(redis.call('HGET', KEYS[1], 'clock') or '0')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)

redis.call('HDEL', KEYS[3], 'contact', 'ship_to', 'client_secret', 'tried', 'restored', 'event',
  'event_id')
redis.call('HSET', KEYS[3], 'shopper', ARGV[3], 'token', '', 'erased_at', string.format('%.0f', now))
if #there > 0 then
  redis.call('XDEL', KEYS[2], unpack(there))
end
for i = 1, #KEYS - 3 do
  if #entries > 0 then
    redis.call('HDEL', KEYS[3 + i], unpack(entries))
  end
end
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[3], 'order_version', ARGV[4] + 1, 'event_id', ARGV[5], 'event', ARGV[6])
  redis.call('XADD', KEYS[2], '*', 'order', ARGV[1], 'event_id', ARGV[5], 'event', ARGV[6])
end
redis.call('PEXPIRE', KEYS[3], ARGV[8])
return {'ERASED'}
