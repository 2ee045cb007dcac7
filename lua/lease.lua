#!lua flags=allow-oom
-- Takes, keeps or gives back a lease. One relay at a time delivers a shop's orders, so that two
-- versions of one order cannot overtake each other through two relays; one sweep at a time compares
-- the books. Two that both believe to have it, after a pause, do no harm: what they do may be done
-- twice.
--
-- KEYS[1] lease  string  who has it; it expires
-- ARGV[1] who asks
-- ARGV[2] how long the lease is to last from now on (ms); 0 gives it back
--
-- Replies:
--   HELD    it is the caller's for that long: work, and ask again well before it ends
--   BUSY    another has it: stop, ask again later
--   FREE    given back

local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return {'BUSY'}
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return {'FREE'}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'HELD'}
