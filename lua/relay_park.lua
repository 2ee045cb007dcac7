#!lua flags=allow-oom
-- Parks a delivery that was given up: the record is written and the entry acknowledged in one step,
-- so that an order is never lost between the two, nor both parked and delivered again.
--
-- KEYS[1] orders  stream  events for the POS
-- KEYS[2] parked  hash    entry id -> JSON record, of one webhook
-- ARGV[1] group   of the webhook
-- ARGV[2] entry id
-- ARGV[3] record  JSON with the event, the reason and the attempts
--
-- Replies:
--   PARKED   parked now, or parked before and its record renewed
--   SETTLED  neither pending nor parked: it was delivered in the meantime

local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
if #pending == 0 and redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then
  return {'SETTLED'}
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return {'PARKED'}
