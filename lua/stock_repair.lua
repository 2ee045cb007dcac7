#!lua flags=allow-oom
-- Sets a sku's quantities to what the audit found in the ledger, if nothing has moved since.
--
-- KEYS[1] meta       hash    epoch, version
-- KEYS[2] stock      hash    sku -> JSON rows, as in hold_reserve
-- KEYS[3] news       channel
-- ARGV[1] version    of the stock the audit looked at
-- ARGV[2] sku
-- ARGV[3] rows       JSON to write
-- ARGV[4] available  units viewers see with these rows
--
-- Replies:
--   REPAIRED         written and told
--   MOVED            the stock has another version by now: look again

if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then
  return {'MOVED'}
end
local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.pcall('SPUBLISH', KEYS[3], cjson.encode({
  epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch')), version = version,
  stock = {[ARGV[2]] = tonumber(ARGV[4])}}))
return {'REPAIRED'}
