#!lua flags=allow-oom
-- Uses a ticket up: it opens one session, and only that one, at whichever gateway.
--
-- KEYS[1] ticket  string  the session that took it; it expires when the ticket has
-- ARGV[1] session
-- ARGV[2] how long until nobody would take the ticket any more (ms)
--
-- Replies:
--   TAKEN   by this session; repeating the request is safe
--   USED    by another one: nothing was written

local by = redis.call('GET', KEYS[1])
if by and by ~= ARGV[1] then
  return {'USED'}
end
if not by then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return {'TAKEN'}
