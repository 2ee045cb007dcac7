#!lua flags=allow-oom
-- Writes down that a shopper is in, and uses their ticket up as `ticket_take` does: the one they
-- came with, or a new one in its place. The place kept for them is given up a little later, once the
-- viewers are counted with them, so that it is never taken twice.
--
-- KEYS[1] invited  sorted set  shopper -> until when a place is kept that no count has yet (ms)
-- KEYS[2] inside   sorted set  shopper -> until when they may come again (ms)
-- KEYS[3] ticket   string      the session that took it; it expires when the ticket has
-- ARGV[1] shopper
-- ARGV[2] '1' if the ticket is good only with a place, '0' if its shop lets them in by itself
-- ARGV[3] how long until they are counted (ms), 0 for who is counted already
-- ARGV[4] how long they may come again (ms)
-- ARGV[5] longest that a place is kept (ms)
-- ARGV[6] session
-- ARGV[7] how long until nobody would take the ticket any more (ms)
--
-- Replies:
--   IN      welcome them; repeating the request is safe
--   LATE    the place was not kept for so long: they need a new ticket, and may have to wait for it
--   USED    another session took the ticket
-- One call forgets at most 100 of each who did not come.

local shopper = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function before(key, moment)
  return redis.call('ZRANGE', key, '-inf', moment, 'BYSCORE', 'LIMIT', 0, 100)
end

local invited = tonumber(redis.call('ZSCORE', KEYS[1], shopper) or '0') > now
local inside = tonumber(redis.call('ZSCORE', KEYS[2], shopper) or '0') > now
local by = redis.call('GET', KEYS[3])
local late = before(KEYS[1], now)
local gone = before(KEYS[2], now)
if by and by ~= ARGV[6] then
  return {'USED'}
end
if ARGV[2] == '1' and not invited and not inside then
  return {'LATE'}
end

if not by then
  redis.call('SET', KEYS[3], ARGV[6], 'PX', ARGV[7])
end
if #late > 0 then
  redis.call('ZREM', KEYS[1], unpack(late))
end
if #gone > 0 then
  redis.call('ZREM', KEYS[2], unpack(gone))
end
if ARGV[3] ~= '0' then
  redis.call('ZADD', KEYS[1], now + ARGV[3], shopper)
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
redis.call('ZADD', KEYS[2], now + ARGV[4], shopper)
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {'IN'}
